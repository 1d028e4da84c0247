"""UTEG: posts that those the viewer follows engaged with (GraphJet's top second degree)."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from actors import social_proof
from actors.graph_questions import AskPostFacts
from actors.router import shards_of
from actors.stores.proof_ranking import (
    PostFilter,
    Proofs,
    RankedPosts,
    merge_proofs,
    rank_proofs,
)
from cluster.ids import Ids
from timeline.candidates import MAX_PROOFS, NONE, Candidates, concatenate, unhydrated
from timeline.findings import Finding, together
from timeline.query import Query
from timeline.sources import first_questions
from timeline.sources.salsa import walked_posts

_NO_IDS = np.empty(0, np.int64)
_WIDER = 4
"""Posts whose favourites are asked for, for one that is returned."""


class UserTweetEntityGraph:
    """Posts with the greatest summed weight of seeds who engaged with them; then walked ones.

    Seeds are those the viewer follows, weighted by how much the viewer engages with them. What
    the viewer engaged with is not found again (GraphJet's filter of direct interactions).
    Proofs count over all shards before gates and the top k, so that the answer does not
    depend on the number of shards. A post's age is known only to its own shard: the window
    bounds the age of the engagement here and that of the post in a later filter.

    Where settings ask for them, posts that random walks over all engagements visit most
    (SALSA, GraphJet's other algorithm) follow those with proofs: they need no followed account.
    """

    name = "user_tweet_entity_graph"
    gated = False
    """What it finds is social proof for posts of every source."""

    def find(self, query: Query) -> Finding[Candidates]:
        """One wave for proofs and walks, one for favourites; what the posts are comes later."""
        settings = query.settings.sources.user_tweet_entity_graph
        if not settings.walk_results:
            return (yield from _proven(query))
        parts = yield from together(query, {"proofs": _proven(query), "walks": _walked(query)})
        proven, walked = (parts[name] or NONE for name in ("proofs", "walks"))
        more = walked.take(~np.isin(walked.post_ids, proven.post_ids))
        return concatenate([proven, more.take(np.arange(len(more)) < settings.walk_results)])


def _proven(query: Query) -> Finding[Candidates]:
    """Ask each shard about the seeds that live in it, and the posts' shards how liked they are."""
    seeds, weights = social_proof.seeds_of(query.viewer, query.settings.for_you.max_seeds)
    if not len(seeds):
        return NONE
    # Told with the viewer's context, so that it costs no wave.
    told = yield {query.viewer_shard: [first_questions.of_engaged(query)]}
    engaged = [ids for (ids,) in told.values()]
    homes = shards_of(seeds, query.router.n_shards)
    answers = yield {
        shard: [
            social_proof.ask_proofs(
                query.settings,
                query.now_ms,
                seeds[homes == shard],
                np.flatnonzero(homes == shard).astype(np.int32),
            )
        ]
        for shard in np.unique(homes).tolist()
    }
    parts: list[Proofs] = [found for _, (found,) in sorted(answers.items())]
    if not parts:
        return NONE
    merged = parts[0] if len(parts) == 1 else merge_proofs(parts)
    query.proof = social_proof.SocialProof(merged, weights)
    limits = query.settings.for_you
    popular_first = query.settings.sources.user_tweet_entity_graph.popular_first
    wanted = query.width(UserTweetEntityGraph.name, limits.out_of_network_results)
    ranked = rank_proofs(
        [merged],
        seeds,
        weights,
        k=wanted * _WIDER if popular_first else wanted,
        max_proofs=limits.max_proofs,
        gate=social_proof.proof_gate(query.settings),
        post_filter=PostFilter(
            excluded_post_ids=np.concatenate([_NO_IDS, *engaged]),
            excluded_author_ids=_known_authors(query),
        ),
    )
    found = _with_proofs(ranked, seeds)
    if not popular_first or len(found) < 2:
        return found
    favourites = yield from _favourites(query, found.post_ids, found.author_ids)
    # A stable sort: what ties in both keeps its order, the newest proof first.
    return found.take(np.lexsort((-favourites, -ranked.scores))[:wanted])


def _favourites(query: Query, post_ids: Ids, author_ids: Ids) -> Finding[npt.NDArray[np.int64]]:
    """Of each post, in all shards' own words; 0 where a post is not known (n,)."""
    favourites = np.zeros(len(post_ids), np.int64)
    homes = shards_of(author_ids, query.router.n_shards)
    answers = yield {
        shard: [AskPostFacts(post_ids[homes == shard])] for shard in np.unique(homes).tolist()
    }
    order = np.argsort(post_ids)
    for (facts,) in answers.values():
        favourites[order[np.searchsorted(post_ids, facts.post_ids, sorter=order)]] = (
            facts.favourites
        )
    return favourites


def _walked(query: Query) -> Finding[Candidates]:
    """Posts that walks from the viewer visit, of authors whom the viewer does not follow."""
    settings = query.settings.sources.user_tweet_entity_graph
    seeds, weights = social_proof.seeds_of(query.viewer, query.settings.for_you.max_seeds)
    found = yield from walked_posts(
        query,
        seeds,
        weights,
        walks=settings.walks,
        limit=2 * settings.walk_results + query.settings.for_you.out_of_network_results,
        max_known=first_questions.MAX_ENGAGED,
    )
    posts = unhydrated(found.post_ids, found.author_ids, found.weights)
    return posts.take(~np.isin(posts.author_ids, _known_authors(query)))


def _known_authors(query: Query) -> Ids:
    """Authors whose posts are not out of network, or may not be shown."""
    viewer = query.viewer
    mine = np.array([query.viewer_id], np.int64)
    return np.concatenate([viewer.followed, viewer.hidden_ids, mine])


def _with_proofs(ranked: RankedPosts, seeds: Ids) -> Candidates:
    proofs = ranked.proofs
    found = unhydrated(proofs.post_ids, proofs.author_ids, ranked.scores)
    counts = np.diff(proofs.offsets)
    row = np.repeat(np.arange(len(found)), counts)
    column = np.arange(len(row)) - np.repeat(proofs.offsets[:-1], counts)
    shown = column < MAX_PROOFS
    proof_ids, proof_kinds = found.proof_ids, found.proof_kinds
    proof_ids[row[shown], column[shown]] = seeds[proofs.seed_indices[shown]]
    proof_kinds[row[shown], column[shown]] = proofs.kinds[shown]
    return replace(found, proof_ids=proof_ids, proof_kinds=proof_kinds)

"""UTEG: posts that those the viewer follows engaged with (GraphJet's top second degree)."""

from dataclasses import replace

import numpy as np

from actors import social_proof
from actors.router import shards_of
from actors.stores.proof_ranking import (
    PostFilter,
    ProofGate,
    Proofs,
    RankedPosts,
    merge_proofs,
    rank_proofs,
)
from cluster.ids import Ids
from timeline.candidates import MAX_PROOFS, NONE, Candidates, unhydrated
from timeline.findings import Finding
from timeline.query import Query


class UserTweetEntityGraph:
    """Posts with the greatest summed weight of seeds who engaged with them.

    Seeds are those the viewer follows, weighted by how much the viewer engages with them.
    Proofs count over all shards before gates and the top k, so that the answer does not
    depend on the number of shards. A post's age is known only to its own shard: the window
    bounds the age of the engagement here and that of the post in a later filter.
    """

    name = "user_tweet_entity_graph"
    gated = False
    """What it finds is social proof for posts of every source."""

    def find(self, query: Query) -> Finding[Candidates]:
        """Ask each shard about the seeds that live in it; what the posts are is not known yet."""
        seeds, weights = social_proof.seeds_of(query.viewer, query.settings.for_you.max_seeds)
        if not len(seeds):
            return NONE
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
        ranked = rank_proofs(
            [merged],
            seeds,
            weights,
            k=query.width(self.name, limits.out_of_network_results),
            max_proofs=limits.max_proofs,
            gate=ProofGate(limits.min_proof),
            post_filter=PostFilter(excluded_author_ids=_known_authors(query)),
        )
        return _with_proofs(ranked, seeds)


def _known_authors(query: Query) -> Ids:
    """Authors whose posts are not out of network, or may not be shown."""
    viewer = query.viewer
    mine = np.array([query.viewer_id], np.int64)
    return np.concatenate([viewer.follows, viewer.hidden_ids, mine])


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

"""What a request must know before it can rank: the viewer, and every candidate's facts."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from actors.features.light import PROOF_FEATURES, VIEWER_FEATURES, viewer_features
from actors.features.reputation import TWEEPCRED
from actors.models import HEAVY_RANKER, LIGHT_RANKER
from actors.posts import FoundPosts
from actors.questions import AskContext, AskGone, AskPosts
from actors.ranker import NO_RANKER, Ranker
from actors.router import shards_of
from actors.scored_posts import NOTHING_SCORED
from actors.state import Failed, Question
from actors.stores.columns import Array
from actors.tastes import AskTastes, Tastes, seeding
from actors.viewer_questions import AskScored
from actors.viewer_state import AskViewerState
from cluster.ids import Ids
from timeline.candidates import N_POST_FEATURES, Candidates, Mask, first_copies
from timeline.edits import of_served_lately
from timeline.facts_ahead import write_facts
from timeline.hidden import learn_hidden
from timeline.query import Query
from timeline.ranker_inputs import viewer_question
from timeline.sources import first_questions
from timeline.sources.cached import usable

_N_WITH_VIEWER = N_POST_FEATURES + len(VIEWER_FEATURES)
_WRITTEN = frozenset(field.name for field in fields(FoundPosts)) - {"author_ids"}
"""Columns that facts are written into."""
_KEPT_TO = (LIGHT_RANKER, HEAVY_RANKER, TWEEPCRED)
"""Artifacts of which a request names the version in what it asks."""
_VIEWER_SHARE = 0.4
_POSTS_SHARE = 0.6


def fetch_viewer(
    query: Query,
    *,
    with_tastes: bool = True,
    with_cached: bool = True,
    beside: Sequence[Question] | None = None,
    ranker: Ranker = NO_RANKER,
) -> bool:
    """Wave 1: the viewer's context, from the viewer's own shard.

    Without it nobody knows whom the viewer blocked, so the timeline stays empty. The
    artifact versions that the shard serves are the ones this request keeps to. Where tastes
    are asked for, so is `beside`, by default what sources would else spend a wave on, and for a
    `ranker` that is ready what it reads of the viewer.
    """
    shard = query.viewer_shard
    settings = query.settings.for_you
    sources = query.settings.sources
    questions: list[Question] = [
        AskContext(
            *(query.viewer_id, query.now_ms, settings.max_follows, settings.max_seen),
            query.settings.products.max_followed,
        ),
        AskViewerState(query.viewer_id, query.now_ms),
    ]
    if with_tastes:
        types = seeding(sources.signals)
        questions.append(AskTastes(query.viewer_id, types, sources.max_signals, query.now_ms))
    use_cache = with_tastes and with_cached and query.recorded and sources.caches
    if use_cache:
        questions.append(AskScored(query.viewer_id, query.now_ms))
    n_own = len(questions)
    if with_tastes:
        questions += _of_a_page(query) if beside is None else beside
    if ranker.ready:
        questions.append(viewer_question(query))
    reply = query.ask({shard: questions}, _VIEWER_SHARE).replies.get(shard)
    # Whom the viewer blocked and what the viewer will not see are matters of safety alike.
    if reply is None or any(isinstance(answer, Failed) for answer in reply.answers[:2]):
        query.note("viewer_context")
        return False
    query.context, query.state = reply.answers[:2]
    if with_tastes and isinstance(reply.answers[2], Failed):
        query.note("viewer_tastes")
    elif with_tastes:
        query.tastes = reply.answers[2]
    told = zip(questions[n_own:], reply.answers[n_own:], strict=True)
    # Of what failed a source asks again, and says so if it is in vain.
    query.told = {type(q): (q, answer) for q, answer in told if not isinstance(answer, Failed)}
    cached = reply.answers[3] if use_cache else None
    cached = NOTHING_SCORED if cached is None or isinstance(cached, Failed) else cached
    learn_hidden(query, *_tasted(query.tastes), cached.author_ids)
    query.cached = usable(query, cached)
    query.versions = {LIGHT_RANKER: query.fallback_version} | {
        name: reply.active[name] for name in _KEPT_TO if name in reply.active
    }
    if not query.viewer.known:
        query.reason = "cold_start"
    return not query.viewer.gone


def _tasted(tastes: Tastes) -> list[Ids]:
    """Users who lead to candidates, and may be named as the reason."""
    return [tastes.affine_ids, *(of.author_ids for of in tastes.signals.values())]


def _of_a_page(query: Query) -> list[Question]:
    return [*first_questions.of_sources(query), of_served_lately(query)]


def complete(query: Query, candidates: Candidates) -> Candidates:
    """The last wave: facts and features of candidates whose source did not hold them.

    Most of them came ahead (`timeline.facts_ahead`); where all did, nobody is asked. A post
    replaced by an edit becomes its newest version; one whose shard does not answer keeps
    `created_ms` 0 and is filtered, since nobody can say that it was not deleted. A repost
    counts as deleted where what it reposts is, or where nobody can say.
    """
    unknown, reposts = candidates.created_ms == 0, candidates.repost_of_ids > 0
    columns = {
        name: values.copy() if name in _WRITTEN else values
        for name, values in vars(candidates).items()
    }
    if query.ahead is not None:
        unknown &= ~query.ahead.fill(columns, unknown)
        reposts = (columns["repost_of_ids"] > 0) & ~unknown
        reposts &= ~query.ahead.fill_gone(columns, reposts)
    _learn(query, columns, unknown, reposts)
    # What a source did not know to be a repost costs one more wave.
    found_reposts = unknown & (columns["repost_of_ids"] > 0)
    _learn(query, columns, np.zeros_like(unknown), found_reposts)
    learn_hidden(query, columns["author_ids"], columns["linked_author_ids"])
    viewer = query.viewer
    columns["features"][:, N_POST_FEATURES:_N_WITH_VIEWER] = viewer_features(
        columns["author_ids"],
        query.viewer_id,
        viewer.followed,
        viewer.affine_ids,
        viewer.affinities,
        query.tastes.affine_ids,
        query.tastes.real_graph,
    )
    if query.proof is not None:
        proof = query.proof.features(columns["post_ids"])
        columns["features"][:, -len(PROOF_FEATURES) :] = proof
    return first_copies(Candidates(**columns))


def _learn(query: Query, columns: dict[str, Array], unknown: Mask, reposts: Mask) -> None:
    """Fetch the facts of `unknown` candidates and the fate of what `reposts` repost."""
    if not (unknown | reposts).any():
        return
    post_ids, reposted_ids = columns["post_ids"], columns["repost_of_ids"]
    reposted_authors = columns["linked_author_ids"][:, 2]
    homes = shards_of(columns["author_ids"], query.router.n_shards)
    reposted_homes = shards_of(reposted_authors, query.router.n_shards)
    asked = {
        shard: (
            np.flatnonzero(unknown & (homes == shard)),
            np.flatnonzero(reposts & (reposted_homes == shard)),
        )
        for shard in np.union1d(homes[unknown], reposted_homes[reposts]).tolist()
    }
    reputations = query.versions.get(TWEEPCRED, "")
    wave: dict[int, list[Question]] = {
        shard: [
            AskPosts(post_ids[rows], query.viewer.language, query.now_ms, reputations),
            AskGone(reposted_ids[theirs], reposted_authors[theirs]),
        ]
        for shard, (rows, theirs) in asked.items()
    }
    replies = query.ask(wave, _POSTS_SHARE).replies
    deleted = columns["deleted"].copy()
    columns["deleted"][reposts] = True
    for shard, reply in replies.items():
        found, gone = reply.answers
        if isinstance(found, Failed) or isinstance(gone, Failed):
            query.note(f"shard_{shard}")
            continue
        rows, theirs = asked[shard]
        columns["deleted"][theirs] = deleted[theirs] | gone
        write_facts(columns, rows, found, slice(None))

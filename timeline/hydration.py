"""What a request must know before it can rank: the viewer, and every candidate's facts."""

from dataclasses import replace

import numpy as np

from actors.features.light import PROOF_FEATURES, VIEWER_FEATURES, viewer_features
from actors.models import LIGHT_RANKER
from actors.questions import AskContext, AskPosts
from actors.router import shards_of
from actors.state import Failed
from timeline.candidates import N_POST_FEATURES, Candidates, first_copies
from timeline.query import Query

_N_WITH_VIEWER = N_POST_FEATURES + len(VIEWER_FEATURES)
_VIEWER_SHARE = 0.4
_POSTS_SHARE = 0.6


def fetch_viewer(query: Query) -> bool:
    """Wave 1: the viewer's context, from the viewer's own shard.

    Without it nobody knows whom the viewer blocked, so the timeline stays empty. The
    artifact versions that the shard serves are the ones this request keeps to.
    """
    shard = query.viewer_shard
    settings = query.settings.for_you
    question = AskContext(query.viewer_id, query.now_ms, settings.max_follows, settings.max_seen)
    reply = query.ask({shard: [question]}, _VIEWER_SHARE).replies.get(shard)
    if reply is None or isinstance(reply.answers[0], Failed):
        query.note("viewer_context")
        return False
    query.context = reply.answers[0]
    query.versions = {LIGHT_RANKER: reply.active.get(LIGHT_RANKER, query.fallback_version)}
    if not query.viewer.known:
        query.reason = "cold_start"
    return not query.viewer.gone


def complete(query: Query, candidates: Candidates) -> Candidates:
    """Wave 3: facts and features of candidates whose source did not hold them.

    A post replaced by an edit becomes its newest version; one whose shard does not answer
    keeps `created_ms` 0 and is filtered, since nobody can say that it was not deleted.
    """
    unknown = np.flatnonzero(candidates.created_ms == 0)
    if len(unknown):
        candidates = _with_facts(query, candidates, unknown)
    features = candidates.features.copy()
    viewer = query.viewer
    features[:, N_POST_FEATURES:_N_WITH_VIEWER] = viewer_features(
        candidates.author_ids,
        query.viewer_id,
        np.sort(viewer.follows),
        viewer.affine_ids,
        viewer.affinities,
    )
    if query.proof is not None:
        features[:, -len(PROOF_FEATURES) :] = query.proof.features(candidates.post_ids)
    return replace(candidates, features=features)


def _with_facts(
    query: Query, candidates: Candidates, unknown: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Candidates:
    homes = shards_of(candidates.author_ids[unknown], query.router.n_shards)
    asked = {s: unknown[homes == s] for s in np.unique(homes).tolist()}
    language = query.viewer.language
    wave = {
        shard: [AskPosts(candidates.post_ids[rows], language, query.now_ms)]
        for shard, rows in asked.items()
    }
    replies = query.ask(wave, _POSTS_SHARE).replies
    columns = {name: getattr(candidates, name).copy() for name in vars(candidates)}
    for shard, reply in replies.items():
        found = reply.answers[0]
        if isinstance(found, Failed):
            query.note(f"shard_{shard}")
            continue
        rows = asked[shard]
        for name, values in vars(found).items():
            if name == "features":
                columns["features"][rows, :N_POST_FEATURES] = values
            elif name not in ("author_ids", "ranks"):
                columns[name][rows] = values
    return first_copies(Candidates(**columns))

"""Cached posts: what was scored for the viewer a moment ago and is still unseen.

They need no model again, and a source of which enough are left need not be asked: the second
page of a timeline costs little. Every filter still runs on them.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from actors.scored_posts import ScoredPosts
from cluster.ids import Ids
from timeline import filters
from timeline.candidates import NONE, Candidates, unhydrated
from timeline.feedback_fatigue import not_fatigued, not_reported
from timeline.findings import Finding
from timeline.query import Query

_EVIDENCE = ("sources", "engines", "signals", "signal_ids", "proof_ids", "proof_kinds")
_OF_FOLLOWED = ("in_network", "backfill")


class Cached:
    """The viewer's cached posts, best first, each under the source that found it at first.

    It asks nothing: `query.cached` came with the viewer's context.
    """

    name = "cached"
    gated = False

    def __init__(self, source_names: Sequence[str]) -> None:
        """`source_names` are the product's, in the order in which it numbers them."""
        self._source_names = tuple(source_names)

    def find(self, query: Query) -> Finding[Candidates]:
        """What `usable` left; another version's posts are nothing to this one."""
        yield from ()
        cached = query.cached
        if cached.source_names != self._source_names or not len(cached):
            return NONE
        return _candidates(query, cached)


def usable(query: Query, cached: ScoredPosts) -> ScoredPosts:
    """Cached posts that may be shown to the viewer now, by what the viewer's context says.

    What later filters would drop must not keep a source from being asked.
    """
    if not len(cached):
        return cached
    candidates = _candidates(query, cached)
    kept = np.ones(len(cached), bool)
    for keep in (
        *(filters.not_own, filters.not_blocked, filters.not_muted),
        *(filters.not_seen, filters.not_served, filters.not_disliked),
        *(not_fatigued, not_reported),
    ):
        kept &= keep(query, candidates)
    of_followed = np.isin(cached.source, _numbers(cached.source_names, _OF_FOLLOWED))
    kept &= ~of_followed | np.isin(cached.author_ids, query.viewer.followed)
    return cached.take(kept)


def gate(cached: ScoredPosts, source_name: str, enough: int = 30) -> bool:
    """Whether a source is to be asked: fewer than `enough` of its posts are in `cached`.

    `cached` is what `usable` left (the original's `MinCachedTweetsGate`).
    """
    numbers = _numbers(cached.source_names, (source_name,))
    return not len(cached) or int(np.isin(cached.source, numbers).sum()) < enough


def known_scores(
    cached: ScoredPosts, post_ids: Ids, model_version: str
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Which posts (n,) this version scored before, and what it said; 0 for the others."""
    rows = cached.rows_of(post_ids)
    scores = np.zeros(len(post_ids), np.float32)
    known = (rows >= 0) & (cached.model_version == model_version)
    scores[known] = cached.scores[rows[known]]
    return known, scores


def to_cache(
    found: Candidates,
    post_ids: Ids,
    scores: npt.NDArray[np.float32],
    source_names: Sequence[str],
    model_version: str,
    cached: ScoredPosts,
    now_ms: int,
) -> ScoredPosts:
    """What to keep of a request: all that the model scored above 0, shown or not.

    `found` are the candidates before the first filter, `post_ids` and `scores` (n,) what the
    score stage recorded. Posts of `cached` keep the time at which they were scored.
    """
    kept = scores > 0
    post_ids, scores = post_ids[kept], scores[kept].astype(np.float32)
    order = np.argsort(found.post_ids)
    rows = found.take(order[np.searchsorted(found.post_ids, post_ids, sorter=order)])
    before = cached.rows_of(post_ids)
    scored_ms = np.full(len(post_ids), now_ms, np.int64)
    before = before if cached.model_version == model_version else np.full_like(before, -1)
    scored_ms[before >= 0] = cached.scored_ms[before[before >= 0]]
    return ScoredPosts(
        tuple(source_names),
        model_version,
        *(post_ids, rows.author_ids, rows.source, scores, scored_ms),
        {name: getattr(rows, name) for name in _EVIDENCE},
    )


def _candidates(query: Query, cached: ScoredPosts) -> Candidates:
    """As they were found, less the reasons that hold no more."""
    found = unhydrated(cached.post_ids, cached.author_ids, cached.scores)
    found = replace(found, source=cached.source, **cached.evidence)
    proofs = np.where(np.isin(found.proof_ids, query.viewer.heard()), found.proof_ids, 0)
    holds = np.zeros(len(found), bool)
    for kind, signals in query.tastes.signals.items():
        heard = ~np.isin(signals.author_ids, query.viewer.hidden_ids)
        holds |= (found.signals == kind) & np.isin(found.signal_ids, signals.target_ids[heard])
    holds |= found.signals < 0
    return replace(
        found,
        proof_ids=proofs,
        signals=np.where(holds, found.signals, np.int16(-1)),
        signal_ids=np.where(holds, found.signal_ids, 0),
    )


def _numbers(source_names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    return [number for number, name in enumerate(source_names) if name in wanted]

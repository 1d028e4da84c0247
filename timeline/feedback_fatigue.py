"""Feedback fatigue: of whom the viewer wants to see less, nothing for days, then more again.

The original's filter of the first days never fires, since it runs before the feedback is
fetched; here both halves of the rule read what came with the viewer's context.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.features.light import positions_in
from cluster.events import Kind
from cluster.heuristics_settings import FatigueSettings
from cluster.ids import Ids
from timeline.candidates import Candidates, Floats, Mask
from timeline.query import Query

DAY_MS = 86_400_000
_REPOSTED = 2
"""Column of `Candidates.linked_author_ids` that holds the author of what is reposted."""


def fatigue(query: Query, candidates: Candidates, follower_ids: Ids | None = None) -> Floats:
    """Factors (n,): the product of what is left of author, proof and reposter.

    Of several likers the one who is least suppressed counts; where there are none, so do the
    `follower_ids` (n, k) of the author whom the viewer follows, 0 for none. Any public
    engagement counts as a like does in the original, as everywhere in social proof here.
    """
    feedback = _feedback(query, query.settings.heuristics.fatigue)
    factors = np.ones(len(candidates))
    if len(feedback.user_ids):
        authors, reposters, likers = _concerned(candidates)
        factors *= feedback.left_of(authors) * feedback.left_of(reposters)
        factors *= _most(feedback, likers)
        if follower_ids is not None:
            unproven = ~(likers > 0).any(axis=1)
            factors[unproven] *= _most(feedback, follower_ids[unproven])
    return factors.astype(np.float32)


def not_fatigued(query: Query, candidates: Candidates, follower_ids: Ids | None = None) -> Mask:
    """Not within the first days after *see less of this* about the author or the reposter.

    Nor where it was said of all the likers or, without likers, of all `follower_ids` as above.
    """
    settings = query.settings.heuristics.fatigue
    feedback = _feedback(query, settings)
    blocked = np.sort(feedback.user_ids[feedback.days < settings.block_days])
    keep = np.ones(len(candidates), bool)
    if len(blocked):
        authors, reposters, likers = _concerned(candidates)
        keep &= ~(_in(blocked, authors) | _in(blocked, reposters) | _all_in(blocked, likers))
        if follower_ids is not None:
            unproven = ~(likers > 0).any(axis=1)
            keep &= ~(unproven & _all_in(blocked, follower_ids))
    return keep


def not_reported(query: Query, candidates: Candidates) -> Mask:
    """Not by, nor reposts of, authors of whom the viewer reported a post lately."""
    state = query.state
    if not len(state.feedback_kinds):
        return np.ones(len(candidates), bool)
    since_ms = query.now_ms - query.settings.windows.negative_ms
    reported = (state.feedback_kinds == Kind.REPORT) & (state.feedback_ms >= since_ms)
    user_ids = np.sort(state.feedback_author_ids[reported])
    authors, reposters, _ = _concerned(candidates)
    return ~(_in(user_ids, authors) | _in(user_ids, reposters))


def multipliers(days: npt.NDArray[np.int64], settings: FatigueSettings) -> npt.NDArray[np.float64]:
    """What is left of a score so many whole days after the feedback, within 0 … 1.

    The published ((days − 14) / 35) · 0.2 + 0.2: 0.12 on day 0 where that is not blocked, 0.2
    on day 14, 1 from day 154 on.
    """
    slope = (1 - settings.start) / settings.ramp_days
    return np.clip(settings.start + (days - settings.block_days) * slope, 0.0, 1.0)


class _Feedback(NamedTuple):
    """Whom the viewer wants to see less of; arrays of shape (k,)."""

    user_ids: Ids
    """Sorted."""
    days: npt.NDArray[np.int64]
    """Whole days since."""
    left: npt.NDArray[np.float64]
    """Multipliers."""

    def left_of(self, user_ids: Ids) -> npt.NDArray[np.float64]:
        """The multiplier of each of these users, of any shape."""
        at = positions_in(self.user_ids, user_ids)
        return np.where(at >= 0, self.left[at], 1.0)


_NONE = _Feedback(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def _feedback(query: Query, settings: FatigueSettings) -> _Feedback:
    state = query.state
    if not len(state.feedback_kinds):
        return _NONE
    less = state.feedback_kinds == Kind.SHOW_LESS
    user_ids, at_ms = state.feedback_author_ids[less], state.feedback_ms[less]
    days = np.maximum(query.now_ms - at_ms, 0) // DAY_MS
    tired = np.flatnonzero(days < settings.block_days + settings.ramp_days)
    user_ids, days = user_ids[tired], days[tired]
    order = np.lexsort((days, user_ids))
    newest = order[np.r_[True, np.diff(user_ids[order]) != 0][: len(order)]]
    return _Feedback(user_ids[newest], days[newest], multipliers(days[newest], settings))


def _concerned(candidates: Candidates) -> tuple[Ids, Ids, Ids]:
    """Who wrote each post (n,), who reposted it (n,), and who is its proof (n, k); 0 for none."""
    is_repost = candidates.repost_of_ids > 0
    reposted = candidates.linked_author_ids[:, _REPOSTED]
    authors = np.where(is_repost, reposted, candidates.author_ids)
    return authors, np.where(is_repost, candidates.author_ids, 0), candidates.proof_ids


def _most(feedback: _Feedback, user_ids: Ids) -> npt.NDArray[np.float64]:
    """The greatest multiplier of each row's users (n, k); 1 for a row without any."""
    most = np.ones(len(user_ids))
    rows = np.flatnonzero((user_ids > 0).any(axis=1))
    if len(rows):
        of_rows = user_ids[rows]
        most[rows] = np.where(of_rows > 0, feedback.left_of(of_rows), 0.0).max(axis=1)
    return most


def _all_in(sorted_ids: Ids, user_ids: Ids) -> Mask:
    """Rows (n,) that name users, all of whom are in `sorted_ids`."""
    found = np.zeros(len(user_ids), bool)
    rows = np.flatnonzero((user_ids > 0).any(axis=1))
    if len(rows):
        of_rows = user_ids[rows]
        found[rows] = (_in(sorted_ids, of_rows) | (of_rows == 0)).all(axis=1)
    return found


def _in(sorted_ids: Ids, ids: Ids) -> Mask:
    found: Mask = positions_in(sorted_ids, ids) >= 0
    return found

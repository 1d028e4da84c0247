"""A history cut by time: what is known at a cut, and what users engage with after it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.events import NEGATIVE_FEEDBACK, Kind
from cluster.ids import Ids

SHARES = (0.7, 0.1, 0.2)
"""Of the positives, by time: train, validation, test."""
POSITIVE = (
    *(Kind.FAVOURITE, Kind.REPOST, Kind.REPLY, Kind.QUOTE, Kind.BOOKMARK),
    *(Kind.SHARE, Kind.CLICK, Kind.VIDEO_WATCH),
)
"""Engagements that say that a post was wanted."""
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class History:
    """Events in order of time, and the instants at which they are cut."""

    name: str
    events: pa.RecordBatch
    cuts_ms: tuple[int, int]
    """Where validation and test begin; what happens at that very instant belongs to them."""
    timed: bool
    """False where the order is made up, at random for each user."""

    @property
    def end_ms(self) -> int:
        """Just after the last event."""
        return int(self.events.column("time_ms")[-1].as_py()) + 1


@dataclass(frozen=True)
class Pairs:
    """Users and posts that belong together; arrays of shape (n,)."""

    user_ids: Ids
    post_ids: Ids
    times_ms: Ids

    def __len__(self) -> int:
        return len(self.user_ids)

    def take(self, rows: Rows | Mask) -> "Pairs":
        """Those at rows, or of a mask."""
        return Pairs(self.user_ids[rows], self.post_ids[rows], self.times_ms[rows])

    def among(self, others: "Pairs") -> Mask:
        """Which of these are others too, (n,)."""
        mine, theirs = _keys(self, others)
        return np.isin(mine, theirs)

    def first(self) -> "Pairs":
        """Each pair once, at its earliest, in order of time."""
        order = np.argsort(self.times_ms, kind="stable")
        (keys,) = _keys(self)
        _, first = np.unique(keys[order], return_index=True)
        return self.take(order[np.sort(first)])

    def __add__(self, others: "Pairs") -> "Pairs":
        return Pairs(
            np.concatenate([self.user_ids, others.user_ids]),
            np.concatenate([self.post_ids, others.post_ids]),
            np.concatenate([self.times_ms, others.times_ms]),
        )


@dataclass(frozen=True)
class Problem:
    """What is known at an instant, and what is asked: what users engage with after it.

    Candidates are the posts that are there by then. A user may be offered all of them but
    those already engaged with, disliked, or of the user's own, by whomever the offer is.
    """

    now_ms: int
    known: Pairs
    """Positives before the instant, each once, at its first."""
    post_ids: Ids
    """Candidates, ascending."""
    created_ms: Ids
    excluded: Pairs
    """What its user may not be offered."""
    users: Ids
    """Who is asked about, ascending: users with a positive that can be found."""
    wanted: Pairs
    """Their positives from the instant on that can be found."""
    reachable: float
    """Share of all positives from the instant on whose posts are candidates."""


def cuts(events: pa.RecordBatch, shares: tuple[float, float, float] = SHARES) -> tuple[int, int]:
    """The instants before which lie the share of train, and those of train and validation."""
    ordered = positives(events).times_ms
    first, second = (
        int(ordered[min(round(share * len(ordered)), len(ordered) - 1)])
        for share in (shares[0], shares[0] + shares[1])
    )
    return first, second


def positives(events: pa.RecordBatch) -> Pairs:
    """Users and what they engaged with, each pair once, at its first instant, in order of time.

    What a user disliked by then is left out.
    """
    engaged, disliked = _of(events, POSITIVE).first(), _of(events, NEGATIVE_FEEDBACK).first()
    keys, bad = _keys(engaged, disliked)
    order = np.argsort(bad)
    at = np.minimum(np.searchsorted(bad[order], keys), max(len(bad) - 1, 0))
    if not len(bad):
        return engaged
    since_ms = np.where(
        bad[order][at] == keys, disliked.times_ms[order][at], np.iinfo(np.int64).max
    )
    return engaged.take(engaged.times_ms < since_ms)


def problem(
    history: History, begin_ms: int, end_ms: int, most_users: int, rng: np.random.Generator
) -> Problem:
    """What is known at `begin_ms`, and wanted from then until `end_ms` by `most_users` users.

    The users are drawn evenly from all who want something that can be found.
    """
    events = history.events
    engaged, disliked = positives(events), _of(events, NEGATIVE_FEEDBACK)
    created = _of(events, (Kind.POST_CREATE,), "author_id")
    known = engaged.take(engaged.times_ms < begin_ms)
    before = created.take(created.times_ms < begin_ms)
    excluded = known + created + disliked.take(disliked.times_ms < begin_ms)
    later = engaged.take((engaged.times_ms >= begin_ms) & (engaged.times_ms < end_ms))
    later = later.take(~later.among(excluded))
    found = np.isin(later.post_ids, before.post_ids)
    wanted = later.take(found)
    users = np.unique(wanted.user_ids)
    if len(users) > most_users:
        users = np.sort(rng.choice(users, most_users, replace=False))
    wanted = wanted.take(np.isin(wanted.user_ids, users))
    order = np.argsort(before.post_ids)
    return Problem(
        begin_ms,
        known,
        before.post_ids[order],
        before.times_ms[order],
        excluded.take(np.isin(excluded.user_ids, users)),
        users,
        wanted,
        float(found.mean()) if len(found) else 0.0,
    )


def _of(events: pa.RecordBatch, kinds: tuple[Kind, ...], user: str = "actor_id") -> Pairs:
    rows = np.isin(events.column("kind").to_numpy(), kinds)
    columns = (
        events.column(name).to_numpy(zero_copy_only=False) for name in (user, "post_id", "time_ms")
    )
    return Pairs(*(column[rows].astype(np.int64) for column in columns))


def _keys(*several: Pairs) -> list[Ids]:
    """The same number for the same pair."""
    users = np.unique(np.concatenate([pairs.user_ids for pairs in several]))
    posts = np.unique(np.concatenate([pairs.post_ids for pairs in several]))
    return [
        np.searchsorted(users, pairs.user_ids) * len(posts) + np.searchsorted(posts, pairs.post_ids)
        for pairs in several
    ]

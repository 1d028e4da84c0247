"""Who engaged with which post lately and has not taken it back: registers, newest write wins.

Each (user, post, kind) is on or off by its newest write; an undo wins a tie. A write says
what it changed, so that sums over the engagements in force can follow whatever the order in
which favourites and their undos arrive, and however often.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.stores.columns import Array, Columns
from actors.stores.id_map import IdMap
from actors.stores.moving import Move, finished
from actors.stores.versions import winners
from cluster.ids import Ids, mix64

_MOVED_AT_ONCE = 100_000


@dataclass(frozen=True)
class Changes:
    """Engagements that came into force (sign 1) or ceased to be (−1); arrays of shape (n,)."""

    user_ids: Ids
    post_ids: Ids
    author_ids: Ids
    kinds: npt.NDArray[np.uint8]
    times_ms: Ids
    """When the engagement was given, also where it ceased."""
    signs: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.user_ids)

    def where(self, mask: npt.NDArray[np.bool_]) -> "Changes":
        """The changes of a mask of shape (n,)."""
        return self if mask.all() else self.take(mask)

    def take(self, rows: slice | npt.NDArray[np.bool_]) -> "Changes":
        """The changes at given places."""
        return Changes(*(values[rows] for values in vars(self).values()))


class RecentEngagements:
    """Engagements with the posts of one shard within a window of event time."""

    def __init__(self, window_ms: int, max_rows: int = 20_000_000, expected: int = 0) -> None:
        self._window_ms = window_ms
        self._max_rows = max_rows
        self._move: Move[RecentEngagements] | None = None
        self._row_of_key = IdMap(expected)
        self._table = Columns(
            {
                "user_ids": np.int64,
                "post_ids": np.int64,
                "author_ids": np.int64,
                "kinds": np.uint8,
                "versions": np.int64,
            },
            max(expected, 1024),
        )

    def __len__(self) -> int:
        return len(self._table)

    @property
    def memory_bytes(self) -> int:
        """Memory held by registers and the map that finds them."""
        return self._table.memory_bytes + self._row_of_key.memory_bytes

    def write(
        self,
        user_ids: Ids,
        post_ids: Ids,
        author_ids: Ids,
        kinds: npt.NDArray[np.uint8],
        times_ms: Ids,
        undone: npt.NDArray[np.bool_],
    ) -> Changes:
        """Apply engagements and undos in any order; `kinds` names what an undo takes back."""
        versions = times_ms << 1 | undone
        rows = self._rows_for(user_ids, post_ids, author_ids, kinds)
        if self._move:
            at = np.flatnonzero(self._move.follows(rows))
            self._move.successor.write(
                *(user_ids[at], post_ids[at], author_ids[at]), kinds[at], times_ms[at], undone[at]
            )
        won = winners(rows, versions, self._table["versions"])
        rows, versions = rows[won], versions[won]
        before = self._table["versions"][rows]
        self._table["versions"][rows] = versions
        # Version 0 is that of a register never written; a time that an undo took is odd.
        ceased = np.flatnonzero((before > 0) & (before & 1 == 0))
        begun = np.flatnonzero(versions & 1 == 0)
        return self._changes(
            rows[np.concatenate([ceased, begun])],
            np.concatenate([before[ceased], versions[begun]]) >> 1,
            np.repeat(np.array([-1, 1], np.int8), [len(ceased), len(begun)]),
        )

    def in_force(self, since_ms: int) -> Changes:
        """All engagements in force that were given since an instant, as if just begun."""
        versions = self._table["versions"]
        rows = np.flatnonzero((versions & 1 == 0) & (versions >> 1 >= since_ms))
        return self._changes(rows, versions[rows] >> 1, np.ones(len(rows), np.int8))

    def without_expired(self, now_ms: int) -> "RecentEngagements":
        """The registers within the window, at most the newest `max_rows`.

        The store itself where little would go; readers of this one are not disturbed.
        """
        return finished(self.expiring(now_ms))

    def expiring(self, now_ms: int) -> "Generator[None, None, RecentEngagements]":
        """`without_expired` in slices, between which this store may be written to."""
        since_ms = now_ms - self._window_ms
        times_ms = self._table["versions"] >> 1
        full = len(times_ms) > self._max_rows
        n_kept = int((times_ms >= since_ms).sum())
        if n_kept >= 0.9 * len(times_ms) and not full:
            return self
        if full:
            place = int(-0.9 * self._max_rows)
            since_ms = max(since_ms, int(np.partition(times_ms, place)[place]) + 1)
            n_kept = min(n_kept, int(0.9 * self._max_rows))
        del times_ms
        fresh = RecentEngagements(self._window_ms, self._max_rows, expected=n_kept + n_kept // 4)

        def hand_over(rows: slice) -> None:
            kept = self._table["versions"][rows] >> 1 >= since_ms
            fresh.restore({name: self._table[name][rows][kept] for name in self._table.names})

        self._move = Move(fresh, len(self._table))
        try:
            n = len(self._table)
            ends = np.append(np.arange(_MOVED_AT_ONCE, n, _MOVED_AT_ONCE), n)
            yield from self._move.run(hand_over, ends)
        finally:
            self._move = None
        return fresh

    def columns(self) -> dict[str, Array]:
        """What `restore` needs to make the same registers again; copies."""
        return self._table.copy()

    def restore(self, columns: Mapping[str, Array]) -> None:
        """Add exported registers that this store does not hold."""
        keys = ("user_ids", "post_ids", "author_ids", "kinds")
        rows = self._rows_for(*(columns[name] for name in keys))
        self._table["versions"][rows] = columns["versions"]

    @classmethod
    def from_columns(
        cls, columns: Mapping[str, Array], window_ms: int, max_rows: int = 20_000_000
    ) -> "RecentEngagements":
        """The store that `columns` exported."""
        store = cls(window_ms, max_rows)
        store.restore(columns)
        return store

    def _changes(self, rows: Ids, times_ms: Ids, signs: npt.NDArray[np.int8]) -> Changes:
        table = self._table
        return Changes(
            user_ids=table["user_ids"][rows],
            post_ids=table["post_ids"][rows],
            author_ids=table["author_ids"][rows],
            kinds=table["kinds"][rows],
            times_ms=times_ms,
            signs=signs,
        )

    def _rows_for(
        self, user_ids: Ids, post_ids: Ids, author_ids: Ids, kinds: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.int32]:
        known = len(self._row_of_key)
        rows = self._row_of_key.get_or_insert(_keys(user_ids, post_ids, kinds))
        if len(self._row_of_key) > known:
            self._table.extend(len(self._row_of_key) - known)
            fresh = np.flatnonzero(rows >= known)
            given = {"user_ids": user_ids, "post_ids": post_ids, "author_ids": author_ids}
            for name, values in given.items():
                self._table[name][rows[fresh]] = values[fresh]
            self._table["kinds"][rows[fresh]] = kinds[fresh]
        return rows


def _keys(user_ids: Ids, post_ids: Ids, kinds: npt.NDArray[np.uint8]) -> Ids:
    """63-bit keys; among 100 M registers two share one with probability 0.0005."""
    mixed = mix64(mix64(mix64(user_ids) + post_ids.astype(np.uint64)) + kinds.astype(np.uint64))
    return np.maximum((mixed >> np.uint64(1)).astype(np.int64), 1)

"""When the users of a shard were here: on which days, and by which requests they were served."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.rows import Rows
from actors.stores.columns import Array, Columns
from actors.stores.id_map import IdMap, find
from actors.stores.kernels import kernel, writable
from cluster.events import EDGES, ENGAGEMENTS, NEGATIVE_FEEDBACK, UNDONE_BY, Kind
from cluster.ids import Ids, partitions_of
from cluster.routing import PARTITION

DAY_MS = 86_400_000
DAYS = 28
"""UTC dates that count, today's included."""
N_VISITS = 10

BY_AUTHOR = (Kind.POST_CREATE, Kind.POST_EDIT)
BY_ACTOR = (
    *(*EDGES, *ENGAGEMENTS, *NEGATIVE_FEEDBACK, *UNDONE_BY),
    *(Kind.TOPIC_FOLLOW, Kind.TOPIC_UNFOLLOW, Kind.TOPIC_MUTE, Kind.TOPIC_UNMUTE),
    *(Kind.KEYWORD_MUTE, Kind.KEYWORD_UNMUTE, Kind.PREFERENCE, Kind.DISMISS),
    *(Kind.LIST_CREATE, Kind.LIST_DELETE, Kind.LIST_ADD, Kind.LIST_REMOVE),
    *(Kind.SERVED, Kind.IMPRESSION),
)
"""What a day counts by. Not what may be done to an account or a post by somebody else: events
of users, deletions and labels; nor what comes with a post, as mentions."""


class Attendance(NamedTuple):
    """When one user was here."""

    active_days: int
    """Of the last `DAYS`."""
    visits_ms: tuple[int, ...]
    """The last requests that served the user, at most `N_VISITS`, newest first."""


class Activity:
    """Days and requests of users.

    A user has a bit for each of the 64 days up to the last one active, and the newest times of
    requests, in any order of events and any number of copies. The events of a request have its
    time, and requests of one millisecond count as one.
    """

    def __init__(self) -> None:
        self._row_of_id, self._table = IdMap(), _table()

    def __len__(self) -> int:
        return len(self._table)

    @property
    def memory_bytes(self) -> int:
        """Memory held."""
        return self._row_of_id.memory_bytes + self._table.memory_bytes

    def record(self, rows: Rows) -> None:
        """Take in admitted rows, of users for whom this shard is."""
        kinds = rows["kind"]
        user_ids = np.where(_BY_AUTHOR[kinds], rows["author_id"], rows["actor_id"])
        mine = np.flatnonzero(
            _COUNTS[kinds] & (user_ids > 0) & (partitions_of(user_ids) == rows[PARTITION])
        )
        if len(mine):
            user_rows = self._rows_for(user_ids[mine])
            table = self._table
            _record(
                *(user_rows, writable(rows["time_ms"][mine], np.int64)),
                kinds[mine] == Kind.SERVED,
                *(table["last_days"], table["days"], table["visits_ms"]),
            )

    def of(self, user_id: int, now_ms: int, since_ms: int) -> Attendance:
        """As of `now_ms`; visits since `since_ms`."""
        row = int(find(self._row_of_id.slots, self._row_of_id.keys, user_id))
        if row < 0:
            return Attendance(0, ())
        table = self._table
        ago = now_ms // DAY_MS - int(table["last_days"][row])
        days = int(table["days"][row])
        counted = (days << ago if ago > 0 else days >> -ago) & ((1 << DAYS) - 1)
        visits_ms = table["visits_ms"][row].tolist()
        return Attendance(
            counted.bit_count(),
            tuple(at_ms for at_ms in visits_ms if max(since_ms, 1) <= at_ms <= now_ms),
        )

    def expire(self, before_ms: int) -> None:
        """Drop users whose last day ended before, once they are a quarter of all."""
        kept = (self._table["last_days"] + 1) * DAY_MS > before_ms
        if len(kept) and 4 * int(kept.sum()) <= 3 * len(kept):
            columns = {name: values[kept] for name, values in self.columns().items()}
            self._row_of_id, self._table = IdMap(), _table()
            self.restore(columns)

    def columns(self) -> dict[str, Array]:
        """What `restore` needs; copies."""
        return {"owner_ids": self._row_of_id.keys.copy()} | self._table.copy()

    def restore(self, columns: dict[str, Array]) -> None:
        """Take back what `columns` gave, of users that are not held."""
        rows = self._rows_for(columns["owner_ids"])
        for name in self._table.names:
            self._table[name][rows] = columns[name]

    def _rows_for(self, user_ids: Ids) -> npt.NDArray[np.int32]:
        rows = self._row_of_id.get_or_insert(user_ids)
        self._table.extend(len(self._row_of_id) - len(self._table))
        return rows


def _table() -> Columns:
    return Columns({"last_days": np.int64, "days": np.uint64, "visits_ms": (np.int64, N_VISITS)})


@kernel
def _record(
    rows: npt.NDArray[np.int32],
    times_ms: Ids,
    served: npt.NDArray[np.bool_],
    last_days: Ids,
    days: npt.NDArray[np.uint64],
    visits_ms: npt.NDArray[np.int64],
) -> None:
    one = np.uint64(1)
    for i in range(len(rows)):
        row, time_ms = rows[i], times_ms[i]
        day = time_ms // DAY_MS
        ahead = day - last_days[row]
        if ahead >= 64:
            days[row] = one
        elif ahead > 0:
            days[row] = (days[row] << np.uint64(ahead)) | one
        elif ahead > -64:
            days[row] |= one << np.uint64(-ahead)
        last_days[row] = max(day, last_days[row])
        if served[i]:
            at = 0
            while at < N_VISITS and visits_ms[row, at] > time_ms:
                at += 1
            if at < N_VISITS and visits_ms[row, at] != time_ms:
                for k in range(N_VISITS - 1, at, -1):
                    visits_ms[row, k] = visits_ms[row, k - 1]
                visits_ms[row, at] = time_ms


_BY_AUTHOR = np.isin(np.arange(256), BY_AUTHOR)
_COUNTS = np.isin(np.arange(256), (*BY_AUTHOR, *BY_ACTOR))

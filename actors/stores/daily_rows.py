"""Numbers by owner and day: one table a day, so that a day is forgotten as a whole."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from actors.stores.columns import Array, Columns
from actors.stores.id_map import IdMap
from cluster.ids import Ids, mix64

_ROWS_AT_FIRST = 16


class DailyRows:
    """A row of `width` numbers for each (owner, other) pair and day on which there was something.

    Days are whole ones since the epoch, UTC. The `n_days` up to the newest ever written are
    held; where they are more than `max_rows` rows together, the oldest go too. `join` (np.add
    or np.maximum) brings a number and the next one together, so that their order does not show.
    """

    def __init__(self, width: int, dtype: type, join: np.ufunc, n_days: int, max_rows: int) -> None:
        self._spec = {"owner_ids": np.int64, "other_ids": np.int64, "values": (dtype, width)}
        self._width, self._dtype, self._join = width, dtype, join
        self._n_days, self._max_rows = n_days, max_rows
        self._days: dict[int, _Day] = {}
        self._first = 0

    def __len__(self) -> int:
        return sum(len(day.rows) for day in self._days.values())

    @property
    def memory_bytes(self) -> int:
        """Memory held."""
        days = self._days.values()
        return sum(day.row_of_pair.memory_bytes + day.rows.memory_bytes for day in days)

    @property
    def first_day(self) -> int:
        """The first day of which everything that came is held."""
        return self._first

    def write(self, owner_ids: Ids, other_ids: Ids, days: Ids, columns: Ids, values: Array) -> None:
        """Join values into their rows' columns; all arguments are of shape (n,)."""
        for day, of_day in self._by_day(days):
            rows = day.rows_for(owner_ids[of_day], other_ids[of_day])
            # Flat, since NumPy is ten times slower with two indices.
            flat = day.rows["values"].reshape(-1)
            self._join.at(flat, rows * self._width + columns[of_day], values[of_day])
        self._forget()

    def of(self, owner_id: int, other_id: int, first_day: int, n_days: int) -> Array:
        """What there was on the days from `first_day` on: (n_days, width), 0 for nothing."""
        found: Array = np.zeros((n_days, self._width), self._dtype)
        key = _keys(np.array([owner_id], np.int64), np.array([other_id], np.int64))
        for at in range(n_days):
            day = self._days.get(first_day + at)
            if day is not None and (row := int(day.row_of_pair.get(key)[0])) >= 0:
                found[at] = day.rows["values"][row]
        return found

    def columns(self) -> dict[str, Array]:
        """What `restore` needs; copies."""
        parts = [day.rows.copy() for day in self._days.values()]
        parts = parts or [Columns(self._spec, 1).copy()]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in self._spec}
        lengths = [len(day.rows) for day in self._days.values()]
        joined["days"] = np.repeat(np.array(list(self._days), np.int64), lengths)
        return joined

    def restore(self, columns: Mapping[str, Array]) -> None:
        """Join in the rows that `columns` gave."""
        owner_ids, other_ids = columns["owner_ids"], columns["other_ids"]
        for day, of_day in self._by_day(columns["days"]):
            rows = day.rows_for(owner_ids[of_day], other_ids[of_day])
            values = day.rows["values"]
            values[rows] = self._join(values[rows], columns["values"][of_day])
        self._forget()

    def _by_day(self, days: Ids) -> "list[tuple[_Day, npt.NDArray[np.bool_]]]":
        found: list[tuple[_Day, npt.NDArray[np.bool_]]] = []
        for number in np.unique(days).tolist():
            if number >= self._first:
                if number not in self._days:
                    self._days[number] = _Day(self._spec)
                found.append((self._days[number], days == number))
        return found

    def _forget(self) -> None:
        if self._days:
            self._first = max(self._first, max(self._days) - self._n_days + 1)
            n_rows = len(self)
            for number in sorted(self._days):
                if number < self._first or (n_rows > self._max_rows and len(self._days) > 1):
                    n_rows -= len(self._days.pop(number).rows)
                    self._first = max(self._first, number + 1)


class _Day:
    """The rows of one day."""

    def __init__(self, spec: Mapping[str, object]) -> None:
        self.row_of_pair = IdMap()
        self.rows = Columns(spec, _ROWS_AT_FIRST)

    def rows_for(self, owner_ids: Ids, other_ids: Ids) -> npt.NDArray[np.int64]:
        """Rows of pairs; zeroed ones are added for pairs not seen before."""
        known = len(self.rows)
        rows = self.row_of_pair.get_or_insert(_keys(owner_ids, other_ids)).astype(np.int64)
        self.rows.extend(len(self.row_of_pair) - known)
        fresh = rows >= known
        self.rows["owner_ids"][rows[fresh]] = owner_ids[fresh]
        self.rows["other_ids"][rows[fresh]] = other_ids[fresh]
        return rows


def _keys(owner_ids: Ids, other_ids: Ids) -> Ids:
    """63-bit keys of pairs, as `relations` makes them."""
    mixed = mix64(mix64(owner_ids) + other_ids.astype(np.uint64))
    return np.maximum((mixed >> np.uint64(1)).astype(np.int64), 1)

"""Decayed counters by tuples of ids: what aggregates are kept in, by shards and by the batch job.

A row holds, for each half-life H, sums Σ x·2^((τ − L)/H) from a landmark L, the last multiple
of H not after the row's newest event ("forward decay", see `actors.stores.decay`). An event so
touches only its own counters, moving a row on is an exact shift, and what a late event adds is
its decayed share. What is added is rounded to 24 bits: sums of up to 2^29 such parts, less the
half-lives between them, are exact, so that any order of events gives the same bits.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.stores.columns import Array, Columns
from actors.stores.id_map import READY_FROM, IdMap, hash_id
from actors.stores.kernels import kernel, writable
from actors.stores.raw_memory import Int, prefetch
from cluster.ids import Ids

Floats = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]

NOTHING = 1e-6
"""What has decayed below this is read as 0 (published)."""
KEPT_SHARE = 0.75
"""Of the rows of a full table, when the least recently used have to go."""
_NEVER = np.iinfo(np.int64).min
_FIRST_ROWS = 256
# Beyond so many half-lives a sum is nothing, whatever it was.
_FADED = 200
# Owner, time, and the map's entry: a key and two slots, both with room to grow.
_ROW_BYTES = 16 + 24
# Rows are fetched this many events before they are written, up to so many bytes of each.
_AHEAD, _FETCHED_BYTES = 12, 512
_HUGE = 2**62


class Additions(NamedTuple):
    """What n events add: to cell `cells[j]` of every half-life `amounts[j]`, for the j in
    `offsets[i]` … `offsets[i + 1]` of event i."""

    offsets: Ids
    cells: npt.NDArray[np.int32]
    amounts: Floats


class AggregateTable:
    """Rows of `len(half_lives_ms)` × `len(largest)` slots, half-lives outermost, by tuples of ids.

    `largest` (c,) says which cells keep the largest instead of the sum (of what decays, the
    latest event alone: "last reset"). Rows unused for `max_age_ms` are gone: they read as 0,
    and an event begins them anew. Where more rows than `max_bytes` hold are needed, those used
    least recently, a quarter of all, are forgotten at once; used is a row by an event.
    """

    def __init__(
        self,
        half_lives_ms: Float64s,
        largest: npt.NDArray[np.bool_],
        *,
        n_ids: int,
        max_bytes: int,
        max_age_ms: float = math.inf,
    ) -> None:
        # Half-lives are whole milliseconds; 0 stands for an infinite one.
        finite = np.isfinite(half_lives_ms)
        self._half_lives_ms = np.where(finite, half_lives_ms, 0).astype(np.int64)
        self._largest = np.ascontiguousarray(largest, np.bool_)
        self.n_slots = len(half_lives_ms) * len(largest)
        self._max_age_ms = _HUGE if math.isinf(max_age_ms) else int(max_age_ms)
        self.max_rows = max(4, max_bytes // (8 * (self.n_slots + n_ids) + _ROW_BYTES))
        self.evicted = 0
        """Rows that had to go for others, ever."""
        self._row_of_key = IdMap()
        self._rows = Columns(
            {
                "ids": (np.int64, n_ids),
                "owner_ids": np.int64,
                "last_ms": np.int64,
                "values": (np.float64, self.n_slots),
            },
            capacity=_FIRST_ROWS,
            max_rows=self.max_rows,
        )

    def __len__(self) -> int:
        return len(self._row_of_key)

    @property
    def memory_bytes(self) -> int:
        """Memory held, spare capacity included."""
        return self._row_of_key.memory_bytes + self._rows.memory_bytes

    def add(
        self, ids: tuple[Ids, ...], owner_ids: Ids, times_ms: Ids, additions: Additions
    ) -> None:
        """Count events (n,) in the rows of tuples of ids; a new row belongs to its owner.

        The outcome depends on the events only, not on how they are cut into calls, nor, while
        no row is evicted or too old, on their order.
        """
        keys, times_ms = tuple_keys(*ids), writable(times_ms, np.int64)
        begin = 0
        while begin < len(keys):
            rows, end = self._rows_for(keys, ids, owner_ids, begin)
            _add(
                *(self._rows["values"], self._rows["last_ms"], rows, times_ms),
                *additions,
                np.array([begin, end, self._max_age_ms]),
                self._half_lives_ms,
                self._largest,
            )
            begin = end

    def read(self, ids: tuple[Ids, ...], now_ms: int) -> Floats:
        """The rows of n tuples as of `now_ms`, float32 (n, n_slots); of unknown ones zeros."""
        found = np.empty((len(ids[0]), self.n_slots), np.float32)
        _read(
            *(self._rows["values"], self._rows["last_ms"]),
            self._row_of_key.get(tuple_keys(*ids)),
            np.array([now_ms, self._max_age_ms]),
            self._half_lives_ms,
            found,
        )
        return found

    def expire(self, now_ms: int) -> None:
        """Drop rows that are too old, once they are a quarter of all."""
        old = now_ms - self._rows["last_ms"] >= self._max_age_ms
        if 4 * int(old.sum()) >= max(len(self), 1):
            self._keep(~old)

    def rows(self) -> dict[str, Array]:
        """A copy of all rows: `ids` (n, k), `owner_ids`, `last_ms` (n,), `values` (n, n_slots)."""
        return self._rows.copy()

    def merge(self, rows: Mapping[str, Array]) -> None:
        """Add what `rows` gave: what two tables counted by the same ids is counted together."""
        ids = tuple(rows["ids"].T)
        keys, owners = tuple_keys(*ids), rows["owner_ids"]
        times_ms, values = writable(rows["last_ms"], np.int64), writable(rows["values"], np.float64)
        begin = 0
        while begin < len(keys):
            at, end = self._rows_for(keys, ids, owners, begin)
            _merge(
                *(self._rows["values"], self._rows["last_ms"], at, times_ms, values),
                np.array([begin, end, self._max_age_ms]),
                self._half_lives_ms,
                self._largest,
            )
            begin = end

    def _rows_for(
        self, keys: Ids, ids: tuple[Ids, ...], owner_ids: Ids, begin: int
    ) -> tuple[npt.NDArray[np.int32], int]:
        """Rows of the keys from `begin` up to an end, with new ones made; the end is where a
        row more would be one too many."""
        known = len(self)
        if known + len(keys) - begin <= self.max_rows:
            end = len(keys)
        else:
            end = self._room_until(keys, begin)
            if end == begin:
                self._evict()
                return self._rows_for(keys, ids, owner_ids, begin)
        rows = np.empty(len(keys), np.int32)
        rows[begin:end] = self._row_of_key.get_or_insert(keys[begin:end])
        if len(self) > known:
            self._rows.extend(len(self) - known)
            # Backwards, so that the first of several with one key is what stays.
            fresh = (begin + np.flatnonzero(rows[begin:end] >= known))[::-1]
            for column, values in enumerate(ids):
                self._rows["ids"][rows[fresh], column] = values[fresh]
            self._rows["owner_ids"][rows[fresh]] = owner_ids[fresh]
            self._rows["last_ms"][known:] = _NEVER
        return rows, end

    def _room_until(self, keys: Ids, begin: int) -> int:
        """Where from `begin` on the first key stands for which there is no row left."""
        fresh = begin + np.flatnonzero(self._row_of_key.get(keys[begin:]) < 0)
        _, first = np.unique(keys[fresh], return_index=True)
        room = self.max_rows - len(self)
        return int(fresh[np.sort(first)[room]]) if room < len(first) else len(keys)

    def _evict(self) -> None:
        """Keep the rows used last; of those used at one instant, the ones of higher keys."""
        last_ms = self._rows["last_ms"]
        n_gone = len(self) - int(KEPT_SHARE * len(self))
        oldest_kept = np.partition(last_ms, n_gone)[n_gone]
        kept = last_ms > oldest_kept
        tied = np.flatnonzero(last_ms == oldest_kept)
        n_tied_gone = n_gone - (len(self) - int(kept.sum()) - len(tied))
        kept[tied[np.argsort(self._row_of_key.keys[tied])[n_tied_gone:]]] = True
        self.evicted += n_gone
        self._keep(kept)

    def _keep(self, kept: npt.NDArray[np.bool_]) -> None:
        keys = self._row_of_key.keys[self._rows.keep(kept)]
        # As many rows as there were will be wanted again, and no larger map got ready for them.
        self._row_of_key = IdMap(int(len(kept) / READY_FROM) + 1)
        self._row_of_key.get_or_insert(keys)


def tuple_keys(*ids: Ids) -> Ids:
    """Keys of n tuples of ids, in 1 … 2^63 − 1: an id alone is its own, others are mixed.

    At 100 M tuples two share a key with chance 0.0005.
    """
    keys = writable(ids[0], np.int64)
    for more in ids[1:]:
        keys = _mixed(keys, writable(more, np.int64))
    return keys


@kernel
def _mixed(keys: Ids, more: Ids) -> Ids:
    mixed = np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        both = hash_id(hash_id(np.uint64(keys[i])) + np.uint64(more[i]))
        mixed[i] = np.int64(both >> np.uint64(1))
        if mixed[i] == 0:
            mixed[i] = 1
    return mixed


@kernel
def _move_on(
    values: Float64s, last_ms: Ids, row: Int, time_ms: Int, max_age_ms: Int, half_lives_ms: Ids
) -> None:
    """Keep a row as of a later instant, from the landmarks of that."""
    last = last_ms[row]
    last_ms[row] = time_ms
    if last == _NEVER:
        return
    if time_ms - last >= max_age_ms:
        values[row, :] = 0
        return
    n_cells = values.shape[1] // len(half_lives_ms)
    for h in range(len(half_lives_ms)):
        half_life = half_lives_ms[h]
        if half_life == 0:
            continue
        ahead = time_ms // half_life - last // half_life
        if ahead == 0:
            continue
        factor = math.ldexp(1.0, -ahead) if ahead <= _FADED else 0.0
        for slot in range(h * n_cells, (h + 1) * n_cells):
            values[row, slot] *= factor


@kernel
def _add(
    values: Float64s,
    last_ms: Ids,
    rows: npt.NDArray[np.int32],
    times_ms: Ids,
    offsets: Ids,
    cells: npt.NDArray[np.int32],
    amounts: Floats,
    limits: Ids,
    half_lives_ms: Ids,
    largest: npt.NDArray[np.bool_],
) -> None:
    begin, end, max_age_ms = limits[0], limits[1], limits[2]
    n_cells = len(largest)
    values_at, row_bytes = values.ctypes.data, 8 * values.shape[1]
    last_at = last_ms.ctypes.data
    for i in range(begin, end):
        ahead = rows[min(i + _AHEAD, end - 1)]
        prefetch(last_at + 8 * ahead)
        for byte in range(0, min(row_bytes, _FETCHED_BYTES), 64):
            prefetch(values_at + ahead * row_bytes + byte)
        row, time_ms = rows[i], times_ms[i]
        if time_ms > last_ms[row]:
            _move_on(values, last_ms, row, time_ms, max_age_ms, half_lives_ms)
        elif last_ms[row] - time_ms >= max_age_ms:
            continue
        late = last_ms[row] != time_ms
        for h in range(len(half_lives_ms)):
            half_life = half_lives_ms[h]
            grown, fading = 1.0, 1.0
            if half_life:
                halves = time_ms // half_life
                grown = np.exp2((time_ms - halves * half_life) / half_life)
                if late:
                    behind = last_ms[row] // half_life - halves
                    if behind > _FADED:
                        continue
                    fading = math.ldexp(1.0, -behind)
            base = h * n_cells
            for j in range(offsets[i], offsets[i + 1]):
                cell = cells[j]
                amount = np.float64(np.float32(amounts[j] * grown)) * fading
                if largest[cell]:
                    values[row, base + cell] = max(values[row, base + cell], amount)
                else:
                    values[row, base + cell] += amount


@kernel
def _merge(
    values: Float64s,
    last_ms: Ids,
    rows: npt.NDArray[np.int32],
    times_ms: Ids,
    others: Float64s,
    limits: Ids,
    half_lives_ms: Ids,
    largest: npt.NDArray[np.bool_],
) -> None:
    begin, end, max_age_ms = limits[0], limits[1], limits[2]
    n_cells = len(largest)
    for i in range(begin, end):
        row, time_ms = rows[i], times_ms[i]
        if time_ms > last_ms[row]:
            _move_on(values, last_ms, row, time_ms, max_age_ms, half_lives_ms)
        elif last_ms[row] - time_ms >= max_age_ms:
            continue
        for h in range(len(half_lives_ms)):
            half_life = half_lives_ms[h]
            fading = 1.0
            if half_life:
                behind = last_ms[row] // half_life - time_ms // half_life
                fading = math.ldexp(1.0, -behind) if behind <= _FADED else 0.0
            for cell in range(n_cells):
                slot = h * n_cells + cell
                amount = others[i, slot] * fading
                if largest[cell]:
                    values[row, slot] = max(values[row, slot], amount)
                else:
                    values[row, slot] += amount


@kernel
def _read(
    values: Float64s,
    last_ms: Ids,
    rows: npt.NDArray[np.int32],
    at: Ids,
    half_lives_ms: Ids,
    found: Floats,
) -> None:
    now_ms, max_age_ms = at[0], at[1]
    n_cells = values.shape[1] // len(half_lives_ms)
    for i in range(len(rows)):
        row, out = rows[i], found[i]
        if row < 0 or now_ms - last_ms[row] >= max_age_ms:
            out[:] = 0
            continue
        last = last_ms[row]
        as_of = max(now_ms, last)
        for h in range(len(half_lives_ms)):
            half_life = half_lives_ms[h]
            factor = 1.0
            if half_life:
                factor = np.exp2(-(as_of - last // half_life * half_life) / half_life)
            # Slices, whose loop the compiler makes vector instructions of.
            held = values[row, h * n_cells : (h + 1) * n_cells]
            shown = out[h * n_cells : (h + 1) * n_cells]
            for cell in range(n_cells):
                value = held[cell] * factor
                shown[cell] = value if abs(value) >= NOTHING else 0.0

"""Nearest vectors by cosine: an immutable HNSW base, an exact delta, and an atomic swap.

hnswlib cannot search while it inserts, so nothing is ever inserted into a base. Vectors that
came or changed since it was built are compared one by one; when there are many, another
process builds a new base, and the index swaps to it: of all of them (`build_base`), or of the old
base's file and those many (`extend_base`), which leaves the replaced ones in the new base for
nobody.
"""

import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from actors.stores.columns import Array
from actors.stores.hnsw import Float32s, HnswBase, Neighbours, merge_neighbours, unit_rows
from actors.stores.id_map import IdMap
from cluster.ids import Ids

Keep = Callable[[Ids], npt.NDArray[np.bool_]]
"""Which of some ids may be answered."""

_MAX_OVERFETCH = 16
_COPIED_AT_ONCE = 10_000


class NearestIndex:
    """Vectors by id, searched by cosine; any number of threads may read and write.

    A vector that was put is in the very next answer, in place of the base's of the same id.
    """

    def __init__(self, base: HnswBase) -> None:
        self._base = base
        self._delta = _Delta(base.dimension)
        self._hidden: npt.NDArray[np.bool_] = np.zeros(len(base), np.bool_)
        self._stamp = 0
        self._lock = threading.Lock()

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return self._base.dimension

    @property
    def n_fresh(self) -> int:
        """Vectors that are compared one by one; a swap is due when they are many."""
        with self._lock:
            return len(self._delta)

    def __len__(self) -> int:
        with self._lock:
            return len(self._delta) + len(self._base) - int(self._hidden.sum())

    @property
    def memory_bytes(self) -> int:
        """Memory held by base and delta."""
        with self._lock:
            return self._base.memory_bytes + self._delta.memory_bytes + self._hidden.nbytes

    def put(self, ids: Ids, vectors: npt.ArrayLike) -> None:
        """Set the vectors (n, D) of ids; of an id given twice the last counts.

        Raises what `unit_rows` raises, and then has changed nothing.
        """
        rows = unit_rows(vectors, self.dimension)
        if len(rows) != len(ids):
            raise ValueError(f"{len(rows)} vectors for {len(ids)} ids")
        with self._lock:
            self._stamp += 1
            self._delta = self._delta.with_room(len(ids))
            self._delta.append(ids, rows, self._stamp)
            self._hide(ids)

    def remove(self, ids: Ids) -> None:
        """Forget ids; unknown ones are passed over."""
        with self._lock:
            self._stamp += 1
            self._delta.drop(ids)
            self._hide(ids)

    def vectors(self, ids: Ids) -> tuple[Float32s, npt.NDArray[np.bool_]]:
        """Unit vectors of ids (n, D), zero where unknown, and which are known."""
        found = np.zeros((len(ids), self.dimension), np.float32)
        with self._lock:
            delta, base, hidden = self._delta, self._base, self._hidden
            fresh = delta.rows_of(ids)
            found[fresh >= 0] = delta.rows[fresh[fresh >= 0]]
        rows = base.rows_of(ids)
        of_base = (fresh < 0) & (rows >= 0)
        of_base[of_base] = ~hidden[rows[of_base]]
        found[of_base] = base.vectors(rows[of_base])
        return found, (fresh >= 0) | of_base

    def search(self, query: npt.ArrayLike, k: int, keep: Keep | None = None) -> Neighbours:
        """The `k` nearest vectors of one vector (D,), less where there are not so many.

        `keep` says which ids may be answered: the base is asked for more until enough are
        kept, up to 16 times `k`. Raises what `unit_rows` raises.
        """
        unit = unit_rows(query, self.dimension)
        if len(unit) != 1:
            raise ValueError(f"{len(unit)} vectors searched at once: expected one")
        if k < 1:
            raise ValueError(f"k is {k}: expected at least 1")
        with self._lock:
            base, hidden, delta = self._base, self._hidden, self._delta
            rows, ids, live = delta.rows, delta.ids, delta.live[: delta.n].copy()
        fresh = _nearest_rows(rows[: len(live)], ids[: len(live)], live, unit[0], k, keep)
        old = _of_base(base, hidden, unit[0], k, keep)
        return merge_neighbours([fresh, old], k)

    def ids(self) -> Ids:
        """All ids, in no order."""
        with self._lock:
            live = self._delta.ids[self._delta.live_rows()]
            return np.concatenate([self._base.ids[~self._hidden], live])

    def export(self) -> tuple[Ids, Float32s, int]:
        """All ids and unit vectors, to build a base of, and a mark for `swap`."""
        with self._lock:
            delta, base, hidden, mark = self._delta, self._base, self._hidden, self._stamp
            live = delta.live_rows()
        kept = np.flatnonzero(~hidden)
        vectors = np.empty((len(kept) + len(live), base.dimension), np.float32)
        _copy(vectors[: len(kept)], base.vectors, kept)
        _copy(vectors[len(kept) :], delta.rows.__getitem__, live)
        return np.concatenate([base.ids[kept], delta.ids[live]]), vectors, mark

    def export_fresh(self) -> tuple[HnswBase, Ids, Float32s, int]:
        """What is compared one by one, to extend the base by, and a mark for `swap`.

        Returns the base, the ids that the extended one is to be loaded with, of which the last are
        those of the unit vectors that come next, and the mark.
        """
        with self._lock:
            delta, base, hidden, mark = self._delta, self._base, self._hidden, self._stamp
            live = delta.live_rows()
        vectors = np.empty((len(live), base.dimension), np.float32)
        _copy(vectors, delta.rows.__getitem__, live)
        return base, np.concatenate([np.where(hidden, 0, base.ids), delta.ids[live]]), vectors, mark

    def swap(self, base: HnswBase, mark: int | None = None) -> None:
        """Search another base from now on.

        With the `mark` that came with what it was built of, vectors put and ids removed since stay
        so; without one, the base replaces everything. Raises `ValueError` for another dimension,
        and `RuntimeError` where another swap comes between.
        """
        if base.dimension != self.dimension:
            raise ValueError(f"a base of dimension {base.dimension}: expected {self.dimension}")
        # Bases never change, so that the search for one's ids in another needs no lock.
        replaced = self._base
        rows = replaced.rows_of(base.ids) if mark is not None else np.empty(0, np.int64)
        of_base = np.flatnonzero(rows >= 0)
        with self._lock:
            if self._base is not replaced:
                raise RuntimeError("two swaps at once")
            delta, fresh = self._delta, _Delta(base.dimension)
            hidden = np.zeros(len(base), np.bool_)
            if mark is not None:
                # What the new base has and this index lacks was removed after the export.
                hidden[:] = True
                hidden[of_base] = self._hidden[rows[of_base]]
                hidden[_known_rows(base, delta.ids[delta.live_rows()])] = False
                later = delta.live_rows(mark)
                fresh = _Delta(base.dimension, 2 * len(later) + 16)
                fresh.append(delta.ids[later], delta.rows[later], delta.stamps[later])
                hidden[_known_rows(base, delta.ids[later])] = True
            self._base, self._hidden, self._delta = base, hidden, fresh

    def columns(self) -> dict[str, Array]:
        """The vectors put since the base, for `restore`; copies."""
        with self._lock:
            live = self._delta.live_rows()
            return {"ids": self._delta.ids[live], "vectors": self._delta.rows[live]}

    @classmethod
    def from_columns(cls, columns: dict[str, Array], base: HnswBase) -> "NearestIndex":
        """An index over a base with the fresh vectors that `columns` exported."""
        index = cls(base)
        index.put(columns["ids"], columns["vectors"])
        return index

    def _hide(self, ids: Ids) -> None:
        rows = _known_rows(self._base, ids)
        if len(rows) and not self._hidden[rows].all():
            # Readers may hold the old mask.
            self._hidden = self._hidden.copy()
            self._hidden[rows] = True


class _Delta:
    """Unit vectors in order of arrival; a row is never overwritten, only superseded."""

    def __init__(self, dimension: int, room: int = 16) -> None:
        self.rows = np.empty((room, dimension), np.float32)
        self.ids = np.empty(room, np.int64)
        self.stamps = np.empty(room, np.int64)
        self.live = np.zeros(room, np.bool_)
        self.n = 0
        self._keys = IdMap()
        self._row_of_key = np.empty(0, np.int64)

    def __len__(self) -> int:
        return int(self.live[: self.n].sum())

    @property
    def memory_bytes(self) -> int:
        arrays = (self.rows, self.ids, self.stamps, self.live, self._row_of_key)
        return sum(array.nbytes for array in arrays) + self._keys.memory_bytes

    def rows_of(self, ids: Ids) -> Ids:
        """The live row of each id, or −1."""
        rows = self._keys.get(ids).astype(np.int64)
        rows[rows >= 0] = self._row_of_key[rows[rows >= 0]]
        return rows

    def live_rows(self, since: int = 0) -> Ids:
        """Rows that hold, of those stamped later than `since`."""
        return np.flatnonzero(self.live[: self.n] & (self.stamps[: self.n] > since))

    def with_room(self, n_more: int) -> "_Delta":
        """This, or a copy of what holds, with room: readers of this one see it unchanged."""
        if self.n + n_more <= len(self.ids):
            return self
        kept = self.live_rows()
        grown = _Delta(self.rows.shape[1], 2 * (len(kept) + n_more))
        grown.append(self.ids[kept], self.rows[kept], self.stamps[kept])
        return grown

    def append(self, ids: Ids, rows: Float32s, stamps: Ids | int) -> None:
        """Add rows, of which those with the greatest place hold; there must be room."""
        if not len(ids):
            return
        at = np.arange(self.n, self.n + len(ids))
        self.rows[at], self.ids[at], self.stamps[at] = rows, ids, stamps
        self.drop(ids)
        keys = self._keys.get_or_insert(ids)
        n_new = len(self._keys) - len(self._row_of_key)
        self._row_of_key = np.append(self._row_of_key, np.full(n_new, -1))
        np.maximum.at(self._row_of_key, keys, at)
        self.live[self._row_of_key[keys]] = True
        self.n += len(ids)

    def drop(self, ids: Ids) -> None:
        """Let ids hold no row."""
        keys = self._keys.get(ids)
        keys = keys[keys >= 0]
        rows = self._row_of_key[keys]
        self.live[rows[rows >= 0]] = False
        self._row_of_key[keys] = -1


def _copy(vectors: Float32s, read: Callable[[Ids], Float32s], rows: Ids) -> None:
    """Copy rows (n,) into vectors (n, D), some at a time: NumPy lets nobody else run meanwhile."""
    for begin in range(0, len(rows), _COPIED_AT_ONCE):
        part = rows[begin : begin + _COPIED_AT_ONCE]
        vectors[begin : begin + len(part)] = read(part)


def _known_rows(base: HnswBase, ids: Ids) -> Ids:
    rows = base.rows_of(ids)
    return rows[rows >= 0]


def _nearest_rows(
    rows: Float32s,
    ids: Ids,
    live: npt.NDArray[np.bool_],
    query: Float32s,
    k: int,
    keep: Keep | None,
) -> Neighbours:
    chosen = np.flatnonzero(live)
    found = Neighbours(ids[chosen], (rows @ query)[chosen])
    fetched = k if keep is None else 4 * k
    while True:
        best = merge_neighbours([found], fetched)
        if keep is None:
            return best
        # To ask about all would cost more than to compare them did.
        kept = np.flatnonzero(keep(best.ids))[:k]
        if len(kept) == k or fetched >= len(chosen):
            return Neighbours(best.ids[kept], best.scores[kept])
        fetched *= 8


def _of_base(
    base: HnswBase,
    hidden: npt.NDArray[np.bool_],
    query: Float32s,
    k: int,
    keep: Keep | None,
) -> Neighbours:
    fetched = k if keep is None and not hidden.any() else 2 * k
    while True:
        found = base.search(query, fetched)
        kept = ~hidden[base.rows_of(found.ids)]
        if keep is not None:
            kept &= keep(found.ids)
        if kept.sum() >= k or fetched >= len(base) or fetched >= _MAX_OVERFETCH * k:
            return Neighbours(found.ids[kept], found.scores[kept])
        fetched *= 2

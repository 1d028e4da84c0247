"""Indexes of vectors by cosine that are built once, written to a file and then only read (HNSW).

One that has the vectors of another and some more is made of its file at the cost of these alone.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import hnswlib
import numpy as np
import numpy.typing as npt

from cluster.ids import Ids

Float32s = npt.NDArray[np.float32]
SPACE = "cosine"
DEGREE = 16
"""HNSW's M; layer 0 has twice as many links (the original's README)."""
EF_CONSTRUCTION = 200
EF_SEARCH = 800
"""Candidates a search keeps (the original's serving value)."""
_CHUNK = 65_536
_HEADER_BYTES = 96
"""Of a saved index; behind it stands a record for each vector: links, vector, label."""


@dataclass(frozen=True)
class Neighbours:
    """What a search found, nearest first (of equals the lesser id); arrays of shape (m,)."""

    ids: Ids
    scores: Float32s
    """Cosine similarities, −1 to 1."""


NOTHING = Neighbours(np.empty(0, np.int64), np.empty(0, np.float32))


def unit_rows(vectors: npt.ArrayLike, dimension: int) -> Float32s:
    """Vectors of shape (n, D) or (D,) as float32 rows of length 1.

    Raises `ValueError` for another dimension, for NaN or infinity and for zero vectors, none
    of which has a direction that could be compared.
    """
    rows = np.asarray(vectors)
    if rows.ndim == 1:
        rows = rows[None, :]
    if rows.ndim != 2 or rows.shape[1] != dimension:
        raise ValueError(f"vectors of shape {np.shape(vectors)}: expected dimension {dimension}")
    units = np.empty(rows.shape, np.float32)
    for begin in range(0, len(rows), _CHUNK):
        units[begin : begin + _CHUNK] = _units(rows[begin : begin + _CHUNK], begin)
    return units


def _units(rows: npt.NDArray[Any], begin: int) -> npt.NDArray[np.float64]:
    wide = rows.astype(np.float64)
    finite = np.isfinite(wide).all(axis=1)
    if not finite.all():
        raise ValueError(f"vector {begin + int(np.argmin(finite))} is not finite: NaN or infinity")
    greatest = np.abs(wide).max(axis=1, initial=0.0)
    if not greatest.all():
        raise ValueError(f"vector {begin + int(np.argmin(greatest))} is zero")
    # Scaled first, so that the squares of the least of floats are not lost.
    wide /= greatest[:, None]
    wide /= np.linalg.norm(wide, axis=1)[:, None]
    return wide


class HnswBase:
    """An HNSW index that nobody writes to: label i is the vector of `ids[i]`.

    An id of 0 is nobody's: the vector stands in the index, and is never to be answered. Vectors
    by row are read from the file, which is mapped: hnswlib copies them one by one, and holds the
    interpreter meanwhile.
    """

    def __init__(
        self,
        ids: Ids,
        index: hnswlib.Index | None,
        dimension: int,
        records: "_Records",
        path: Path | None = None,
    ) -> None:
        self.ids = ids
        self.dimension = dimension
        self.path = path
        """Of the file, which `extend_base` may take as long as it is there."""
        self._index = index
        self._records = records
        order = np.argsort(ids)
        self._sorted_ids = ids[order]
        self._order = order

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def empty(cls, dimension: int) -> "HnswBase":
        """A base without vectors."""
        return cls(np.empty(0, np.int64), None, dimension, _no_records(dimension))

    @classmethod
    def load(cls, path: Path, ids: Ids, dimension: int, ef: int = EF_SEARCH) -> "HnswBase":
        """The base of a file that hnswlib saved, its labels the row numbers of `ids`.

        Raises `ValueError` where file, ids and dimension do not belong together.
        """
        if not path.exists():
            raise ValueError(f"{path} does not exist")
        # hnswlib itself reads a file of another dimension without a word, and out of bounds.
        records = _records_of(path, dimension)
        index = hnswlib.Index(space=SPACE, dim=dimension)
        try:
            index.load_index(str(path))
        except RuntimeError as error:
            raise ValueError(f"{path} is no index: {error}") from error
        n = index.get_current_count()
        if n != len(ids):
            raise ValueError(f"{path} has {n} vectors for {len(ids)} ids")
        index.set_num_threads(1)
        base = cls(ids, index, dimension, records, path)
        base.set_ef(ef)
        return base

    def set_ef(self, ef: int) -> None:
        """How many candidates each search keeps (never less than it is to find)."""
        if self._index is not None:
            self._index.set_ef(ef)

    @property
    def memory_bytes(self) -> int:
        """Memory held by vectors, links and ids."""
        index = self._index.index_file_size() if self._index else 0
        return int(index) + 3 * self.ids.nbytes

    def rows_of(self, ids: Ids) -> Ids:
        """Rows of ids, −1 where this base has none."""
        if not len(self.ids):
            return np.full(len(ids), -1, np.int64)
        at = np.minimum(np.searchsorted(self._sorted_ids, ids), len(self.ids) - 1)
        return np.where(self._sorted_ids[at] == ids, self._order[at], -1)

    def vectors(self, rows: Ids) -> Float32s:
        """The unit vectors of rows, (n, D)."""
        return self._records.vectors[self._records.places[rows]]

    def search(self, query: Float32s, k: int) -> Neighbours:
        """The about `k` nearest of one unit vector (D,); fewer where there are fewer."""
        k = min(k, len(self.ids))
        while self._index is not None and k > 0:
            try:
                labels, distances = self._index.knn_query(query[None, :], k, num_threads=1)
            except RuntimeError:
                # Raised where less than k vectors can be reached in the graph.
                k //= 2
                continue
            ids = self.ids[labels[0].astype(np.int64)]
            return Neighbours(ids, (1.0 - distances[0]).astype(np.float32))
        return NOTHING


def build_base(
    path: Path,
    vectors: Float32s,
    *,
    degree: int = DEGREE,
    ef_construction: int = EF_CONSTRUCTION,
    threads: int = 1,
    seed: int = 100,
) -> None:
    """Build an index of vectors (n, D) and write it to a file, for `HnswBase.load`.

    Label i is row i. The same with one thread; more are faster, but then two builds differ.
    Meant for a process of its own: it takes minutes for a million vectors. The file is
    written beside and renamed, since hnswlib leaves half a file when it is interrupted.
    Raises what `unit_rows` raises.
    """
    rows = unit_rows(vectors, np.shape(vectors)[1])
    index = hnswlib.Index(space=SPACE, dim=rows.shape[1])
    index.init_index(max(len(rows), 1), M=degree, ef_construction=ef_construction, random_seed=seed)
    if len(rows):
        index.add_items(rows, np.arange(len(rows)), num_threads=threads)
    _write(index, path)


def extend_base(path: Path, base: Path, vectors: Float32s) -> None:
    """Write to a file the index in the file `base` with vectors (n, D) behind its own.

    As `build_base`, for which it takes the place where a base has most of the vectors already.
    """
    rows = unit_rows(vectors, np.shape(vectors)[1])
    n = len(_records_of(base, rows.shape[1]).places)
    index = hnswlib.Index(space=SPACE, dim=rows.shape[1])
    index.load_index(str(base), max_elements=n + len(rows))
    if len(rows):
        index.add_items(rows, np.arange(n, n + len(rows)), num_threads=1)
    _write(index, path)


def _write(index: hnswlib.Index, path: Path) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        index.save_index(str(draft))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def merge_neighbours(parts: Sequence[Neighbours], k: int) -> Neighbours:
    """The `k` best of what several indexes found, each id in one of them."""
    ids = np.concatenate([NOTHING.ids, *(part.ids for part in parts)])
    scores = np.concatenate([NOTHING.scores, *(part.scores for part in parts)])
    if len(scores) > k:
        # All that tie with the last stay until their ids decide.
        least = np.partition(scores, -k)[-k]
        chosen = np.flatnonzero(scores >= least)
        ids, scores = ids[chosen], scores[chosen]
    order = np.lexsort((ids, -scores))[:k]
    return Neighbours(ids[order], scores[order])


class _Records(NamedTuple):
    """The vectors of a saved index, where they lie in its file."""

    vectors: Float32s
    """(n, D), a record apart from each other."""
    places: Ids
    """Shape (n,): which of them has label i."""


def _no_records(dimension: int) -> _Records:
    return _Records(np.empty((0, dimension), np.float32), np.empty(0, np.int64))


def _records_of(path: Path, dimension: int) -> _Records:
    """Raises `ValueError` for a file of another dimension, size or labels."""
    header = np.fromfile(path, "<u8", 6)
    if len(header) < 6:
        raise ValueError(f"{path} is no index: it has {os.path.getsize(path)} bytes")
    _, _, n, record_bytes, label_at, vector_at = map(int, header)
    found = (label_at - vector_at) // 4
    if found != dimension:
        raise ValueError(f"{path} has dimension {found}: expected {dimension}")
    if os.path.getsize(path) < _HEADER_BYTES + n * record_bytes or record_bytes < label_at + 8:
        raise ValueError(f"{path} is no index: {n} records of {record_bytes} bytes do not fit in")
    if not n:
        return _no_records(dimension)
    records = np.memmap(path, np.uint8, "r", _HEADER_BYTES, (n, record_bytes))
    labels = records[:, label_at : label_at + 8].copy().view("<i8")[:, 0]
    places = np.argsort(labels)
    if not np.array_equal(labels[places], np.arange(n)):
        raise ValueError(f"{path}: its labels are not the row numbers 0 … {n - 1}")
    vectors = np.ndarray((n, dimension), "<f4", records, vector_at, (record_bytes, 4))
    return _Records(vectors, places)

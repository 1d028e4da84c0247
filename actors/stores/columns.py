"""Columns that grow: a struct of NumPy arrays with one length."""

import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.stores.raw_memory import reserve

Array = npt.NDArray[Any]

_RESERVED_FROM_BYTES = 2**20
"""A column that outgrows this is moved once more, to where it never has to be moved again."""
_RESERVED_BYTES = 2**34


class Columns:
    """Named arrays of one length that grow without being copied, once they are large.

    Questions wait while a column is copied, and a hundred million bytes take a tenth of a
    second. A large column has addresses for as much as it may ever hold instead; the system
    gives memory to those that were written, and they read as zero before.

    `spec` maps a name to a dtype, or to (dtype, width) for a matrix with `width` columns. No
    memory is taken for more than `max_rows`.
    """

    def __init__(
        self, spec: Mapping[str, Any], capacity: int = 1024, max_rows: int = sys.maxsize
    ) -> None:
        self._n = 0
        self._max_rows = max_rows
        self._most = 0
        self._arrays: dict[str, Array] = {}
        self._reserved: set[str] = set()
        for name, kind in spec.items():
            dtype, width = kind if isinstance(kind, tuple) else (kind, 0)
            rows = min(capacity, max_rows)
            shape = (rows, width) if width else (rows,)
            self._arrays[name] = np.zeros(shape, dtype)

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, name: str) -> Array:
        """The column, as a view of its used part; invalid for writing after `extend`."""
        return self._arrays[name][: self._n]

    @property
    def names(self) -> list[str]:
        """Column names in the order of the specification."""
        return list(self._arrays)

    @property
    def memory_bytes(self) -> int:
        """Memory held: of columns with addresses to spare, what was ever used."""
        return sum(
            array[: self._most].nbytes if name in self._reserved else array.nbytes
            for name, array in self._arrays.items()
        )

    def extend(self, n_rows: int) -> slice:
        """Add zeroed rows; returns where they are."""
        start, self._n = self._n, self._n + n_rows
        for name, array in self._arrays.items():
            if self._n > len(array):
                self._arrays[name] = self._larger(name, array, start)
            if start < self._most:
                self._arrays[name][start : self._n] = 0
        self._most = max(self._most, self._n)
        return slice(start, self._n)

    def keep(self, kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Keep the rows (len,) that are true; returns which row each of the left now was.

        The last ones take the places of those that go: as few as can be are moved.
        """
        n_kept = int(kept.sum())
        rows = np.arange(n_kept)
        holes = np.flatnonzero(~kept[:n_kept])
        rows[holes] = n_kept + np.flatnonzero(kept[n_kept:])
        for array in self._arrays.values():
            array[holes] = array[rows[holes]]
        self._n = n_kept
        return rows

    def copy(self) -> dict[str, Array]:
        """A copy of every column, safe from later writes."""
        return {name: self[name].copy() for name in self._arrays}

    def _larger(self, name: str, array: Array, n_kept: int) -> Array:
        """A zeroed array with the first rows of another and room for more than are wanted."""
        row = array.shape[1:]
        row_bytes = array.dtype.itemsize * math.prod(row)
        rows = max(self._n, min(2 * len(array), self._max_rows))
        reserved = None
        if rows * row_bytes > _RESERVED_FROM_BYTES:
            reserved = reserve(max(_RESERVED_BYTES, 2 * rows * row_bytes))
        if reserved is None:
            grown = np.zeros((rows, *row), array.dtype)
        else:
            whole = len(reserved) // row_bytes
            flat = np.frombuffer(reserved, array.dtype, whole * math.prod(row))
            grown = flat.reshape(whole, *row)
            self._reserved.add(name)
        grown[:n_kept] = array[:n_kept]
        return grown

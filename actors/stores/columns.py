"""Columns that grow: a struct of NumPy arrays with one length."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Columns:
    """Named arrays of one length whose memory doubles when it is used up.

    `spec` maps a name to a dtype, or to (dtype, width) for a matrix with `width` columns.
    """

    def __init__(self, spec: Mapping[str, Any], capacity: int = 1024) -> None:
        self._n = 0
        self._arrays: dict[str, Array] = {}
        for name, kind in spec.items():
            dtype, width = kind if isinstance(kind, tuple) else (kind, 0)
            shape = (capacity, width) if width else (capacity,)
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
        """Memory held, the unused part included."""
        return sum(array.nbytes for array in self._arrays.values())

    def extend(self, n_rows: int) -> slice:
        """Add zeroed rows; returns where they are."""
        start, self._n = self._n, self._n + n_rows
        for name, array in self._arrays.items():
            if self._n > len(array):
                grown = np.zeros((max(self._n, 2 * len(array)), *array.shape[1:]), array.dtype)
                grown[:start] = array[:start]
                self._arrays[name] = grown
        return slice(start, self._n)

    def copy(self) -> dict[str, Array]:
        """A copy of every column, safe from later writes."""
        return {name: self[name].copy() for name in self._arrays}

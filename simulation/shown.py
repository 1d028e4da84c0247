"""What was put before whom: timelines as flat columns, and the memory of posts seen."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.ids import Ids, mix64


@dataclass(frozen=True)
class Feed:
    """Timelines of many sessions, as rows sorted by session and position."""

    viewers: Ids
    """(sessions,) user rows."""
    starts_ms: Ids
    """(sessions,)"""
    request_ids: pa.Array
    """(sessions,) strings."""
    sessions: Ids
    """(rows,) which session each row belongs to."""
    posts: Ids
    """(rows,) post rows."""
    positions: Ids
    """(rows,) from 0 at the top."""


class Seen:
    """Which user saw which post lately: two bit tables, of which the older is dropped daily.

    A pair may be taken for seen when it wasn't (about once in a hundred), never the other
    way round within a day.
    """

    _CELLS_PER_USER = 16_384

    def __init__(self, n_users: int) -> None:
        n_cells = 1 << (n_users * self._CELLS_PER_USER - 1).bit_length()
        self._mask = np.uint64(n_cells - 1)
        self._tables = [np.zeros(n_cells, bool), np.zeros(n_cells, bool)]

    def add(self, users: Ids, posts: Ids) -> None:
        """Remember that each user saw each post."""
        self._tables[0][self._cells(users, posts)] = True

    def contains(self, users: Ids, posts: Ids) -> npt.NDArray[np.bool_]:
        """Whether each user saw each post; any shape."""
        cells = self._cells(users, posts)
        found: npt.NDArray[np.bool_] = self._tables[0][cells] | self._tables[1][cells]
        return found

    def forget_older(self) -> None:
        """Forget what was seen before the last call."""
        newer, older = self._tables
        older[:] = False
        self._tables = [older, newer]

    def _cells(self, users: Ids, posts: Ids) -> npt.NDArray[np.uint64]:
        return mix64((users << 40) ^ posts) & self._mask

"""Vectors of fresh posts: the mean of the vectors of those who engaged with them."""

from collections.abc import Callable, Generator, Mapping

import numpy as np
import numpy.typing as npt

from actors.stores.columns import Array, Columns
from actors.stores.id_map import Dense, IdMap
from actors.stores.moving import Move, finished
from cluster.ids import Ids

Float32s = npt.NDArray[np.float32]

_MOVED_AT_ONCE = 1_000_000


class PostVectors:
    """Sums and counts of engagers' vectors by post; one thread writes.

    A mean of the same engagements in another order agrees to float32's rounding of sums.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._move: Move[PostVectors] | None = None
        self._row_of_post = IdMap()
        self._table = Columns(
            {
                "post_ids": np.int64,
                "author_ids": np.int64,
                "newest_ms": np.int64,
                "counts": np.int32,
                "sums": (np.float32, dimension),
            }
        )

    def __len__(self) -> int:
        return len(self._table)

    @property
    def memory_bytes(self) -> int:
        """Memory held."""
        return self._table.memory_bytes + self._row_of_post.memory_bytes

    def add(
        self,
        post_ids: Ids,
        author_ids: Ids,
        times_ms: Ids,
        signs: npt.NDArray[np.int8],
        vectors: Float32s,
    ) -> Ids:
        """Add engagers' vectors (n, D), or take them back (sign −1); returns the posts changed."""
        rows = self._rows_for(post_ids, author_ids)
        if self._move:
            at = np.flatnonzero(self._move.follows(rows))
            self._move.successor.add(
                *(post_ids[at], author_ids[at], times_ms[at]), signs[at], vectors[at]
            )
        table = self._table
        np.maximum.at(table["newest_ms"], rows, times_ms)
        np.add.at(table["counts"], rows, signs.astype(np.int32))
        np.add.at(table["sums"], rows, vectors * signs[:, None])
        changed = np.unique(rows)
        # What is left of a sum from which all was taken back is error of rounding.
        empty = changed[table["counts"][changed] <= 0]
        table["counts"][empty] = 0
        table["sums"][empty] = 0.0
        return table["post_ids"][changed]

    def means(self, post_ids: Ids) -> tuple[Float32s, npt.NDArray[np.int32]]:
        """Mean vectors (n, D), and of how many engagements; zero where there are none."""
        rows = self._row_of_post.get(post_ids)
        known = rows >= 0
        counts = np.zeros(len(post_ids), np.int32)
        counts[known] = self._table["counts"][rows[known]]
        means = np.zeros((len(post_ids), self.dimension), np.float32)
        means[known] = self._table["sums"][rows[known]]
        means /= np.maximum(counts, 1)[:, None]
        return means, counts

    def without(self, gone: npt.NDArray[np.bool_]) -> "PostVectors":
        """A store without the posts of a mask over `post_ids`; itself where there are none."""
        return finished(self.moving(lambda rows: ~gone[rows])) if gone.any() else self

    def moving(
        self, kept: Callable[[slice], npt.NDArray[np.bool_]]
    ) -> "Generator[None, None, PostVectors]":
        """A store of the rows that are kept, in slices between which this one may be written to.

        `kept` gives the mask of a slice of `post_ids` when it is that slice's turn.
        """
        fresh = PostVectors(self.dimension)

        def hand_over(rows: slice) -> None:
            mask = kept(rows)
            fresh.restore({name: self._table[name][rows][mask] for name in self._table.names})

        n, step = len(self._table), max(_MOVED_AT_ONCE // self.dimension, 1)
        self._move = Move(fresh, n)
        try:
            yield from self._move.run(hand_over, np.append(np.arange(step, n, step), n))
        finally:
            self._move = None
        return fresh

    @property
    def post_ids(self) -> Ids:
        """All posts."""
        return self._table["post_ids"]

    @property
    def newest_ms(self) -> Ids:
        """The time of the newest engagement with each of `post_ids`."""
        return self._table["newest_ms"]

    def columns(self) -> dict[str, Array]:
        """What `restore` needs; copies."""
        return self._table.copy()

    def restore(self, columns: Mapping[str, Array]) -> None:
        """Add exported posts that this store does not hold."""
        rows = self._rows_for(columns["post_ids"], columns["author_ids"])
        for name in ("newest_ms", "counts", "sums"):
            self._table[name][rows] = columns[name]

    @classmethod
    def from_columns(cls, columns: Mapping[str, Array], dimension: int) -> "PostVectors":
        """The store that `columns` exported."""
        store = cls(dimension)
        store.restore(columns)
        return store

    def _rows_for(self, post_ids: Ids, author_ids: Ids) -> Dense:
        known = len(self._row_of_post)
        rows = self._row_of_post.get_or_insert(post_ids)
        if len(self._row_of_post) > known:
            added = self._table.extend(len(self._row_of_post) - known)
            self._table["post_ids"][added] = self._row_of_post.keys[known:]
            fresh = rows >= known
            self._table["author_ids"][rows[fresh]] = author_ids[fresh]
        return rows

"""Ranked lists of posts, one for each of several sources, as one set of columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RankedLists:
    """n lists with m posts in all; each list the best first (of equal scores the greater id)."""

    offsets: Ids
    """int64 (n + 1,): list i is rows `offsets[i]` to `offsets[i + 1]`."""
    post_ids: Ids
    author_ids: Ids
    created_ms: Ids
    """(m,); 0 where it is not known."""
    scores: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lists(self) -> Ids:
        """Of which list each row is, (m,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def ranks(self) -> Ids:
        """The place of each row in its list, from 0, (m,)."""
        return np.arange(len(self.post_ids)) - np.repeat(self.offsets[:-1], np.diff(self.offsets))

    def placed(self, places: Ids, n: int) -> "RankedLists":
        """The same lists at ascending places among `n`, the others empty."""
        counts = np.zeros(n, np.int64)
        counts[places] = np.diff(self.offsets)
        return self._chosen(counts, slice(None))

    def where(self, kept: Mask) -> "RankedLists":
        """Without the rows that a mask (m,) leaves out."""
        return self._chosen(np.bincount(self.lists[kept], minlength=len(self)), kept)

    def _chosen(self, counts: Ids, rows: Mask | slice) -> "RankedLists":
        return RankedLists(
            np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
            self.post_ids[rows],
            self.author_ids[rows],
            self.created_ms[rows],
            self.scores[rows],
        )


def no_lists(n: int) -> RankedLists:
    """`n` empty lists."""
    none = np.empty(0, np.int64)
    return RankedLists(np.zeros(n + 1, np.int64), none, none, none, np.empty(0, np.float32))


def merge_lists(parts: Sequence[RankedLists], n: int, limit: int) -> RankedLists:
    """The `limit` best of each of `n` lists, of what several shards found for the same sources.

    Scores are compared as float32: what shards sum from different instants on differs by less.
    """
    parts = [no_lists(n), *parts]
    lists = np.concatenate([part.lists for part in parts])
    post_ids = np.concatenate([part.post_ids for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    order = np.lexsort((-post_ids, -scores, lists))
    ordered = RankedLists(
        np.concatenate([[0], np.cumsum(np.bincount(lists, minlength=n))]),
        post_ids[order],
        np.concatenate([part.author_ids for part in parts])[order],
        np.concatenate([part.created_ms for part in parts])[order],
        scores[order],
    )
    return ordered.where(ordered.ranks < limit)

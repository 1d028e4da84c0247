"""Ranked lists of posts, one for each of several sources, as one set of columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel, writable
from actors.stores.raw_memory import Int
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
    parts = [part for part in parts if len(part.post_ids)]
    if not parts:
        return no_lists(n)
    sizes = np.cumsum([0, *(len(part.post_ids) for part in parts)])
    starts = np.stack([part.offsets + begin for part, begin in zip(parts, sizes, strict=False)])
    post_ids = np.concatenate([part.post_ids for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    offsets, rows = _merge(writable(starts, np.int64), post_ids, scores, limit)
    return RankedLists(
        offsets,
        post_ids[rows],
        np.concatenate([part.author_ids for part in parts])[rows],
        np.concatenate([part.created_ms for part in parts])[rows],
        scores[rows],
    )


@kernel
def _merge(
    starts: Ids, post_ids: Ids, scores: npt.NDArray[np.float32], limit: Int
) -> tuple[Ids, Ids]:
    """Offsets of the merged lists and their rows; list i of part p begins at `starts[p, i]`.

    Searches by vectors put the lesser of two equals first, so these change places before.
    """
    n_parts, n = starts.shape[0], starts.shape[1] - 1
    offsets = np.zeros(n + 1, np.int64)
    rows = np.empty(len(post_ids), np.int64)
    order = np.arange(len(post_ids))
    for p in range(n_parts):
        for i in range(n):
            for row in range(starts[p, i] + 1, starts[p, i + 1]):
                at = row
                while (
                    at > starts[p, i]
                    and scores[order[at - 1]] == scores[row]
                    and post_ids[order[at - 1]] < post_ids[row]
                ):
                    order[at] = order[at - 1]
                    at -= 1
                order[at] = row
    heads = np.empty(n_parts, np.int64)
    size = np.int64(0)
    for i in range(n):
        heads[:] = starts[:, i]
        for _ in range(limit):
            best, of = np.int64(-1), 0
            for p in range(n_parts):
                if heads[p] == starts[p, i + 1]:
                    continue
                row = order[heads[p]]
                if (
                    best < 0
                    or scores[row] > scores[best]
                    or (scores[row] == scores[best] and post_ids[row] > post_ids[best])
                ):
                    best, of = row, p
            if best < 0:
                break
            heads[of] += 1
            rows[size] = best
            size += 1
        offsets[i + 1] = size
    return offsets, rows[:size].copy()

"""The newest posts of groups of authors, without replies: what lists and backfill show."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel, writable
from actors.stores.posts import PostTable
from actors.stores.time_heap import precedes, rise, sink
from cluster.ids import Ids

MAX_SCAN = 1_000
"""Posts of one author looked at: bounds the cost of those who do nothing but reply."""


@dataclass(frozen=True)
class NewestPosts:
    """Posts by group, newest first, of equal times the highest id; arrays of shape (n,)."""

    post_ids: Ids
    author_ids: Ids
    created_ms: Ids
    groups: Ids
    """The group for which each was found; a post of several groups stands once for each."""


def newest_of_groups(
    table: PostTable,
    author_ids: Ids,
    offsets: Ids,
    *,
    since_ms: int,
    until_ms: int,
    limit: int,
    reposts: bool,
) -> NewestPosts:
    """The `limit` newest live posts of each group, created in [since_ms, until_ms), no replies.

    Group i is `author_ids[offsets[i] : offsets[i + 1]]`. Live: not deleted, not replaced by a
    newer edit.
    """
    rows, groups = _newest(
        table.heads_of(author_ids),
        writable(offsets, np.int64),
        table["next"],
        table["created_ms"],
        table["post_ids"],
        table["deleted"],
        table["newest_ids"],
        table["reply_to_id"],
        table["repost_of_id"],
        np.array([since_ms, until_ms, limit, reposts, MAX_SCAN], np.int64),
    )
    ids = (table["post_ids"][rows], table["author_ids"][rows])
    return merge_newest([NewestPosts(*ids, table["created_ms"][rows], groups)], limit)


def merge_newest(parts: list[NewestPosts], limit: int) -> NewestPosts:
    """What shards found as one: the `limit` newest of each group, group by group."""
    columns = [np.concatenate(c) for c in zip(*(vars(p).values() for p in parts), strict=True)]
    post_ids, _, created_ms, groups = columns
    order = np.lexsort((-post_ids, -created_ms, groups))
    ordered = groups[order]
    nth = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return NewestPosts(*(column[order[nth < limit]] for column in columns))


@kernel
def _newest(
    heads: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    nexts: npt.NDArray[np.int32],
    created_ms: npt.NDArray[np.int64],
    post_ids: npt.NDArray[np.int64],
    deleted: npt.NDArray[np.bool_],
    newest_ids: npt.NDArray[np.int64],
    reply_to: npt.NDArray[np.int64],
    repost_of: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(row, group) of the newest of each group: a heap whose root is the oldest of the found.

    An author's posts lie newest first, so an author is done with at the first post that is
    older than the root of a full heap.
    """
    since_ms, until_ms, limit, reposts, most = bounds
    n_groups = len(offsets) - 1
    found = np.empty(n_groups * limit, np.int64)
    groups = np.empty(n_groups * limit, np.int64)
    heap = np.empty(limit, np.int64)
    total = 0
    for group in range(n_groups):
        n = 0
        for i in range(offsets[group], offsets[group + 1]):
            row = heads[i]
            scanned = 0
            while row >= 0 and created_ms[row] >= since_ms and scanned < most:
                if n == limit and created_ms[row] < created_ms[heap[0]]:
                    break
                scanned += 1
                live = created_ms[row] < until_ms and not deleted[row] and newest_ids[row] == 0
                if live and reply_to[row] == 0 and (reposts or repost_of[row] == 0):
                    if n < limit:
                        n += 1
                        rise(heap, n - 1, row, False, created_ms, post_ids)
                    elif precedes(heap[0], row, False, created_ms, post_ids):
                        sink(heap, n, row, False, created_ms, post_ids)
                row = nexts[row]
        found[total : total + n] = heap[:n]
        groups[total : total + n] = group
        total += n
    return found[:total].copy(), groups[:total].copy()

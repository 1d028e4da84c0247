"""The newest posts of authors between two places in time, whoever of them wrote most.

A k-way merge over the authors' posts, which lie newest first: it costs what it looks at, and
says how far down it looked, so that a reader can go on exactly there.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel, writable
from actors.stores.posts import PostTable
from actors.stores.time_heap import rise, sink
from cluster.ids import MAX_ID, Ids


class Place(NamedTuple):
    """Where a post is in time; of one instant the higher id counts as the newer post."""

    created_ms: int
    post_id: int


OLDEST, NEWEST = Place(-1, 0), Place(MAX_ID, 0)
"""Before and after every post."""


class Replies(IntEnum):
    """Which replies a timeline holds."""

    NONE = 0
    TO_GIVEN = 1
    """Those to given users."""
    ALL = 2


class FoundRows(NamedTuple):
    """What a search found."""

    rows: npt.NDArray[np.int64]
    """(n,) rows of the post table, newest first."""
    reached: Place | None
    """The post looked at last, where there are more below it; None: it came to the end."""


def newest_between(
    table: PostTable,
    author_ids: Ids,
    *,
    before: Place,
    after: Place,
    limit: int,
    replies: Replies,
    addressed_ids: Ids,
    hidden_ids: Ids,
    max_scan: int,
) -> FoundRows:
    """The `limit` newest live posts of distinct authors, below `before` and above `after`.

    Live: not deleted, not replaced by a newer edit. Left out are replies other than `replies`
    says (`addressed_ids`, sorted, are the given users), and what replies to, quotes or reposts
    somebody of `hidden_ids` (sorted). At most `max_scan` posts are looked at.
    """
    rows, reached = _newest_between(
        table.heads_of(author_ids),
        table["next"],
        table["created_ms"],
        table["post_ids"],
        table["deleted"],
        table["newest_ids"],
        table["reply_to_id"],
        table["reply_to_author_id"],
        table["quote_of_author_id"],
        table["repost_of_author_id"],
        writable(addressed_ids, np.int64),
        writable(hidden_ids, np.int64),
        np.array([*before, *after, limit, replies, max_scan], np.int64),
    )
    if reached < 0:
        return FoundRows(rows, None)
    return FoundRows(
        rows, Place(int(table["created_ms"][reached]), int(table["post_ids"][reached]))
    )


@kernel
def _newest_between(
    heads: npt.NDArray[np.int32],
    nexts: npt.NDArray[np.int32],
    created_ms: npt.NDArray[np.int64],
    post_ids: npt.NDArray[np.int64],
    deleted: npt.NDArray[np.bool_],
    newest_ids: npt.NDArray[np.int64],
    reply_to: npt.NDArray[np.int64],
    reply_to_author: npt.NDArray[np.int64],
    quote_of_author: npt.NDArray[np.int64],
    repost_of_author: npt.NDArray[np.int64],
    addressed: npt.NDArray[np.int64],
    hidden: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], int]:
    """Rows found, and the row reached (−1: the end).

    The heap holds the newest post of each author that was not looked at yet, its root the
    newest of all.
    """
    before_ms, before_id, after_ms, after_id, limit, replies, max_scan = bounds
    heap = np.empty(len(heads), np.int64)
    n = 0
    for i in range(len(heads)):
        row = heads[i]
        while row >= 0 and (
            created_ms[row] > before_ms
            or (created_ms[row] == before_ms and post_ids[row] >= before_id)
        ):
            row = nexts[row]
        if row >= 0 and (
            created_ms[row] > after_ms or (created_ms[row] == after_ms and post_ids[row] > after_id)
        ):
            n += 1
            rise(heap, n - 1, row, True, created_ms, post_ids)
    found = np.empty(limit, np.int64)
    total = scanned = 0
    row = -1
    while n > 0 and total < limit and scanned < max_scan:
        row = heap[0]
        scanned += 1
        kept = not deleted[row] and newest_ids[row] == 0
        if kept and reply_to[row] != 0:
            kept = replies == 2 or (replies == 1 and _holds(addressed, reply_to_author[row]))
        if kept and len(hidden):
            kept = not (
                _holds(hidden, reply_to_author[row])
                or _holds(hidden, quote_of_author[row])
                or _holds(hidden, repost_of_author[row])
            )
        if kept:
            found[total] = row
            total += 1
        following = nexts[row]
        if following >= 0 and (
            created_ms[following] > after_ms
            or (created_ms[following] == after_ms and post_ids[following] > after_id)
        ):
            sink(heap, n, following, True, created_ms, post_ids)
        else:
            n -= 1
            if n > 0:
                sink(heap, n, heap[n], True, created_ms, post_ids)
    return found[:total].copy(), row if n > 0 else -1


@kernel
def _holds(sorted_ids: npt.NDArray[np.int64], wanted: int) -> bool:
    at = np.searchsorted(sorted_ids, wanted)
    return bool(at < len(sorted_ids) and sorted_ids[at] == wanted)

"""The k best posts in a heap, in a total order: score, then newest proof, then post id.

No two posts tie, so the answer depends neither on the order of the offers nor on how posts
are spread over shards. A heap is three aligned arrays of length k (scores float64, newest
times int64, positions in the posts' ids int32) with the worst kept at the root.
"""

import numpy as np
import numpy.typing as npt

from actors.stores.id_map import Dense, Ids
from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int

Float64s = npt.NDArray[np.float64]


@kernel
def beats(
    score: float, newest_ms: Int, post_id: Int, score2: float, newest2_ms: Int, post2_id: Int
) -> bool:
    """Whether the first post ranks before the second; no two posts tie."""
    if score != score2:
        return bool(score > score2)
    if newest_ms != newest2_ms:
        return bool(newest_ms > newest2_ms)
    return bool(post_id > post2_id)


@kernel
def offer(
    scores: Float64s,
    newest: Ids,
    best: Dense,
    post_ids: Ids,
    size: Int,
    score: float,
    newest_ms: Int,
    v: Int,
) -> Int:
    """Keep post v: while the heap of `size` has room besides, then in place of the worst.

    The caller has checked that it beats the worst. Returns the new size.
    """
    if size == len(best):
        _sink(scores, newest, best, post_ids, size, score, newest_ms, v)
        return size
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if not beats(
            scores[parent], newest[parent], post_ids[best[parent]],
            score, newest_ms, post_ids[v],
        ):  # fmt: skip
            break
        scores[at], newest[at], best[at] = scores[parent], newest[parent], best[parent]
        at = parent
    scores[at], newest[at], best[at] = score, newest_ms, v
    return size + 1


@kernel
def put_in_order(scores: Float64s, newest: Ids, best: Dense, post_ids: Ids, size: Int) -> None:
    """Turn the heap into a list, best first."""
    for end in range(size - 1, 0, -1):
        score, newest_ms, v = scores[end], newest[end], best[end]
        scores[end], newest[end], best[end] = scores[0], newest[0], best[0]
        _sink(scores, newest, best, post_ids, end, score, newest_ms, v)


@kernel
def contains(ordered: Ids, wanted: Int) -> bool:
    """Whether ascending `ordered` has `wanted`; a search without a branch to guess wrong."""
    size = len(ordered)
    if size == 0:
        return False
    low = np.int64(0)
    while size > 1:
        half = size >> 1
        low += half * np.int64(ordered[low + half] <= wanted)
        size -= half
    return bool(ordered[low] == wanted)


@kernel
def _sink(
    scores: Float64s,
    newest: Ids,
    best: Dense,
    post_ids: Ids,
    size: Int,
    score: float,
    newest_ms: Int,
    v: Int,
) -> None:
    """Put an item in the root's place of a heap of `size` and let it sink."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and beats(
            scores[child], newest[child], post_ids[best[child]],
            scores[child + 1], newest[child + 1], post_ids[best[child + 1]],
        ):  # fmt: skip
            child += 1
        if not beats(
            score, newest_ms, post_ids[v],
            scores[child], newest[child], post_ids[best[child]],
        ):  # fmt: skip
            break
        scores[at], newest[at], best[at] = scores[child], newest[child], best[child]
        at = child
    scores[at], newest[at], best[at] = score, newest_ms, v

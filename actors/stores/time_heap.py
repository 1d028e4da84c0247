"""A heap of post rows by time: its root is the newest of them, or the oldest.

Of one instant the higher id counts as the newer post. A heap lies in the first places of an
array of rows; `newest` says which end of time its root is, and is the same in every call.
"""

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel


@kernel
def precedes(
    a: int,
    b: int,
    newest: bool,
    created_ms: npt.NDArray[np.int64],
    post_ids: npt.NDArray[np.int64],
) -> bool:
    """Whether row a is nearer to the root's end of time than row b."""
    if created_ms[a] != created_ms[b]:
        return bool((created_ms[a] > created_ms[b]) == newest)
    return bool(post_ids[a] != post_ids[b] and (post_ids[a] > post_ids[b]) == newest)


@kernel
def rise(
    heap: npt.NDArray[np.int64],
    place: int,
    row: int,
    newest: bool,
    created_ms: npt.NDArray[np.int64],
    post_ids: npt.NDArray[np.int64],
) -> None:
    """Put `row` into a place at the heap's end, and let it rise."""
    while place > 0:
        parent = (place - 1) // 2
        if not precedes(row, heap[parent], newest, created_ms, post_ids):
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = row


@kernel
def sink(
    heap: npt.NDArray[np.int64],
    n: int,
    row: int,
    newest: bool,
    created_ms: npt.NDArray[np.int64],
    post_ids: npt.NDArray[np.int64],
) -> None:
    """Put `row` in the place of the root of a heap of n rows, and let it sink."""
    place = 0
    while 2 * place + 1 < n:
        child = 2 * place + 1
        if child + 1 < n and precedes(heap[child + 1], heap[child], newest, created_ms, post_ids):
            child += 1
        if not precedes(heap[child], row, newest, created_ms, post_ids):
            break
        heap[place] = heap[child]
        place = child
    heap[place] = row

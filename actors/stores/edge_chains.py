"""The live adjacency of one side: each node's entries in chunks of 1, 2, 4, … slots.

The layout of GraphJet's power-law pools: appending never moves an entry, less than half of
the slots are wasted, and reading backwards is contiguous within a chunk. Entries stand in
arrival order and carry the number of their edge, so that a reader passes over edges beyond
the count it captured; each node also remembers how late an edge has ever come behind a newer
one, which tells the reader how far back to look for the newest by time.
"""

import numpy as np
import numpy.typing as npt

from actors.stores.id_map import Dense, Ids
from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int, acquire_fence, prefetch, release_fence
from actors.stores.segment_row import (
    BOTH_BIT,
    KIND_MASK,
    LOW32,
    MARK_SHIFT,
    TARGET_SHIFT,
    floor_power,
    mark_of,
)

Uint8s = npt.NDArray[np.uint8]

# Columns of a node: its state, newest time, lateness, last edge.
NODE_WIDTH = 4
# How many edges before its turn the state of a node is fetched, and then the slot it names.
_AHEAD, _SLOT_AHEAD = 24, 8


class EdgeChains:
    """Growing chains; one writer, any number of readers of captured `nodes` and `pool`.

    `nodes` int64[capacity, 4]: (degree | slot of the last entry << 32), the newest time, the
    greatest lateness in ms, the number of the last edge. `pool` int64[slots, 2]: entries (time |
    mark of the other end << 48, word | edge number << 32), and before every chunk but a node's
    first a header: where its previous one begins.
    """

    def __init__(self, expected_nodes: int = 0, expected_slots: int = 0) -> None:
        self.nodes = np.zeros((expected_nodes, NODE_WIDTH), np.int64)
        self.pool = np.empty((max(64, expected_slots), 2), np.int64)
        self.used = 0

    def append(
        self,
        n_nodes: int,
        owners: Dense,
        targets: Dense,
        target_ids: Ids,
        kinds: Uint8s,
        times_ms: Ids,
        sides: Uint8s,
        side_bit: int,
        first_edge: int,
    ) -> None:
        """Link those edges of a batch whose `sides` have `side_bit`; owners are below n_nodes."""
        if len(self.nodes) < n_nodes:
            nodes = np.zeros((max(n_nodes, 2 * len(self.nodes)), NODE_WIDTH), np.int64)
            nodes[: len(self.nodes)] = self.nodes
            self.nodes = nodes
        done = 0
        while done < len(owners):
            done, self.used = _append(
                self.nodes, self.pool, self.used, owners, targets, target_ids, kinds, times_ms,
                sides, side_bit, first_edge, done,
            )  # fmt: skip
            if done < len(owners):
                # New arrays replace the old, which readers may still be walking; both, for
                # a node must never lead a reader beyond the pool it captured.
                needed = 2 + int(self.nodes[owners[done], 0] & LOW32)
                pool = np.empty((max(2 * len(self.pool), self.used + needed), 2), np.int64)
                pool[: self.used] = self.pool[: self.used]
                self.pool, self.nodes = pool, self.nodes.copy()


@kernel
def _append(
    nodes: npt.NDArray[np.int64],
    pool: npt.NDArray[np.int64],
    used: Int,
    owners: Dense,
    targets: Dense,
    target_ids: Ids,
    kinds: Uint8s,
    times_ms: Ids,
    sides: Uint8s,
    side_bit: Int,
    first_edge: Int,
    done: Int,
) -> tuple[Int, Int]:
    """Append from position `done` on; stops where the pool would have to grow."""
    states, slots = nodes.ctypes.data, pool.ctypes.data
    for i in range(done, len(owners)):
        if i + _AHEAD < len(owners):
            prefetch(states + 8 * NODE_WIDTH * np.int64(owners[i + _AHEAD]))
        if i + _SLOT_AHEAD < len(owners):
            prefetch(slots + 16 * ((nodes[owners[i + _SLOT_AHEAD], 0] >> 32) + 1))
        if (sides[i] & side_bit) == 0:
            continue
        owner = owners[i]
        state = nodes[owner, 0]
        degree = state & LOW32
        at = (state >> 32) + 1
        if (degree & (degree + 1)) == 0:
            if used + degree + 2 > len(pool):
                return i, used
            at = used
            if degree > 0:
                pool[used, 0] = (state >> 32) - ((degree + 1) >> 1) + 1
                at += 1
            used = at + degree + 1
        time_ms = times_ms[i]
        word = np.int64(targets[i]) << TARGET_SHIFT | np.int64(kinds[i] & KIND_MASK)
        if sides[i] == 3:
            word |= BOTH_BIT
        pool[at, 0] = time_ms | mark_of(target_ids[i]) << MARK_SHIFT
        pool[at, 1] = word | (first_edge + i) << 32
        late = nodes[owner, 1] - time_ms
        if late <= 0 or degree == 0:
            nodes[owner, 1] = time_ms
        elif late > nodes[owner, 2]:
            nodes[owner, 2] = late
        release_fence()
        nodes[owner, 3] = first_edge + i
        release_fence()
        # Degree and place in one store: a reader never sees one without the other.
        nodes[owner, 0] = (degree + 1) | at << 32
    return len(owners), used


@kernel
def visible_degree(
    nodes: npt.NDArray[np.int64], pool: npt.NDArray[np.int64], node: Int, n_edges: Int
) -> tuple[Int, Int]:
    """A node's entries among the first `n_edges` edges: (degree, slot of the last of them)."""
    state = nodes[node, 0]
    degree = state & LOW32
    last = state >> 32
    # Stored before the state and loaded after it: if even the last edge is visible, all are.
    acquire_fence()
    if degree == 0 or nodes[node, 3] < n_edges:
        return degree, last
    while degree > 0:
        size = floor_power(degree)
        begin = last - (degree - size)
        if pool[begin, 1] >> 32 < n_edges:
            # The numbers ascend within a chunk: search for the last one that is visible.
            low, high = begin, last
            while low < high:
                middle = (low + high + 1) >> 1
                if pool[middle, 1] >> 32 < n_edges:
                    low = middle
                else:
                    high = middle - 1
            return degree - (last - low), low
        degree = size - 1
        if degree > 0:
            last = pool[begin - 1, 0] + (size >> 1) - 1
    return 0, 0


@kernel
def slot_of_position(pool: npt.NDArray[np.int64], degree: Int, last: Int, position: Int) -> Int:
    """The slot of a node's entry number `position` (0 the oldest arrival)."""
    while True:
        size = floor_power(degree)
        begin = last - (degree - size)
        if position >= size - 1:
            return begin + position - (size - 1)
        degree = size - 1
        last = pool[begin - 1, 0] + (size >> 1) - 1

"""Fetching a node's edges into the caches ahead of `adjacency.newest`, in three steps.

Each step reads what the step before has fetched, so a caller with many nodes runs them one
node apart, and its random reads wait for nothing. All are hints: they change no answer.
"""

import numpy as np
import numpy.typing as npt

from actors.stores.edge_chains import NODE_WIDTH
from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int, int64_rows, int64s, prefetch, uint32s
from actors.stores.segment_row import (
    BLOCK,
    BLOCK_WIDTH,
    CSR_FORM,
    ENTRIES,
    FORM,
    INDEX,
    KEYS,
    LOW32,
    MARKS,
    NODES,
    TARGET_SHIFT,
    floor_power,
)

Rows = npt.NDArray[np.int64]


@kernel
def fetch_index(rows: Rows, side: Int, nodes: npt.NDArray[np.int32]) -> None:
    """First step: fetch where a node's edges are noted."""
    block = BLOCK + side * BLOCK_WIDTH
    for s in range(len(rows)):
        width = 4 if rows[s, FORM] == CSR_FORM else 8 * NODE_WIDTH
        prefetch(rows[s, block + INDEX] + width * (nodes[s] if nodes[s] > 0 else 0))


@kernel
def fetch_entries(rows: Rows, side: Int, nodes: npt.NDArray[np.int32]) -> None:
    """Second step: fetch the first lines of a node's entries; hardware fetches the next."""
    block = BLOCK + side * BLOCK_WIDTH
    for s in range(len(rows)):
        row = rows[s]
        if nodes[s] < 0:
            continue
        if row[FORM] == CSR_FORM:
            offsets = uint32s(row[block + INDEX], row[block + NODES] + 1)
            at = row[block + ENTRIES] + 8 * np.int64(offsets[nodes[s]])
            prefetch(at)
            prefetch(at + 64)
        else:
            states = int64_rows(row[block + INDEX], row[block + NODES], NODE_WIDTH)
            at = row[block + ENTRIES] + 16 * (states[nodes[s], 0] >> 32)
            prefetch(at)
            prefetch(at - 64)


@kernel
def fetch_slices(rows: Rows, side: Int, nodes: npt.NDArray[np.int32], limit: Int) -> None:
    """In place of the second step: fetch all of a node's newest `limit` entries, and marks.

    Slices are short, so hardware that sees where they go would come too late.
    """
    block = BLOCK + side * BLOCK_WIDTH
    left = limit
    for s in range(len(rows)):
        row, node = rows[s], nodes[s]
        if node < 0:
            continue
        if row[FORM] == CSR_FORM:
            offsets = uint32s(row[block + INDEX], row[block + NODES] + 1)
            begin = np.int64(offsets[node])
            count = min(left, np.int64(offsets[node + 1]) - begin)
            _fetch_lines(row[block + ENTRIES] + 8 * begin, 8 * count)
            if row[block + MARKS] != 0:
                _fetch_lines(row[block + MARKS] + 2 * begin, 2 * count)
        else:
            states = int64_rows(row[block + INDEX], row[block + NODES], NODE_WIDTH)
            degree, last = states[node, 0] & LOW32, states[node, 0] >> 32
            # Only the newest chunk, which is half of all; the rest is not worth the walk.
            count = degree - floor_power(degree) + 1 if degree > 0 else 0
            count = min(left, count)
            _fetch_lines(row[block + ENTRIES] + 16 * (last - count + 1), 16 * count)
        left -= count
        if left == 0:
            return


@kernel
def _fetch_lines(address: Int, length: Int) -> None:
    for at in range(address & -64, address + length, 64):
        prefetch(at)


@kernel
def fetch_targets(rows: Rows, side: Int, nodes: npt.NDArray[np.int32], limit: Int) -> None:
    """Third step: fetch the ids at the other ends of a node's newest `limit` edges."""
    block = BLOCK + side * BLOCK_WIDTH
    left = limit
    for s in range(len(rows)):
        row = rows[s]
        node = nodes[s]
        if node < 0:
            continue
        ids_at = row[BLOCK + (1 - side) * BLOCK_WIDTH + KEYS]
        if row[FORM] == CSR_FORM:
            offsets = uint32s(row[block + INDEX], row[block + NODES] + 1)
            begin = np.int64(offsets[node])
            count = min(left, np.int64(offsets[node + 1]) - begin)
            entries = int64s(row[block + ENTRIES], begin + count)
            for j in range(begin, begin + count):
                prefetch(ids_at + 8 * ((entries[j] & LOW32) >> TARGET_SHIFT))
        else:
            states = int64_rows(row[block + INDEX], row[block + NODES], NODE_WIDTH)
            pool = int64_rows(row[block + ENTRIES], 2**40, 2)
            degree, last = states[node, 0] & LOW32, states[node, 0] >> 32
            # Only the newest chunk, which is half of all; the rest is not worth the walk.
            count = degree - floor_power(degree) + 1 if degree > 0 else 0
            count = min(left, count)
            for j in range(last - count + 1, last + 1):
                prefetch(ids_at + 8 * ((pool[j, 1] & LOW32) >> TARGET_SHIFT))
        left -= count
        if left == 0:
            return

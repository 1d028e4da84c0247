"""Where a user's newest edges lie, so that they are read in place.

Of one user they are a few runs of entries that stand in order: slices of closed segments, chunks
of live ones. Where that order needs the posts' ids to be known, which is rare (edges that came
late, or several of one millisecond in a live segment), they are copied into one run instead.
"""

import numpy as np
import numpy.typing as npt

from actors.stores.adjacency import ORIGIN, TARGET, TIME, newest
from actors.stores.edge_chains import NODE_WIDTH, visible_degree
from actors.stores.id_map import Ids
from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int, int64_rows, int64s, uint16s, uint32s
from actors.stores.segment_row import (
    BLOCK,
    CSR_FORM,
    EDGES,
    ENTRIES,
    FORM,
    HIGH,
    INDEX,
    LOW32,
    MAX_MS,
    MIN_MS,
    NODES,
    TIME_MASK,
    Row,
    floor_power,
    mark_of,
)

Rows = npt.NDArray[np.int64]
Uint16s = npt.NDArray[np.uint16]

# A row of a run: its form; the place of its first edge, which is the first entry of a closed
# segment, the last slot of a chunk, or the first column of the copies; its edges; its segment.
RUN_FORM, RUN_AT, RUN_COUNT, RUN_SEGMENT, RUN_WIDTH = range(5)
CLOSED_RUN, CHUNK_RUN, COPIED_RUN = range(3)
# A user with more of them has their edges copied.
MAX_RUNS = 64

_BLOCK = BLOCK  # of the left index


@kernel
def find_runs(
    rows: Rows,
    nodes: npt.NDArray[np.int32],
    limit: Int,
    min_ms: Int,
    runs: npt.NDArray[np.int64],
    copies: Ids,
    marks: Uint16s,
    copied: Int,
    found: Ids,
    scratch: Ids,
) -> tuple[Int, Int]:
    """The runs of a user's newest `limit` edges, none older than `min_ms`, newest first.

    `nodes` int32[segments] are the user's dense ids. Writes `runs` int64[≥ MAX_RUNS, RUN_WIDTH]
    and returns their number and how many edges were copied: those go to the columns from
    `copied` on of `copies` int64[2, …] (time, origin) and of `marks`. `found`, `scratch` as in
    `adjacency.newest`.
    """
    n_runs, count = 0, np.int64(0)
    last_ms = np.int64(2**62)
    for s in range(len(rows)):
        row, node = rows[s], nodes[s]
        if count == limit:
            # Older segments hold no newer edges, unless some came late.
            if node >= 0 and row[MAX_MS] >= last_ms and _first_ms(row, node) >= last_ms:
                n_runs = -1
                break
            continue
        if node < 0 or row[MAX_MS] < min_ms:
            continue
        if n_runs == len(runs):
            n_runs = -1
            break
        if row[FORM] == CSR_FORM:
            n, first_ms, end_ms = _slice_of(row, s, node, limit - count, min_ms, runs, n_runs)
        else:
            n, first_ms, end_ms = _chunks_of(row, s, node, limit - count, min_ms, runs, n_runs)
        if n == 0:
            continue
        if n < 0 or first_ms >= last_ms:
            n_runs = -1
            break
        last_ms = end_ms
        n += count
        while count < n:
            count += runs[n_runs, RUN_COUNT]
            n_runs += 1
    if n_runs >= 0:
        return n_runs, np.int64(0)
    count = newest(rows, 0, nodes, limit, min_ms, found, scratch)
    for i in range(count):
        copies[0, copied + i] = found[TIME, i]
        copies[1, copied + i] = found[ORIGIN, i]
        marks[copied + i] = mark_of(found[TARGET, i])
    runs[0, RUN_FORM], runs[0, RUN_AT], runs[0, RUN_COUNT] = COPIED_RUN, copied, count
    return 1, count


@kernel
def time_in(row: Row, at: Int) -> Int:
    """The time of an entry of a closed segment's left index."""
    entry = int64s(row[_BLOCK + ENTRIES] + 8 * at, 1)[0]
    time_ms = row[MIN_MS] + ((entry >> 32) & LOW32)
    if row[_BLOCK + HIGH] != 0:
        time_ms += np.int64(uint16s(row[_BLOCK + HIGH] + 2 * at, 1)[0]) << 32
    return time_ms


@kernel
def _first_ms(row: Row, node: Int) -> Int:
    """No edge of the user in this segment is newer."""
    if row[FORM] == CSR_FORM:
        offsets = uint32s(row[_BLOCK + INDEX], row[_BLOCK + NODES] + 1)
        if offsets[node] == offsets[node + 1]:
            return np.int64(-1)
        return time_in(row, np.int64(offsets[node]))
    return int64_rows(row[_BLOCK + INDEX], row[_BLOCK + NODES], NODE_WIDTH)[node, 1]


@kernel
def _slice_of(
    row: Row,
    segment: Int,
    node: Int,
    limit: Int,
    min_ms: Int,
    runs: npt.NDArray[np.int64],
    n_runs: Int,
) -> tuple[Int, Int, Int]:
    """One run of a closed segment; returns its edges, and the times of the first and the last."""
    offsets = uint32s(row[_BLOCK + INDEX], row[_BLOCK + NODES] + 1)
    begin = np.int64(offsets[node])
    count = min(limit, np.int64(offsets[node + 1]) - begin)
    if count == 0:
        return np.int64(0), np.int64(0), np.int64(0)
    end_ms = time_in(row, begin + count - 1)
    if end_ms < min_ms:
        low, high = np.int64(0), count - 1
        while low < high:
            middle = (low + high) >> 1
            if time_in(row, begin + middle) < min_ms:
                high = middle
            else:
                low = middle + 1
        count = low
        if count == 0:
            return np.int64(0), np.int64(0), np.int64(0)
        end_ms = time_in(row, begin + count - 1)
    run = runs[n_runs]
    run[RUN_FORM], run[RUN_AT], run[RUN_COUNT], run[RUN_SEGMENT] = CLOSED_RUN, begin, count, segment
    return count, time_in(row, begin), end_ms


@kernel
def _chunks_of(
    row: Row,
    segment: Int,
    node: Int,
    limit: Int,
    min_ms: Int,
    runs: npt.NDArray[np.int64],
    n_runs: Int,
) -> tuple[Int, Int, Int]:
    """The chunks of a live segment as runs, or −1 edges where arrival was not order."""
    nodes = int64_rows(row[_BLOCK + INDEX], row[_BLOCK + NODES], NODE_WIDTH)
    pool = int64_rows(row[_BLOCK + ENTRIES], 2**40, 2)
    degree, last = visible_degree(nodes, pool, node, row[EDGES])
    # Noted before the edge that it is about was visible.
    if degree == 0 or nodes[node, 2] > 0:
        return np.int64(0 if degree == 0 else -1), np.int64(0), np.int64(0)
    count = np.int64(0)
    first_ms = pool[last, 0] & TIME_MASK
    previous_ms = np.int64(2**62)
    while degree > 0 and n_runs < len(runs):
        size = floor_power(degree)
        begin = last - (degree - size)
        run = runs[n_runs]
        run[RUN_FORM], run[RUN_AT], run[RUN_SEGMENT] = CHUNK_RUN, last, segment
        n_runs += 1
        run[RUN_COUNT] = 0
        for at in range(last, begin - 1, -1):
            time_ms = pool[at, 0] & TIME_MASK
            if time_ms < min_ms:
                return count, first_ms, previous_ms
            if time_ms == previous_ms:
                return np.int64(-1), np.int64(0), np.int64(0)
            # Asked only now, for of edges of one millisecond the ids decide which are taken.
            if count == limit:
                return count, first_ms, previous_ms
            previous_ms = time_ms
            count += 1
            run[RUN_COUNT] += 1
        degree = size - 1
        if degree > 0:
            last = pool[begin - 1, 0] + (size >> 1) - 1
    return np.int64(-1) if degree > 0 else count, first_ms, previous_ms

"""Reading a node's edges out of segment rows: newest first, degrees, random draws.

All kernels take `rows`, int64[segments, ROW_WIDTH], newest segment first. The order of edges
is total: time, then the other end's id, then kind, each descending; so what "the newest 500"
are depends neither on arrival order nor on how edges fell into segments.
"""

import numpy as np
import numpy.typing as npt

from actors.stores.edge_chains import NODE_WIDTH, slot_of_position, visible_degree
from actors.stores.id_map import hash_id, probe, slot_of, tag_mask
from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int, int64_rows, int64s, prefetch, uint16s, uint32s
from actors.stores.segment_row import (
    AUTHORS,
    BLOCK,
    BLOCK_WIDTH,
    CAPACITY,
    CSR_FORM,
    EDGES,
    ENTRIES,
    FORM,
    HIGH,
    INDEX,
    KEYS,
    KIND_MASK,
    LOW32,
    MAX_MS,
    MIN_MS,
    NODES,
    SLOTS,
    TARGET_SHIFT,
    TIME_MASK,
    Row,
    floor_power,
    keys_of,
)

Rows = npt.NDArray[np.int64]
Int64s = npt.NDArray[np.int64]

# Rows of an edge buffer, int64[3, capacity]: time, the other end's id, and where it came from
# (segment << 32 | word).
TIME, TARGET, ORIGIN = 0, 1, 2

# Masked so, an index is known not to be negative, and Numba's check for that falls away.
_MASK31 = 0x7FFFFFFF


@kernel
def locate(rows: Rows, side: Int, ids: Int64s, nodes: npt.NDArray[np.int32]) -> None:
    """Dense ids of `ids` in every segment, into `nodes` int32[segments, ids]; −1 absent."""
    mixed = np.empty(len(ids), np.uint64)
    starts = np.empty(len(ids), np.int64)
    for i in range(len(ids)):
        mixed[i] = hash_id(ids[i])
    block = BLOCK + side * BLOCK_WIDTH
    for s in range(len(rows)):
        row = rows[s]
        slots = uint32s(row[block + SLOTS], row[block + CAPACITY])
        keys = keys_of(row, side)
        tags = tag_mask(len(slots))
        capacity = len(slots)
        for i in range(len(ids)):
            starts[i] = slot_of(mixed[i], capacity)
            prefetch(row[block + SLOTS] + 4 * starts[i])
        found = nodes[s]
        for i in range(len(ids)):
            # On to the slot that decides, going by hash bits alone.
            at = starts[i]
            low = np.uint32(mixed[i] & np.uint64(LOW32))
            slot = slots[at & _MASK31]
            while slot != 0 and ((slot ^ low) & tags) != 0:
                at += 1
                if at == capacity:
                    at = 0
                slot = slots[at & _MASK31]
            starts[i] = at
            found[i] = np.int64(slot & ~tags) - 1
            prefetch(row[block + KEYS] + 8 * found[i])
        for i in range(len(ids)):
            dense = np.int64(found[i])
            if dense < 0:
                continue
            if dense >= len(keys) or keys[dense & _MASK31] != ids[i]:
                low = np.uint32(mixed[i] & np.uint64(LOW32))
                found[i] = probe(slots, keys, ids[i], starts[i], low, tags)


@kernel
def degree_of(row: Row, side: Int, node: Int) -> Int:
    """A node's edges in one segment; 0 for node −1."""
    if node < 0:
        return 0
    block = BLOCK + side * BLOCK_WIDTH
    if row[FORM] == CSR_FORM:
        offsets = uint32s(row[block + INDEX], row[block + NODES] + 1)
        return np.int64(offsets[node + 1]) - np.int64(offsets[node])
    degree, _ = visible_degree(
        int64_rows(row[block + INDEX], row[block + NODES], NODE_WIDTH),
        int64_rows(row[block + ENTRIES], 2**40, 2),
        node,
        row[EDGES],
    )
    return degree


@kernel
def degrees_of(
    rows: Rows, side: Int, nodes: npt.NDArray[np.int32], degrees: npt.NDArray[np.int32]
) -> None:
    """`degree_of` for many nodes in every segment, as `locate` found them: [segments, n]."""
    block = BLOCK + side * BLOCK_WIDTH
    n = nodes.shape[1]
    for s in range(len(rows)):
        row, own, out = rows[s], nodes[s], degrees[s]
        if row[FORM] == CSR_FORM:
            offsets = uint32s(row[block + INDEX], row[block + NODES] + 1)
            for i in range(n):
                prefetch(row[block + INDEX] + 4 * (own[i] if own[i] > 0 else 0))
            for i in range(n):
                # An absent node reads some other's offsets, and counts nothing.
                present = own[i] >= 0
                node = (own[i] if present else 0) & _MASK31
                count = np.int64(offsets[node + 1]) - np.int64(offsets[node])
                out[i] = count * present
        else:
            for i in range(n):
                prefetch(row[block + INDEX] + 8 * NODE_WIDTH * (own[i] if own[i] > 0 else 0))
            for i in range(n):
                out[i] = degree_of(row, side, own[i])


@kernel
def edge_at(row: Row, side: Int, node: Int, position: Int) -> tuple[Int, Int]:
    """(time, word) of one of a node's edges in a segment; position in 0 … degree − 1."""
    block = BLOCK + side * BLOCK_WIDTH
    if row[FORM] == CSR_FORM:
        offsets = uint32s(row[block + INDEX], row[block + NODES] + 1)
        at = np.int64(offsets[node]) + position
        entry = int64s(row[block + ENTRIES], at + 1)[at]
        time_ms = row[MIN_MS] + ((entry >> 32) & LOW32)
        if row[block + HIGH] != 0:
            time_ms += np.int64(uint16s(row[block + HIGH], at + 1)[at]) << 32
        return time_ms, entry & LOW32
    pool = int64_rows(row[block + ENTRIES], 2**40, 2)
    degree, last = visible_degree(
        int64_rows(row[block + INDEX], row[block + NODES], NODE_WIDTH), pool, node, row[EDGES]
    )
    at = slot_of_position(pool, degree, last, position)
    return pool[at, 0] & TIME_MASK, pool[at, 1] & LOW32


@kernel
def newest(
    rows: Rows,
    side: Int,
    nodes: npt.NDArray[np.int32],
    limit: Int,
    min_ms: Int,
    found: Int64s,
    scratch: Int64s,
) -> Int:
    """The newest `limit` edges of one node over all segments, no older than `min_ms`.

    `nodes` int32[segments] are the node's dense ids (`locate`). Writes the buffer `found`
    int64[3, ≥ limit] in order and returns the count; `scratch` is int64[3, ≥ 3 limit].
    """
    count = 0
    if limit < 1:
        return count
    for s in range(len(rows)):
        node = nodes[s]
        if node < 0 or rows[s, MAX_MS] < min_ms:
            continue
        row = rows[s]
        oldest = min_ms
        if count == limit:
            oldest = max(oldest, found[TIME, count - 1])
            if row[MAX_MS] < oldest:
                continue
        if row[FORM] == CSR_FORM:
            block = BLOCK + side * BLOCK_WIDTH
            offsets = uint32s(row[block + INDEX], row[block + NODES] + 1)
            begin, end = np.int64(offsets[node]), np.int64(offsets[node + 1])
            if begin == end:
                continue
            newest_ms, _ = edge_at(row, side, node, 0)
            if count == 0 or newest_ms < found[TIME, count - 1]:
                end = min(end, begin + limit - count)
                count += _read_csr(row, s, side, begin, end, oldest, found, count)
                continue
            end = min(end, begin + limit)
            read = _read_csr(row, s, side, begin, end, oldest, scratch, 0)
        else:
            read = _read_chains(row, s, side, node, limit, oldest, scratch)
        if read > 0:
            count = _merge(found, count, scratch, read, limit, scratch[:, 2 * limit :])
    return count


@kernel
def _read_csr(
    row: Row, segment: Int, side: Int, begin: Int, end: Int, min_ms: Int, out: Int64s, at: Int
) -> Int:
    """Decode entries begin … end into `out` from column `at`, up to the first before min_ms."""
    block = BLOCK + side * BLOCK_WIDTH
    entries = int64s(row[block + ENTRIES] + 8 * begin, end - begin)
    ids = keys_of(row, 1 - side)
    base_ms = row[MIN_MS]
    origin = np.int64(segment) << 32
    times, targets, origins = out[TIME, at:], out[TARGET, at:], out[ORIGIN, at:]
    count = end - begin
    if row[block + HIGH] != 0:
        highs = uint16s(row[block + HIGH] + 2 * begin, count)
        for j in range(count):
            times[j] = base_ms + ((entries[j] >> 32) & LOW32) + (np.int64(highs[j]) << 32)
    else:
        for j in range(count):
            times[j] = base_ms + ((entries[j] >> 32) & LOW32)
    while count > 0 and times[count - 1] < min_ms:
        count -= 1
    for j in range(count):
        word = entries[j] & LOW32
        targets[j] = ids[word >> TARGET_SHIFT]
        origins[j] = origin | word
    return count


@kernel
def _read_chains(
    row: Row, segment: Int, side: Int, node: Int, limit: Int, min_ms: Int, out: Int64s
) -> Int:
    """The newest `limit` of a live node, sorted, into `out`, which holds 2 limit columns.

    Edges arrived up to `late` ms behind a newer one of the same node, so nothing older by
    arrival can be newer by time once an entry's time + late is below the limit-th time.
    """
    block = BLOCK + side * BLOCK_WIDTH
    nodes = int64_rows(row[block + INDEX], row[block + NODES], NODE_WIDTH)
    pool = int64_rows(row[block + ENTRIES], 2**40, 2)
    ids = keys_of(row, 1 - side)
    origin = np.int64(segment) << 32
    degree, last = visible_degree(nodes, pool, node, row[EDGES])
    late = nodes[node, 2]
    oldest = min_ms
    count = 0
    while degree > 0:
        size = floor_power(degree)
        begin = last - (degree - size)
        for at in range(last, begin - 1, -1):
            time_ms = pool[at, 0] & TIME_MASK
            if time_ms < oldest:
                if time_ms + late < oldest:
                    degree = 0
                    break
                continue
            if count == 2 * limit:
                sort_newest(out, count)
                count = limit
                oldest = out[TIME, limit - 1]
                if time_ms < oldest:
                    continue
            word = pool[at, 1] & LOW32
            out[TIME, count] = time_ms
            out[TARGET, count] = ids[word >> TARGET_SHIFT]
            out[ORIGIN, count] = origin | word
            count += 1
            if count == limit:
                oldest = max(oldest, out[TIME, :count].min())
        if degree > 0:
            degree = size - 1
            if degree > 0:
                last = pool[begin - 1, 0] + (size >> 1) - 1
    sort_newest(out, count)
    return min(count, limit)


@kernel
def _merge(found: Int64s, count: Int, other: Int64s, read: Int, limit: Int, spare: Int64s) -> Int:
    """Merge two buffers in order into `found`, keeping the first `limit`."""
    if count == 0:
        found[:, :read] = other[:, :read]
        return read
    total = min(limit, count + read)
    if count == limit and not precedes(other, 0, found, count - 1):
        return count
    a, b = 0, 0
    for i in range(total):
        if b == read or (a < count and not precedes(other, b, found, a)):
            spare[:, i] = found[:, a]
            a += 1
        else:
            spare[:, i] = other[:, b]
            b += 1
    found[:, :total] = spare[:, :total]
    return total


@kernel
def precedes(one: Int64s, i: Int, other: Int64s, j: Int) -> bool:
    """Whether edge i of buffer `one` comes before edge j of buffer `other`."""
    if one[TIME, i] != other[TIME, j]:
        return bool(one[TIME, i] > other[TIME, j])
    if one[TARGET, i] != other[TARGET, j]:
        return bool(one[TARGET, i] > other[TARGET, j])
    return bool((one[ORIGIN, i] & KIND_MASK) > (other[ORIGIN, j] & KIND_MASK))


@kernel
def sort_newest(edges: Int64s, count: Int) -> None:
    """Sort the first `count` columns of a buffer in place, newest first.

    An insertion sort, linear on the almost ordered input that nearly always comes; a real
    sort takes over when it has moved too much.
    """
    budget = 8 * count + 64
    for i in range(1, count):
        if not precedes(edges, i, edges, i - 1):
            continue
        time_ms, target, origin = edges[TIME, i], edges[TARGET, i], edges[ORIGIN, i]
        kind = origin & KIND_MASK
        j = i - 1
        while j >= 0 and (
            edges[TIME, j] < time_ms
            or (
                edges[TIME, j] == time_ms
                and (
                    edges[TARGET, j] < target
                    or (edges[TARGET, j] == target and (edges[ORIGIN, j] & KIND_MASK) < kind)
                )
            )
        ):
            edges[TIME, j + 1] = edges[TIME, j]
            edges[TARGET, j + 1] = edges[TARGET, j]
            edges[ORIGIN, j + 1] = edges[ORIGIN, j]
            j -= 1
        edges[TIME, j + 1] = time_ms
        edges[TARGET, j + 1] = target
        edges[ORIGIN, j + 1] = origin
        budget -= i - 1 - j
        if budget < 0:
            _sort_whole(edges, count)
            return


@kernel
def _sort_whole(edges: Int64s, count: Int) -> None:
    order = np.argsort(edges[ORIGIN, :count] & KIND_MASK, kind="mergesort")
    order = order[np.argsort(edges[TARGET, :count][order], kind="mergesort")]
    order = order[np.argsort(edges[TIME, :count][order], kind="mergesort")][::-1]
    edges[:, :count] = edges[:, :count][:, order]


@kernel
def authors_of(row: Row) -> npt.NDArray[np.int64]:
    """Author ids by post dense id, int64; 0 where none was given."""
    return int64s(row[AUTHORS], row[BLOCK + BLOCK_WIDTH + NODES])

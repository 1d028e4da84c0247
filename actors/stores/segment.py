"""One temporal segment of the interaction graph: growing chains while live, CSR once closed.

A `Segment` is what readers hold: immutable, with a row for kernels. The writer appends to a
`LiveSegment` and captures it after every batch; `close` rewrites a full one so that every
node's entries are contiguous and sorted newest first, in both indexes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.stores.adjacency import degree_of, edge_at, sort_newest
from actors.stores.edge_chains import NODE_WIDTH, EdgeChains
from actors.stores.id_map import Dense, IdMap, Ids, fill_slots, packed_capacity
from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int, carve, int64_rows, int64s, prefetch
from actors.stores.segment_row import (
    AUTHORS,
    BLOCK,
    BLOCK_WIDTH,
    BOTH_BIT,
    CAPACITY,
    CSR_FORM,
    EDGES,
    ENTRIES,
    FORM,
    HIGH,
    INDEX,
    KEYS,
    KIND_MASK,
    LEFT,
    LIVE_FORM,
    LOW32,
    MARK_SHIFT,
    MARKS,
    MAX_MS,
    MAX_SEGMENT_EDGES,
    MIN_MS,
    NODES,
    RIGHT,
    ROW_WIDTH,
    SLOTS,
    TARGET_SHIFT,
    TIME_MASK,
    Row,
    floor_power,
    keys_of,
    mark_of,
)

Uint8s = npt.NDArray[np.uint8]
Uint16s = npt.NDArray[np.uint16]
Columns = dict[str, npt.NDArray[Any]]

# How many nodes before its turn the end of a chain is fetched, and then the chunks before it.
_AHEAD, _CHUNK_AHEAD, _NEXT_CHUNK_AHEAD = 48, 32, 16

LEFT_SIDE, RIGHT_SIDE, BOTH_SIDES = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Segment:
    """An immutable view of a segment: `row` for kernels, and `arrays`, which keep it alive."""

    row: Row
    arrays: tuple[npt.NDArray[Any], ...]

    @property
    def n_edges(self) -> int:
        """Edges, each once, in whichever index it stands."""
        return int(self.row[EDGES])

    @property
    def min_ms(self) -> int:
        """The oldest edge's time."""
        return int(self.row[MIN_MS])

    @property
    def max_ms(self) -> int:
        """The newest edge's time; −1 without edges."""
        return int(self.row[MAX_MS])

    @property
    def is_closed(self) -> bool:
        """Whether it has been rewritten as CSR."""
        return int(self.row[FORM]) == CSR_FORM

    @property
    def memory_bytes(self) -> int:
        """Bytes of its arrays, spare capacity included."""
        return sum(array.nbytes for array in self.arrays)

    def columns(self) -> Columns:
        """Every edge as plain arrays, oldest first, ready to be inserted again.

        `user_ids`, `post_ids`, `author_ids`, `times_ms` int64[n]; `kinds`, `sides` uint8[n].
        """
        n = self.n_edges
        ids = np.empty((4, n), np.int64)
        small = np.empty((2, n), np.uint8)
        _expand(self.row, ids, small)
        order = np.argsort(ids[3], kind="stable")
        user_ids, post_ids, author_ids, times_ms = ids[:, order]
        kinds, sides = small[:, order]
        return {
            "user_ids": user_ids,
            "post_ids": post_ids,
            "author_ids": author_ids,
            "kinds": kinds,
            "times_ms": times_ms,
            "sides": sides,
        }


@dataclass(frozen=True, slots=True)
class SizeHints:
    """What to pre-size a live segment with: distinct nodes and pool slots of each side."""

    users: int = 0
    posts: int = 0
    left_slots: int = 0
    right_slots: int = 0


class LiveSegment:
    """The segment that takes writes, of at most `max_edges` edges; one writer."""

    def __init__(self, max_edges: int, hints: SizeHints) -> None:
        if not 1 <= max_edges <= MAX_SEGMENT_EDGES:
            raise ValueError(f"edges per segment must be in 1 … 2^27, got {max_edges}")
        self.max_edges = max_edges
        self.n_edges = 0
        self.min_ms, self.max_ms = 2**62, -1
        self._users, self._posts = IdMap(hints.users), IdMap(hints.posts)
        self._authors = np.zeros(hints.posts, np.int64)
        self._left = EdgeChains(hints.users, hints.left_slots)
        self._right = EdgeChains(hints.posts, hints.right_slots)

    def sizes(self) -> SizeHints:
        """The sizes this segment has reached, with an eighth to spare."""
        used = (len(self._users), len(self._posts), self._left.used, self._right.used)
        return SizeHints(*(size + size // 8 for size in used))

    def append(
        self,
        user_ids: Ids,
        post_ids: Ids,
        author_ids: Ids,
        kinds: Uint8s,
        times_ms: Ids,
        sides: Uint8s,
    ) -> None:
        """Add a checked batch that fits."""
        users = self._users.get_or_insert(user_ids)
        posts = self._posts.get_or_insert(post_ids)
        if len(self._authors) < len(self._posts):
            authors = np.zeros(max(len(self._posts), 2 * len(self._authors)), np.int64)
            authors[: len(self._authors)] = self._authors
            self._authors = authors
        _note_authors(self._authors, posts, author_ids)
        first = self.n_edges
        rest = (kinds, times_ms, sides)
        self._left.append(len(self._users), users, posts, post_ids, *rest, LEFT_SIDE, first)
        self._right.append(len(self._posts), posts, users, user_ids, *rest, RIGHT_SIDE, first)
        self.n_edges += len(users)
        self.min_ms = min(self.min_ms, int(times_ms.min()))
        self.max_ms = max(self.max_ms, int(times_ms.max()))

    def capture(self) -> Segment:
        """What readers may see from now on: everything appended so far."""
        row = np.zeros(ROW_WIDTH, np.int64)
        row[FORM], row[EDGES] = LIVE_FORM, self.n_edges
        row[MIN_MS], row[MAX_MS] = self.min_ms, self.max_ms
        row[AUTHORS] = self._authors.ctypes.data
        users, posts, left, right = self._users, self._posts, self._left, self._right
        arrays = (
            self._authors,
            *_describe(row, LEFT, users.slots, users.keys, left.nodes, left.pool),
            *_describe(row, RIGHT, posts.slots, posts.keys, right.nodes, right.pool),
        )
        return Segment(row, arrays)


def close(segment: Segment) -> Segment:
    """The same edges as CSR, from the last capture of a segment that no longer grows.

    Entries are int64 (time − oldest time << 32 | word). A segment that spans 2^32 ms or more
    keeps the 16 bits above in one more array, so times stay exact to the millisecond. Of users'
    entries the marks of the posts stand in an array of their own.
    """
    row = np.zeros(ROW_WIDTH, np.int64)
    row[:BLOCK] = segment.row[:BLOCK]
    row[FORM] = CSR_FORM
    n_wide = 1 if segment.max_ms - segment.min_ms >= 2**32 else 0
    live_keys = [segment.arrays[2 + 4 * side] for side in (LEFT, RIGHT)]
    n_entries = [_count(segment.row, side) for side in (LEFT, RIGHT)]
    authors, marks, *held = carve(
        (len(live_keys[RIGHT]), np.int64),
        (n_entries[LEFT], np.uint16),
        *(
            layout
            for keys, n in zip(live_keys, n_entries, strict=True)
            for layout in (
                (packed_capacity(len(keys)), np.uint32),
                (len(keys), np.int64),
                (len(keys) + 1, np.uint32),
                (n, np.int64),
                (n * n_wide, np.uint16),
            )
        ),
    )
    authors[:] = segment.arrays[0][: len(authors)]
    row[AUTHORS] = authors.ctypes.data
    for side in (LEFT, RIGHT):
        slots, keys, offsets, entries, high = held[5 * side : 5 * side + 5]
        slots[:] = 0
        keys[:] = live_keys[side]
        fill_slots(slots, keys, 0)
        _rewrite(segment.row, side, offsets, entries, high, marks if side == LEFT else marks[:0])
        _describe(row, side, slots, keys, offsets, entries, high)
    row[BLOCK + LEFT * BLOCK_WIDTH + MARKS] = marks.ctypes.data
    return Segment(row, (authors, *held, marks))


def _describe(
    row: Row,
    side: int,
    slots: npt.NDArray[np.uint32],
    keys: Ids,
    index: npt.NDArray[Any],
    entries: npt.NDArray[np.int64],
    high: Uint16s | None = None,
) -> tuple[npt.NDArray[Any], ...]:
    """Enter the arrays of one side into its block of the row, and return them."""
    block = row[BLOCK + side * BLOCK_WIDTH :]
    block[NODES], block[CAPACITY] = len(keys), len(slots)
    block[SLOTS], block[KEYS] = slots.ctypes.data, keys.ctypes.data
    block[INDEX], block[ENTRIES] = index.ctypes.data, entries.ctypes.data
    block[HIGH] = high.ctypes.data if high is not None and len(high) > 0 else 0
    return slots, keys, index, entries


@kernel
def _note_authors(authors: Ids, posts: Dense, author_ids: Ids) -> None:
    """Keep the first known author of each post."""
    for i in range(len(posts)):
        if authors[posts[i]] == 0:
            authors[posts[i]] = author_ids[i]


@kernel
def _count(row: Row, side: Int) -> Int:
    """How many edges one index of a live segment holds."""
    block = BLOCK + side * BLOCK_WIDTH
    nodes = int64_rows(row[block + INDEX], row[block + NODES], NODE_WIDTH)
    total = np.int64(0)
    for node in range(len(nodes)):
        total += nodes[node, 0] & LOW32
    return total


@kernel
def _rewrite(
    row: Row,
    side: Int,
    offsets: npt.NDArray[np.uint32],
    entries: Ids,
    high: Uint16s,
    marks: Uint16s,
) -> None:
    """Copy every chain into its slice, newest arrival first, and sort where that is not order."""
    block = BLOCK + side * BLOCK_WIDTH
    n_nodes = row[block + NODES]
    nodes = int64_rows(row[block + INDEX], n_nodes, NODE_WIDTH)
    pool = int64_rows(row[block + ENTRIES], 2**40, 2)
    ids = keys_of(row, 1 - side)
    base_ms = row[MIN_MS]
    wide = len(high) > 0
    marked = len(marks) > 0
    out = np.int64(0)
    offsets[0] = 0
    for node in range(n_nodes):
        if node + _AHEAD < n_nodes:
            prefetch(row[block + ENTRIES] + 16 * (nodes[node + _AHEAD, 0] >> 32))
        if node + _CHUNK_AHEAD < n_nodes:
            _fetch_chunk(nodes[node + _CHUNK_AHEAD, 0], pool, 1)
        if node + _NEXT_CHUNK_AHEAD < n_nodes:
            _fetch_chunk(nodes[node + _NEXT_CHUNK_AHEAD, 0], pool, 2)
        degree = nodes[node, 0] & LOW32
        last = nodes[node, 0] >> 32
        begin = out
        ordered = True
        previous_ms = np.int64(2**62)
        while degree > 0:
            size = floor_power(degree)
            first = last - (degree - size)
            for at in range(last, first - 1, -1):
                time_ms = pool[at, 0] & TIME_MASK
                if time_ms >= previous_ms:
                    ordered = False
                previous_ms = time_ms
                entries[out] = (time_ms - base_ms) << 32 | (pool[at, 1] & LOW32)
                if wide:
                    high[out] = (time_ms - base_ms) >> 32
                if marked:
                    marks[out] = (pool[at, 0] >> MARK_SHIFT) & 0xFFFF
                out += 1
            degree = size - 1
            if degree > 0:
                last = pool[first - 1, 0] + (size >> 1) - 1
        offsets[node + 1] = out
        if not ordered:
            _sort_slice(entries, high, marks, begin, out, ids)


@kernel
def _fetch_chunk(state: Int, pool: npt.NDArray[np.int64], back: Int) -> None:
    """Fetch the end of the chunk `back` before a chain's last, all after it having been."""
    degree, last = state & LOW32, state >> 32
    for _ in range(back):
        if degree < 2:
            return
        size = floor_power(degree)
        first = last - (degree - size)
        degree = size - 1
        if degree == 0:
            return
        last = pool[first - 1, 0] + (size >> 1) - 1
    prefetch(pool.ctypes.data + 16 * last)


@kernel
def _sort_slice(
    entries: Ids, high: Uint16s, marks: Uint16s, begin: Int, end: Int, ids: Ids
) -> None:
    """Sort one node's entries: time, then the other end's id, then kind, all descending."""
    count = end - begin
    wide = len(high) > 0
    edges = np.empty((3, count), np.int64)
    for i in range(count):
        entry = entries[begin + i]
        edges[0, i] = (entry >> 32) & LOW32
        if wide:
            edges[0, i] |= np.int64(high[begin + i]) << 32
        edges[1, i] = ids[(entry & LOW32) >> TARGET_SHIFT]
        edges[2, i] = entry & LOW32
    sort_newest(edges, count)
    for i in range(count):
        entries[begin + i] = edges[0, i] << 32 | edges[2, i]
        if wide:
            high[begin + i] = edges[0, i] >> 32
        if len(marks) > 0:
            marks[begin + i] = mark_of(edges[1, i])


@kernel
def _expand(row: Row, ids: npt.NDArray[np.int64], small: npt.NDArray[np.uint8]) -> None:
    """Columns of a segment: all of the left index, then what only the right one has."""
    user_ids, post_ids = keys_of(row, LEFT), keys_of(row, RIGHT)
    authors = int64s(row[AUTHORS], len(post_ids))
    at = 0
    for side in (LEFT, RIGHT):
        own_ids = user_ids if side == LEFT else post_ids
        for node in range(len(own_ids)):
            degree = degree_of(row, side, node)
            for position in range(degree):
                time_ms, word = edge_at(row, side, node, position)
                if side == RIGHT and word & BOTH_BIT:
                    continue
                target = word >> TARGET_SHIFT
                user, post = (node, target) if side == LEFT else (target, node)
                ids[0, at] = user_ids[user]
                ids[1, at] = post_ids[post]
                ids[2, at] = authors[post]
                ids[3, at] = time_ms
                small[0, at] = word & KIND_MASK
                small[1, at] = 3 if word & BOTH_BIT else 1 + side
                at += 1

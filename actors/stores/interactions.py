"""The user–post interaction graph: a sliding window of temporal segments (GraphJet's idea).

One writer inserts batches and publishes a new immutable `View` after each; any number of
threads read, each from the view it took once, without a lock. A shard keeps the left index
(user → posts) of edges whose user lives in it and the right index (post → users) of edges
whose post's author does, so an edge may stand in either index or in both.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from actors.stores.adjacency import ORIGIN, TARGET, TIME, authors_of, degrees_of, locate, newest
from actors.stores.edge_draws import draw_edges
from actors.stores.id_map import Ids
from actors.stores.kernels import kernel, writable
from actors.stores.raw_memory import Int
from actors.stores.segment import (
    BOTH_SIDES,
    Columns,
    LiveSegment,
    Segment,
    SizeHints,
    Uint8s,
    close,
)
from actors.stores.segment_row import KIND_MASK, LEFT, LOW32, RIGHT, ROW_WIDTH, TARGET_SHIFT

MAX_TIME_MS = 2**47
# Traversals keep a segment's number in 4 bits.
MAX_SEGMENTS = 16


@dataclass(frozen=True, slots=True)
class View:
    """What one query reads: the segments, newest first, and their rows as one table."""

    segments: tuple[Segment, ...]
    rows: npt.NDArray[np.int64]

    @property
    def n_edges(self) -> int:
        """Edges in all segments."""
        return sum(segment.n_edges for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Edges:
    """A node's edges, newest first; `ids` are the other ends.

    `ids`, `times_ms`, `author_ids` int64[n] (the author of each edge's post, 0 if unknown),
    `kinds` uint8[n].
    """

    ids: Ids
    kinds: Uint8s
    times_ms: Ids
    author_ids: Ids


class InteractionGraph:
    """A window of at most `max_segments` segments of `edges_per_segment` edges.

    The newest segment is live. When it is full a new one takes its place, the oldest beyond
    `max_segments` is dropped, and the full one is rewritten as CSR: at once, or, with
    `close_on_roll=False`, when `close_segments` is called, from whatever thread.
    """

    def __init__(
        self, max_segments: int, edges_per_segment: int, *, close_on_roll: bool = True
    ) -> None:
        if not 1 <= max_segments <= MAX_SEGMENTS:
            raise ValueError(f"max_segments must be in 1 … {MAX_SEGMENTS}, got {max_segments}")
        self.max_segments = max_segments
        self.edges_per_segment = edges_per_segment
        self._close_on_roll = close_on_roll
        self._live = LiveSegment(edges_per_segment, SizeHints())
        # Guards the swap of the view between the writer and a closing thread; readers
        # never take it.
        self._swap = threading.Lock()
        self._set((self._live.capture(),))

    @property
    def view(self) -> View:
        """The published state; take it once per query."""
        return self._view

    @property
    def n_edges(self) -> int:
        """Edges in the window."""
        return self._view.n_edges

    def memory_bytes(self) -> int:
        """Bytes of all arrays, spare capacity included."""
        return sum(segment.memory_bytes for segment in self._view.segments)

    def insert(
        self,
        user_ids: Ids,
        post_ids: Ids,
        author_ids: Ids,
        kinds: Uint8s,
        times_ms: Ids,
        sides: Uint8s | None = None,
    ) -> None:
        """Add a batch of edges and publish it; all or, if a value is refused, none.

        Ids int64[n] in 1 … 2^63−1 (authors may be 0: unknown), kinds uint8[n] below 16, times
        int64[n] in 0 … 2^47 ms, in any order; `sides` uint8[n]: bit 0 the left index, bit 1
        the right, both if None. Raises ValueError with the offending value and its position.
        """
        batch = _Batch(
            writable(user_ids, np.int64),
            writable(post_ids, np.int64),
            writable(author_ids, np.int64),
            writable(kinds, np.uint8),
            writable(times_ms, np.int64),
            np.full(len(user_ids), BOTH_SIDES, np.uint8)
            if sides is None
            else writable(sides, np.uint8),
        )
        _check(batch)
        begin, n = 0, len(user_ids)
        while begin < n:
            if self._live.n_edges == self.edges_per_segment:
                self.roll()
            end = min(n, begin + self.edges_per_segment - self._live.n_edges)
            self._live.append(*batch.cut(begin, end))
            begin = end
            self._publish(self._live.capture())

    def roll(self) -> None:
        """Make a new segment live now; an empty live segment stays."""
        if self._live.n_edges == 0:
            return
        self._live = LiveSegment(self.edges_per_segment, self._live.sizes())
        with self._swap:
            kept = self._view.segments[: self.max_segments - 1]
            self._set((self._live.capture(), *kept))
        if self._close_on_roll:
            self.close_segments()

    def close_segments(self) -> int:
        """Rewrite full segments that are still chains as CSR; returns how many it did."""
        done = 0
        for segment in self._view.segments[1:]:
            if segment.is_closed:
                continue
            closed = close(segment)
            done += 1
            with self._swap:
                # The writer may have dropped or expired it meanwhile.
                self._set(tuple(closed if s is segment else s for s in self._view.segments))
        return done

    def expire(self, before_ms: int) -> int:
        """Drop whole segments whose newest edge is older; returns how many edges went."""
        before = self.n_edges
        # A live segment that expires is replaced, not rolled: rolling could push out an older
        # segment that late arrivals have kept fresh.
        if self._live.n_edges > 0 and self._live.max_ms < before_ms:
            self._live = LiveSegment(self.edges_per_segment, self._live.sizes())
        with self._swap:
            kept = (s for s in self._view.segments[1:] if s.max_ms >= before_ms)
            self._set((self._live.capture(), *kept))
        return before - self.n_edges

    def segments_columns(self) -> Iterator[Callable[[], Columns]]:
        """For each segment, oldest first, what exports it (see `Segment.columns`).

        The state is captured at the call; the export itself may run later and elsewhere.
        """
        return iter([s.columns for s in reversed(self._view.segments) if s.n_edges > 0])

    def columns(self) -> Columns:
        """All edges as plain arrays, oldest segment first, ready for `insert`."""
        parts = [export() for export in self.segments_columns()]
        if not parts:
            return self._view.segments[0].columns()
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def user_edges(self, user_id: int, limit: int, min_ms: int = 0) -> Edges:
        """A user's newest `limit` edges: by time, then post id, then kind, descending."""
        return self._edges(LEFT, user_id, limit, min_ms)

    def post_edges(self, post_id: int, limit: int, min_ms: int = 0) -> Edges:
        """A post's newest `limit` edges: by time, then user id, then kind, descending."""
        return self._edges(RIGHT, post_id, limit, min_ms)

    def user_degrees(self, user_ids: Ids) -> Ids:
        """Edges of each user in the window, int64[n], repeated ones counted."""
        return _degrees(self._view.rows, LEFT, writable(user_ids, np.int64))

    def post_degrees(self, post_ids: Ids) -> Ids:
        """Edges of each post in the window, int64[n], repeated ones counted."""
        return _degrees(self._view.rows, RIGHT, writable(post_ids, np.int64))

    def draw_user_edges(
        self, user_ids: Ids, draws: int, rng: np.random.Generator
    ) -> tuple[Ids, Uint8s, Ids]:
        """`draws` edges of each user at random with replacement, all edges equally likely.

        Returns (post ids int64[n, draws], kinds uint8, times int64); post id 0 where a user
        has no edge.
        """
        return self._drawn(LEFT, user_ids, draws, rng)

    def draw_post_edges(
        self, post_ids: Ids, draws: int, rng: np.random.Generator
    ) -> tuple[Ids, Uint8s, Ids]:
        """`draws` edges of each post, as `draw_user_edges`; the ids are users."""
        return self._drawn(RIGHT, post_ids, draws, rng)

    def _publish(self, live: Segment) -> None:
        with self._swap:
            self._set((live, *self._view.segments[1:]))

    def _set(self, segments: tuple[Segment, ...]) -> None:
        rows = np.zeros((len(segments), ROW_WIDTH), np.int64)
        for row, segment in zip(rows, segments, strict=True):
            row[:] = segment.row
        self._view = View(segments, rows)

    def _edges(self, side: int, node_id: int, limit: int, min_ms: int) -> Edges:
        view = self._view
        found = np.empty((3, limit), np.int64)
        author_ids = np.empty(limit, np.int64)
        n = _newest_of(view.rows, side, node_id, limit, min_ms, found, author_ids)
        kinds = (found[ORIGIN, :n] & KIND_MASK).astype(np.uint8)
        return Edges(found[TARGET, :n], kinds, found[TIME, :n], author_ids[:n])

    def _drawn(
        self, side: int, ids: Ids, draws: int, rng: np.random.Generator
    ) -> tuple[Ids, Uint8s, Ids]:
        view = self._view
        ids = writable(ids, np.int64)
        shape = (len(ids), draws)
        targets, times_ms = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        kinds = np.zeros(shape, np.uint8)
        state = rng.integers(2**64, size=1, dtype=np.uint64)
        draw_edges(view.rows, side, ids, draws, state, targets, kinds, times_ms)
        return targets, kinds, times_ms


class _Batch(NamedTuple):
    user_ids: Ids
    post_ids: Ids
    author_ids: Ids
    kinds: Uint8s
    times_ms: Ids
    sides: Uint8s

    def cut(self, begin: int, end: int) -> "_Batch":
        return _Batch(
            self.user_ids[begin:end],
            self.post_ids[begin:end],
            self.author_ids[begin:end],
            self.kinds[begin:end],
            self.times_ms[begin:end],
            self.sides[begin:end],
        )


def _check(batch: _Batch) -> None:
    """Refuse a batch with a value out of range, naming it."""
    shape = batch.user_ids.shape
    columns: tuple[npt.NDArray[Any], ...] = batch
    for name, column in zip(batch._fields, columns, strict=True):
        if column.shape != shape or column.ndim != 1:
            raise ValueError(f"{name} has shape {column.shape}, user_ids {shape}")
    at, field = _first_bad(*batch)
    if at >= 0:
        raise ValueError(f"{batch._fields[field]}[{at}] is out of range: {columns[field][at]}")


@kernel
def _first_bad(
    user_ids: Ids, post_ids: Ids, author_ids: Ids, kinds: Uint8s, times_ms: Ids, sides: Uint8s
) -> tuple[Int, Int]:
    """(position, column) of the first value out of range, or (−1, −1)."""
    for i in range(len(user_ids)):
        if user_ids[i] < 1:
            return i, 0
        if post_ids[i] < 1:
            return i, 1
        if author_ids[i] < 0:
            return i, 2
        if kinds[i] > KIND_MASK:
            return i, 3
        if times_ms[i] < 0 or times_ms[i] >= MAX_TIME_MS:
            return i, 4
        if sides[i] < 1 or sides[i] > BOTH_SIDES:
            return i, 5
    return -1, -1


@kernel
def _degrees(rows: npt.NDArray[np.int64], side: Int, ids: Ids) -> Ids:
    nodes = np.empty((len(rows), len(ids)), np.int32)
    locate(rows, side, ids, nodes)
    degrees = np.zeros(len(ids), np.int64)
    by_segment = np.empty_like(nodes)
    degrees_of(rows, side, nodes, by_segment)
    for s in range(len(rows)):
        degrees += by_segment[s]
    return degrees


@kernel
def _newest_of(
    rows: npt.NDArray[np.int64],
    side: Int,
    node_id: Int,
    limit: Int,
    min_ms: Int,
    found: npt.NDArray[np.int64],
    author_ids: Ids,
) -> Int:
    ids = np.empty(1, np.int64)
    ids[0] = node_id
    nodes = np.empty((len(rows), 1), np.int32)
    locate(rows, side, ids, nodes)
    count = newest(
        rows, side, nodes[:, 0].copy(), limit, min_ms, found, np.empty((3, 3 * limit), np.int64)
    )
    for i in range(count):
        segment = found[ORIGIN, i] >> 32
        # From the right a node is the post itself; from the left it is each edge's target.
        post = np.int64(nodes[segment, 0])
        if side == LEFT:
            post = (found[ORIGIN, i] & LOW32) >> TARGET_SHIFT
        author_ids[i] = authors_of(rows[segment])[post]
    return count

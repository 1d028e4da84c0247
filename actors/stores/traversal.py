"""Top second degree over the interaction graph: what a user's weighted seeds engaged with.

Each seed's newest edges are read, repeated ones dropped, undone ones cancelled, and what is
left grouped by post. `second_degree` is the part one shard answers; `rank_proofs` merges the
parts and ranks; `top_second_degree` does both where one graph holds every seed, and looks
closely only at posts that may be among the best.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from actors.stores.adjacency import locate
from actors.stores.edge_runs import MAX_RUNS, RUN_COUNT, RUN_WIDTH, find_runs
from actors.stores.id_map import Dense, Ids
from actors.stores.interactions import InteractionGraph, View
from actors.stores.kernels import kernel, writable
from actors.stores.proof_collecting import (
    NO_KIND,
    choose_posts,
    number_posts,
    put_aside,
    settle,
    take,
)
from actors.stores.proof_ranking import (
    ALL_KINDS,
    Float64s,
    PostFilter,
    ProofGate,
    Proofs,
    RankedPosts,
    Uint8s,
    rank_proofs,
)
from actors.stores.raw_memory import Int, carve
from actors.stores.read_ahead import fetch_index, fetch_slices
from actors.stores.score_bounds import EVERY_BUCKET, ScoreBounds, add_bounds
from actors.stores.segment_row import LEFT

MAX_EDGES_PER_SEED = 500
# By kind: which kind it takes back. An unfavourite (8) takes back a favourite (1).
UNDO_OF = np.full(16, NO_KIND, np.uint8)
UNDO_OF[8] = 1
UNDO_OF.flags.writeable = False


def second_degree(
    graph: InteractionGraph | View,
    seed_ids: Ids,
    *,
    max_edges_per_seed: int = MAX_EDGES_PER_SEED,
    min_time_ms: int = 0,
    kinds_mask: int = ALL_KINDS,
    undo_of: Uint8s = UNDO_OF,
    seed_indices: Dense | None = None,
) -> Proofs:
    """Posts that the seeds engaged with, with the proofs, as far as this shard knows.

    Of each seed the newest `max_edges_per_seed` edges of any kind are read, none older than
    `min_time_ms`. One proof for each distinct (post, seed, kind) of `kinds_mask`, with its
    newest time, unless the seed took it back no earlier (`undo_of`); undo kinds themselves
    are no proofs. `seed_ids` int64[s] are distinct; `seed_indices` int32[s], ascending, are
    what the proofs call them (0 … s − 1 if None), so that parts of several shards agree.

    Follows GraphJet's top-second-degree, but drops every repeated kind, not only the last.
    """
    view = graph.view if isinstance(graph, InteractionGraph) else graph
    seed_ids = writable(seed_ids, np.int64)
    limit = max(max_edges_per_seed, 0)
    if seed_indices is None:
        seed_indices = np.arange(len(seed_ids), dtype=np.int32)
    elif len(seed_indices) != len(seed_ids):
        raise ValueError(f"{len(seed_ids)} seeds have {len(seed_indices)} indices")
    seed_indices = writable(seed_indices, np.int32)
    with _scratch(len(seed_ids), limit) as scratch:
        scratch.read(view, seed_ids, np.ones(len(seed_ids)), limit, min_time_ms)
        scratch.collect(kinds_mask, undo_of)
        return scratch.group(seed_indices, -np.inf)


def top_second_degree(
    graph: InteractionGraph | View,
    seed_ids: Ids,
    weights: Float64s,
    *,
    k: int,
    max_proofs: int = 10,
    gate: ProofGate | None = None,
    post_filter: PostFilter | None = None,
    max_edges_per_seed: int = MAX_EDGES_PER_SEED,
    min_time_ms: int = 0,
    kinds_mask: int = ALL_KINDS,
    undo_of: Uint8s = UNDO_OF,
) -> RankedPosts:
    """`second_degree` and `rank_proofs` in one, for a graph that holds every seed.

    Gives the same answer, but collects and groups only proofs of posts whose score may suffice.
    """
    view = graph.view if isinstance(graph, InteractionGraph) else graph
    seed_ids = writable(seed_ids, np.int64)
    weights = writable(weights, np.float64)
    if seed_ids.shape != weights.shape:
        raise ValueError(f"{len(seed_ids)} seeds have {len(weights)} weights")
    post_filter = post_filter or PostFilter()
    seed_indices = np.arange(len(seed_ids), dtype=np.int32)
    limit = max(max_edges_per_seed, 0)
    by_author = replace(post_filter, excluded_post_ids=None, min_post_id=0)
    with _scratch(len(seed_ids), limit) as scratch:
        scratch.read(view, seed_ids, weights, limit, min_time_ms)
        for floor in scratch.floors(k, post_filter, kinds_mask, undo_of):
            ranked = rank_proofs(
                [scratch.group(seed_indices, floor)], seed_ids, weights, k=k,
                max_proofs=max_proofs, gate=gate, post_filter=by_author,
            )  # fmt: skip
            if len(ranked.post_ids) == k:
                break
    return ranked


class _Scratch:
    """Arrays of one query at a time, kept between queries, and its steps in their order."""

    def __init__(self, seeds: int, edges: int, limit: int) -> None:
        self.seeds, self.edges, self.limit = seeds, edges, limit
        # One more than posts: the numbering loop writes the next one before it knows.
        (
            self._table, self._post_ids, self._sources, self._offsets, self._n_proofs,
            self._scores, self._chosen, self._posts, self._keys, self._times, self._sorted_keys,
            self._sorted_times, self._found, self._merge, self._buffer, self._runs, self._copies,
            self._copied_marks,
        ) = carve(
            (_slots(edges), np.int32),
            *((edges + 1, dtype) for dtype in (
                np.int64, np.int64, np.int32, np.int32, np.float64, np.int32, np.int32, np.int32,
                np.int64, np.int32, np.int64,
            )),
            ((3, limit), np.int64),
            ((3, 3 * limit), np.int64),
            ((2, 4, limit + 1), np.int64),
            ((seeds * MAX_RUNS, RUN_WIDTH), np.int64),
            ((2, edges), np.int64),
            (edges, np.uint16),
        )  # fmt: skip
        self._table[:] = 0
        self._base = 1
        self._n_posts = 0

    def read(
        self, view: View, seed_ids: Ids, weights: Float64s, limit: int, min_time_ms: int
    ) -> None:
        """Find the seeds' edges."""
        self._view, self._weights = view, weights
        self._run_ends = np.empty(len(seed_ids), np.int64)
        self._n_edges = _find_runs_of(
            view.rows, seed_ids, limit, min_time_ms, self._runs, self._run_ends,
            self._copies, self._copied_marks, self._found, self._merge,
        )  # fmt: skip

    def collect(self, kinds_mask: int, undo_of: Uint8s, buckets: Uint8s = EVERY_BUCKET) -> Float64s:
        """Note the posts of some buckets and their proofs; returns their scores."""
        counts = _proof_kinds(kinds_mask, undo_of)
        slots = _slots(self._n_edges)
        # A table that stays in the nearest cache, where few posts are met.
        n_buckets = int(np.count_nonzero(buckets.view(np.bool_))) if len(buckets) > 1 else slots
        for size in (min(slots, _slots(4 * n_buckets)), slots):
            self._base += self._n_posts
            if self._base + self._n_edges >= 2**31:
                self._table[:] = 0
                self._base = 1
            self._used_table = self._table[:size]
            self._n_posts, n, is_whole = number_posts(
                self._view.rows, self._runs, self._run_ends, self._copies, self._copied_marks,
                counts | (undo_of != NO_KIND), buckets, self._used_table, self._base,
                self._post_ids, self._sources, self._posts, self._keys, self._times, self._buffer,
            )  # fmt: skip
            if is_whole:
                break
        settle(
            self._n_posts, n, self._posts, self._keys, self._times, self._weights, counts,
            undo_of, self._offsets, self._sorted_keys, self._sorted_times, self._n_proofs,
            self._scores,
        )  # fmt: skip
        return self._scores[: self._n_posts]

    def floors(
        self, k: int, post_filter: PostFilter, kinds_mask: int, undo_of: Uint8s
    ) -> Iterator[float]:
        """See `ScoreBounds.floors`; what `post_filter` has against ids is put aside."""
        excluded = post_filter.excluded_post_ids
        excluded = np.zeros(0, np.int64) if excluded is None else writable(excluded, np.int64)
        bounds = ScoreBounds(self._weights, self._n_edges, k)
        if bounds.scale > 0.0:
            add_bounds(
                self._view.rows, self._runs, self._run_ends, self._copies, self._copied_marks,
                self._weights, bounds.scale, _proof_kinds(kinds_mask, undo_of), bounds.shift,
                bounds.sums,
            )  # fmt: skip

        def collect_wanted(buckets: Uint8s) -> Float64s:
            scores = self.collect(kinds_mask, undo_of, buckets)
            put_aside(
                excluded, post_filter.min_post_id, self._used_table, self._base, self._n_posts,
                self._post_ids, self._n_proofs, self._scores,
            )  # fmt: skip
            return scores

        return bounds.floors(excluded, collect_wanted)

    def group(self, seed_indices: Dense, floor: float) -> Proofs:
        """The collected proofs of posts with a score of at least `floor`."""
        n_posts, n_proofs = choose_posts(
            self._n_posts, self._n_proofs, self._scores, floor, self._chosen
        )
        proofs = Proofs(
            np.empty(n_posts, np.int64),
            np.empty(n_posts, np.int64),
            np.empty(n_posts + 1, np.int32),
            np.empty(n_proofs, np.int32),
            np.empty(n_proofs, np.uint8),
            np.empty(n_proofs, np.int64),
        )
        take(
            self._view.rows, self._chosen[:n_posts], self._post_ids, self._sources,
            self._offsets, self._n_proofs, self._sorted_keys, self._sorted_times, seed_indices,
            proofs.post_ids, proofs.author_ids, proofs.offsets, proofs.seed_indices,
            proofs.kinds, proofs.times_ms,
        )  # fmt: skip
        return proofs

    def rest(self) -> None:
        """Let go of the graph."""
        self._view = _NO_VIEW


_NO_VIEW = View((), np.zeros((0, 0), np.int64))
_SCRATCHES: deque[_Scratch] = deque(maxlen=16)


@contextmanager
def _scratch(n_seeds: int, limit: int) -> Iterator[_Scratch]:
    """A scratch of enough capacity, from the pool; a deque is safe between threads."""
    edges = n_seeds * limit
    try:
        scratch = _SCRATCHES.pop()
    except IndexError:
        scratch = _Scratch(n_seeds, edges, limit)
    if scratch.seeds < n_seeds or scratch.edges < edges or scratch.limit < limit:
        scratch = _Scratch(
            max(n_seeds, scratch.seeds), max(edges, scratch.edges), max(limit, scratch.limit)
        )
    yield scratch
    scratch.rest()
    _SCRATCHES.append(scratch)


def _slots(posts: int) -> int:
    """Of a hash table, sparse, for a probe that finds another post is a branch guessed wrong."""
    return 1 << max(4, (4 * posts).bit_length())


def _proof_kinds(kinds_mask: int, undo_of: Uint8s) -> npt.NDArray[np.int64]:
    """By kind: 1 if it is a proof, and not what takes one back."""
    wanted = kinds_mask >> np.arange(16) & 1
    return np.where(undo_of == NO_KIND, wanted, 0)


@kernel
def _find_runs_of(
    rows: npt.NDArray[np.int64],
    seed_ids: Ids,
    limit: Int,
    min_ms: Int,
    runs: npt.NDArray[np.int64],
    run_ends: Ids,
    copies: Ids,
    marks: npt.NDArray[np.uint16],
    found: Ids,
    scratch: Ids,
) -> Int:
    """The runs of all seeds, one after another; returns how many edges they hold."""
    n_seeds = len(seed_ids)
    nodes = np.empty((len(rows), n_seeds), np.int32)
    locate(rows, LEFT, seed_ids, nodes)
    by_seed = np.ascontiguousarray(nodes.T)
    n_runs, copied, n_edges = np.int64(0), np.int64(0), np.int64(0)
    for ahead in range(n_seeds + 4):
        if ahead < n_seeds:
            fetch_index(rows, LEFT, by_seed[ahead])
        if 2 <= ahead < n_seeds + 2:
            fetch_slices(rows, LEFT, by_seed[ahead - 2], limit)
        seed = ahead - 4
        if seed < 0:
            continue
        n, n_copied = find_runs(
            rows, by_seed[seed], limit, min_ms, runs[n_runs : n_runs + MAX_RUNS], copies, marks,
            copied, found, scratch,
        )  # fmt: skip
        for r in range(n_runs, n_runs + n):
            n_edges += runs[r, RUN_COUNT]
        n_runs += n
        copied += n_copied
        run_ends[seed] = n_runs
    return n_edges

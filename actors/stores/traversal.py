"""Top second degree over the interaction graph: what a user's weighted seeds engaged with.

Each seed's newest edges are read, repeated ones dropped, undone ones cancelled, and what is
left grouped by post. `second_degree` is the part one shard answers; `rank_proofs` merges the
parts and ranks; `top_second_degree` does both where one graph holds every seed.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from actors.stores.adjacency import (
    ORIGIN,
    TARGET,
    TIME,
    locate,
    newest,
)
from actors.stores.id_map import Dense, Ids
from actors.stores.interactions import InteractionGraph, View
from actors.stores.kernels import kernel, writable
from actors.stores.proof_ranking import (
    ALL_KINDS,
    Float64s,
    PostFilter,
    ProofGate,
    Proofs,
    RankedPosts,
    Uint8s,
    rank_proofs,
    score_floors,
)
from actors.stores.raw_memory import Int, carve, int64s, prefetch
from actors.stores.read_ahead import fetch_entries, fetch_index, fetch_targets
from actors.stores.segment_row import AUTHORS, KIND_MASK, LEFT, LOW32, TARGET_SHIFT

MAX_EDGES_PER_SEED = 500
NO_KIND = 255
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
    if seed_indices is None:
        seed_indices = np.arange(len(seed_ids), dtype=np.int32)
    elif len(seed_indices) != len(seed_ids):
        raise ValueError(f"{len(seed_ids)} seeds have {len(seed_indices)} indices")
    seed_indices = writable(seed_indices, np.int32)
    with _scratch(len(seed_ids), max_edges_per_seed) as scratch:
        scratch.collect(
            view, seed_ids, np.ones(len(seed_ids)), max_edges_per_seed, min_time_ms, kinds_mask,
            undo_of,
        )  # fmt: skip
        return scratch.group(view, seed_indices, -np.inf)


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

    Gives the same answer, but groups only proofs of posts whose score may suffice.
    """
    view = graph.view if isinstance(graph, InteractionGraph) else graph
    seed_ids = writable(seed_ids, np.int64)
    weights = writable(weights, np.float64)
    if seed_ids.shape != weights.shape:
        raise ValueError(f"{len(seed_ids)} seeds have {len(weights)} weights")
    seed_indices = np.arange(len(seed_ids), dtype=np.int32)
    with _scratch(len(seed_ids), max_edges_per_seed) as scratch:
        scratch.collect(
            view, seed_ids, weights, max_edges_per_seed, min_time_ms, kinds_mask, undo_of
        )
        for floor in score_floors(scratch.scores(), k, post_filter):
            ranked = rank_proofs(
                [scratch.group(view, seed_indices, floor)], seed_ids, weights, k=k,
                max_proofs=max_proofs, gate=gate, post_filter=post_filter,
            )  # fmt: skip
            if len(ranked.post_ids) == k:
                break
    return ranked


class _Scratch:
    """Arrays of one query at a time, kept between queries: see `_collect`."""

    def __init__(self, edges: int, limit: int) -> None:
        self.edges, self.limit = edges, limit
        # Sparse, for a probe that finds another post is a branch guessed wrong.
        slots = 1 << max(4, (4 * edges).bit_length())
        # One row more than posts: the collecting loop writes the next row before it knows.
        self._table, self._posts, self._proofs, self._places, self._found, self._merge = carve(
            (slots, np.int32),
            (4 * (edges + 1), np.int64),
            (2 * (edges + 1), np.int64),
            (edges + 1, np.int32),
            ((3, limit), np.int64),
            ((3, 3 * limit), np.int64),
        )
        self._as_floats = self._posts.view(np.float64)
        self._table[:] = 0
        self._base = 1
        self._n_posts = self._n_proofs = 0

    def collect(
        self,
        view: View,
        seed_ids: Ids,
        weights: Float64s,
        limit: int,
        min_time_ms: int,
        kinds_mask: int,
        undo_of: Uint8s,
    ) -> None:
        """Read the seeds' edges into posts and proofs."""
        self._base += self._n_posts
        if self._base + self.edges >= 2**31:
            self._table[:] = 0
            self._base = 1
        self._n_posts, self._n_proofs = _collect(
            view.rows, seed_ids, weights, limit, min_time_ms, kinds_mask, undo_of, self._table,
            self._base, self._posts, self._as_floats, self._proofs, self._found, self._merge,
        )  # fmt: skip

    def scores(self) -> Float64s:
        """The collected posts' scores, float64[posts]; 0 where every proof was taken back."""
        return self._as_floats[_SCORE : 4 * self._n_posts : 4].copy()

    def group(self, view: View, seed_indices: Dense, floor: float) -> Proofs:
        """The collected proofs of posts with a score of at least `floor`."""
        n_kept, n_proofs = _place_groups(
            self._n_posts, self._posts, self._as_floats, floor, self._places
        )
        post_ids, author_ids = np.empty(n_kept, np.int64), np.empty(n_kept, np.int64)
        offsets = np.empty(n_kept + 1, np.int32)
        # The last place takes the proofs that are left out.
        seeds, kinds = np.empty(n_proofs + 1, np.int32), np.empty(n_proofs + 1, np.uint8)
        times_ms = np.empty(n_proofs + 1, np.int64)
        _group(
            view.rows, self._n_posts, self._n_proofs, self._posts, self._places, self._proofs,
            seed_indices, post_ids, author_ids, offsets, seeds, kinds, times_ms,
        )  # fmt: skip
        return Proofs(post_ids, author_ids, offsets, seeds[:-1], kinds[:-1], times_ms[:-1])


# What `_Scratch.posts` holds for each post: its id; (where its author stands << 32 | number of
# proofs), that being segment << 27 | dense id; (seed that came last + 1 << 16 | its kinds so
# far); and the score, a float64. The array is flat, and so is that of the proofs.
_ID, _COUNT, _LAST, _SCORE = range(4)
# Masked so, an index is known not to be negative, and Numba's check for that falls away.
_MASK31 = 0x7FFFFFFF
# Multiplicative hashing by the golden ratio; the table is a query's own and short-lived.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

_SCRATCHES: deque[_Scratch] = deque(maxlen=16)


@contextmanager
def _scratch(n_seeds: int, limit: int) -> Iterator[_Scratch]:
    """A scratch of enough capacity, from the pool; a deque is safe between threads."""
    edges = n_seeds * limit
    try:
        scratch = _SCRATCHES.pop()
    except IndexError:
        scratch = _Scratch(edges, limit)
    if scratch.edges < edges or scratch.limit < limit:
        scratch = _Scratch(max(edges, scratch.edges), max(limit, scratch.limit))
    yield scratch
    _SCRATCHES.append(scratch)


@kernel
def _collect(
    rows: npt.NDArray[np.int64],
    seed_ids: Ids,
    weights: Float64s,
    limit: Int,
    min_ms: Int,
    kinds_mask: Int,
    undo_of: Uint8s,
    table: npt.NDArray[np.int32],
    base: Int,
    posts: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
    proofs: npt.NDArray[np.int64],
    found: npt.NDArray[np.int64],
    scratch: npt.NDArray[np.int64],
) -> tuple[Int, Int]:
    """Proofs of all seeds in reading order, and the posts they point to; returns their numbers.

    `table` is a hash table of `base` + post number; what is below `base` is a previous
    query's and counts as empty. `proofs` rows are (post << 32 | seed << 4 | kind, time);
    `scores` is `posts` seen as float64. New posts are as likely as known ones and a branch on
    it would be guessed wrong as often as not, so the inner loop stores without asking.
    """
    shift = np.uint64(64)
    capacity = len(table)
    while capacity > 1:
        capacity >>= 1
        shift -= np.uint64(1)
    last_slot = len(table) - 1
    table_at = table.ctypes.data
    is_proof = np.zeros(16, np.int64)
    closes = np.zeros(16, np.int64)
    for kind in range(16):
        closes[kind] = 1 << kind
        if undo_of[kind] == NO_KIND:
            is_proof[kind] = (kinds_mask >> kind) & 1
        else:
            # Edges come newest first: the kind it takes back, if it follows, is older.
            closes[kind] |= 1 << undo_of[kind]
    nodes = np.empty((len(rows), len(seed_ids)), np.int32)
    locate(rows, LEFT, seed_ids, nodes)
    by_seed = np.ascontiguousarray(nodes.T)
    starts = np.empty(limit, np.int64)
    times, targets, origins = found[TIME], found[TARGET], found[ORIGIN]
    n_seeds = len(seed_ids)
    n_posts, n_proofs = np.int64(0), np.int64(0)
    for ahead in range(n_seeds + 3):
        if ahead < n_seeds:
            fetch_index(rows, LEFT, by_seed[ahead])
        if 1 <= ahead < n_seeds + 1:
            fetch_entries(rows, LEFT, by_seed[ahead - 1])
        if 2 <= ahead < n_seeds + 2:
            fetch_targets(rows, LEFT, by_seed[ahead - 2], limit)
        seed = ahead - 3
        if seed < 0:
            continue
        weight = weights[seed]
        count = newest(rows, LEFT, by_seed[seed], limit, min_ms, found, scratch)
        for i in range(count):
            at = np.int64((np.uint64(targets[i]) * _GOLDEN) >> shift)
            starts[i] = at
            prefetch(table_at + 4 * at)
        for i in range(count):
            origin = origins[i]
            kind = origin & KIND_MASK
            post_id = targets[i]
            at = starts[i] & _MASK31
            post = np.int64(table[at]) - base
            # A new post takes the next row, whose id is made to match.
            empty = np.int64(post < 0)
            post += empty * (n_posts - post)
            posts[(n_posts << 2 & _MASK31) + _ID] = post_id
            row = post << 2 & _MASK31
            while posts[row + _ID] != post_id:
                at = (at + 1) & last_slot & _MASK31
                post = np.int64(table[at]) - base
                empty = np.int64(post < 0)
                post += empty * (n_posts - post)
                row = post << 2 & _MASK31
            table[at] = base + post
            n_posts += empty
            known = empty - 1
            place = (origin >> 32 << 27 | (origin & LOW32) >> TARGET_SHIFT) << 32
            last = posts[row + _LAST] & known
            seen = (last & 0xFFFF) * np.int64(last >> 16 == seed + 1)
            fresh = is_proof[kind] & ~(seen >> kind)
            if i + 1 < count and times[i + 1] == times[i] and fresh != 0:
                # An undo of the same millisecond may follow, and counts.
                j = i + 1
                while j < count and times[j] == times[i]:
                    if targets[j] == post_id and undo_of[origins[j] & KIND_MASK] == kind:
                        fresh = np.int64(0)
                    j += 1
            posts[row + _COUNT] = ((posts[row + _COUNT] & known) | (place & ~known)) + fresh
            posts[row + _LAST] = (seed + 1) << 16 | seen | closes[kind]
            score = scores[row + _SCORE] if empty == 0 else 0.0
            scores[row + _SCORE] = score + weight * fresh
            proofs[n_proofs << 1 & _MASK31] = post << 32 | seed << 4 | kind
            proofs[(n_proofs << 1 & _MASK31) + 1] = times[i]
            n_proofs += fresh
    return n_posts, n_proofs


@kernel
def _place_groups(
    n_posts: Int, posts: npt.NDArray[np.int64], scores: Float64s, floor: float, places: Dense
) -> tuple[Int, Int]:
    """Where the proofs of each post that reaches a score begin, into `places`, else −1.

    Returns how many posts are kept, and how many proofs they have.
    """
    kept, total = 0, np.int64(0)
    for post in range(n_posts):
        count = posts[4 * post + _COUNT] & LOW32
        keeps = count > 0 and scores[4 * post + _SCORE] >= floor
        places[post] = total if keeps else -1
        kept += keeps
        total += count * keeps
    return kept, total


@kernel
def _group(
    rows: npt.NDArray[np.int64],
    n_posts: Int,
    n_proofs: Int,
    posts: npt.NDArray[np.int64],
    places: Dense,
    proofs: npt.NDArray[np.int64],
    seed_indices: Dense,
    post_ids: Ids,
    author_ids: Ids,
    offsets: Dense,
    to_seeds: Dense,
    to_kinds: Uint8s,
    to_times: Ids,
) -> None:
    """Counting sort by post of the proofs of the posts that have a place."""
    kept = 0
    outside = len(to_seeds) - 1
    offsets[len(post_ids)] = outside
    for post in range(n_posts):
        if places[post] < 0:
            places[post] = outside
            continue
        offsets[kept] = places[post]
        post_ids[kept] = posts[4 * post + _ID]
        source = posts[4 * post + _COUNT] >> 32
        author_ids[kept] = rows[source >> 27, AUTHORS] + 8 * (source & (2**27 - 1))
        prefetch(author_ids[kept])
        kept += 1
    for e in range(n_proofs):
        packed = proofs[2 * e]
        post = packed >> 32 & _MASK31
        at = np.int64(places[post])
        places[post] = at + (at != outside)
        at &= _MASK31
        to_seeds[at] = seed_indices[(packed & LOW32) >> 4]
        to_kinds[at] = packed & KIND_MASK
        to_times[at] = proofs[2 * e + 1]
    for i in range(kept):
        author_ids[i] = int64s(author_ids[i], 1)[0]

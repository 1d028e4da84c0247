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
    fetch_entries,
    fetch_index,
    fetch_targets,
    locate,
    newest,
)
from actors.stores.id_map import Dense, Ids, hash_id
from actors.stores.interactions import InteractionGraph, View
from actors.stores.kernels import kernel
from actors.stores.proof_ranking import (
    ALL_KINDS,
    Float64s,
    PostFilter,
    ProofGate,
    Proofs,
    RankedPosts,
    Uint8s,
    rank_proofs,
    score_floor,
)
from actors.stores.raw_memory import Int, carve, int64s, prefetch
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
    seed_ids = np.ascontiguousarray(seed_ids, np.int64)
    if seed_indices is None:
        seed_indices = np.arange(len(seed_ids), dtype=np.int32)
    elif len(seed_indices) != len(seed_ids):
        raise ValueError(f"{len(seed_ids)} seeds have {len(seed_indices)} indices")
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
    seed_ids = np.ascontiguousarray(seed_ids, np.int64)
    weights = np.ascontiguousarray(weights, np.float64)
    if seed_ids.shape != weights.shape:
        raise ValueError(f"{len(seed_ids)} seeds have {len(weights)} weights")
    seed_indices = np.arange(len(seed_ids), dtype=np.int32)
    with _scratch(len(seed_ids), max_edges_per_seed) as scratch:
        scratch.collect(
            view, seed_ids, weights, max_edges_per_seed, min_time_ms, kinds_mask, undo_of
        )
        for floor in (score_floor(scratch.scores(), k + k // 4 + 64), -np.inf):
            ranked = rank_proofs(
                [scratch.group(view, seed_indices, floor)], seed_ids, weights, k=k,
                max_proofs=max_proofs, gate=gate, post_filter=post_filter,
            )  # fmt: skip
            # Gates and filters seldom leave too few of the upper scores: then group all.
            if len(ranked.post_ids) == k:
                break
    return ranked


class _Scratch:
    """Arrays of one query at a time, kept between queries: see `_collect`."""

    def __init__(self, edges: int, limit: int) -> None:
        self.edges, self.limit = edges, limit
        slots = 1 << max(4, (edges + edges // 4).bit_length())
        # One row more than posts: the collecting loop writes the next row before it knows.
        self._table, self._posts, self._proofs, self._places, self._found, self._merge = carve(
            (slots, np.int32),
            ((edges + 1, 4), np.int64),
            ((edges + 1, 2), np.int64),
            (edges, np.int32),
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
        return self._as_floats[: self._n_posts, _SCORE].copy()

    def group(self, view: View, seed_indices: Dense, floor: float) -> Proofs:
        """The collected proofs of posts with a score of at least `floor`."""
        n_kept, n_proofs = _place_groups(
            self._n_posts, self._posts, self._as_floats[:, _SCORE], floor, self._places
        )
        proofs = Proofs(
            np.empty(n_kept, np.int64),
            np.empty(n_kept, np.int64),
            np.empty(n_kept + 1, np.int32),
            np.empty(n_proofs, np.int32),
            np.empty(n_proofs, np.uint8),
            np.empty(n_proofs, np.int64),
        )
        _group(
            view.rows, self._n_posts, self._n_proofs, self._posts, self._places, self._proofs,
            seed_indices, proofs.post_ids, proofs.author_ids, proofs.offsets,
            proofs.seed_indices, proofs.kinds, proofs.times_ms,
        )  # fmt: skip
        return proofs


# Columns of `_Scratch.posts`: the id; (where its author stands << 32 | number of proofs), the
# place being segment << 27 | dense id; (seed that came last + 1 << 16 | its kinds so far); and
# the score, a float64.
_ID, _COUNT, _LAST, _SCORE = 0, 1, 2, 3

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
    table_at, posts_at = table.ctypes.data, posts.ctypes.data
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
            starts[i] = np.int64(hash_id(targets[i]) >> shift)
            prefetch(table_at + 4 * starts[i])
        for i in range(count):
            prefetch(posts_at + 32 * max(0, np.int64(table[starts[i]]) - base))
        for i in range(count):
            origin = origins[i]
            kind = origin & KIND_MASK
            post_id = targets[i]
            at = starts[i]
            post = np.int64(table[at]) - base
            # A new post takes the next row, whose id is made to match.
            empty = np.int64(post < 0)
            post += empty * (n_posts - post)
            posts[n_posts, _ID] = post_id
            while posts[post, _ID] != post_id:
                at = (at + 1) & last_slot
                post = np.int64(table[at]) - base
                empty = np.int64(post < 0)
                post += empty * (n_posts - post)
            table[at] = base + post
            n_posts += empty
            known = empty - 1
            place = (origin >> 32 << 27 | (origin & LOW32) >> TARGET_SHIFT) << 32
            last = posts[post, _LAST] & known
            seen = (last & 0xFFFF) * np.int64(last >> 16 == seed + 1)
            fresh = is_proof[kind] & ~(seen >> kind)
            if i + 1 < count and times[i + 1] == times[i] and fresh != 0:
                # An undo of the same millisecond may follow, and counts.
                j = i + 1
                while j < count and times[j] == times[i]:
                    if targets[j] == post_id and undo_of[origins[j] & KIND_MASK] == kind:
                        fresh = np.int64(0)
                    j += 1
            posts[post, _COUNT] = ((posts[post, _COUNT] & known) | (place & ~known)) + fresh
            posts[post, _LAST] = (seed + 1) << 16 | seen | closes[kind]
            score = scores[post, _SCORE] if empty == 0 else 0.0
            scores[post, _SCORE] = score + weight * fresh
            proofs[n_proofs, 0] = post << 32 | seed << 4 | kind
            proofs[n_proofs, 1] = times[i]
            n_proofs += fresh
    return n_posts, n_proofs


@kernel
def _place_groups(
    n_posts: Int, posts: npt.NDArray[np.int64], scores: Float64s, floor: float, places: Dense
) -> tuple[Int, Int]:
    """Where the proofs of each post that reaches a score go, into `places`, else −1.

    Returns how many posts are kept, and how many proofs they have.
    """
    kept, total = 0, np.int64(0)
    for post in range(n_posts):
        count = posts[post, _COUNT] & LOW32
        places[post] = -1
        if count > 0 and scores[post] >= floor:
            places[post] = total
            kept += 1
            total += count
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
    offsets[len(post_ids)] = len(to_seeds)
    for post in range(n_posts):
        if places[post] < 0:
            continue
        offsets[kept] = places[post]
        post_ids[kept] = posts[post, _ID]
        source = posts[post, _COUNT] >> 32
        author_ids[kept] = rows[source >> 27, AUTHORS] + 8 * (source & (2**27 - 1))
        prefetch(author_ids[kept])
        kept += 1
    for e in range(n_proofs):
        packed = proofs[e, 0]
        at = places[packed >> 32]
        if at < 0:
            continue
        places[packed >> 32] = at + 1
        to_seeds[at] = seed_indices[(packed & LOW32) >> 4]
        to_kinds[at] = packed & KIND_MASK
        to_times[at] = proofs[e, 1]
    for i in range(kept):
        author_ids[i] = int64s(author_ids[i], 1)[0]

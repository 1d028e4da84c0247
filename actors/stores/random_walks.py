"""SALSA over the interaction graph: random walks between users and posts, with restarts.

GraphJet's full-graph form. Walks start at the seeds in proportion to their weights; each left
step goes from a user to one of the posts they engaged with, each right step from a post to one
of the users who did; before a left step a walk may restart at the query user. How often a
post is visited is its weight. A shard walks what it holds; visits of several shards add up.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.stores.adjacency import degrees_of, locate
from actors.stores.edge_chains import NODE_WIDTH, slot_of_position, visible_degree
from actors.stores.edge_draws import random_below, random_unit
from actors.stores.id_map import Dense, Ids, hash_id
from actors.stores.interactions import InteractionGraph, View
from actors.stores.kernels import kernel, writable
from actors.stores.raw_memory import Int, int64_rows, int64s, prefetch, uint32s
from actors.stores.segment_row import (
    BLOCK,
    BLOCK_WIDTH,
    CSR_FORM,
    EDGES,
    ENTRIES,
    FORM,
    INDEX,
    KEYS,
    LEFT,
    LOW32,
    NODES,
    RIGHT,
    TARGET_SHIFT,
    Row,
)
from actors.stores.top_posts import beats, contains, offer, put_in_order

Rows = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WalkedPosts:
    """The most visited posts, best first, and through whom they were reached.

    `post_ids`, `visits` int64[k]; `total_visits` counts those of all posts, so a post's SALSA
    weight is visits / total_visits, also after adding up shards. The proofs of post i are
    `offsets[i]` … `offsets[i+1]` (int32[k+1]) of `proof_user_ids` and `proof_degrees`
    int64[E]: users of the last left step but the query user, by degree, then id, descending.
    """

    post_ids: Ids
    visits: Ids
    total_visits: int
    offsets: Dense
    proof_user_ids: Ids
    proof_degrees: Ids

    @property
    def weights(self) -> Float64s:
        """visits / total_visits, float64[k]."""
        return self.visits / max(1, self.total_visits)


def salsa(
    graph: InteractionGraph | View,
    query_id: int,
    seed_ids: Ids,
    weights: Float64s,
    *,
    rng: np.random.Generator,
    walks: int = 1_000,
    length: int = 5,
    reset: float = 0.3,
    k: int = 100,
    query_weight_fraction: float = 0.9,
    max_proofs: int = 10,
    excluded_post_ids: Ids | None = None,
) -> WalkedPosts:
    """Posts by how often `walks` walks of `length` steps (odd) visit them.

    Seeds (int64[s], distinct, weights float64[s] ≥ 0) without edges are left out; the query
    user, unless a seed, joins with the fraction `query_weight_fraction` of all weight. Seed i
    starts ⌈w_i / Σw · walks⌉ walks. Where a walk cannot go on, it restarts. Proofs come from
    the last left step and need a length of at least 3.
    """
    if length < 1 or not 0.0 <= reset <= 1.0 or not 0.0 <= query_weight_fraction < 1.0:
        raise ValueError(
            f"length must be at least 1, got {length}; reset in 0 … 1, got {reset}; "
            f"query_weight_fraction in 0 … 1, got {query_weight_fraction}"
        )
    view = graph.view if isinstance(graph, InteractionGraph) else graph
    seed_ids = writable(seed_ids, np.int64)
    weights = writable(weights, np.float64)
    excluded = np.zeros(0, np.int64) if excluded_post_ids is None else np.sort(excluded_post_ids)
    state = rng.integers(2**64, size=1, dtype=np.uint64)
    return WalkedPosts(
        *_walk(
            view.rows, query_id, seed_ids, weights, walks, length, reset, k,
            query_weight_fraction, max_proofs, excluded, state,
        )
    )  # fmt: skip


@kernel
def _walk(
    rows: Rows,
    query_id: Int,
    seed_ids: Ids,
    weights: Float64s,
    walks: Int,
    length: Int,
    reset: float,
    k: Int,
    query_fraction: float,
    max_proofs: Int,
    excluded: Ids,
    state: npt.NDArray[np.uint64],
) -> tuple[Ids, Ids, Int, Dense, Ids, Ids]:
    # A walk more than asked for per seed comes of rounding up.
    room = walks + len(seed_ids) + 2
    left_ids, left_counts = np.empty(room, np.int64), np.empty(room, np.int64)
    n_left = _start(rows, query_id, seed_ids, weights, walks, query_fraction, left_ids, left_counts)
    n_steps = (length + 1) // 2
    post_table, user_table = _table(room * n_steps), _table(room * n_steps)
    post_ids, visits = np.empty(room * n_steps, np.int64), np.zeros(room * n_steps, np.int64)
    n_posts = 0
    user_ids = np.empty(room * n_steps, np.int64)
    arrived = np.empty(room, np.int32)
    arrivals = np.zeros(room * n_steps, np.int64)
    right_ids, right_counts = np.empty(room, np.int64), np.empty(room, np.int64)
    owners, targets = np.empty(room, np.int64), np.empty(room, np.int64)
    degrees = np.empty(room, np.int64)
    total_visits = np.int64(0)
    n_proofs = 0
    proofs = np.empty((room, 3), np.int64)
    user_base = 0
    for step in range(0, length, 2):
        n, restarts = _step(
            rows, LEFT, left_ids[:n_left], left_counts, reset, state, owners, targets, degrees
        )
        total_visits += n
        n_arrived = 0
        for i in range(n):
            post = _enter(post_table, post_ids, n_posts, 0, targets[i])
            n_posts = max(n_posts, post + 1)
            visits[post] += 1
            if arrivals[post] == 0:
                arrived[n_arrived] = post
                n_arrived += 1
            arrivals[post] += 1
            if step == length - 1 and step >= 2 and left_ids[owners[i]] != query_id:
                proofs[n_proofs, 0] = post
                proofs[n_proofs, 1] = left_ids[owners[i]]
                proofs[n_proofs, 2] = degrees[owners[i]]
                n_proofs += 1
        if step + 1 >= length:
            break
        for i in range(n_arrived):
            right_ids[i] = post_ids[arrived[i]]
            right_counts[i] = arrivals[arrived[i]]
            arrivals[arrived[i]] = 0
        n, stuck = _step(
            rows, RIGHT, right_ids[:n_arrived], right_counts, 0.0, state, owners, targets, degrees
        )
        # The next frontier: the users arrived at, and the query user for what restarts.
        n_left = 0
        for i in range(n + 1):
            count = np.int64(1)
            user_id = query_id
            if i < n:
                user_id = targets[i]
            else:
                count = restarts + stuck
            if count == 0:
                continue
            user = _enter(user_table, user_ids[user_base:], n_left, user_base, user_id)
            if user == n_left:
                left_ids[n_left] = user_id
                left_counts[n_left] = 0
                n_left += 1
            left_counts[user] += count
        user_base += n_left
    best = np.empty(min(k, n_posts), np.int32)
    scores, zeros = np.empty(len(best)), np.zeros(len(best), np.int64)
    size = 0
    for post in range(n_posts):
        if len(best) == 0 or (
            size == len(best)
            and not beats(visits[post], 0, post_ids[post], scores[0], 0, post_ids[best[0]])
        ):
            continue
        if not contains(excluded, post_ids[post]):
            size = offer(scores, zeros, best, post_ids, size, visits[post], 0, post)
    put_in_order(scores, zeros, best, post_ids, size)
    best = best[:size]
    offsets, proof_users, proof_degrees = _best_proofs(proofs[:n_proofs], best, n_posts, max_proofs)
    return post_ids[best], visits[best], total_visits, offsets, proof_users, proof_degrees


@kernel
def _start(
    rows: Rows,
    query_id: Int,
    seed_ids: Ids,
    weights: Float64s,
    walks: Int,
    query_fraction: float,
    left_ids: Ids,
    left_counts: Ids,
) -> Int:
    """Where the walks begin: ids and counts, and how many distinct users."""
    ids = np.empty(len(seed_ids) + 1, np.int64)
    ids[:-1] = seed_ids
    ids[-1] = query_id
    nodes = np.empty((len(rows), len(ids)), np.int32)
    locate(rows, LEFT, ids, nodes)
    by_segment = np.empty_like(nodes)
    degrees_of(rows, LEFT, nodes, by_segment)
    shares = np.zeros(len(ids))
    total = 0.0
    query_is_seed = False
    for i in range(len(ids)):
        if by_segment[:, i].sum() == 0:
            continue
        if i < len(seed_ids):
            shares[i] = weights[i]
            query_is_seed |= ids[i] == query_id
        elif not query_is_seed:
            shares[i] = total * query_fraction / (1.0 - query_fraction) if total > 0.0 else 1.0
        total += shares[i]
    n = 0
    for i in range(len(ids)):
        if shares[i] > 0.0:
            left_ids[n] = ids[i]
            left_counts[n] = np.int64(np.ceil(shares[i] / total * walks))
            n += 1
    return n


@kernel
def _step(
    rows: Rows,
    side: Int,
    ids: Ids,
    counts: Ids,
    reset: float,
    state: npt.NDArray[np.uint64],
    owners: Ids,
    targets: Ids,
    degrees: Ids,
) -> tuple[Int, Int]:
    """One step of all walks: `counts[i]` of them are at node `ids[i]`.

    Writes for each that goes on where it was (position in ids) and the id it reached, and each
    node's degree; returns how many went on and how many did not.
    """
    block, other = BLOCK + side * BLOCK_WIDTH, BLOCK + (1 - side) * BLOCK_WIDTH
    n_segments = len(rows)
    nodes = np.empty((n_segments, len(ids)), np.int32)
    locate(rows, side, ids, nodes)
    by_segment = np.empty_like(nodes)
    degrees_of(rows, side, nodes, by_segment)
    in_segment = np.empty(n_segments, np.int64)
    segments = np.empty(len(targets), np.int64)
    n, stopped = 0, np.int64(0)
    for i in range(len(ids)):
        degree = np.int64(0)
        for s in range(n_segments):
            in_segment[s] = by_segment[s, i]
            degree += in_segment[s]
        degrees[i] = degree
        if degree == 0:
            stopped += counts[i]
            continue
        for _ in range(counts[i]):
            if reset > 0.0 and random_unit(state) < reset:
                stopped += 1
                continue
            position = random_below(state, degree)
            s = 0
            while position >= in_segment[s]:
                position -= in_segment[s]
                s += 1
            owners[n] = i
            segments[n] = s
            targets[n] = _word_address(rows[s], block, nodes[s, i], position)
            prefetch(targets[n])
            n += 1
    for j in range(n):
        word = int64s(targets[j], 1)[0] & LOW32
        targets[j] = rows[segments[j], other + KEYS] + 8 * (word >> TARGET_SHIFT)
        prefetch(targets[j])
    for j in range(n):
        targets[j] = int64s(targets[j], 1)[0]
    return n, stopped


@kernel
def _word_address(row: Row, block: Int, node: Int, position: Int) -> Int:
    """The address of the int64 that holds the word of one of a node's entries."""
    if row[FORM] == CSR_FORM:
        offsets = uint32s(row[block + INDEX], row[block + NODES] + 1)
        return row[block + ENTRIES] + 8 * (np.int64(offsets[node]) + position)
    pool = int64_rows(row[block + ENTRIES], 2**40, 2)
    degree, last = visible_degree(
        int64_rows(row[block + INDEX], row[block + NODES], NODE_WIDTH), pool, node, row[EDGES]
    )
    return row[block + ENTRIES] + 16 * slot_of_position(pool, degree, last, position) + 8


@kernel
def _table(entries: Int) -> Dense:
    """An empty hash table for `_enter`."""
    capacity = 16
    while capacity < 4 * entries:
        capacity *= 2
    return np.zeros(capacity, np.int32)


@kernel
def _enter(table: Dense, ids: Ids, size: Int, base: Int, wanted: Int) -> Int:
    """The number of an id among `ids[:size]`, entering it as the next one if it is new.

    What the table holds up to `base` belongs to earlier rounds and counts as empty.
    """
    mask = len(table) - 1
    at = np.int64(hash_id(wanted) >> np.uint64(32)) & mask
    while table[at] > base:
        if ids[table[at] - base - 1] == wanted:
            return table[at] - base - 1
        at = (at + 1) & mask
    table[at] = base + size + 1
    ids[size] = wanted
    return size


@kernel
def _best_proofs(
    proofs: npt.NDArray[np.int64], best: Dense, n_posts: Int, max_proofs: Int
) -> tuple[Dense, Ids, Ids]:
    """For each best post its distinct users by degree, then id, descending; at most max_proofs."""
    rank = np.full(n_posts, -1, np.int32)
    for i in range(len(best)):
        rank[best[i]] = i
    kept = np.empty((len(best), max_proofs, 2), np.int64)
    sizes = np.zeros(len(best), np.int32)
    for e in range(len(proofs)):
        i = rank[proofs[e, 0]]
        if i < 0:
            continue
        user_id, degree = proofs[e, 1], proofs[e, 2]
        at = 0
        while at < sizes[i] and (kept[i, at, 1], kept[i, at, 0]) > (degree, user_id):
            at += 1
        if at == max_proofs or (at < sizes[i] and kept[i, at, 0] == user_id):
            continue
        sizes[i] = min(max_proofs, sizes[i] + 1)
        for j in range(sizes[i] - 1, at, -1):
            kept[i, j] = kept[i, j - 1]
        kept[i, at, 0] = user_id
        kept[i, at, 1] = degree
    offsets = np.zeros(len(best) + 1, np.int32)
    offsets[1:] = np.cumsum(sizes)
    users, degrees = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.int64)
    for i in range(len(best)):
        for j in range(sizes[i]):
            users[offsets[i] + j] = kept[i, j, 0]
            degrees[offsets[i] + j] = kept[i, j, 1]
    return offsets, users, degrees

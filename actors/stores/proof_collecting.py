"""Proofs out of runs of edges: numbered and sorted by post, then each post's own looked through.

`number_posts` reads the edges whose post may score enough; `settle` drops repeated ones, cancels
what was undone and adds up scores; `take` makes arrays of the posts that are wanted.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from actors.stores.edge_runs import (
    CHUNK_RUN,
    CLOSED_RUN,
    RUN_AT,
    RUN_COUNT,
    RUN_FORM,
    RUN_SEGMENT,
)
from actors.stores.id_map import Dense, Ids
from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int, int64_rows, int64s, prefetch, uint16s
from actors.stores.score_bounds import Uint16s, bucket_shift
from actors.stores.segment_row import (
    AUTHORS,
    BLOCK,
    BLOCK_WIDTH,
    ENTRIES,
    GOLDEN,
    HIGH,
    KEYS,
    KIND_MASK,
    LOW32,
    MARK_SHIFT,
    MARKS,
    MIN_MS,
    RIGHT,
    TARGET_SHIFT,
    TIME_MASK,
    slot_shift,
)

Float64s = npt.NDArray[np.float64]
Uint8s = npt.NDArray[np.uint8]

NO_KIND = 255

# Masked so, an index is known not to be negative, and Numba's check for that falls away.
_MASK31 = 0x7FFFFFFF


@kernel
def number_posts(
    rows: npt.NDArray[np.int64],
    runs: npt.NDArray[np.int64],
    run_ends: Ids,
    copies: Ids,
    copied_marks: Uint16s,
    matters: npt.NDArray[np.int64],
    buckets: Uint8s,
    table: Dense,
    base: Int,
    post_ids: Ids,
    sources: Ids,
    posts: Dense,
    keys: Dense,
    times_ms: Ids,
    buffer: npt.NDArray[np.int64],
) -> tuple[Int, Int, bool]:
    """The seeds' edges in reading order, and the posts they point to; returns their numbers.

    Only edges in `buckets` that are 1 (`score_bounds`) and of kinds that `matters` (int64[16]) has
    are read: their `posts` by number, `keys` (seed << 4 | kind) and times. `post_ids` are in order
    of appearance, and `sources` (segment << 32 | word) tell where each stands. `table` is a hash
    table of `base` + post number; what is below `base` is a previous query's and counts as empty.
    `buffer` is int64[2, 4, > edges of a seed]. Where the table would be filled by more than half
    it stops, and says so last.

    New posts are as likely as known ones and a branch on it would be guessed wrong as often as
    not, so the inner loop stores without asking.
    """
    shift = slot_shift(len(table))
    last_slot = len(table) - 1
    table_at = table.ctypes.data
    ids_at = np.empty(len(rows), np.int64)
    for s in range(len(rows)):
        ids_at[s] = rows[s, BLOCK + RIGHT * BLOCK_WIDTH + KEYS]
    n_posts, n = np.int64(0), np.int64(0)
    taken = np.int64(0)
    n_seeds = len(run_ends)
    for ahead in range(n_seeds + 1):
        # One seed ahead its edges are chosen and their ids fetched.
        seed, count = ahead - 1, taken
        if ahead < n_seeds:
            chosen = buffer[ahead & 1]
            taken = _choose(
                rows, runs[run_ends[ahead - 1] if ahead > 0 else 0 : run_ends[ahead]], copies,
                copied_marks, matters, buckets, chosen[0], chosen[1], chosen[2],
            )  # fmt: skip
            for i in range(taken):
                # Where the id stands, in place of what was picked.
                origin = chosen[1, i]
                at = ids_at[origin >> 32 & _MASK31] + 8 * ((origin & LOW32) >> TARGET_SHIFT)
                chosen[2, i] = at
                prefetch(at)
        if seed < 0:
            continue
        if 2 * (n_posts + count) > last_slot:
            return n_posts, n, False
        times, origins, targets = buffer[seed & 1, 0], buffer[seed & 1, 1], buffer[seed & 1, 2]
        starts = buffer[seed & 1, 3]
        for i in range(count):
            targets[i] = int64s(targets[i], 1)[0]
            at = np.int64((np.uint64(targets[i]) * GOLDEN) >> shift)
            starts[i] = at
            prefetch(table_at + 4 * at)
        key = seed << 4
        for i in range(count):
            post_id = targets[i]
            # A new post takes the next number, whose id is made to match.
            post_ids[n_posts & _MASK31] = post_id
            sources[n_posts & _MASK31] = origins[i]
            at = starts[i] & _MASK31
            post = np.int64(table[at]) - base
            empty = np.int64(post < 0)
            post += empty * (n_posts - post)
            while post_ids[post & _MASK31] != post_id:
                at = (at + 1) & last_slot & _MASK31
                post = np.int64(table[at]) - base
                empty = np.int64(post < 0)
                post += empty * (n_posts - post)
            table[at] = base + post
            n_posts += empty
            e = n & _MASK31
            posts[e] = post
            keys[e] = key | (origins[i] & KIND_MASK)
            times_ms[e] = times[i]
            n += 1
    return n_posts, n, True


@kernel
def settle(
    n_posts: Int,
    n: Int,
    posts: Dense,
    keys: Dense,
    times_ms: Ids,
    weights: Float64s,
    counts: npt.NDArray[np.int64],
    undo_of: Uint8s,
    offsets: Dense,
    to_keys: Dense,
    to_times: Ids,
    n_proofs: Dense,
    scores: Float64s,
) -> None:
    """Sort the edges by post and keep what proves: one of each (post, seed, kind) that stands.

    The `n_proofs[v]` proofs of post v are those from `offsets[v]` on of `to_keys`, `to_times`;
    `scores[v]` is the sum of their weights. `counts` int64[16] is 1 for kinds that are proofs.
    """
    closes = np.zeros(16, np.int64)
    for code in range(16):
        closes[code] = 1 << code
        if undo_of[code] != NO_KIND:
            # Edges come newest first: the kind it takes back, if it follows, is older.
            closes[code] |= 1 << undo_of[code]
    for v in range(n_posts + 1):
        offsets[v] = 0
    for e in range(n):
        offsets[(posts[e] & _MASK31) + 1] += 1
    for v in range(n_posts):
        offsets[v + 1] += offsets[v]
        n_proofs[v] = offsets[v]
    for e in range(n):
        v = posts[e] & _MASK31
        at = n_proofs[v] & _MASK31
        n_proofs[v] = at + 1
        to_keys[at] = keys[e]
        to_times[at] = times_ms[e]
    for v in range(n_posts):
        begin, end = np.int64(offsets[v]), np.int64(offsets[v + 1])
        if end - begin == 1:
            # Most posts, of which all is known.
            key = np.int64(to_keys[begin & _MASK31])
            n_proofs[v] = counts[key & KIND_MASK]
            scores[v] = weights[(key >> 4) & _MASK31] * counts[key & KIND_MASK]
            continue
        out = begin
        score: Any = 0.0
        last, seen = np.int64(-1), np.int64(0)
        for e in range(begin, end):
            key, time_ms = np.int64(to_keys[e & _MASK31]), to_times[e & _MASK31]
            seed, kind = key >> 4, key & KIND_MASK
            seen &= -np.int64(seed == last)
            last = seed
            fresh = counts[kind] & ~(seen >> kind)
            seen |= closes[kind]
            j = e + 1
            # An undo of the same millisecond may follow, and counts.
            while j < end and to_times[j] == time_ms and fresh != 0 and to_keys[j] >> 4 == seed:
                fresh &= -np.int64(undo_of[to_keys[j] & KIND_MASK] != kind)
                j += 1
            to_keys[out & _MASK31] = key
            to_times[out & _MASK31] = time_ms
            score += weights[seed & _MASK31] * fresh
            out += fresh
        n_proofs[v] = out - begin
        scores[v] = score


@kernel
def _choose(
    rows: npt.NDArray[np.int64],
    runs: npt.NDArray[np.int64],
    copies: Ids,
    copied_marks: Uint16s,
    matters: npt.NDArray[np.int64],
    buckets: Uint8s,
    times: Ids,
    origins: Ids,
    picked: Ids,
) -> Int:
    """Times and origins of a seed's edges of kinds that matter, in the buckets to look at."""
    shift = bucket_shift(len(buckets))
    n = np.int64(0)
    for r in range(len(runs)):
        at, count, segment = runs[r, RUN_AT], runs[r, RUN_COUNT], runs[r, RUN_SEGMENT]
        row = rows[segment]
        origin = segment << 32
        n_picked = np.int64(0)
        if runs[r, RUN_FORM] == CLOSED_RUN:
            marks = uint16s(row[BLOCK + MARKS] + 2 * at, count)
            for j in range(count):
                picked[n_picked & _MASK31] = j
                n_picked += buckets[marks[j] >> shift]
            entries = int64s(row[BLOCK + ENTRIES] + 8 * at, count)
            base_ms, high_at = row[MIN_MS], row[BLOCK + HIGH] + 2 * at
            is_wide = row[BLOCK + HIGH] != 0
            for i in range(n_picked):
                j = picked[i]
                entry = entries[j]
                time_ms = base_ms + ((entry >> 32) & LOW32)
                if is_wide:
                    time_ms += np.int64(uint16s(high_at, count)[j]) << 32
                times[n & _MASK31] = time_ms
                origins[n & _MASK31] = origin | (entry & LOW32)
                n += matters[entry & KIND_MASK]
        elif runs[r, RUN_FORM] == CHUNK_RUN:
            pool = int64_rows(row[BLOCK + ENTRIES] + 16 * (at - count + 1), count, 2)
            for j in range(count - 1, -1, -1):
                picked[n_picked & _MASK31] = j
                n_picked += buckets[((pool[j, 0] >> MARK_SHIFT) & 0xFFFF) >> shift]
            for i in range(n_picked):
                stamp, word = pool[picked[i], 0], pool[picked[i], 1] & LOW32
                times[n & _MASK31] = stamp & TIME_MASK
                origins[n & _MASK31] = origin | word
                n += matters[word & KIND_MASK]
        else:
            for j in range(at, at + count):
                times[n & _MASK31] = copies[0, j]
                origins[n & _MASK31] = copies[1, j]
                n += matters[copies[1, j] & KIND_MASK] & buckets[copied_marks[j] >> shift]
    return n


@kernel
def put_aside(
    unwanted_ids: Ids, min_post_id: Int, table: Dense, base: Int, n_posts: Int, post_ids: Ids,
    n_proofs: Dense, scores: Float64s,
) -> None:  # fmt: skip
    """Leave no proofs, and a score of −1, to posts that are not wanted.

    Those are the posts of `unwanted_ids` and those with an id below `min_post_id`.
    """
    shift = slot_shift(len(table))
    for i in range(len(unwanted_ids)):
        at = np.int64((np.uint64(unwanted_ids[i]) * GOLDEN) >> shift)
        while table[at] >= base:
            v = np.int64(table[at]) - base
            if post_ids[v] == unwanted_ids[i]:
                n_proofs[v], scores[v] = 0, -1.0
                break
            at = (at + 1) & (len(table) - 1)
    for v in range(n_posts):
        if post_ids[v] < min_post_id:
            n_proofs[v], scores[v] = 0, -1.0


@kernel
def choose_posts(
    n_posts: Int, n_proofs: Dense, scores: Float64s, floor: float, chosen: Dense
) -> tuple[Int, Int]:
    """Numbers of the posts that have proofs and reach a score; how many, and how many proofs."""
    kept, total = np.int64(0), np.int64(0)
    for v in range(n_posts):
        keeps = np.int64(n_proofs[v] > 0 and scores[v] >= floor)
        chosen[kept] = v
        kept += keeps
        total += n_proofs[v] * keeps
    return kept, total


@kernel
def take(
    rows: npt.NDArray[np.int64],
    chosen: Dense,
    post_ids: Ids,
    sources: Ids,
    offsets: Dense,
    n_proofs: Dense,
    keys: Dense,
    times_ms: Ids,
    seed_indices: Dense,
    to_posts: Ids,
    to_authors: Ids,
    to_offsets: Dense,
    to_seeds: Dense,
    to_kinds: Uint8s,
    to_times: Ids,
) -> None:
    """The chosen posts with authors and proofs as arrays of their own."""
    at = np.int64(0)
    for i in range(len(chosen)):
        v = chosen[i]
        to_posts[i] = post_ids[v]
        source = sources[v]
        to_authors[i] = rows[source >> 32, AUTHORS] + 8 * ((source & LOW32) >> TARGET_SHIFT)
        prefetch(to_authors[i])
        to_offsets[i] = at
        begin = np.int64(offsets[v])
        for e in range(begin, begin + n_proofs[v]):
            key = np.int64(keys[e])
            to_seeds[at & _MASK31] = seed_indices[key >> 4]
            to_kinds[at & _MASK31] = key & KIND_MASK
            to_times[at & _MASK31] = times_ms[e]
            at += 1
    to_offsets[len(chosen)] = at
    for i in range(len(chosen)):
        to_authors[i] = int64s(to_authors[i], 1)[0]

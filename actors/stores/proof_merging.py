"""Kernels that bring the proofs of several parts together by post, in seed order."""

import numpy as np
import numpy.typing as npt

from actors.stores.id_map import Dense, Ids
from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int
from actors.stores.score_bounds import Uint8s, Uint32s, bucket_shift
from actors.stores.segment_row import GOLDEN, mark_of, slot_shift

Float64s = npt.NDArray[np.float64]


@kernel
def add_scores(post_ids: Ids, scores: Float64s, scale: float, shift: Int, sums: Uint32s) -> None:
    """Add each post's part of its score to its bucket (`score_bounds`)."""
    for v in range(len(post_ids)):
        sums[mark_of(post_ids[v]) >> shift] += np.uint32(np.int64(np.ceil(scores[v] * scale)))


@kernel
def posts_in(post_ids: Ids, buckets: Uint8s, kept: Dense) -> Int:
    """Positions of posts in the buckets to look at, into `kept`; returns their number."""
    shift = bucket_shift(len(buckets))
    n = np.int64(0)
    for v in range(len(post_ids)):
        kept[n] = v
        n += buckets[mark_of(post_ids[v]) >> shift]
    return n


@kernel
def number_groups(
    kept: Dense,
    post_ids: Ids,
    author_ids: Ids,
    offsets: Dense,
    table: Dense,
    n_posts: Int,
    to_posts: Ids,
    to_authors: Ids,
    ends: Dense,
    numbers: Dense,
) -> Int:
    """Number the posts of a part on from `n_posts`, and count their proofs into `ends[number]`.

    `table` is a hash table of number + 1, at least twice as large as there are posts; `numbers`
    are the kept posts'. Returns how many posts there are now.
    """
    shift = slot_shift(len(table))
    for i in range(len(kept)):
        v = kept[i]
        at = np.int64((np.uint64(post_ids[v]) * GOLDEN) >> shift)
        while table[at] != 0 and to_posts[table[at] - 1] != post_ids[v]:
            at = (at + 1) & (len(table) - 1)
        post = np.int64(table[at]) - 1
        if post < 0:
            post = n_posts
            n_posts += 1
            table[at] = n_posts
            to_posts[post] = post_ids[v]
            to_authors[post] = 0
            ends[post] = 0
        if to_authors[post] == 0:
            to_authors[post] = author_ids[v]
        ends[post] += offsets[v + 1] - offsets[v]
        numbers[i] = post
    return n_posts


@kernel
def find_groups(post_ids: Ids, table: Dense, known: Ids) -> Dense:
    """Those numbers of `known` posts that `post_ids` have."""
    found = np.empty(len(post_ids), np.int32)
    n = 0
    shift = slot_shift(len(table))
    for i in range(len(post_ids)):
        at = np.int64((np.uint64(post_ids[i]) * GOLDEN) >> shift)
        while table[at] != 0 and known[table[at] - 1] != post_ids[i]:
            at = (at + 1) & (len(table) - 1)
        if table[at] != 0:
            found[n] = table[at] - 1
            n += 1
    return found[:n]


@kernel
def gather(
    kept: Dense,
    numbers: Dense,
    offsets: Dense,
    seed_indices: Dense,
    kinds: Uint8s,
    times_ms: Ids,
    begins: Dense,
    fill: Dense,
    to_seeds: Dense,
    to_kinds: Uint8s,
    to_times: Ids,
) -> None:
    """Merge a part's proofs into those that post `v` has from `begins[v]` to `fill[v]`."""
    for i in range(len(kept)):
        v = numbers[i]
        first = np.int64(offsets[kept[i]])
        new = np.int64(offsets[kept[i] + 1]) - 1
        begin, old = np.int64(begins[v]), np.int64(fill[v]) - 1
        at = old + new + 1 - first
        fill[v] = at + 1
        # From the end, so that what is there moves but once.
        while new >= first:
            if old >= begin and to_seeds[old] > seed_indices[new]:
                to_seeds[at] = to_seeds[old]
                to_kinds[at] = to_kinds[old]
                to_times[at] = to_times[old]
                old -= 1
            else:
                to_seeds[at] = seed_indices[new]
                to_kinds[at] = kinds[new]
                to_times[at] = times_ms[new]
                new -= 1
            at -= 1

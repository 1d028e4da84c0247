"""Kernels that choose the best posts by their proofs, and which proofs are shown."""

import numpy as np
import numpy.typing as npt

from actors.stores.id_map import Dense, Ids
from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int, lowest_bit
from actors.stores.top_posts import contains

Uint8s = npt.NDArray[np.uint8]
Float64s = npt.NDArray[np.float64]

# So many are put in order by insertion.
_FEW = 16


@kernel
def add_up(offsets: Dense, seeds: Dense, weights: Float64s, scores: Float64s) -> None:
    """Each post's sum of weights, added in seed order."""
    for v in range(len(scores)):
        score = 0.0
        for e in range(offsets[v], offsets[v + 1]):
            score += weights[seeds[e]]
        scores[v] = score


@kernel
def admit(
    post_ids: Ids,
    author_ids: Ids,
    offsets: Dense,
    seeds: Dense,
    kinds: Uint8s,
    seed_ids: Ids,
    min_users: Int,
    least_of_kinds: Ids,
    kinds_mask: Int,
    unions: Ids,
    author_kind: Int,
    excluded_posts: Ids,
    excluded_authors: Ids,
    allowed_authors: Ids,
    only_allowed: bool,
    min_post_id: Int,
    scores: Float64s,
    floor: float,
    best: Dense,
) -> Int:
    """Positions of the posts that pass, into `best`; returns how many they are."""
    n = 0
    is_common = len(unions) == 0
    for kind in range(16):
        if (kinds_mask >> kind) & 1 and least_of_kinds[kind] > 1:
            is_common = False
    for v in range(len(post_ids)):
        if (
            scores[v] < floor
            or post_ids[v] < min_post_id
            or contains(excluded_posts, post_ids[v])
            or contains(excluded_authors, author_ids[v])
            or (only_allowed and not contains(allowed_authors, author_ids[v]))
        ):
            continue
        begin, end = offsets[v], offsets[v + 1]
        if is_common:
            # One user other than the author decides.
            passes = False
            for e in range(begin, end):
                if (kinds_mask >> kinds[e]) & 1 and (
                    least_of_kinds[kinds[e]] < 1
                    or kinds[e] == author_kind
                    or seed_ids[seeds[e]] != author_ids[v]
                ):
                    passes = True
                    break
        else:
            passes = _passes(
                begin, end, seeds, kinds, seed_ids, author_ids[v], min_users, least_of_kinds,
                kinds_mask, unions, author_kind,
            )  # fmt: skip
        if passes:
            best[n] = v
            n += 1
    return n


@kernel
def _passes(
    begin: Int,
    end: Int,
    seeds: Dense,
    kinds: Uint8s,
    seed_ids: Ids,
    author_id: Int,
    min_users: Int,
    least_of_kinds: Ids,
    kinds_mask: Int,
    unions: Ids,
    author_kind: Int,
) -> bool:
    """The gate (`ProofGate`) of one post's proofs."""
    counts = np.zeros(16, np.int64)
    needs = least_of_kinds.copy()
    for e in range(begin, end):
        counts[kinds[e]] += 1
        if kinds[e] != author_kind and seed_ids[seeds[e]] == author_id:
            needs[kinds[e]] = least_of_kinds[kinds[e]] + 1
    for kind in range(16):
        if (kinds_mask >> kind) & 1 and counts[kind] >= max(1, needs[kind]):
            return True
    for mask in unions:
        users = 0
        previous = -1
        for e in range(begin, end):
            if (mask >> kinds[e]) & 1 and seeds[e] != previous:
                previous = seeds[e]
                users += 1
        if users >= max(1, min_users):
            return True
    return False


@kernel
def newest_proofs(posts: Dense, offsets: Dense, times_ms: Ids, newest_ms: Ids) -> None:
    """The time of each post's newest proof; −1 where it has none."""
    for i in range(len(posts)):
        newest_ms[i] = -1
        for e in range(offsets[posts[i]], offsets[posts[i] + 1]):
            newest_ms[i] = max(newest_ms[i], times_ms[e])


@kernel
def newest_ids_first(posts: Dense, keys: Ids, post_ids: Ids) -> None:
    """Put posts of equal keys, which stand together, in falling order of their ids."""
    begin = 0
    while begin < len(posts):
        end = begin + 1
        while end < len(posts) and keys[end] == keys[begin]:
            end += 1
        if end - begin > _FEW:
            posts[begin:end] = posts[begin:end][np.argsort(-post_ids[posts[begin:end]])]
        else:
            for i in range(begin + 1, end):
                v, at = posts[i], i
                while at > begin and post_ids[posts[at - 1]] < post_ids[v]:
                    posts[at] = posts[at - 1]
                    at -= 1
                posts[at] = v
        begin = end


@kernel
def show(
    offsets: Dense,
    seeds: Dense,
    kinds: Uint8s,
    times_ms: Ids,
    ranks: Ids,
    best: Dense,
    max_proofs: Int,
    kinds_mask: Int,
    to_offsets: Dense,
    to_seeds: Dense,
    to_kinds: Uint8s,
    to_times: Ids,
) -> Int:
    """The proofs to show for each best post; returns how many in all.

    `ranks` int64[seeds] are the seeds' places by weight. The seeds of a post are bits by rank,
    so the heaviest are found without a comparison to guess wrong.
    """
    n = 0
    bits = np.zeros((len(ranks) + 63) // 64, np.uint64)
    first = np.empty(len(ranks), np.int64)
    for i in range(len(best)):
        begin, end = offsets[best[i]], offsets[best[i] + 1]
        for e in range(end - 1, begin - 1, -1):
            rank = ranks[seeds[e]]
            bits[rank >> 6] |= np.uint64((kinds_mask >> kinds[e]) & 1) << np.uint64(rank & 63)
            first[rank] = e
        users = 0
        for word in range(len(bits)):
            left = bits[word]
            bits[word] = 0
            while left != 0 and users < max_proofs:
                e = first[64 * word + lowest_bit(left)]
                left &= left - np.uint64(1)
                users += 1
                seed = seeds[e]
                while e < end and seeds[e] == seed:
                    to_seeds[n] = seed
                    to_kinds[n] = kinds[e]
                    to_times[n] = times_ms[e]
                    n += (kinds_mask >> kinds[e]) & 1
                    e += 1
        to_offsets[i + 1] = n
    return n

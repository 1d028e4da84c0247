"""SimClusters-ANN: the posts whose embeddings are nearest to a given one, by their communities.

The lists of the source's best communities are scanned, and for every post met the dot product
and the squared norm are summed in one hash map (the original's optimised kernel). A post's
norm covers only what was scanned: the approximate cosine is an upper bound of that part, and
favours posts that are spread over many communities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from actors.stores.community_lists import (
    Float64s,
    Rows,
    living_entries,
    select_best,
    select_best_listed,
)
from actors.stores.id_map import Ids
from actors.stores.kernels import kernel, writable
from actors.stores.post_embeddings import CommunityIndex
from actors.stores.raw_memory import Int

MAX_RESULTS = 1_000
"""The most that one search returns, whatever it is asked for."""
ANY_AGE_MS = 175_200 * 3_600_000
"""From this maximum age on, old posts are not left out."""


class Similarity(IntEnum):
    """How dot product and norms make a score (the original's `annAlgorithm`)."""

    DOT = 1
    COSINE = 2
    LOG_COSINE = 3
    COSINE_NO_SOURCE = 4
    """Not divided by the source's norm."""


@dataclass(frozen=True)
class ClusterSearch:
    """What to search for; the defaults are the original's default preset."""

    similarity: Similarity = Similarity.COSINE
    max_results: int = 200
    min_score: float = 0.0
    max_communities: int = 50
    """Communities of the source to scan; its norm covers all."""
    max_posts_per_community: int = 800
    max_age_ms: int = 24 * 3_600_000
    min_age_ms: int = 0
    excluded_post_id: int = 0
    """The source post, where the source is one."""


@dataclass(frozen=True)
class FoundByCommunity:
    """Posts, the best first (of equal scores the greater id); arrays of shape (n,)."""

    post_ids: Ids
    author_ids: Ids
    created_ms: Ids
    scores: npt.NDArray[np.float64]


_NO_IDS = np.empty(0, np.int64)
_NOTHING = FoundByCommunity(_NO_IDS, _NO_IDS, _NO_IDS, np.empty(0))


def search_communities(
    index: CommunityIndex,
    communities: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
    search: ClusterSearch,
    now_ms: int,
    floors: Float64s | None = None,
) -> FoundByCommunity:
    """The posts of an index most similar to a source embedding.

    The source is given best community first. Of each community its `max_posts_per_community`
    best posts are scanned, or where `floors` (one for each scanned community) are given, those
    whose score reaches the floor: with floors from `floors_of` over all shards, the answers
    of several shards together are those of one.
    """
    norm2 = float(np.square(weights, dtype=np.float64).sum())
    sources = np.flatnonzero(communities < len(index.starts))
    sources = sources[sources < search.max_communities]
    n_best = min(search.max_results, MAX_RESULTS)
    if not len(sources) or norm2 <= 0 or n_best < 1:
        return _NOTHING
    if floors is None:
        cut = min(search.max_posts_per_community, index.posts_per_community)
        chosen_floors = np.zeros(len(sources))
    else:
        cut = -1
        chosen_floors = floors[sources]
    unlimited = search.max_age_ms >= ANY_AGE_MS
    rows, scores = _search(
        writable(communities[sources], np.int64),
        writable(weights[sources], np.float64),
        writable(chosen_floors, np.float64),
        index.starts,
        index.heads,
        index.floors,
        index.posts,
        index.values,
        index.created_ms,
        index.links,
        index.entry_values,
        index.post_ids,
        index.post_created_ms,
        index.factor,
        index.min_score,
        index.min_created_ms,
        cut,
        index.posts_per_community,
        np.iinfo(np.int64).min if unlimited else now_ms - search.max_age_ms,
        now_ms - search.min_age_ms,
        search.excluded_post_id,
        int(search.similarity),
        norm2,
        search.min_score,
        n_best,
    )
    order = np.lexsort((-index.post_ids[rows], -scores))
    rows = rows[order]
    return FoundByCommunity(
        index.post_ids[rows], index.author_ids[rows], index.post_created_ms[rows], scores[order]
    )


def merge_found(parts: Sequence[FoundByCommunity], max_results: int) -> FoundByCommunity:
    """The best of what several shards found, each post in one of them."""
    columns = {
        name: np.concatenate([getattr(part, name) for part in (_NOTHING, *parts)])
        for name in ("post_ids", "author_ids", "created_ms", "scores")
    }
    order = np.lexsort((-columns["post_ids"], -columns["scores"]))[:max_results]
    return FoundByCommunity(**{name: values[order] for name, values in columns.items()})


def best_of_community(index: CommunityIndex, community: int, limit: int) -> tuple[Ids, Float64s]:
    """Ids and scores of the `limit` best posts of a community, the best first."""
    if community >= len(index.starts):
        return _NOTHING.post_ids, _NOTHING.scores
    wanted = min(limit, index.posts_per_community)
    scores, posts = living_entries(
        community,
        wanted,
        index.min_score,
        index.factor,
        index.min_created_ms,
        index.heads,
        index.starts,
        index.floors,
        index.posts,
        index.values,
        index.created_ms,
        index.links,
        index.entry_values,
        index.post_created_ms,
    )
    post_ids = index.post_ids[posts]
    order = np.lexsort((-post_ids, -scores))[:wanted]
    return post_ids[order], scores[order]


def heads_of(
    index: CommunityIndex, communities: npt.NDArray[np.int32], limit: int
) -> list[Float64s]:
    """The `limit` best scores of each community, the best first."""
    return [best_of_community(index, c, limit)[1] for c in communities.tolist()]


def floors_of(heads: Sequence[Sequence[Float64s]], limit: int) -> Float64s:
    """The `limit`-th best score of each community over all shards, or 0 where it has fewer.

    `heads` has one entry a shard, each what `heads_of` gave for the same communities.
    """
    floors = np.zeros(len(heads[0]) if heads else 0)
    for at in range(len(floors)):
        scores = np.concatenate([shard[at] for shard in heads])
        if len(scores) >= limit:
            floors[at] = np.partition(scores, -limit)[-limit]
    return floors


@kernel
def _search(
    communities: Ids,
    weights: Float64s,
    lowest_scores: Float64s,
    starts: Ids,
    heads: Rows,
    floors: Float64s,
    member_posts: Rows,
    member_values: Float64s,
    member_created: Ids,
    links: Rows,
    entry_values: Float64s,
    post_ids: Ids,
    post_created: Ids,
    factor: float,
    min_member_score: float,
    min_member_created: Int,
    cut: Int,
    keep: Int,
    oldest_ms: Int,
    newest_ms: Int,
    excluded_post_id: Int,
    similarity: Int,
    norm2: float,
    min_score: float,
    n_best: Int,
) -> tuple[Ids, Float64s]:
    """Rows and scores of the best posts, in no order."""
    capacity = np.int64(32_768)
    mask = capacity - 1
    # The post of a slot plus one, and what was summed for it.
    taken = np.zeros(capacity, np.int32)
    sums = np.empty((capacity, 2), np.float64)
    used = np.empty(capacity, np.int64)
    n_used = 0
    for i in range(len(communities)):
        scanned, posts = living_entries(
            communities[i],
            cut if cut >= 0 else keep,
            max(lowest_scores[i], min_member_score),
            factor,
            min_member_created,
            heads,
            starts,
            floors,
            member_posts,
            member_values,
            member_created,
            links,
            entry_values,
            post_created,
        )
        size = np.int64(len(scanned))
        order = np.arange(size).astype(np.int32)
        if 0 <= cut < size:
            select_best_listed(order, size, scanned, posts, post_ids, 0, cut)
            size = np.int64(cut)
        while 3 * (n_used + size) > 2 * capacity:
            capacity, taken, sums = _grown(capacity, taken, sums, used, n_used)
            mask = capacity - 1
            used = np.append(used, np.empty(capacity - len(used), np.int64))
        for k in range(size):
            score = scanned[order[k]]
            post = posts[order[k]]
            slot = _slot_of(post, taken, mask)
            if taken[slot] == 0:
                taken[slot] = post + 1
                sums[slot, 0] = 0.0
                sums[slot, 1] = 0.0
                used[n_used] = slot
                n_used += 1
            sums[slot, 0] += weights[i] * score
            sums[slot, 1] += score * score
    rows = np.empty(n_used, np.int64)
    scores = np.empty(n_used, np.float64)
    n = 0
    norm = np.sqrt(norm2)
    log_norm = np.log1p(norm2)
    for i in range(n_used):
        slot = used[i]
        score = sums[slot, 0]
        if similarity == 2:
            score /= norm * np.sqrt(sums[slot, 1])
        elif similarity == 3:
            score /= log_norm * np.log1p(sums[slot, 1])
        elif similarity == 4:
            score /= np.sqrt(sums[slot, 1])
        if not score >= min_score:
            continue
        post = np.int64(taken[slot]) - 1
        created = post_created[post]
        if created < oldest_ms or created > newest_ms or post_ids[post] == excluded_post_id:
            continue
        rows[n] = post
        scores[n] = score
        n += 1
    if n <= n_best:
        return rows[:n].copy(), scores[:n].copy()
    best = np.arange(n).astype(np.int32)
    # The same total order as that of the lists: score, then post id.
    select_best(best, n, scores, rows[:n].astype(np.int32), post_ids, 0, n_best)
    return rows[best[:n_best]], scores[best[:n_best]]


@kernel
def _slot_of(post: Int, taken: Rows, mask: Int) -> Int:
    """The slot of a post, or the free one where it belongs."""
    slot = np.int64((np.uint64(post) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(33)) & mask
    while taken[slot] != 0 and taken[slot] != post + 1:
        slot = (slot + 1) & mask
    return slot


@kernel
def _grown(
    capacity: Int, taken: Rows, sums: Float64s, used: Ids, n_used: Int
) -> tuple[Int, Rows, Float64s]:
    """The same map with twice the slots; `used` is led to the new ones."""
    wide = 2 * capacity
    wide_taken, wide_sums = np.zeros(wide, np.int32), np.empty((wide, 2), np.float64)
    for i in range(n_used):
        old = used[i]
        slot = _slot_of(taken[old] - 1, wide_taken, wide - 1)
        wide_taken[slot] = taken[old]
        wide_sums[slot, 0] = sums[old, 0]
        wide_sums[slot, 1] = sums[old, 1]
        used[i] = slot
    return wide, wide_taken, wide_sums

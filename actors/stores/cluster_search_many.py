"""SimClusters-ANN for many sources at once: what they share is scanned once.

What a viewer liked and follows lies in few communities, so the sources of one request have
most of theirs in common. Each community's list is cut and its posts are numbered once; then
dot products and norms are summed source by source in arrays that stay in the processor's
cache. For each source the outcome is that of `search_communities` by cosine, as precise as is
told: what rounds to the same float32 counts as equal, and the greater id comes first.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.stores.cluster_search import ANY_AGE_MS, MAX_RESULTS
from actors.stores.community_lists import (
    SIZE,
    Float64s,
    Rows,
    living_entries,
    select_best,
    select_best_listed,
)
from actors.stores.id_map import Ids
from actors.stores.kernels import kernel, writable
from actors.stores.post_embeddings import CommunityIndex
from actors.stores.ranked_lists import RankedLists, no_lists
from actors.stores.raw_memory import Int
from actors.stores.sparse_embeddings import SparseEmbeddings

# Of a histogram of scores: 32 buckets to a factor of two, over 32 such factors.
_BUCKETS = 1_024
_BUCKET_SHIFT = 47


@dataclass(frozen=True)
class ManySearches:
    """What to search for, for n sources; arrays of shape (n,)."""

    min_scores: Float64s
    """Cosines must be greater than these, which are 0 at least."""
    max_ages_ms: Ids
    excluded_post_ids: Ids
    """The source post, where a source is one, else 0."""
    max_results: int = 200
    """Of each source."""
    max_communities: int = 50
    max_posts_per_community: int = 800


def search_for_many(
    index: CommunityIndex, sources: SparseEmbeddings, searches: ManySearches, now_ms: int
) -> RankedLists:
    """For each source the posts of an index most similar to it, by cosine.

    Of each community the `max_posts_per_community` best posts are scanned, as in
    `search_communities` without floors: several shards each scan as many, and so find what
    one would, or better where a community has more posts than that.
    """
    n = len(sources)
    kept, offsets = _scanned(sources, len(index.starts), searches.max_communities)
    n_best = min(searches.max_results, MAX_RESULTS)
    if not len(kept) or n_best < 1:
        return no_lists(n)
    communities, places = np.unique(sources.communities[kept], return_inverse=True)
    squares = np.square(sources.scores, dtype=np.float64)
    of = np.repeat(np.arange(n), np.diff(sources.offsets))
    unlimited = searches.max_ages_ms >= ANY_AGE_MS
    oldest_ms = np.where(unlimited, np.iinfo(np.int64).min, now_ms - searches.max_ages_ms)
    counts, rows, scores = _search(
        writable(communities, np.int64),
        offsets,
        writable(places, np.int64),
        writable(sources.scores[kept], np.float64),
        np.sqrt(np.bincount(of, squares, n)),
        writable(searches.min_scores, np.float64),
        writable(oldest_ms, np.int64),
        now_ms,
        writable(searches.excluded_post_ids, np.int64),
        n_best,
        min(searches.max_posts_per_community, index.posts_per_community),
        index.factor,
        index.min_score,
        index.min_created_ms,
        index.heads,
        index.starts,
        index.floors,
        index.posts,
        index.values,
        index.created_ms,
        index.links,
        index.entry_values,
        index.post_ids,
        index.post_created_ms,
    )
    return RankedLists(
        np.concatenate([[0], np.cumsum(counts)]),
        index.post_ids[rows],
        index.author_ids[rows],
        index.post_created_ms[rows],
        scores.astype(np.float32),
    )


def _scanned(
    sources: SparseEmbeddings, n_communities: int, most: int
) -> tuple[npt.NDArray[np.int64], Ids]:
    """Entries of each source's best communities that this index knows, and their offsets."""
    counts = np.diff(sources.offsets)
    places = np.arange(len(sources.communities)) - np.repeat(sources.offsets[:-1], counts)
    kept = (places < most) & (sources.communities < n_communities)
    ends = np.concatenate([[0], np.cumsum(kept)])
    return np.flatnonzero(kept), ends[sources.offsets]


@kernel
def _search(
    communities: Ids,
    offsets: Ids,
    places: Ids,
    weights: Float64s,
    norms: Float64s,
    min_scores: Float64s,
    oldest_ms: Ids,
    newest_ms: Int,
    excluded_post_ids: Ids,
    n_best: Int,
    cut: Int,
    factor: float,
    min_member_score: float,
    min_member_created: Int,
    heads: Rows,
    starts: Ids,
    floors: Float64s,
    member_posts: Rows,
    member_values: Float64s,
    member_created: Ids,
    links: Rows,
    entry_values: Float64s,
    post_ids: Ids,
    post_created: Ids,
) -> tuple[Ids, Ids, Float64s]:
    """How many posts each source found; their rows and scores, source after source, best first."""
    # The scanned members of all communities, one after the other.
    ends = np.zeros(len(communities) + 1, np.int64)
    listed = np.empty(len(communities) * cut, np.int32)
    values = np.empty(len(communities) * cut, np.float64)
    n = np.int64(0)
    for i in range(len(communities)):
        n = _list_best(
            communities[i],
            cut,
            listed,
            values,
            n,
            factor,
            min_member_score,
            min_member_created,
            heads,
            starts,
            floors,
            member_posts,
            member_values,
            member_created,
            links,
            entry_values,
            post_ids,
            post_created,
        )
        ends[i + 1] = n
    numbered = _numbered(listed[:n])
    # Dot product and squared norm of each post, by its number.
    sums = np.zeros((len(numbered), 2), np.float64)
    met = np.empty(len(numbered), np.int32)
    rows = np.empty(len(numbered), np.int32)
    scores = np.empty(len(numbered), np.float64)
    counts = np.zeros(len(offsets) - 1, np.int64)
    found_rows = np.empty(len(counts) * n_best, np.int64)
    found_scores = np.empty(len(counts) * n_best, np.float64)
    n_found = np.int64(0)
    for source in range(len(counts)):
        n_met = np.int64(0)
        for at in range(offsets[source], offsets[source + 1]):
            weight, community = weights[at], places[at]
            for k in range(ends[community], ends[community + 1]):
                number, value = listed[k], values[k]
                square = value * value
                if sums[number, 1] == 0.0:
                    # The square of the least of scores is lost: as if it were not listed.
                    if square == 0.0:
                        continue
                    met[n_met] = number
                    n_met += 1
                sums[number, 0] += weight * value
                sums[number, 1] += square
        min_score, norm = np.float64(np.float32(min_scores[source])), norms[source]
        # Below this the quotient need not be taken; a little less, for what rounding takes.
        least = (min_score * norm) ** 2 * (1.0 - 1e-6)
        size = np.int64(0)
        for i in range(n_met):
            number = met[i]
            dot, norm2 = sums[number, 0], sums[number, 1]
            sums[number, 0] = 0.0
            sums[number, 1] = 0.0
            if dot * dot <= least * norm2:
                continue
            # Likes summed in another order differ by less than this tells apart.
            score = np.float64(np.float32(dot / (norm * np.sqrt(norm2))))
            post = numbered[number]
            if score > min_score and oldest_ms[source] <= post_created[post] <= newest_ms:
                rows[size] = post
                scores[size] = score
                size += np.int64(post_ids[post] != excluded_post_ids[source])
        taken = min(size, n_best)
        best = np.arange(size).astype(np.int32)
        if size > n_best:
            select_best(best, size, scores, rows, post_ids, 0, n_best)
        _sort_best(best, taken, scores, rows, post_ids)
        for k in range(taken):
            found_rows[n_found + k] = rows[best[k]]
            found_scores[n_found + k] = scores[best[k]]
        n_found += taken
        counts[source] = taken
    return counts, found_rows[:n_found].copy(), found_scores[:n_found].copy()


@kernel
def _sort_best(best: Rows, n: Int, scores: Float64s, rows: Rows, post_ids: Ids) -> None:
    """Order the first `n` places: the greater score first, of equal ones the greater post id."""
    values = np.empty(n, np.float64)
    for k in range(n):
        values[k] = -scores[best[k]]
    ordered = best[:n][np.argsort(values)]
    for k in range(n):
        place, at = ordered[k], k
        while (
            at > 0
            and scores[best[at - 1]] == scores[place]
            and post_ids[rows[best[at - 1]]] < post_ids[rows[place]]
        ):
            best[at] = best[at - 1]
            at -= 1
        best[at] = place


@kernel
def _list_best(
    community: Int,
    cut: Int,
    listed: Rows,
    values: Float64s,
    n: Int,
    factor: float,
    lowest: float,
    min_created_ms: Int,
    heads: Rows,
    starts: Ids,
    floors: Float64s,
    member_posts: Rows,
    member_values: Float64s,
    member_created: Ids,
    links: Rows,
    entry_values: Float64s,
    post_ids: Ids,
    post_created: Ids,
) -> Int:
    """Write a community's `cut` best posts and scores from place `n` on; returns where they end.

    Two passes over the members: a histogram of the leading bits of their scores says which of
    them are among the best, but for one bucket in which they are selected.
    """
    begin, size = starts[community], np.int64(heads[community, SIZE])
    floor = floors[community]
    least = np.empty(1, np.float64)
    least[0] = lowest
    least_bits = least.view(np.int64)[0]
    scores = np.empty(size, np.float64)
    bits = scores.view(np.int64)
    counts = np.zeros(_BUCKETS, np.int64)
    n_living, n_reaching = np.int64(0), np.int64(0)
    for k in range(size):
        value = member_values[begin + k]
        score = value * factor
        scores[k] = score
        living = value > 0 and member_created[begin + k] >= min_created_ms
        n_reaching += np.int64(living and value >= floor)
        if living and score >= lowest:
            counts[min((bits[k] - least_bits) >> _BUCKET_SHIFT, _BUCKETS - 1)] += 1
            n_living += 1
        else:
            scores[k] = -1.0
    if not (floor == 0 or n_reaching >= cut or floor * factor < lowest):
        # Members grew too old; all entries of the community are looked at.
        scanned, posts = living_entries(
            community, cut, lowest, factor, min_created_ms, heads, starts, floors,
            member_posts, member_values, member_created, links, entry_values, post_created,
        )  # fmt: skip
        n_all = np.int64(len(scanned))
        order = np.arange(n_all).astype(np.int32)
        if n_all > cut:
            select_best_listed(order, n_all, scanned, posts, post_ids, 0, cut)
        for k in range(min(n_all, cut)):
            listed[n + k] = posts[order[k]]
            values[n + k] = scanned[order[k]]
        return n + min(n_all, cut)
    bucket, above = np.int64(_BUCKETS - 1), np.int64(0)
    while bucket > 0 and above + counts[bucket] < cut:
        above += counts[bucket]
        bucket -= 1
    undecided = np.empty(counts[bucket] + 1, np.int32)
    n_undecided = np.int64(0)
    end = n + min(n_living, cut)
    for k in range(size):
        of = min((bits[k] - least_bits) >> _BUCKET_SHIFT, _BUCKETS - 1)
        if scores[k] < 0.0:
            continue
        if of > bucket:
            listed[n] = member_posts[begin + k]
            values[n] = scores[k]
            n += 1
        elif of == bucket:
            undecided[n_undecided] = k
            n_undecided += 1
    wanted = end - n
    if wanted < n_undecided:
        own = member_posts[begin : begin + size]
        select_best(undecided, n_undecided, scores, own, post_ids, 0, wanted)
    for k in range(wanted):
        listed[n + k] = member_posts[begin + undecided[k]]
        values[n + k] = scores[undecided[k]]
    return end


@kernel
def _numbered(listed: Rows) -> Rows:
    """Each different post once, as first met; in `listed` they become their numbers."""
    capacity = np.int64(1024)
    while 2 * capacity < 3 * len(listed):
        capacity *= 2
    mask = capacity - 1
    # By slot: a post plus one, and its number.
    taken = np.zeros((capacity, 2), np.int32)
    posts = np.empty(len(listed), np.int32)
    n = np.int32(0)
    for k in range(len(listed)):
        post = listed[k]
        slot = np.int64((np.uint64(post) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(33)) & mask
        while taken[slot, 0] != 0 and taken[slot, 0] != post + 1:
            slot = (slot + 1) & mask
        if taken[slot, 0] == 0:
            taken[slot, 0] = post + 1
            taken[slot, 1] = n
            posts[n] = post
            n += np.int32(1)
        listed[k] = taken[slot, 1]
    return posts[:n].copy()

"""SimClusters-ANN over a live index: speed of search and of favourites, beside plain NumPy.

Run `python -m benchmarks.cluster_search` (`--quick` for a tenth of the favourites); prints
JSON. The index is what the favourites of a day make of 200,000 posts (20,000 when quick).
"""

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.stores.cluster_search import ClusterSearch, FoundByCommunity, search_communities
from actors.stores.community_lists import SIZE
from actors.stores.post_embeddings import CommunityIndex, PostEmbeddings
from actors.stores.sparse_embeddings import SparseEmbeddings
from benchmarks.report import emit, percentiles

Int64s = npt.NDArray[np.int64]

START_MS = 1_700_000_000_000
DAY_MS = 86_400_000
COMMUNITIES_PER_USER = 10
"""That pass the minimum fav_score: a fifth of 50."""
SEARCH = ClusterSearch()
"""The published default: 50 communities × 800 posts, cosine, 200 results, 24 h."""


@dataclass(frozen=True)
class Day:
    """Favourites in time order, of Zipf users and posts."""

    users: Int64s
    post_ids: Int64s
    times_ms: Int64s
    interests: SparseEmbeddings
    all_post_ids: Int64s
    created_ms: Int64s

    @classmethod
    def draw(cls, n_favourites: int, rng: np.random.Generator) -> "Day":
        """A post to ten favourites and two users to one post, 2,000 communities at most."""
        n_posts, n_users = n_favourites // 10, n_favourites // 5
        n_communities = min(2_000, n_posts // 50)
        weights = 1 / np.arange(1, n_communities + 1) ** 0.6
        drawn = rng.choice(
            n_communities, (n_users, 4 * COMMUNITIES_PER_USER), p=weights / weights.sum()
        )
        pairs = np.unique(np.repeat(np.arange(n_users), drawn.shape[1]) << 32 | drawn.reshape(-1))
        users, communities = pairs >> 32, (pairs & 0xFFFFFFFF).astype(np.int32)
        kept = rng.random(len(pairs)) < COMMUNITIES_PER_USER / drawn.shape[1] * 1.1
        interests = SparseEmbeddings.from_entries(
            users[kept], communities[kept], rng.random(int(kept.sum())).astype(np.float32)
        )
        post_ids = rng.permutation(10 * n_posts)[:n_posts] + 1
        created = START_MS + rng.integers(0, DAY_MS, n_posts)
        posts = zipf(n_favourites, n_posts, 0.8, rng)
        times = created[posts] + rng.exponential(4 * 3_600_000, n_favourites).astype(np.int64)
        order = np.argsort(times)
        faving = interests.ids[zipf(n_favourites, len(interests), 0.6, rng)]
        return cls(faving, post_ids[posts][order], times[order], interests, post_ids, created)

    def fill(self, store: PostEmbeddings, batch: int) -> float:
        """Apply everything, `batch` at a time; returns the seconds that favourites took."""
        ones = np.ones(len(self.all_post_ids), np.int64)
        store.create(self.all_post_ids, ones, self.created_ms)
        began = time.perf_counter()
        for begin in range(0, len(self.users), batch):
            cut = slice(begin, begin + batch)
            rows = self.interests.rows_of(self.users[cut])
            post_ids = self.post_ids[cut]
            n = len(post_ids)
            store.add(
                *(post_ids, np.ones(n, np.int64), self.times_ms[cut], np.ones(n, np.int8)),
                self.interests.take(rows),
            )
        return time.perf_counter() - began


def zipf(n: int, n_items: int, exponent: float, rng: np.random.Generator) -> Int64s:
    """`n` draws of 0 … n_items − 1, the k-th with weight 1/(k + 1)^exponent."""
    weights = np.cumsum(np.arange(1, n_items + 1) ** -exponent)
    return np.searchsorted(weights / weights[-1], rng.random(n)).astype(np.int64)


def plain_numpy(
    index: CommunityIndex,
    communities: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
    now_ms: int,
) -> FoundByCommunity:
    """The published default search in NumPy: lists concatenated, summed by `np.unique`."""
    rows, values, sources = [], [], []
    for community, weight in zip(communities.tolist(), weights.tolist(), strict=True):
        begin = index.starts[community]
        members = slice(begin, begin + index.heads[community, SIZE])
        alive = index.created_ms[members] >= index.min_created_ms
        scores = index.values[members][alive] * index.factor
        posts = index.posts[members][alive]
        kept = scores >= index.min_score
        scores, posts = scores[kept], posts[kept]
        if len(scores) > SEARCH.max_posts_per_community:
            best = np.argpartition(scores, -SEARCH.max_posts_per_community)
            best = best[-SEARCH.max_posts_per_community :]
            scores, posts = scores[best], posts[best]
        rows.append(posts)
        values.append(scores)
        sources.append(np.full(len(scores), weight))
    found, at = np.unique(np.concatenate(rows), return_inverse=True)
    scores, source = np.concatenate(values), np.concatenate(sources)
    dots = np.bincount(at, source * scores, len(found))
    norms = np.sqrt(np.bincount(at, scores * scores, len(found)))
    cosines = dots / (norms * np.linalg.norm(weights.astype(np.float64)))
    created = index.post_created_ms[found]
    young = (created >= now_ms - SEARCH.max_age_ms) & (created <= now_ms)
    found, cosines = found[young], cosines[young]
    order = np.lexsort((-index.post_ids[found], -cosines))[: SEARCH.max_results]
    rows_found = found[order]
    return FoundByCommunity(
        index.post_ids[rows_found],
        index.author_ids[rows_found],
        index.post_created_ms[rows_found],
        cosines[order],
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--searches", type=int, default=300)
    given, _ = parser.parse_known_args()
    n_favourites = 200_000 if given.quick else 2_000_000
    rng = np.random.default_rng(5)
    Day.draw(5_000, rng).fill(PostEmbeddings(), 1_000)
    day = Day.draw(n_favourites, rng)
    applied: dict[str, Any] = {}
    for batch in (2_000, 20_000):
        store = PostEmbeddings()
        took_s = day.fill(store, batch)
        applied[f"batches_of_{batch}"] = {
            "favourites_per_s": round(n_favourites / took_s),
            "ms_per_batch": round(1_000 * took_s * batch / n_favourites, 2),
        }
    now_ms = int(day.times_ms[int(0.9 * n_favourites)])
    began = time.perf_counter()
    kept = store.without_expired(now_ms + 2 * DAY_MS + DAY_MS // 2)
    expiry_s = time.perf_counter() - began
    emit(
        "cluster_search",
        {
            "favourites": applied,
            "search": _searched(store, day, now_ms, given.searches, rng),
            "embeddings_of_1500_posts": _read(store, day, now_ms, rng),
            "bytes_per_entry": round(store.memory_bytes / store.n_entries, 1),
            "memory_mib": round(store.memory_bytes / 2**20, 1),
            "expiry": {"s": round(expiry_s, 2), "posts_left": len(kept)},
        },
        favourites=n_favourites,
        posts=len(store),
        entries=store.n_entries,
        communities=day.interests.n_communities,
        communities_per_favourite=round(
            len(day.interests.communities) / max(len(day.interests), 1), 1
        ),
        threads=1,
    )


def _searched(
    store: PostEmbeddings, day: Day, now_ms: int, n: int, rng: np.random.Generator
) -> dict[str, Any]:
    index = store.index(now_ms)
    sizes = np.minimum(index.heads[:, SIZE], SEARCH.max_posts_per_community)
    full = np.flatnonzero(sizes == sizes.max())
    kernel_s, numpy_s, scanned = [], [], []
    for _ in range(n):
        # The fullest lists, so that the scan is as long as the search allows.
        pool = full if len(full) >= 50 else np.argsort(-sizes)[:50]
        communities = rng.choice(pool, 50, replace=False).astype(np.int32)
        weights = np.sort(rng.random(50).astype(np.float32))[::-1]
        began = time.perf_counter()
        found = search_communities(index, communities, weights, SEARCH, now_ms)
        kernel_s.append(time.perf_counter() - began)
        began = time.perf_counter()
        plain = plain_numpy(index, communities, weights, now_ms)
        numpy_s.append(time.perf_counter() - began)
        if found.post_ids.tolist() != plain.post_ids.tolist():
            np.testing.assert_allclose(found.scores, plain.scores, rtol=1e-9)
        scanned.append(int(sizes[communities].sum()))
    return {
        "query": "50 communities x 800 posts, cosine, 200 results, 24 h; checked against NumPy",
        "scanned_entries": round(float(np.mean(scanned))),
        "kernel": percentiles(kernel_s[5:]),
        "plain_numpy": percentiles(numpy_s[5:]),
        "target": "5 ms",
    }


def _read(
    store: PostEmbeddings, day: Day, now_ms: int, rng: np.random.Generator
) -> dict[str, float]:
    taken = []
    for _ in range(50):
        post_ids = rng.choice(day.all_post_ids, 1_500, replace=False)
        began = time.perf_counter()
        store.of(post_ids, now_ms)
        taken.append(time.perf_counter() - began)
    return percentiles(taken[2:])


if __name__ == "__main__":
    main()

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.cluster_search import (
    ANY_AGE_MS,
    ClusterSearch,
    FoundByCommunity,
    Similarity,
    floors_of,
    heads_of,
    merge_found,
    search_communities,
)
from actors.stores.post_embeddings import EmbeddingLimits, PostEmbeddings
from tests.actors.stores.favourite_worlds import (
    FAVOURITES,
    HOUR_MS,
    N_COMMUNITIES,
    POSTS,
    SMALL,
    START_MS,
    Favourite,
    add,
    author_of,
    best,
    create,
    created_of,
    filled,
    sums,
)

NOW_MS = START_MS + 40 * HOUR_MS

Source = list[tuple[int, float]]


def searched(
    store: PostEmbeddings,
    source: Source,
    search: ClusterSearch,
    now_ms: int = NOW_MS,
    floors: np.ndarray | None = None,  # type: ignore[type-arg]
) -> FoundByCommunity:
    communities = np.array([community for community, _ in source], np.int32)
    weights = np.array([weight for _, weight in source], np.float32)
    return search_communities(store.index(now_ms), communities, weights, search, now_ms, floors)


def plainly(
    favourites: list[Favourite], source: Source, search: ClusterSearch, kept: int
) -> dict[int, float]:
    """The specification, line by line."""
    norm = math.sqrt(sum(float(np.float32(weight)) ** 2 for _, weight in source))
    index = sums(favourites, NOW_MS)
    dots: dict[int, float] = {}
    norms: dict[int, float] = {}
    for community, weight in source[: search.max_communities]:
        scores = index.get(community, {})
        for post in best(scores, min(search.max_posts_per_community, kept)):
            age_ms = NOW_MS - created_of(post)
            if post == search.excluded_post_id or age_ms < search.min_age_ms:
                continue
            if search.max_age_ms < ANY_AGE_MS and age_ms > search.max_age_ms:
                continue
            dots[post] = dots.get(post, 0.0) + float(np.float32(weight)) * scores[post]
            norms[post] = norms.get(post, 0.0) + scores[post] ** 2
    divisors = {
        Similarity.DOT: lambda post: 1.0,
        Similarity.COSINE: lambda post: norm * math.sqrt(norms[post]),
        Similarity.LOG_COSINE: lambda post: math.log1p(norm**2) * math.log1p(norms[post]),
        Similarity.COSINE_NO_SOURCE: lambda post: math.sqrt(norms[post]),
    }
    scores = {post: dots[post] / divisors[search.similarity](post) for post in dots}
    return {post: score for post, score in scores.items() if score >= search.min_score}


SOURCES = st.lists(
    st.tuples(st.integers(0, N_COMMUNITIES), st.sampled_from([0.9, 0.7, 0.4, 0.15])),
    min_size=1,
    max_size=4,
    unique_by=lambda pair: pair[0],
).map(lambda pairs: sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
SEARCHES = st.builds(
    ClusterSearch,
    similarity=st.sampled_from(Similarity),
    max_results=st.integers(1, 7),
    min_score=st.sampled_from([0.0, 0.5]),
    max_communities=st.integers(1, 4),
    max_posts_per_community=st.integers(1, 6),
    max_age_ms=st.sampled_from([20 * HOUR_MS, ANY_AGE_MS]),
    min_age_ms=st.sampled_from([0, 16 * HOUR_MS]),
    excluded_post_id=st.sampled_from([0, *POSTS]),
)
# Their scores differ, unless two posts have the same favourites to the minute.
DISTINCT = st.lists(FAVOURITES, max_size=30, unique_by=lambda one: one.time_ms)


@given(DISTINCT, SOURCES, SEARCHES, st.integers(1, 4))
def test_it_finds_what_the_specification_says(
    favourites: list[Favourite], source: Source, search: ClusterSearch, kept: int
) -> None:
    store = filled(favourites, EmbeddingLimits(posts_per_community=kept))
    found = searched(store, source, search)
    expected = plainly(favourites, source, search, kept)
    ranked = sorted(expected.values(), reverse=True)[: search.max_results]
    assert found.scores.tolist() == pytest.approx(ranked, rel=1e-9)
    for post, author, created, score in zip(*vars(found).values(), strict=True):
        assert expected[int(post)] == pytest.approx(score, rel=1e-9)
        assert (author, created) == (author_of(post), created_of(post))
    order = np.lexsort((-found.post_ids, -found.scores))
    assert order.tolist() == list(range(len(order)))


@given(DISTINCT, SOURCES, SEARCHES, st.integers(1, 3))
def test_with_floors_the_answer_is_the_same_for_every_number_of_shards(
    favourites: list[Favourite], source: Source, search: ClusterSearch, n_shards: int
) -> None:
    def answer(n: int) -> list[list[float]]:
        limits = EmbeddingLimits(posts_per_community=6)
        shards = [
            filled([one for one in favourites if one.post_id % n == k], limits) for k in range(n)
        ]
        communities = np.array([community for community, _ in source], np.int32)
        limit = search.max_posts_per_community
        floors = floors_of(
            [heads_of(shard.index(NOW_MS), communities, limit) for shard in shards], limit
        )
        parts = [searched(shard, source, search, floors=floors) for shard in shards]
        merged = merge_found(parts, search.max_results)
        return [column.tolist() for column in vars(merged).values()]

    assert answer(n_shards) == answer(1)


@given(st.lists(FAVOURITES, max_size=30), SOURCES)
def test_it_is_the_exact_cosine_where_all_communities_are_scanned(
    favourites: list[Favourite], source: Source
) -> None:
    # Without minimum scores, which leave entries out of what is scanned.
    limits = EmbeddingLimits(min_post_score=0.0, min_index_score=0.0)
    store = filled(favourites, limits)
    wide = [*source, *((c, 1e-30) for c in range(N_COMMUNITIES) if c not in dict(source))]
    found = searched(store, wide, ClusterSearch(max_age_ms=ANY_AGE_MS))
    exact = store.of(found.post_ids, NOW_MS)
    weights = dict(source)
    norm = math.sqrt(sum(weight**2 for weight in weights.values()))
    for row, score in enumerate(found.scores.tolist()):
        entries = slice(exact.offsets[row], exact.offsets[row + 1])
        scores = exact.scores[entries].astype(float)
        shared = [weights.get(c, 0.0) for c in exact.communities[entries].tolist()]
        cosine = float(scores @ shared) / (norm * float(np.linalg.norm(scores)))
        assert score == pytest.approx(cosine, abs=1e-5)


def test_log_cosine_ranks_a_popular_post_above_where_cosine_does_not() -> None:
    pure = Favourite(11, START_MS, ((0, 5.0), (1, 4.9)))
    popular = Favourite(12, START_MS, ((0, 30.0), (1, 20.0)))
    store = filled([pure, popular])
    now_ms = START_MS + 6 * HOUR_MS
    orders = {
        kind: searched(
            store, [(0, 0.7), (1, 0.69)], ClusterSearch(similarity=kind), now_ms
        ).post_ids.tolist()
        for kind in Similarity
    }
    assert orders == {
        Similarity.DOT: [12, 11],
        Similarity.COSINE: [11, 12],
        Similarity.LOG_COSINE: [12, 11],
        Similarity.COSINE_NO_SOURCE: [11, 12],
    }


def test_nothing_to_search_or_to_find() -> None:
    store = PostEmbeddings(SMALL)
    assert not len(searched(store, [(0, 0.5)], ClusterSearch()).post_ids)
    create(store, POSTS)
    assert not len(searched(store, [], ClusterSearch()).post_ids)
    assert not len(searched(store, [(99, 0.5)], ClusterSearch()).post_ids)
    add(store, [Favourite(11, START_MS, ((0, 0.5),))])
    assert not len(searched(store, [(0, 0.0)], ClusterSearch(), START_MS).post_ids)
    assert searched(store, [(0, 0.5)], ClusterSearch(), START_MS).post_ids.tolist() == [11]
    assert not len(searched(store, [(0, 0.5)], ClusterSearch(max_results=0), START_MS).post_ids)


def test_never_more_than_a_thousand() -> None:
    n = 1_200
    store = PostEmbeddings(EmbeddingLimits())
    ids, times = np.arange(1, n + 1), np.full(n, START_MS)
    store.create(ids, np.ones(n, np.int64), times)
    add(store, [Favourite(k, START_MS, ((k % 2, k / n),)) for k in ids.tolist()])
    everything = ClusterSearch(Similarity.DOT, 5_000, max_posts_per_community=5_000)
    found = searched(store, [(0, 1.0), (1, 1.0)], everything, START_MS)
    assert found.post_ids.tolist() == list(range(n, n - 1_000, -1))


def test_no_shards_find_nothing() -> None:
    assert not len(merge_found([], 5).post_ids)
    assert floors_of([], 5).tolist() == []

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.cluster_search import ANY_AGE_MS, ClusterSearch, search_communities
from actors.stores.cluster_search_many import ManySearches, search_for_many
from actors.stores.post_embeddings import EmbeddingLimits, PostEmbeddings
from actors.stores.ranked_lists import RankedLists
from actors.stores.sparse_embeddings import SparseEmbeddings
from tests.actors.stores.favourite_worlds import (
    FAVOURITES,
    HOUR_MS,
    N_COMMUNITIES,
    POSTS,
    START_MS,
    Favourite,
    author_of,
    created_of,
    filled,
)

NOW_MS = START_MS + 40 * HOUR_MS

Source = list[tuple[int, float]]
SOURCES = st.lists(
    st.tuples(st.integers(0, N_COMMUNITIES), st.sampled_from([0.9, 0.7, 0.4, 0.15])),
    max_size=4,
    unique_by=lambda pair: pair[0],
).map(lambda pairs: sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
SEARCHES = st.builds(
    ClusterSearch,
    min_score=st.sampled_from([0.0, 0.5, 0.9]),
    max_age_ms=st.sampled_from([20 * HOUR_MS, ANY_AGE_MS]),
    excluded_post_id=st.sampled_from([0, *POSTS]),
)


def rows(sources: list[Source]) -> SparseEmbeddings:
    pairs = [pair for source in sources for pair in source]
    return SparseEmbeddings(
        np.arange(len(sources)),
        np.concatenate([[0], np.cumsum([len(source) for source in sources])]).astype(np.int64),
        np.array([community for community, _ in pairs], np.int32),
        np.array([weight for _, weight in pairs], np.float32),
    )


def searched(
    store: PostEmbeddings,
    sources: list[Source],
    searches: list[ClusterSearch],
    **most: int,
) -> RankedLists:
    many = ManySearches(
        np.array([search.min_score for search in searches]),
        np.array([search.max_age_ms for search in searches]),
        np.array([search.excluded_post_id for search in searches]),
        **most,
    )
    return search_for_many(store.index(NOW_MS), rows(sources), many, NOW_MS)


@given(
    st.lists(FAVOURITES, max_size=30),
    st.lists(st.tuples(SOURCES, SEARCHES), min_size=1, max_size=6),
    st.integers(1, 7),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(1, 4),
)
def test_each_source_finds_what_it_finds_alone(
    favourites: list[Favourite],
    asked: list[tuple[Source, ClusterSearch]],
    max_results: int,
    max_communities: int,
    max_posts: int,
    kept: int,
) -> None:
    store = filled(favourites, EmbeddingLimits(posts_per_community=kept))
    sources, searches = [source for source, _ in asked], [search for _, search in asked]
    found = searched(
        store,
        sources,
        searches,
        max_results=max_results,
        max_communities=max_communities,
        max_posts_per_community=max_posts,
    )
    assert len(found) == len(asked)
    for at, (source, search) in enumerate(asked):
        alone = search_communities(
            store.index(NOW_MS),
            np.array([community for community, _ in source], np.int32),
            np.array([weight for _, weight in source], np.float32),
            ClusterSearch(
                max_results=1_000,
                max_communities=max_communities,
                max_posts_per_community=max_posts,
                max_age_ms=search.max_age_ms,
                excluded_post_id=search.excluded_post_id,
            ),
            NOW_MS,
        )
        scores = alone.scores.astype(np.float32)
        order = np.lexsort((-alone.post_ids, -scores))
        better = order[scores[order] > np.float32(search.min_score)][:max_results]
        mine = slice(found.offsets[at], found.offsets[at + 1])
        assert found.post_ids[mine].tolist() == alone.post_ids[better].tolist()
        assert found.scores[mine].tolist() == scores[better].tolist()
        for post, author, created in zip(
            *(found.post_ids[mine], found.author_ids[mine], found.created_ms[mine]), strict=True
        ):
            assert (author, created) == (author_of(int(post)), created_of(int(post)))


def test_scores_must_be_greater_than_the_least() -> None:
    one = Favourite(POSTS[5], START_MS + 30 * HOUR_MS, ((0, 0.75), (1, 1.0)))
    store = filled([one])
    # (3, 4) and (5, 12): a cosine of 63/65.
    for least, n in ((0.0, 1), (63 / 65 - 1e-6, 1), (63 / 65 + 1e-6, 0)):
        search = ClusterSearch(min_score=least)
        found = searched(store, [[(1, 12.0), (0, 5.0)]], [search])
        assert len(found.post_ids) == n
    whole = searched(store, [[(1, 1.0)]], [ClusterSearch()])
    assert whole.scores.tolist() == [1.0]
    # Only one of the post's communities is scanned, and its norm is that part.
    assert len(searched(store, [[(1, 1.0)]], [ClusterSearch(min_score=1.0)]).post_ids) == 0


def test_nothing_is_found_for_no_sources() -> None:
    assert len(searched(filled([]), [], [])) == 0
    empty = searched(filled([]), [[], [(9, 1.0)]], [ClusterSearch(), ClusterSearch()])
    assert empty.offsets.tolist() == [0, 0, 0]

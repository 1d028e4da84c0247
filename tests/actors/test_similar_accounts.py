"""Accounts like accounts against all cosines worked out one by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.similar_accounts import alike, index_of
from actors.stores.sparse_embeddings import SparseEmbeddings
from actors.vector_models import DenseVectors, VectorModels

rows = st.dictionaries(
    st.integers(1, 9),
    st.dictionaries(st.integers(0, 4), st.sampled_from([0.25, 0.5, 1.0]), min_size=1),
    min_size=1,
)


def matrix_of(entries: dict[int, dict[int, float]]) -> SparseEmbeddings:
    triples = [(user, c, s) for user, row in entries.items() for c, s in row.items()]
    users, communities, scores = (np.array(column) for column in zip(*triples, strict=True))
    return SparseEmbeddings.from_entries(
        users, communities.astype(np.int32), scores.astype(np.float32)
    )


@given(rows, st.integers(1, 5))
def test_the_most_alike_by_communities(entries: dict[int, dict[int, float]], limit: int) -> None:
    models = VectorModels("v", sparse={"producers": matrix_of(entries)})
    seeds = np.array([2, 1, 30, 7])
    found = alike(models, seeds, limit, ("simclusters",))
    for place, seed in enumerate(seeds.tolist()):
        mine = found.places == place
        cosines = {
            user: cosine(entries[seed], row)
            for user, row in entries.items()
            if seed in entries and user != seed and cosine(entries[seed], row) > 0
        }
        expected = sorted(cosines.values(), reverse=True)[:limit]
        np.testing.assert_allclose(found.scores[mine], expected, rtol=1e-5)
        # Where rounding makes two equal either may come first.
        for user, score in zip(found.user_ids[mine].tolist(), found.scores[mine], strict=True):
            np.testing.assert_allclose(score, cosines[user], rtol=1e-5)
        assert len(set(found.user_ids[mine].tolist())) == mine.sum()


def cosine(a: dict[int, float], b: dict[int, float]) -> float:
    dot = sum(score * b.get(community, 0.0) for community, score in a.items())
    lengths = [np.sqrt(sum(s * s for s in row.values())) for row in (a, b)]
    return float(dot / (lengths[0] * lengths[1]))


def test_an_index_is_made_once_and_forgotten_with_its_matrix() -> None:
    matrix = matrix_of({1: {0: 1.0}, 2: {0: 0.5, 1: 0.5}})
    assert index_of(matrix) is index_of(matrix)
    other = matrix_of({1: {0: 1.0}})
    assert index_of(other) is not index_of(matrix)


def test_nobody_is_like_a_zero_vector() -> None:
    vectors = np.array([[0, 0], [1, 0], [0.6, 0.8]], np.float32)
    table = DenseVectors(np.array([1, 2, 3]), vectors)
    models = VectorModels("v", user_engagement=table, dense={"author_follow": table})
    found = alike(models, np.array([1, 3]), 2, ("simclusters", "twhin"))
    assert found.places.tolist() == [1]
    assert found.user_ids.tolist() == [2]

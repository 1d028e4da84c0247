import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.features.pair_scores import PAIR_SCORES, sparse_pair_scores
from actors.likeness import MAX_SCANNED, nearest_rows, representations_of, users_like
from actors.stores.sparse_embeddings import SparseEmbeddings
from actors.vector_models import DenseVectors, VectorModels

N_USERS = 30


def random_matrix(rng: np.random.Generator, n_users: int, n_communities: int) -> SparseEmbeddings:
    """Each user has each community with chance ¼, so that some have none."""
    users, communities = np.nonzero(rng.random((n_users, n_communities)) < 0.25)
    scores = rng.uniform(0.1, 1, len(users)).astype(np.float32)
    return SparseEmbeddings.from_entries(users + 1, communities.astype(np.int32), scores)


def dense(matrix: SparseEmbeddings, n_communities: int) -> np.ndarray:  # type: ignore[type-arg]
    rows = np.zeros((len(matrix), n_communities))
    row = np.repeat(np.arange(len(matrix)), np.diff(matrix.offsets))
    rows[row, matrix.communities] = matrix.scores
    return rows


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 40))
def test_nearest_rows_are_those_of_all_cosines(seed: int, n_communities: int, limit: int) -> None:
    matrix = random_matrix(np.random.default_rng(seed), N_USERS, n_communities)
    for at in range(len(matrix)):
        found = nearest_rows(matrix, *matrix.of(int(matrix.ids[at])), limit)
        table = dense(matrix, n_communities)
        norms = np.linalg.norm(table, axis=1)
        cosines = table @ table[at] / (norms * norms[at])
        expected = np.sort(cosines[cosines > 0])[::-1][:limit]
        np.testing.assert_allclose(cosines[found], expected, atol=1e-6)
        assert len(set(found.tolist())) == len(found)


def test_of_equals_the_lesser_id_comes_first() -> None:
    ids = np.array([9, 4, 7, 2])
    matrix = SparseEmbeddings.from_entries(
        ids, np.array([0, 0, 0, 1], np.int32), np.ones(4, np.float32)
    )
    assert matrix.ids[nearest_rows(matrix, *matrix.of(9), 10)].tolist() == [4, 7, 9]
    assert matrix.ids[nearest_rows(matrix, *matrix.of(9), 1)].tolist() == [4]
    assert nearest_rows(matrix, *matrix.of(5), 10).tolist() == []
    beyond = np.array([77], np.int32), np.ones(1, np.float32)
    assert nearest_rows(matrix, *beyond, 10).tolist() == []


def a_model(seed: int) -> VectorModels:
    rng = np.random.default_rng(seed)
    tables = {
        name: DenseVectors(np.arange(1, N_USERS, 2), rng.normal(size=(15, 4)).astype(np.float32))
        for name in ("user_follow", "author_follow")
    }
    return VectorModels(
        "a+b",
        random_matrix(rng, N_USERS, 8),
        sparse={"producers": random_matrix(rng, N_USERS, 8)},
        user_engagement=tables["user_follow"],
        dense=tables,
    )


@pytest.mark.parametrize("seed", range(5))
def test_cosines_are_those_of_every_pair(seed: int) -> None:
    models = a_model(seed)
    for user in range(1, N_USERS + 1):
        like = users_like(models, user, N_USERS)
        assert like.version == "a+b"
        assert user not in like.user_ids
        assert (np.diff(like.user_ids) > 0).all()
        for other, cosine in zip(like.user_ids, like.cosines["interested_in"], strict=True):
            matrix = models.interested_in
            a, b = matrix.rows_of(np.array([user, other]))
            scores = sparse_pair_scores(matrix, np.array([a]), matrix, np.array([b]))
            expected = scores[0, PAIR_SCORES.index("cosine")] if min(a, b) >= 0 else np.nan
            np.testing.assert_allclose(cosine, expected, rtol=1e-6)
        for name in ("user_follow", "author_follow"):
            vectors, known = models.dense[name].of(np.append(like.user_ids, user))
            assert np.array_equal(np.isfinite(like.cosines[name]), known[:-1] & known[-1])
            units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
            both = np.isfinite(like.cosines[name])
            expected = (units[:-1] @ units[-1])[both]
            np.testing.assert_allclose(like.cosines[name][both], expected, atol=1e-6)


def test_untrained_models_know_nobody() -> None:
    models = VectorModels("none+none")
    assert not representations_of(models, np.array([5])).any
    like = users_like(models, 5, 10)
    assert like.user_ids.tolist() == []
    assert all(len(values) == 0 for values in like.cosines.values())


def test_a_long_table_without_an_index_is_not_scanned() -> None:
    n = MAX_SCANNED + 1
    table = DenseVectors(np.arange(1, n + 1), np.ones((n, 1), np.float32))
    models = VectorModels("none+b", user_engagement=table, dense={"user_follow": table})
    assert users_like(models, 1, 10).user_ids.tolist() == []
    short = DenseVectors(table.ids[:5], table.vectors[:5])
    models = VectorModels("none+b", user_engagement=short, dense={"user_follow": short})
    assert users_like(models, 1, 10).user_ids.tolist() == [2, 3, 4, 5]

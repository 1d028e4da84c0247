import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.features.pair_scores import (
    PAIR_SCORES,
    dense_pair_scores,
    sparse_matrix_scores,
    sparse_pair_scores,
)
from actors.stores.sparse_embeddings import SparseEmbeddings

Row = dict[int, float]
ROWS = st.dictionaries(
    st.integers(0, 6) | st.just(2**31 - 1), st.sampled_from([0.1, 0.5, 2.0, 30.0]), max_size=5
)


def matrix(rows: list[Row]) -> SparseEmbeddings:
    ordered = [sorted(row.items(), key=lambda pair: (-pair[1], pair[0])) for row in rows]
    entries = [pair for row in ordered for pair in row]
    return SparseEmbeddings(
        np.arange(1, len(rows) + 1),
        np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]),
        np.array([c for c, _ in entries], np.int32),
        np.array([score for _, score in entries], np.float32),
    )


def plainly(a: Row, b: Row) -> list[float]:
    if not a or not b:
        return [0.0] * len(PAIR_SCORES)
    shared, either = a.keys() & b.keys(), a.keys() | b.keys()
    dot = sum(a[c] * b[c] for c in shared)
    norm_a, norm_b = sum(x * x for x in a.values()), sum(x * x for x in b.values())
    return [
        dot,
        dot / math.sqrt(norm_a * norm_b),
        dot / (math.log(1 + norm_a) * math.log(1 + norm_b)),
        dot / (norm_a**0.3 * norm_b**0.3),
        len(shared) / len(either),
        sum(min(a[c], b[c]) for c in shared)
        / sum(max(a.get(c, 0.0), b.get(c, 0.0)) for c in either),
        max((a[c] * b[c] for c in shared), default=0.0),
    ]


def test_by_hand() -> None:
    a, b = matrix([{1: 3.0, 2: 4.0}]), matrix([{2: 2.0, 7: 1.0}])
    [[found]] = sparse_matrix_scores(a, b)
    scores = dict(zip(PAIR_SCORES, found.tolist(), strict=True))
    assert scores == pytest.approx(
        {
            "dot": 8.0,
            "cosine": 8 / (5 * math.sqrt(5)),
            "log_cosine": 8 / (math.log(26) * math.log(6)),
            "exp_scaled": 8 / (25**0.3 * 5**0.3),
            "jaccard": 1 / 3,
            "fuzzy_jaccard": 2 / 8,
            "max_product": 8.0,
        }
    )


@given(st.lists(ROWS, min_size=1, max_size=4), st.lists(ROWS, min_size=1, max_size=4), st.data())
def test_every_pair_is_scored_as_the_definitions_say(
    a: list[Row], b: list[Row], data: st.DataObject
) -> None:
    expected = np.array([[plainly(one, other) for other in b] for one in a])
    np.testing.assert_allclose(sparse_matrix_scores(matrix(a), matrix(b)), expected, rtol=1e-5)
    pairs = data.draw(
        st.lists(st.tuples(st.integers(-1, len(a) - 1), st.integers(-1, len(b) - 1)), max_size=6)
    )
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    found = sparse_pair_scores(matrix(a), rows[:, 0], matrix(b), rows[:, 1])
    wanted = [expected[i, j] if i >= 0 and j >= 0 else [0.0] * 7 for i, j in pairs]
    np.testing.assert_allclose(found, np.reshape(wanted, (-1, 7)), rtol=1e-5)


def test_sides_of_different_lengths_are_refused() -> None:
    one = matrix([{1: 1.0}])
    with pytest.raises(ValueError, match="2 rows of one side, 1 of the other"):
        sparse_pair_scores(one, np.array([0, 0]), one, np.array([0]))


def test_dense_vectors() -> None:
    a = np.array([[3, 4], [0, 0], [1, 0]], np.float32)
    b = np.array([[4, 3], [1, 1], [-2, 0]], np.float32)
    np.testing.assert_allclose(dense_pair_scores(a, b), [[24, 0.96], [0, 0], [-2, -1]])
    np.testing.assert_allclose(dense_pair_scores(a[:1], b)[:, 0], [24, 7, -6])

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from training.simclusters.quality import (
    KnownFor,
    agreement,
    known_for,
    membership_scores,
    normalized_mutual_information,
    quality,
    weighted_f1,
)
from training.simclusters.similarity import Similarity

Edges = dict[tuple[int, int], float]


def graph_of(ids: list[int], edges: Edges) -> Similarity:
    pairs = np.array(list(edges), np.int64).reshape(-1, 2)
    weights = np.array(list(edges.values()), np.float32)
    rows, columns = np.concatenate([pairs, pairs[:, ::-1]]).T
    n = len(ids)
    matrix = sparse.csr_matrix((np.tile(weights, 2), (rows, columns)), shape=(n, n))
    matrix.sort_indices()
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    return Similarity(np.array(ids, np.int64), indptr, indices, matrix.data)


def int32s(*values: int) -> npt.NDArray[np.int32]:
    return np.array(values, np.int32)


# Mean weight 0.4. Community 0: a path of three, 1: two who do not know each other, 2: one alone.
PATH = graph_of(
    [10, 20, 30, 40, 50, 60, 70],
    {(0, 1): 0.5, (1, 2): 0.25, (2, 3): 0.25, (0, 6): 0.75, (5, 6): 0.25},
)
IN = int32s(0, 0, 0, 1, 1, 2, -1)


def test_scores_by_hand() -> None:
    expected = [
        0.5 / (1.25 + 0.4),  # one other member is no neighbour
        1.0,  # everything inside, and nothing missing
        0.25 / (0.5 + 0.4),
        0.0,  # all outside
        0.0,  # no edges
        1.0,  # a community of one's own
        0.0,  # in none
    ]
    found = membership_scores(PATH, IN)
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, rel=1e-6)


def test_quality_by_hand() -> None:
    found = quality(PATH, IN, np.random.default_rng(0))
    assert found["recall"] == pytest.approx(2 / 5)
    assert found["weighted_recall"] == pytest.approx(0.75 / 2)
    # Four pairs inside, two of them edges; of all 21 pairs five are.
    assert found["precision"] == pytest.approx(2 / 4)
    assert found["relative_precision"] == pytest.approx((2 / 4) / (5 / 21))
    assert found["weighted_precision"] == pytest.approx(0.75 / (0.75 + 2 * 0.4))
    assert found["f1"] == pytest.approx(2 * 0.4 * 0.5 / 0.9)
    precision, recall = found["weighted_precision"], found["weighted_recall"]
    assert found["weighted_f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert found["unassigned"] == pytest.approx(1 / 7)
    assert found["orphans"] == pytest.approx(3 / 6)
    assert (found["communities"], found["smallest"], found["largest"]) == (3, 1, 3)
    # Fewer edges than a sample: each of them, both ways.
    scores = membership_scores(PATH, IN).astype(float)
    predicted = [scores[0] * scores[1], scores[1] * scores[2], 0, 0, 0]
    expected = np.corrcoef([0.5, 0.25, 0.25, 0.75, 0.25], predicted)[0, 1]
    assert found["weight_correlation"] == pytest.approx(expected)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_without_edges_or_members_every_figure_is_a_number(n: int) -> None:
    graph = graph_of(list(range(n)), {})
    found = quality(graph, np.full(n, -1, np.int32), np.random.default_rng(0))
    assert all(math.isfinite(value) for value in found.values())
    assert found["unassigned"] == float(n > 0)


@given(
    edges=st.dictionaries(
        st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(lambda pair: pair[0] < pair[1]),
        st.integers(1, 8).map(lambda eighths: eighths / 8),
        min_size=1,
    ),
    memberships=st.lists(st.integers(-1, 2), min_size=7, max_size=7),
)
def test_as_counted_pair_by_pair(edges: Edges, memberships: list[int]) -> None:
    graph = graph_of(list(range(7)), edges)
    together = {
        (u, v) for u in range(7) for v in range(u + 1, 7) if memberships[u] == memberships[v] != -1
    }
    inside = together & edges.keys()
    found = quality(graph, int32s(*memberships), np.random.default_rng(0))
    assert found["recall"] == pytest.approx(len(inside) / len(edges))
    weight = sum(edges[pair] for pair in inside)
    assert found["weighted_recall"] == pytest.approx(weight / sum(edges.values()))
    assert found["precision"] == pytest.approx(len(inside) / max(1, len(together)))
    lonely = [v for v in range(7) if memberships[v] >= 0 and not any(v in pair for pair in inside)]
    members = sum(community >= 0 for community in memberships)
    assert found["orphans"] == pytest.approx(len(lonely) / max(1, members))
    scores = membership_scores(graph, int32s(*memberships))
    assert np.all((scores >= 0) & (scores <= 1))


def test_the_correlation_of_a_sample_is_near_that_of_all_edges() -> None:
    rng = np.random.default_rng(1)
    rows, columns = np.triu_indices(200, 1)
    together = rows // 20 == columns // 20
    weights = rng.random(len(rows)) * np.where(together, 1.0, 0.5) + 0.01
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    graph = graph_of(list(range(200)), dict(zip(pairs, weights.tolist(), strict=True)))
    memberships = (np.arange(200) // 20).astype(np.int32)
    scores = membership_scores(graph, memberships)
    expected = np.corrcoef(weights, np.where(together, scores[rows] * scores[columns], 0))[0, 1]
    found = quality(graph, memberships, rng)["weight_correlation"]
    assert expected > 0.2
    assert found == pytest.approx(expected, abs=0.05)


def test_known_for_holds_members_without_the_excluded() -> None:
    found = known_for(PATH, IN, [20, 999])
    assert found.producer_ids.tolist() == [10, 30, 40, 50, 60]
    assert found.communities.tolist() == [0, 0, 1, 1, 2]
    # Scored before the exclusion: 20 was a neighbour of theirs.
    assert found.scores.tolist() == membership_scores(PATH, IN)[[0, 2, 3, 4, 5]].tolist()
    assert len(known_for(PATH, IN)) == 6
    assert len(known_for(PATH, IN, np.array([10, 20]))) == 4


def test_agreement_is_the_cosine_of_the_columns() -> None:
    before = KnownFor(
        np.array([1, 2, 3, 4, 5, 6]),
        int32s(0, 0, 1, 1, 2, 2),
        np.array([0.6, 0.8, 1, 1, 1, 1], np.float32),
    )
    after = KnownFor(
        np.array([1, 2, 3, 6, 7, 9]),
        int32s(0, 0, 1, 2, 2, 5),
        np.array([0.8, 0.6, 1, 1, 1, 1], np.float32),
    )
    communities, cosines = agreement(before, after, min_members=2)
    assert communities.tolist() == [0, 2]
    assert cosines == pytest.approx([0.96, 0.5])
    assert agreement(before, after)[0].tolist() == []
    nobody = KnownFor(np.zeros(0, np.int64), int32s(), np.zeros(0, np.float32))
    assert agreement(nobody, nobody)[0].tolist() == []


def test_agreement_with_a_planted_truth() -> None:
    truth = np.array([0, 0, 0, 0, 1, 1])
    renamed = np.array([5, 5, 5, 5, 2, 2])
    assert weighted_f1(renamed, truth) == pytest.approx(1)
    assert normalized_mutual_information(renamed, truth) == pytest.approx(1)
    # The best for 0 is the found 1 (F1 of 3 of 4 and 3 of 3), for 1 the found 0 (2 of 3 and 2).
    split = np.array([1, 1, 1, 0, 0, 0])
    expected = (4 * (2 * 3 / 7) + 2 * (2 * 2 / 5)) / 6
    assert weighted_f1(split, truth) == pytest.approx(expected)
    nobody = np.full(6, -1)
    assert weighted_f1(nobody, truth) == 0.0
    assert normalized_mutual_information(nobody, truth) == pytest.approx(0)
    half = np.array([0, 0, -1, -1, -1, -1])
    assert weighted_f1(half, truth) == pytest.approx(4 * (2 * 2 / 6) / 6)

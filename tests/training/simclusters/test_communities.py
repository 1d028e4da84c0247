import math
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from training.simclusters.communities import (
    Communities,
    carry_over,
    find_communities,
    gain,
    visit,
)
from training.simclusters.quality import weighted_f1
from training.simclusters.similarity import Similarity

Int64s = npt.NDArray[np.int64]
Edges = dict[tuple[int, int], float]


def graph_of(n: int, edges: Edges) -> Similarity:
    pairs = np.array(list(edges), np.int64).reshape(-1, 2)
    weights = np.array(list(edges.values()), np.float32)
    rows, columns = np.concatenate([pairs, pairs[:, ::-1]]).T
    matrix = sparse.csr_matrix((np.tile(weights, 2), (rows, columns)), shape=(n, n))
    matrix.sort_indices()
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    return Similarity(np.arange(n), indptr, indices, matrix.data)


def planted(seed: int) -> tuple[Similarity, Int64s]:
    """10 blocks of 100 vertices, in no order: an edge within with 0.3, across with 0.005."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(1_000) % 10)
    rows, columns = np.triu_indices(1_000, 1)
    p = np.where(truth[rows] == truth[columns], 0.3, 0.005)
    drawn = rng.random(len(p)) < p
    pairs = zip(rows[drawn].tolist(), columns[drawn].tolist(), strict=True)
    return graph_of(1_000, dict.fromkeys(pairs, 1.0)), truth


def log_likelihood(
    graph: Similarity, memberships: list[int], v: int, community: int, alpha: float
) -> float:
    """L(v, {community}), or L(v, ∅) for −1, pair by pair as sbf defines it."""
    n = len(graph)
    cut = slice(graph.indptr[v], graph.indptr[v + 1])
    edges: dict[int, float] = dict(
        zip(graph.indices[cut].tolist(), graph.weights[cut].tolist(), strict=True)
    )
    members = {u for u in range(n) if community >= 0 and memberships[u] == community}
    explained = sum(weight for u, weight in edges.items() if u in members)
    predicted_negative = n - len(members)
    false_negative = sum(u not in members for u in edges)
    mean = sum(edges.values()) / len(edges) if edges else 0.0
    return alpha * explained + (predicted_negative - false_negative) * mean


_edges = st.dictionaries(
    st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda pair: pair[0] < pair[1]),
    st.integers(1, 8).map(lambda eighths: eighths / 8),
    min_size=1,
)


@given(
    edges=_edges,
    memberships=st.lists(st.integers(-1, 2), min_size=8, max_size=8),
    alpha=st.sampled_from([1.0, 5.0, 10.0]),
)
def test_the_closed_form_is_the_difference_of_the_likelihoods(
    edges: Edges, memberships: list[int], alpha: float
) -> None:
    graph = graph_of(8, edges)
    degrees, strengths = graph.degrees(), graph.strengths()
    for v in range(8):
        none = log_likelihood(graph, memberships, v, -1, alpha)
        for community in range(3):
            neighbours = graph.indices[graph.indptr[v] : graph.indptr[v + 1]].tolist()
            weights = graph.weights[graph.indptr[v] : graph.indptr[v + 1]].tolist()
            inside = [
                weight
                for u, weight in zip(neighbours, weights, strict=True)
                if memberships[u] == community
            ]
            mean = strengths[v] / max(1, degrees[v])
            size = memberships.count(community)
            found = gain(sum(inside), len(inside), size, mean, alpha)
            expected = log_likelihood(graph, memberships, v, community, alpha) - none
            assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("current", [-1, 0, 1, 2])
def test_moves_are_drawn_by_likelihood_and_accepted_by_its_difference(current: int) -> None:
    # Vertex 0 has neighbours in 0 and 1, and 2 holds strangers of it.
    graph = graph_of(7, {(0, 1): 0.25, (0, 2): 0.25, (0, 3): 0.5, (1, 5): 0.25, (4, 6): 0.25})
    memberships = [current, 0, 1, 1, 1, 0, 2]
    alpha, scale, trials = 3.0, 0.5, 20_000
    likelihood = {c: log_likelihood(graph, memberships, 0, c, alpha) for c in (-1, 0, 1, 2)}
    options = [c for c in (-1, 0, 1) if c == -1 or c != current]
    total = sum(math.exp(likelihood[c]) for c in options)
    expected = dict.fromkeys((-1, 0, 1, 2), 0.0)
    for c in options:
        odds = min(1.0, math.exp(scale * (likelihood[c] - likelihood[current])))
        expected[c] += math.exp(likelihood[c]) / total * odds
    expected[current] += 1 - sum(expected.values()) if current in expected else 0.0

    means = graph.strengths() / np.maximum(1, graph.degrees())
    sizes = [memberships.count(c) for c in range(3)]
    order, found = np.array([0]), Counter[int]()
    for trial in range(trials):
        after, counted = np.array(memberships, np.int32), np.array(sizes, np.int32)
        moved = visit(
            graph.indptr,
            graph.indices,
            graph.weights,
            means,
            after,
            counted,
            order,
            alpha,
            scale,
            np.uint64(trial * 2**40),
        )
        assert moved == (after[0] != current)
        assert counted.tolist() == [np.count_nonzero(after == c) for c in range(3)]
        assert after[1:].tolist() == memberships[1:]
        found[int(after[0])] += 1
    for c, share in expected.items():
        deviation = math.sqrt(max(share * (1 - share), 1e-9) / trials)
        assert found[c] / trials == pytest.approx(share, abs=4.5 * deviation)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threads", [1, 2])
def test_finds_a_planted_partition(seed: int, threads: int) -> None:
    graph, truth = planted(seed)
    rng = np.random.default_rng(seed)
    found = find_communities(graph, 10, rng=rng, alpha=10, max_sweeps=20, threads=threads)
    assert weighted_f1(found.memberships, truth) > 0.95
    assert found.n_empty == 0
    assert found.sizes().sum() == np.count_nonzero(found.memberships >= 0)
    assert found.sweeps[0].reseeded == 10


def test_one_thread_repeats_itself() -> None:
    graph, _ = planted(4)
    runs = [
        find_communities(graph, 10, rng=np.random.default_rng(seed), max_sweeps=1, threads=1)
        for seed in (9, 9, 10)
    ]
    np.testing.assert_array_equal(runs[0].memberships, runs[1].memberships)
    assert runs[0].sweeps == runs[1].sweeps
    assert np.any(runs[0].memberships != runs[2].memberships)


def test_a_warm_start_keeps_ids_and_starts_the_empty_ones_anew() -> None:
    graph, truth = planted(5)
    # Ids 20 … 27 are taken by blocks 0 … 7, whose members are known but for every fourth.
    before = np.where((truth < 8) & (np.arange(1_000) % 4 > 0), truth + 20, -1).astype(np.int32)
    given_memberships = before.copy()
    rng = np.random.default_rng(0)
    found = find_communities(graph, 30, rng=rng, initial=before, max_sweeps=8)
    np.testing.assert_array_equal(before, given_memberships)
    for block in range(8):
        assert np.mean(found.memberships[truth == block] == block + 20) > 0.95
    # The two blocks that nobody knew are found by some of the 22 others.
    for block in (8, 9):
        new, counts = np.unique(found.memberships[truth == block], return_counts=True)
        assert counts.max() > 95
        assert new[counts.argmax()] < 20 or new[counts.argmax()] > 27
    assert found.sweeps[0].reseeded == 22


def test_a_settled_warm_start_moves_nobody() -> None:
    graph, truth = planted(6)
    initial = truth.astype(np.int32)
    found = find_communities(graph, 10, rng=np.random.default_rng(0), initial=initial)
    assert np.mean(found.memberships == truth) > 0.99
    assert len(found.sweeps) == 1
    assert found.sweeps[0].accept_rate < 0.01
    assert found.sweeps[0].reseeded == 0


def test_who_has_no_edges_leaves() -> None:
    graph = graph_of(4, {(0, 1): 0.5, (0, 2): 0.5, (1, 2): 0.5})
    initial = np.array([0, 0, 0, 0], np.int32)
    found = find_communities(graph, 1, rng=np.random.default_rng(1), initial=initial)
    assert found.memberships.tolist() == [0, 0, 0, -1]
    assert found.sizes().tolist() == [3]


def test_a_graph_of_nobody_has_empty_communities() -> None:
    found = find_communities(graph_of(0, {}), 3, rng=np.random.default_rng(0))
    assert isinstance(found, Communities)
    assert (len(found.memberships), found.n_empty) == (0, 3)


def test_it_says_how_far_it_is() -> None:
    told: list[tuple[str, float]] = []
    graph = graph_of(3, {(0, 1): 1.0})
    find_communities(
        graph,
        1,
        rng=np.random.default_rng(0),
        max_sweeps=2,
        min_accept_rate=0,
        progress=lambda *part: told.append(part),
    )
    assert told == [("communities", 0.0), ("communities", 0.5), ("communities", 1.0)]


def test_memberships_are_carried_over_by_id() -> None:
    before = np.array([30, 10, 20]), np.array([3, 1, -1], np.int32)
    carried = carry_over(*before, np.array([5, 10, 20, 30, 99]))
    assert carried.tolist() == [-1, 1, -1, 3, -1]
    assert carried.dtype == np.int32
    nobody = np.zeros(0, np.int64), np.zeros(0, np.int32)
    assert carry_over(*nobody, np.array([1])).tolist() == [-1]


@pytest.mark.parametrize(
    ("initial", "message"),
    [
        ([0, 1], "shape"),
        ([0, 2, -1], "communities -1 … 2"),
        ([0, -2, 1], "communities -2 … 1"),
    ],
)
def test_memberships_that_do_not_fit_are_refused(initial: list[int], message: str) -> None:
    graph = graph_of(3, {(0, 1): 1.0})
    memberships = np.array(initial, np.int32)
    with pytest.raises(ValueError, match=message):
        find_communities(graph, 2, rng=np.random.default_rng(0), initial=memberships)


def test_no_communities_are_refused() -> None:
    with pytest.raises(ValueError, match="n_communities is 0"):
        find_communities(graph_of(1, {}), 0, rng=np.random.default_rng(0))

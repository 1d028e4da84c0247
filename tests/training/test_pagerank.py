import math
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.pagerank import LinkGraph, pagerank

Edges = list[tuple[int, int, float]]


def graph_of(edges: Edges, n_nodes: int, *, weighted: bool = True) -> LinkGraph:
    sources, targets = (np.array([e[k] for e in edges], np.int64) for k in (0, 1))
    weights = np.array([e[2] for e in edges]) if weighted else None
    return LinkGraph.of(sources, targets, n_nodes, weights)


def by_networkx(
    edges: Edges, n_nodes: int, prior: npt.NDArray[np.float64], jump: float
) -> npt.NDArray[np.float64]:
    """NetworkX's ranks; parallel edges of a MultiDiGraph add up there as well."""
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(range(n_nodes))
    graph.add_weighted_edges_from(edges)
    found = nx.pagerank(
        graph,
        alpha=1 - jump,
        personalization=dict(enumerate(prior.tolist())),
        dangling=dict.fromkeys(range(n_nodes), 1.0),
        tol=1e-12 / n_nodes,
        max_iter=2_000,
    )
    return np.array([found[node] for node in range(n_nodes)])


def by_formula(
    edges: Edges, n_nodes: int, prior: npt.NDArray[np.float64], jump: float, iterations: int
) -> npt.NDArray[np.float64]:
    """The published iteration, written out."""
    ranks = prior.copy()
    totals = [sum(w for s, _, w in edges if s == node) for node in range(n_nodes)]
    for _ in range(iterations):
        following = np.zeros(n_nodes)
        for source, target, weight in edges:
            if totals[source]:
                following[target] += ranks[source] * weight / totals[source]
        dead = (1 - following.sum()) / n_nodes
        ranks = jump * prior + (1 - jump) * (following + dead)
    return ranks


def test_two_nodes_have_the_ranks_worked_out_by_hand() -> None:
    # 0 → 1, and 1 leads nowhere: r0 = 0.05 + 0.45 r1 and r0 + r1 = 1.
    found = pagerank(graph_of([(0, 1, 1.0)], 2), tolerance=1e-14)
    np.testing.assert_allclose(found.ranks, [0.5 / 1.45, 0.95 / 1.45], atol=1e-13)
    assert found.converged


@pytest.mark.parametrize("weighted", [False, True])
def test_ranks_equal_networkx(weighted: bool) -> None:
    rng = np.random.default_rng(3)
    n = 400
    popular = (n * rng.random(3_000) ** 3).astype(int)
    edges = [
        (int(source), int(target), float(weight) if weighted else 1.0)
        for source, target, weight in zip(
            rng.integers(0, n - 80, 3_000), popular, rng.exponential(1, 3_000), strict=True
        )
    ]
    prior = rng.random(n) ** 4
    prior[::7] = 0
    found = pagerank(
        graph_of(edges, n, weighted=weighted), prior=prior, tolerance=1e-12, max_iterations=1_000
    )
    wanted = by_networkx(edges, n, prior / prior.sum(), 0.1)
    # Absolute, and relative to ranks that span five orders of magnitude.
    np.testing.assert_allclose(found.ranks, wanted, rtol=1e-6, atol=0)
    assert found.converged
    assert found.change < 1e-12


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Edges, int, npt.NDArray[np.float64]]:
    n_nodes = draw(st.integers(1, 8))
    node = st.integers(0, n_nodes - 1)
    weight = st.just(0.0) | st.floats(1e-6, 1e6)
    edges = draw(st.lists(st.tuples(node, node, weight), max_size=30))
    masses = draw(st.lists(st.floats(0, 100), min_size=n_nodes, max_size=n_nodes))
    prior = np.array(masses) + (sum(masses) == 0)
    return edges, n_nodes, prior


@given(worlds(), st.floats(0.05, 1), st.integers(1, 25))
def test_each_iteration_is_the_published_one(
    world: tuple[Edges, int, npt.NDArray[np.float64]], jump: float, iterations: int
) -> None:
    edges, n_nodes, prior = world
    found = pagerank(
        graph_of(edges, n_nodes),
        prior=prior,
        jump=jump,
        tolerance=0.0,
        max_iterations=iterations,
    )
    wanted = by_formula(edges, n_nodes, prior / prior.sum(), jump, iterations)
    np.testing.assert_allclose(found.ranks, wanted, atol=3e-7)
    assert found.ranks.sum() == pytest.approx(1, abs=1e-12)
    assert found.iterations == iterations
    assert not found.converged


def test_edges_of_a_source_without_weight_pass_nothing_on() -> None:
    n = 1_000
    left_in_memory = [np.full(n, np.nan) for _ in range(50)]
    del left_in_memory
    graph = graph_of([(0, 1, 0.0)] * n, 2)
    np.testing.assert_array_equal(graph.weights, np.zeros(n))


@given(worlds())
def test_equal_weights_are_no_weights(
    world: tuple[Edges, int, npt.NDArray[np.float64]],
) -> None:
    edges, n_nodes, prior = world
    equal = [(source, target, 0.3) for source, target, _ in edges]
    one = pagerank(graph_of(equal, n_nodes), prior=prior, tolerance=1e-13, max_iterations=500)
    two = pagerank(
        graph_of(equal, n_nodes, weighted=False), prior=prior, tolerance=1e-13, max_iterations=500
    )
    np.testing.assert_allclose(one.ranks, two.ranks, atol=1e-12)


def test_extreme_weights_neither_overflow_nor_vanish() -> None:
    tiny, huge = 5e-324, 1e300
    edges = [(0, 1, tiny), (0, 2, tiny), (1, 0, huge), (2, 0, huge), (2, 1, huge)]
    same = [(source, target, 1.0) for source, target, _ in edges]
    one, two = (pagerank(graph_of(each, 3), tolerance=1e-13) for each in (edges, same))
    np.testing.assert_allclose(one.ranks, two.ranks, atol=1e-12)


def large(n_nodes: int = 20_000, n_edges: int = 200_000) -> LinkGraph:
    """Large enough for several chunks."""
    rng = np.random.default_rng(5)
    targets = (n_nodes * rng.random(n_edges) ** 2).astype(np.int32)
    return LinkGraph.of(rng.integers(0, n_nodes // 2, n_edges, np.int32), targets, n_nodes)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    graph = large()
    found = [pagerank(graph, tolerance=1e-10, threads=threads) for threads in (1, 2, 5)]
    for other in found[1:]:
        np.testing.assert_array_equal(found[0].ranks, other.ranks)
        assert (other.iterations, other.change) == (found[0].iterations, found[0].change)


def test_a_warm_start_saves_iterations_and_ends_at_the_same_ranks() -> None:
    graph = large()
    cold = pagerank(graph, tolerance=1e-11)
    again = pagerank(graph, tolerance=1e-11, start=cold.ranks)
    assert again.iterations <= 2
    np.testing.assert_allclose(again.ranks, cold.ranks, atol=1e-11)
    elsewhere = pagerank(graph, tolerance=1e-11, start=np.arange(len(graph)))
    np.testing.assert_allclose(elsewhere.ranks, cold.ranks, atol=1e-10)


def test_a_graph_without_edges_gives_everyone_a_share_of_the_prior_and_of_the_rest() -> None:
    graph = LinkGraph.of(np.empty(0, np.int32), np.empty(0, np.int32), 4)
    found = pagerank(graph, prior=np.array([1, 0, 0, 3]), jump=0.4, tolerance=1e-14)
    np.testing.assert_allclose(found.ranks, [0.25, 0.15, 0.15, 0.45])


def test_edges_are_grouped_by_target_in_the_order_given() -> None:
    graph = graph_of([(2, 1, 1.0), (0, 2, 2.0), (0, 1, 6.0), (2, 1, 3.0)], 4)
    assert graph.offsets.tolist() == [0, 0, 3, 4, 4]
    assert graph.sources.tolist() == [2, 0, 2, 0]
    assert graph.weights.tolist() == [0.25, 0.75, 0.75, 0.25]
    assert graph.shares.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("sources", "targets", "n_nodes", "weights", "said"),
    [
        ([0], [2], 2, None, "targets name nodes outside 0 … 1"),
        ([-1], [0], 2, None, "sources name nodes outside 0 … 1"),
        ([0, 1], [1], 2, None, "the same length"),
        ([0], [1], 2, [1.0, 2.0], "the same length"),
        ([0], [1], 0, None, "n_nodes is 0"),
        ([0], [1], 2, [-1.0], "not negative"),
        ([0], [1], 2, [math.nan], "finite"),
        ([0, 1], [1, 0], 2, [1.7e308, 1.7e308], "finite, in sum too"),
    ],
)
def test_what_is_no_graph_is_refused(
    sources: list[int],
    targets: list[int],
    n_nodes: int,
    weights: list[float] | None,
    said: str,
) -> None:
    given_weights = None if weights is None else np.array(weights)
    with pytest.raises(ValueError, match=said):
        LinkGraph.of(np.array(sources), np.array(targets), n_nodes, given_weights)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"prior": np.array([1.0])}, r"prior has shape \(1,\)"),
        ({"prior": np.array([1.0, -1.0, 3.0])}, "prior must be finite and not negative"),
        ({"start": np.zeros(3)}, "start must be .* with a sum above 0"),
        ({"start": np.array([1.0, math.inf, 1.0])}, "start must be finite"),
        ({"jump": 0.0}, "0 < jump"),
        ({"max_iterations": 0}, "at least one"),
        ({"threads": 0}, "at least one"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], said: str) -> None:
    graph = graph_of([(0, 1, 1.0)], 3)
    with pytest.raises(ValueError, match=said):
        pagerank(graph, **arguments)

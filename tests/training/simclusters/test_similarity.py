import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.simclusters import similarity as module
from training.simclusters.similarity import Similarity, producer_similarity

Edges = set[tuple[int, int]]


def similarity_of(
    edges: Edges, nodes: set[int], neighbours: int = 400, max_follows: int = 10_000
) -> Similarity:
    users, producers = np.array(sorted(edges), np.int64).reshape(-1, 2).T
    node_ids = np.array(sorted(nodes), np.int64)
    return producer_similarity(users, producers, node_ids, neighbours, max_follows)


def dense(similarity: Similarity) -> npt.NDArray[np.float32]:
    n = len(similarity)
    matrix = np.zeros((n, n), np.float32)
    for row in range(n):
        cut = slice(similarity.indptr[row], similarity.indptr[row + 1])
        matrix[row, similarity.indices[cut]] = similarity.weights[cut]
    return matrix


def model(
    edges: Edges, nodes: set[int], neighbours: int, max_follows: int
) -> npt.NDArray[np.float32]:
    """All cosines at once, then the cut, the nodes, and the greater of both directions."""
    follows = {user: {p for u, p in edges if u == user} for user, _ in edges}
    modest = [wanted for wanted in follows.values() if len(wanted) <= max_follows]
    everyone = sorted({p for _, p in edges} | nodes)
    audience = np.array([[p in wanted for p in everyone] for wanted in modest], np.float64)
    audience = audience.reshape(len(modest), len(everyone))
    shared = audience.T @ audience
    sizes = np.diag(shared)
    norms = np.sqrt(np.outer(sizes, sizes))
    cosines = np.divide(shared, norms, out=np.zeros_like(shared), where=norms > 0)
    np.fill_diagonal(cosines, 0)
    kept = np.zeros_like(cosines)
    for row, values in enumerate(cosines):
        best = np.argsort(-values, kind="stable")[:neighbours]
        kept[row, best] = values[best]
    chosen = [everyone.index(node) for node in sorted(nodes)]
    kept = kept[np.ix_(chosen, chosen)]
    return np.maximum(kept, kept.T).astype(np.float32)


def test_cosines_by_hand() -> None:
    # Followers: 10 has {1, 2, 3, 4}, 20 has {1}, 30 has {4, 5}.
    edges = {(1, 10), (2, 10), (3, 10), (4, 10), (1, 20), (4, 30), (5, 30)}
    found = similarity_of(edges, {10, 20, 30, 40})
    assert found.producer_ids.tolist() == [10, 20, 30, 40]
    assert found.indptr.tolist() == [0, 2, 3, 4, 4]
    assert found.indices.tolist() == [1, 2, 0, 0]
    expected = [1 / 2, 1 / 8**0.5, 1 / 2, 1 / 8**0.5]
    np.testing.assert_array_equal(found.weights, np.array(expected, np.float32))
    assert found.indptr.dtype == np.int64
    assert found.indices.dtype == np.int32
    assert found.weights.dtype == np.float32
    assert found.n_edges == 2
    assert found.degrees().tolist() == [2, 1, 1, 0]
    assert found.strengths() == pytest.approx([0.5 + 8**-0.5, 0.5, 8**-0.5, 0])
    assert found.spread().weights == pytest.approx([10 / 4, 10 / 8, 10 / 4, 10 / 8])


def test_the_cut_comes_before_the_nodes() -> None:
    # 10's nearest is 20, who is no node: nothing is left of one neighbour.
    edges = {(1, 10), (2, 10), (1, 20), (2, 20), (2, 30), (3, 30), (2, 40), (3, 40)}
    assert similarity_of(edges, {10, 30}, neighbours=1).n_edges == 0
    assert similarity_of(edges, {10, 30}, neighbours=3).n_edges == 1


def test_one_end_is_enough() -> None:
    # 10's best is 20; 30's best is 10: the edge 10 – 30 is there both ways.
    edges = {(1, 10), (2, 10), (3, 10), (1, 20), (2, 20), (3, 30)}
    found = dense(similarity_of(edges, {10, 20, 30}, neighbours=1))
    close, far = 2 / 6**0.5, 1 / 3**0.5
    expected = np.array([[0, close, far], [close, 0, 0], [far, 0, 0]], np.float32)
    np.testing.assert_array_equal(found, expected)


def test_an_edge_given_twice_counts_once() -> None:
    users, producers = np.array([1, 1, 1, 2]), np.array([10, 10, 20, 20])
    found = producer_similarity(users, producers, np.array([20, 10, 10]))
    assert found.weights == pytest.approx([2**-0.5] * 2)


@given(
    edges=st.sets(st.tuples(st.integers(1, 9), st.integers(20, 32)), max_size=60),
    nodes=st.sets(st.integers(20, 34), max_size=13),
    neighbours=st.integers(1, 8),
    max_follows=st.integers(1, 9),
)
def test_as_the_dense_model(
    edges: Edges, nodes: set[int], neighbours: int, max_follows: int
) -> None:
    found = similarity_of(edges, nodes, neighbours, max_follows)
    np.testing.assert_array_equal(dense(found), model(edges, nodes, neighbours, max_follows))
    rows = np.repeat(np.arange(len(found)), found.degrees())
    assert np.all(np.diff(rows * 100 + found.indices) > 0)


def test_batches_and_threads_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    users, producers = rng.integers(0, 300, 4_000), rng.integers(0, 120, 4_000)
    nodes = np.arange(100)
    shares: list[float] = []
    whole = producer_similarity(users, producers, nodes, 10, threads=1)
    monkeypatch.setattr(module, "_BATCH", 7)
    parts = producer_similarity(
        users, producers, nodes, 10, threads=3, progress=lambda _, share: shares.append(share)
    )
    assert whole.n_edges > 500
    for name in ("producer_ids", "indptr", "indices", "weights"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    assert len(shares) == 15
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_what_makes_no_sense_is_refused() -> None:
    one = np.array([1])
    with pytest.raises(ValueError, match="1 user_ids but 2 producer_ids"):
        producer_similarity(one, np.array([1, 2]), one)
    with pytest.raises(ValueError, match="neighbours is 0"):
        producer_similarity(one, one, one, 0)
    with pytest.raises(ValueError, match="max_follows is 0"):
        producer_similarity(one, one, one, max_follows=0)

import numpy as np
import pytest

from actors.stores.interactions import InteractionGraph
from actors.stores.random_walks import WalkedPosts, salsa

Edge = tuple[int, int]


def graph_of(
    edges: list[Edge], size: int = 100, sides: list[int] | None = None
) -> InteractionGraph:
    graph = InteractionGraph(8, size)
    users, posts = np.array(edges, np.int64).T
    n = len(edges)
    kept = None if sides is None else np.array(sides, np.uint8)
    graph.insert(users, posts, posts % 7 + 1, np.ones(n, np.uint8), np.arange(n), kept)
    return graph


def walk(graph: InteractionGraph, seeds: list[int], **options: float) -> WalkedPosts:
    return salsa(
        graph,
        99,
        np.array(seeds, np.int64),
        np.ones(len(seeds)),
        rng=np.random.default_rng(11),
        **options,  # type: ignore[arg-type]
    )


def test_one_step_without_reset_visits_the_seeds_posts_evenly() -> None:
    graph = graph_of([(1, 10), (1, 11), (1, 11), (2, 12)], size=2)
    found = walk(graph, [1], walks=30_000, length=1, reset=0.0)
    assert found.total_visits == 30_000
    assert found.post_ids.tolist() == [11, 10]
    assert found.weights[0] == pytest.approx(2 / 3, abs=0.02)
    assert len(found.proof_user_ids) == 0, "a single step records no proof"


def test_walks_start_in_proportion_to_weights_rounded_up() -> None:
    graph = graph_of([(1, 10), (2, 20), (3, 30)])
    found = salsa(
        graph, 99, np.array([1, 2, 4]), np.array([1.0, 2.0, 50.0]),
        rng=np.random.default_rng(0), walks=10, length=1, reset=0.0,
    )  # fmt: skip
    assert dict(zip(found.post_ids.tolist(), found.visits.tolist(), strict=True)) == {10: 4, 20: 7}


def test_the_query_user_joins_with_its_fraction() -> None:
    graph = graph_of([(1, 10), (99, 20)])
    found = walk(graph, [1], walks=100, length=1, reset=0.0, query_weight_fraction=0.75)
    assert sorted(zip(found.post_ids.tolist(), found.visits.tolist(), strict=True)) == [
        (10, 25), (20, 75),
    ]  # fmt: skip


def test_the_expected_visits_are_those_of_the_chain() -> None:
    """Visits of a small graph against the exact expectation by linear algebra."""
    edges = [(99, 10), (99, 11), (1, 11), (1, 12), (2, 12), (2, 13), (2, 13)]
    reset, length, walks = 0.3, 5, 200_000
    left = np.zeros((3, 4))
    users, posts = [99, 1, 2], [10, 11, 12, 13]
    for user, post in edges:
        left[users.index(user), posts.index(post)] += 1
    to_post = left / left.sum(1, keepdims=True)
    to_user = (left / left.sum(0)).T
    at = np.array([1.0, 0.0, 0.0])
    expected = np.zeros(4)
    for _ in range(3):
        arrived = (1 - reset) * at @ to_post
        expected += arrived
        at = arrived @ to_user
        at[0] += reset
    found = walk(graph_of(edges, size=3), [], walks=walks, length=length, reset=reset)
    visits = dict(zip(found.post_ids.tolist(), found.visits.tolist(), strict=True))
    for post, mass in zip(posts, expected, strict=True):
        assert visits[post] / walks == pytest.approx(mass, abs=0.01)


def test_proofs_are_the_users_of_the_last_step_by_degree() -> None:
    # Post 10 is everyone's; users 1, 2 and 3 have one, two and three edges to it in all.
    edges = [(99, 10), (1, 10), *[(2, 10)] * 2, *[(3, 10)] * 3]
    found = walk(graph_of(edges, size=4), [], walks=500, length=3, reset=0.0, max_proofs=2)
    assert found.post_ids.tolist() == [10]
    assert found.offsets.tolist() == [0, 2]
    assert found.proof_user_ids.tolist() == [3, 2]
    assert found.proof_degrees.tolist() == [3, 2]


def test_a_walk_that_cannot_go_on_restarts_at_the_query_user() -> None:
    # The right index holds nothing, so every walk restarts: no visit is lost.
    graph = graph_of([(99, 10), (1, 11)], sides=[1, 1])
    found = walk(graph, [1], walks=100, length=5, reset=0.0, query_weight_fraction=0.0)
    assert dict(zip(found.post_ids.tolist(), found.visits.tolist(), strict=True)) == {
        10: 200, 11: 100,
    }  # fmt: skip


def test_excluded_posts_count_as_visited_but_are_not_returned() -> None:
    graph = graph_of([(1, 10), (1, 11)])
    found = salsa(
        graph, 1, np.zeros(0, np.int64), np.zeros(0), rng=np.random.default_rng(0), length=1,
        walks=100, reset=0.0, excluded_post_ids=np.array([10]),
    )  # fmt: skip
    assert found.post_ids.tolist() == [11]
    assert found.total_visits == 100


def test_the_same_seed_gives_the_same_walks() -> None:
    rng = np.random.default_rng(1)
    users, posts = rng.integers(1, 50, 900).tolist(), rng.integers(1, 80, 900).tolist()
    edges = list(zip(users, posts, strict=True))
    graph = graph_of(edges, size=150)
    one, other = (walk(graph, [1, 2, 3], k=20) for _ in range(2))
    assert one.post_ids.tolist() == other.post_ids.tolist()
    assert one.visits.tolist() == other.visits.tolist()
    assert one.proof_user_ids.tolist() == other.proof_user_ids.tolist()


def test_nobody_known_gives_nothing() -> None:
    found = walk(graph_of([(1, 10)]), [5])
    assert (len(found.post_ids), found.total_visits, found.offsets.tolist()) == (0, 0, [0])
    assert found.weights.tolist() == []


@pytest.mark.parametrize("wrong", [{"length": 0}, {"reset": 1.5}, {"query_weight_fraction": 1.0}])
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="length must be at least 1"):
        walk(graph_of([(1, 10)]), [1], **wrong)

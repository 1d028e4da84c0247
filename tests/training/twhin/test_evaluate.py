from pathlib import Path

import numpy as np
import pytest

from tests.training.twhin.networks import columns
from training.twhin import evaluate as module
from training.twhin.edges import EdgeColumns, Edges
from training.twhin.evaluate import evaluate


class FewEdges(Edges):
    """Edges held in memory, follows only."""

    earlier: EdgeColumns
    held: EdgeColumns

    def shard(self, name: str) -> EdgeColumns:
        return self.earlier

    def later(self) -> EdgeColumns:
        return self.held

    def frequencies(self, relation: str, side: str) -> np.ndarray:  # type: ignore[type-arg]
        table = {"lhs": "user_follow", "rhs": "author_follow"}[side]
        return np.bincount(getattr(self.earlier, side), minlength=self.rows[table])


def few(earlier: EdgeColumns, later: EdgeColumns, users: int, authors: int) -> FewEdges:
    rows = {"user_follow": users, "author_follow": authors}
    edges = FewEdges(Path("none"), rows, (("only", len(earlier)),), {}, {}, 0, (0, 1))
    object.__setattr__(edges, "earlier", earlier)
    object.__setattr__(edges, "held", later)
    return edges


def test_ranks_leave_out_what_is_known_and_share_ties() -> None:
    earlier = columns((0, 0, 0), (0, 0, 1), (1, 0, 1), (1, 0, 2))
    edges = few(earlier, columns((0, 0, 3)), users=2, authors=5)
    vectors = {
        "user_follow": np.array([[1.0, 0.0], [0.0, 1.0]], np.float32),
        # For user 0: author 0 and 1 are known, 2 is above the true 3, and 4 its equal.
        "author_follow": np.array([[9, 0], [8, 0], [5, 0], [2, 0], [2, 0]], np.float32),
    }
    found = evaluate(edges, vectors, seed=0)["follow"]
    assert found["edges"] == 1
    assert found["mrr"] == pytest.approx(1 / 2.5)
    assert (found["hits_at_1"], found["hits_at_10"]) == (0, 1)
    # By angle the three that are left are equal.
    assert found["cosine_mrr"] == pytest.approx(1 / 2)
    # Author 2 is followed once; 3 and 4 never.
    assert found["popularity_mrr"] == pytest.approx(1 / 2.5)


def test_other_later_edges_are_no_mistakes() -> None:
    edges = few(columns((0, 0, 0)), columns((0, 0, 1), (0, 0, 2)), users=1, authors=4)
    vectors = {
        "user_follow": np.ones((1, 1), np.float32),
        "author_follow": np.array([[9], [3], [2], [1]], np.float32),
    }
    assert evaluate(edges, vectors, seed=0)["follow"]["mrr"] == 1


def test_ranks_equal_those_of_a_slow_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CELLS", 50)
    rng = np.random.default_rng(0)
    pairs = sorted({(int(a), int(b)) for a, b in rng.integers(0, [8, 20], (60, 2))})
    rng.shuffle(pairs)
    earlier, later = pairs[:30], pairs[30:]
    edges = few(
        columns(*((a, 0, b) for a, b in earlier)),
        columns(*((a, 0, b) for a, b in later)),
        users=8,
        authors=20,
    )
    vectors = {
        "user_follow": rng.normal(size=(8, 3)).astype(np.float32),
        "author_follow": rng.normal(size=(20, 3)).astype(np.float32),
    }
    scores = vectors["user_follow"] @ vectors["author_follow"].T
    reciprocal = []
    for user, author in later:
        rivals = [b for b in range(20) if (user, b) not in pairs]
        above = sum(scores[user, b] > scores[user, author] for b in rivals)
        reciprocal.append(1 / (1 + above))
    found = evaluate(edges, vectors, seed=0)["follow"]
    assert found["edges"] == len(later)
    assert found["mrr"] == pytest.approx(np.mean(reciprocal))


def test_the_true_node_is_ranked_among_drawn_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CANDIDATES", 3)
    edges = few(columns((0, 0, 0)), columns((0, 0, 9)), users=1, authors=10)
    vectors = {
        "user_follow": np.ones((1, 1), np.float32),
        "author_follow": np.arange(10, 0, -1, dtype=np.float32)[:, None],
    }
    # The worst of all: behind each candidate but itself and what is known.
    found = evaluate(edges, vectors, seed=0)["follow"]
    assert 1 / 4 <= found["mrr"] <= 1 / 2

"""The protocol of the quality benchmark, on data small enough to see through."""

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.quality.blend import lists_by
from benchmarks.quality.metrics import DEPTH, hits_of, judge, unique_shares
from benchmarks.quality.ours import Found, shuffled_targets
from benchmarks.quality.splits import History, Pairs, Problem, cuts, positives, problem
from cluster.events import Kind


def events(*rows: tuple[Kind, int, int, int, int]) -> pa.RecordBatch:
    """(kind, actor, post, author, time) of each."""
    kinds, actors, posts, authors, times = zip(*rows, strict=True)
    return pa.RecordBatch.from_pydict(
        {
            "kind": np.array(kinds, np.uint8),
            "actor_id": np.array(actors, np.int64),
            "post_id": np.array(posts, np.int64),
            "author_id": np.array(authors, np.int64),
            "time_ms": np.array(times, np.int64),
        }
    )


def asked(wanted: list[tuple[int, int]], posts: list[int], users: list[int]) -> Problem:
    nothing = np.empty(0, np.int64)
    user_ids, post_ids = (np.array(column, np.int64) for column in zip(*wanted, strict=True))
    pairs, none = Pairs(user_ids, post_ids, np.zeros(len(wanted), np.int64)), Pairs(*[nothing] * 3)
    return Problem(
        0, none, np.array(posts), np.zeros(len(posts), np.int64), none, np.array(users), pairs, 1.0
    )


LIKES = [(Kind.FAVOURITE, 1 + k % 3, 100 + k, 9, 10 + k) for k in range(10)]
POSTS = [(Kind.POST_CREATE, 0, 100 + k, 9, 1) for k in range(10)]


def test_cuts_leave_the_shares_of_positives_in_order_of_time() -> None:
    assert cuts(events(*POSTS, *LIKES)) == (17, 18)


def test_what_was_disliked_is_no_positive_from_then_on() -> None:
    found = positives(
        events(
            (Kind.FAVOURITE, 1, 100, 9, 5),
            (Kind.NOT_INTERESTED, 1, 100, 9, 6),
            (Kind.NOT_INTERESTED, 1, 101, 9, 4),
            (Kind.FAVOURITE, 1, 101, 9, 5),
            (Kind.FAVOURITE, 1, 100, 9, 9),
        )
    )
    assert found.post_ids.tolist() == [100]
    assert found.times_ms.tolist() == [5]


def test_a_problem_asks_for_what_is_new_and_can_be_found() -> None:
    later = (
        (Kind.POST_CREATE, 0, 200, 9, 17),
        (Kind.FAVOURITE, 2, 200, 9, 18),
        (Kind.FAVOURITE, 1, 100, 9, 18),
        (Kind.FAVOURITE, 3, 101, 9, 18),
    )
    history = History("test", events(*POSTS, *LIKES[:7], *later), (17, 18), True)
    found = problem(history, 17, history.end_ms, 10, np.random.default_rng(0))
    # 200 is not there yet, and user 1 has liked 100 before.
    assert found.users.tolist() == [3]
    assert (found.wanted.user_ids.tolist(), found.wanted.post_ids.tolist()) == ([3], [101])
    assert found.post_ids.tolist() == list(range(100, 110))
    assert found.reachable == 0.5


def test_metrics_by_hand() -> None:
    told = judge(
        np.array([[7, 3, 5], [4, 0, 0]]), asked([(1, 3), (1, 9), (2, 4)], [3, 4, 5, 7, 9], [1, 2])
    )
    assert told["recall@20"] == pytest.approx((1 / 2 + 1) / 2)
    ideal = 1 + 1 / np.log2(3)
    assert told["ndcg@20"] == pytest.approx(((1 / np.log2(3)) / ideal + 1) / 2)
    assert told["hit_rate@20"] == 1.0
    assert told["coverage@20"] == pytest.approx(4 / 5)


def test_unique_hits() -> None:
    one = asked([(1, 3), (1, 4), (1, 5)], [3, 4, 5, 6], [1])
    lists = {"a": np.array([[3, 4, 6]]), "b": np.array([[4, 5, 0]]), "c": np.array([[6, 0, 0]])}
    assert unique_shares(lists, one) == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 0})
    assert hits_of(lists["a"], one).shape == (1, DEPTH)


def test_a_blend_orders_each_users_candidates() -> None:
    n = 4
    columns = {name: {} for name in ("lists", "ranks", "scores", "affinities", "degraded")}
    found = Found(
        n_merged=2.0,
        rows=np.array([0, 0, 1, 1], np.int32),
        post_ids=np.array([3, 4, 3, 5]),
        author_ids=np.zeros(n, np.int64),
        engines=np.zeros(n, np.uint32),
        features=np.zeros((n, 1), np.float32),
        light=np.zeros(n, np.float32),
        **columns,  # type: ignore[arg-type]
    )
    lists = lists_by(np.array([0.1, 0.2, 0.3, 0.3]), found, asked([(1, 3)], [3, 4, 5], [1, 2]))
    assert lists[:, :3].tolist() == [[4, 3, 0], [3, 5, 0]]


def test_shuffled_follows_keep_degrees() -> None:
    rng = np.random.default_rng(0)
    actors, targets = rng.integers(1, 40, (2, 400))
    pairs = np.unique(np.stack([actors, targets])[:, actors != targets], axis=1)
    shuffled = shuffled_targets(pairs[0], pairs[1], rng)
    assert np.bincount(shuffled).tolist() == np.bincount(pairs[1]).tolist()
    assert (shuffled != pairs[0]).mean() > 0.99
    assert (shuffled != pairs[1]).mean() > 0.5

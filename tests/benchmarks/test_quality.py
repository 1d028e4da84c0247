"""The quality benchmark's splits and metrics, by hand and against slow models."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.warm_models import serve_tiny_models
from benchmarks.quality import baselines
from benchmarks.quality.affinities import AskProducts
from benchmarks.quality.baselines import popularity, recency
from benchmarks.quality.blend import lists_by, places, wanted
from benchmarks.quality.data import (
    SPAN_MS,
    NoData,
    as_favourites,
    at_speed,
    in_random_order,
    read,
)
from benchmarks.quality.metrics import DEPTH, hits_of, judge, unique_shares
from benchmarks.quality.ours import Found, shuffled_targets, with_shuffled_follows
from benchmarks.quality.splits import History, Pairs, Problem, cuts, positives, problem
from cluster.events import Kind
from tests.worlds import NOW_MS, Clock, Event, checked, states_of

FAR = 10_000
LIKE, CLICK = Kind.FAVOURITE, Kind.CLICK
AUTHOR, ANN, BEN = 1, 2, 3


def liked(clock: Clock, user: int, post: int, kind: Kind = LIKE) -> Event:
    return clock.on_post(kind, user, post, AUTHOR)


def a_problem(wanted: dict[int, list[int]], n_posts: int = 40) -> Problem:
    """Users who want posts among 1 … n_posts and know none."""
    pairs = [(user, post) for user, posts in sorted(wanted.items()) for post in posts]
    users, posts = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    none = np.empty(0, np.int64)
    return Problem(
        now_ms=FAR,
        known=Pairs(none, none, none),
        post_ids=np.arange(1, n_posts + 1),
        created_ms=np.arange(1, n_posts + 1),
        excluded=Pairs(none, none, none),
        users=np.array(sorted(wanted), np.int64),
        wanted=Pairs(users, posts, np.full(len(users), FAR)),
        reachable=1.0,
    )


def ranked(*lists: list[int]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return np.array([[*one, *[0] * (DEPTH - len(one))] for one in lists], np.int64)


def test_metrics_of_lists_made_by_hand() -> None:
    asked = a_problem({ANN: [3, 7, 40], BEN: [5]})
    found = judge(ranked([7, 1, 3], [*range(6, 30), 5]), asked)
    dcg, ideal = 1 + 1 / np.log2(4), 1 + 1 / np.log2(3) + 1 / np.log2(4)
    assert found == pytest.approx(
        {
            "recall@20": (2 / 3 + 0) / 2,
            "recall@50": (2 / 3 + 1) / 2,
            "recall@100": (2 / 3 + 1) / 2,
            "ndcg@20": dcg / ideal / 2,
            "hit_rate@20": 0.5,
            "coverage@20": len({7, 1, 3} | set(range(6, 26))) / 40,
        }
    )


def test_hits_are_only_of_the_list_s_own_user() -> None:
    asked = a_problem({ANN: [3], BEN: [5]})
    hits = hits_of(ranked([5, 3], [3, 5]), asked)
    assert np.argwhere(hits).tolist() == [[0, 1], [1, 1]]
    assert hits.shape == (2, DEPTH)


def test_a_list_that_has_ended_hits_nothing() -> None:
    assert not hits_of(ranked([]), a_problem({ANN: [1]}, n_posts=1)).any()


def test_unique_shares_count_what_only_one_list_found() -> None:
    asked = a_problem({ANN: [1, 2, 3], BEN: [4]})
    lists = {"both": ranked([1, 2], [9]), "more": ranked([1, 8], [4]), "none": ranked([9], [])}
    assert unique_shares(lists, asked) == pytest.approx({"both": 1 / 3, "more": 1 / 3, "none": 0})


@given(
    st.lists(st.sets(st.integers(1, 12), min_size=1), min_size=1, max_size=4), st.integers(0, 99)
)
def test_recall_is_that_of_sets(wanted: list[set[int]], seed: int) -> None:
    asked = a_problem({k + 1: sorted(posts) for k, posts in enumerate(wanted)}, n_posts=150)
    rng = np.random.default_rng(seed)
    lists = np.stack([rng.permutation(150)[:DEPTH] + 1 for _ in wanted])
    recalls = [
        len(w & set(row[:20].tolist())) / len(w) for w, row in zip(wanted, lists, strict=True)
    ]
    assert judge(lists, asked)["recall@20"] == pytest.approx(np.mean(recalls))


def test_a_blend_orders_each_user_s_candidates() -> None:
    columns: dict[str, Any] = {
        name: {} for name in ("lists", "ranks", "scores", "affinities", "degraded")
    }
    found = Found(
        n_merged=2.0,
        rows=np.array([0, 0, 1, 1], np.int32),
        post_ids=np.array([3, 4, 3, 5]),
        author_ids=np.zeros(4, np.int64),
        engines=np.zeros(4, np.uint32),
        features=np.zeros((4, 1), np.float32),
        light=np.zeros(4, np.float32),
        **columns,
    )
    asked = a_problem({ANN: [3], BEN: [5]})
    lists = lists_by(np.array([0.1, 0.2, 0.3, 0.3]), found, asked)
    assert lists[:, :3].tolist() == [[4, 3, 0], [3, 5, 0]]
    assert wanted(found, asked).tolist() == [True, False, False, True]


def a_history(events: list[Event], cuts_ms: tuple[int, int] = (0, 0)) -> History:
    return History("world", checked(events), cuts_ms, timed=True)


def test_positives_are_first_engagements_that_were_not_disliked_before() -> None:
    clock = Clock()
    events = [
        liked(clock, ANN, 101, CLICK),
        liked(clock, ANN, 101),
        liked(clock, BEN, 101, Kind.NOT_INTERESTED),
        liked(clock, BEN, 101),
        liked(clock, BEN, 102),
        liked(clock, BEN, 102, Kind.NOT_INTERESTED),
        liked(clock, ANN, 103, Kind.DWELL),
    ]
    found = positives(checked(events))
    assert found.user_ids.tolist() == [ANN, BEN]
    assert found.post_ids.tolist() == [101, 102]
    assert found.times_ms.tolist() == [events[0]["time_ms"], events[4]["time_ms"]]


def test_cuts_leave_seventy_and_eighty_per_cent_before_them() -> None:
    clock = Clock()
    events = checked([liked(clock, user, 100 + post) for user in (2, 3) for post in range(10)])
    times_ms = positives(events).times_ms
    first, second = cuts(events)
    assert (times_ms < first).sum() == 14
    assert (times_ms < second).sum() == 16


def test_a_problem_offers_what_is_known_and_wants_what_follows() -> None:
    clock = Clock()
    events = [
        *(clock.post(post, AUTHOR) for post in (101, 102, 103)),
        clock.post(104, ANN),
        liked(clock, ANN, 101),
        liked(clock, BEN, 102, Kind.NOT_INTERESTED),
    ]
    now_ms = clock.now_ms + 1
    later = [
        clock.post(105, AUTHOR),
        liked(clock, ANN, 101),  # known
        liked(clock, ANN, 103),
        clock.on_post(LIKE, ANN, 104, ANN),  # her own
        liked(clock, ANN, 105),  # not there at the instant
        liked(clock, BEN, 102),  # disliked before
        liked(clock, BEN, 103),
    ]
    end_ms = later[-1]["time_ms"]
    found = problem(a_history(events + later), now_ms, end_ms, 10, np.random.default_rng(0))
    assert found.post_ids.tolist() == [101, 102, 103, 104]
    assert found.users.tolist() == [ANN]
    assert found.wanted.post_ids.tolist() == [103]
    excluded = found.excluded.post_ids[found.excluded.user_ids == ANN]
    assert sorted(excluded.tolist()) == [101, 104]
    assert found.reachable == 0.5
    whole = problem(a_history(events + later), now_ms, end_ms + 1, 10, np.random.default_rng(0))
    assert whole.users.tolist() == [ANN, BEN]
    assert popularity(whole)[0, :3].tolist() == [102, 103, 0]
    assert recency(whole)[1, :4].tolist() == [104, 103, 101, 0]


def test_users_beyond_the_most_are_drawn() -> None:
    clock = Clock()
    events = [clock.post(101, AUTHOR)]
    now_ms = clock.now_ms + 1
    events += [liked(clock, user, 101) for user in range(2, 32)]
    found = problem(a_history(events), now_ms, FAR**4, 5, np.random.default_rng(0))
    assert len(found.users) == 5
    assert found.wanted.user_ids.tolist() == found.users.tolist()


def test_a_random_order_cuts_every_user_at_the_same_share() -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, ANN, BEN)]
    events += [clock.post(100 + post, AUTHOR) for post in range(20)]
    events += [liked(clock, user, 100 + post) for user in (ANN, BEN) for post in range(20)]
    moved = in_random_order(checked(events), np.random.default_rng(3))
    times_ms = moved.column("time_ms").to_numpy()
    kinds = moved.column("kind").to_numpy()
    users, posts = (moved.column(name).to_numpy() for name in ("actor_id", "post_id"))
    assert (np.diff(times_ms) >= 0).all()
    assert kinds[0] == Kind.FOLLOW
    begin_ms = clock.now_ms + 2
    for user in (ANN, BEN):
        mine = times_ms[(kinds == LIKE) & (users == user)]
        assert (mine < begin_ms + 0.7 * SPAN_MS).sum() == 14
        assert (mine < begin_ms + 0.8 * SPAN_MS).sum() == 16
    for post in range(100, 120):
        created = times_ms[(kinds == Kind.POST_CREATE) & (posts == post)]
        assert created == times_ms[(kinds == LIKE) & (posts == post)].min() - 1
    again = in_random_order(checked(events), np.random.default_rng(4))
    assert again.column("post_id").to_pylist() != moved.column("post_id").to_pylist()


def test_another_speed_keeps_the_order_and_what_lies_before_the_cuts() -> None:
    clock = Clock()
    events = [clock.post(100 + post, AUTHOR) for post in range(5)]
    for post in range(5):
        clock.now_ms += 86_400_000 * post
        events += [liked(clock, user, 100 + post) for user in (ANN, BEN)]
    given_history = a_history(events)
    slow = History("world", given_history.events, cuts(given_history.events), timed=True)
    fast = at_speed(slow, 3_600_000.0)
    before = slow.events.column("time_ms").to_numpy()
    after = fast.events.column("time_ms").to_numpy()
    assert (np.diff(after) > 0).tolist() == (np.diff(before) > 0).tolist()
    assert abs((after[-1] - after[5]) - 3_600_000) < len(after)
    for cut, moved in zip(slow.cuts_ms, fast.cuts_ms, strict=True):
        assert (before < cut).tolist() == (after < moved).tolist()


def test_clicks_become_favourites_once_a_pair() -> None:
    clock = Clock()
    events = [
        liked(clock, ANN, 101, CLICK),
        liked(clock, ANN, 101),
        liked(clock, BEN, 101),
        liked(clock, BEN, 101, CLICK),
        liked(clock, BEN, 102, CLICK),
        liked(clock, BEN, 102, Kind.REPLY),
    ]
    found = as_favourites(a_history(events), (CLICK,)).events.column("kind").to_pylist()
    assert found == [LIKE, CLICK, LIKE, CLICK, LIKE, Kind.REPLY]


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), unique=True, min_size=30),
    st.integers(0, 9),
)
def test_shuffled_targets_keep_degrees(edges: list[tuple[int, int]], seed: int) -> None:
    actors, targets = (np.array(column, np.int64) for column in zip(*edges, strict=True))
    found = shuffled_targets(actors, targets, np.random.default_rng(seed))
    assert sorted(found.tolist()) == sorted(targets.tolist())


def test_shuffled_follows_have_no_loops_and_touch_nothing_else() -> None:
    clock, rng = Clock(), np.random.default_rng(0)
    pairs = {(int(a), int(b)) for a, b in rng.integers(2, 40, (200, 2)) if a != b}
    events = [clock.edge(Kind.FOLLOW, a, b) for a, b in sorted(pairs)]
    events += [clock.post(101, AUTHOR), liked(clock, ANN, 101), clock.edge(Kind.BLOCK, ANN, BEN)]
    before, after = a_history(events).events, with_shuffled_follows(a_history(events), rng).events
    n = len(pairs)
    assert after.slice(n).equals(before.slice(n))
    ends = (after.column(name).to_pylist()[:n] for name in ("actor_id", "target_id"))
    edges = list(zip(*ends, strict=True))
    assert len(set(edges)) == n
    assert all(a != b for a, b in edges)
    assert set(edges) != pairs
    assert sorted(b for _, b in edges) == sorted(b for _, b in pairs)


def test_a_csv_file_without_times_is_split_at_random(tmp_path: Path) -> None:
    rows = [f"{user},{post}" for user in range(1, 4) for post in range(10)]
    path = tmp_path / "likes.csv"
    path.write_text("user,item\n" + "\n".join(rows) + "\n")
    options = {"actor": "user", "item": "item"}
    history = read(str(path), None, options)
    assert (history.name, history.timed) == ("likes", False)
    assert isinstance(history.events, pa.RecordBatch)
    found = positives(history.events)
    assert len(found) == 30
    assert (found.times_ms < history.cuts_ms[0]).sum() == 21


def test_a_csv_file_with_times_is_split_by_them(tmp_path: Path) -> None:
    path = tmp_path / "likes.csv"
    path.write_text("user,item,at\n" + "".join(f"1,{k},{1_000_000 + k}\n" for k in range(10)))
    history = read(str(path), None, {"actor": "user", "item": "item", "time": "at"})
    assert history.timed
    assert history.cuts_ms == (1_000_007_000, 1_000_008_000)


def test_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoData, match="MURMURATION_DATA"):
        read("flickr", None, {})
    with pytest.raises(NoData, match="flickr is not there"):
        read("flickr", tmp_path, {})
    with pytest.raises(NoData, match=r"likes\.csv"):
        read(str(tmp_path / "likes.csv"), None, {})


def test_places_are_a_user_s_own_and_shared_by_equals() -> None:
    close = np.array([0.1, 0.7, 0.7, 0.2, 0.9], np.float32)
    assert places(close, np.array([0, 0, 0, 0, 1], np.int32)).tolist() == [3, 0, 0, 2, 0]
    assert places(close[:0], np.empty(0, np.int32)).tolist() == []


def test_products_are_of_vectors_as_trained() -> None:
    (state,) = states_of([], 1)
    version = serve_tiny_models(state, [1, 2], [10, 20], NOW_MS)
    models = state.vectors.models(version)
    (user,), _ = models.user_engagement.of(np.array([2]))
    (post,), _ = models.dense["posts"].of(np.array([10]))
    found = AskProducts(version, 2, "user_engagement", np.array([99, 10])).answer(state)
    assert found.tolist() == pytest.approx([0, float(user @ post)])
    nobody = AskProducts(version, 7, "user_follow", np.array([10])).answer(state)
    assert nobody.tolist() == [0]


def test_what_a_baseline_found_is_kept_for_the_very_same_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def run(command: str, problem: Any, configurations: Any) -> Any:
        asked.append((command, configurations))
        return np.full((1, 2, 3), len(asked), np.int32), [{"seconds": len(asked)}]

    monkeypatch.setattr(baselines, "run_recommender", run)
    asked_of = {"users": np.arange(3)}
    for one, command, expected in (
        (asked_of, "als", 1),
        (asked_of, "als", 1),
        (asked_of, "bpr", 2),
        ({"users": np.arange(4)}, "als", 3),
        (asked_of, "als", 1),
    ):
        ranked, said = baselines.recommended(command, one, [{"seed": 0}], tmp_path)
        assert (ranked.shape, int(ranked.max())) == ((1, 2, 3), expected)
        assert said == [{"seconds": expected}]
    assert len(asked) == 3

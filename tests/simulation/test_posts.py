import numpy as np
import pytest

from cluster.ids import MAX_ID
from simulation.population import draw_population
from simulation.posts import IMAGE, LINK, POST, TEXT, VIDEO, PostTable, draw_posts, record_posts
from simulation.recorder import Recorder

START_MS = 1_704_067_200_000
POPULATION = draw_population(100, START_MS, np.random.default_rng(0))


def _posts(n: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return draw_posts(POPULATION, rng.integers(0, 100, n), START_MS + np.arange(n), rng)


def test_ids_are_positive_unique_and_sort_by_time() -> None:
    table = PostTable()
    first = table.append(_posts(3_000))
    second = table.append(_posts(5))
    assert first.tolist() == list(range(3_000))
    assert second.tolist() == list(range(3_000, 3_005))
    ids = table.rows["id"]
    assert len(np.unique(ids)) == 3_005
    assert 0 < ids.min() <= ids.max() <= MAX_ID
    assert np.array_equal(ids >> 20, table.rows["created_ms"])


def test_rows_are_found_by_id() -> None:
    table = PostTable()
    with pytest.raises(KeyError, match="post 5 is unknown"):
        table.rows_of([5])
    table.append(_posts(50))
    table.append(_posts(50, seed=2))
    wanted = np.array([[99, 0], [50, 7]])
    assert np.array_equal(table.rows_of(table.rows["id"][wanted]), wanted)
    with pytest.raises(KeyError, match="post 5 is unknown"):
        table.rows_of([int(table.rows["id"][3]), 5])


def test_since_follows_a_moving_window() -> None:
    table = PostTable()

    def add(*times_ms: int) -> None:
        posts = np.zeros(len(times_ms), POST)
        posts["created_ms"] = times_ms
        table.append(posts)

    assert table.since(5).tolist() == []
    add(10, 30, 20)
    assert table.since(15).tolist() == [1, 2]
    add(40, 25)
    assert table.since(25).tolist() == [1, 3, 4]
    assert table.since(35).tolist() == [3]
    assert table.since(61).tolist() == []
    add(70)
    assert table.since(61).tolist() == [5]


def test_traits_agree_with_each_other() -> None:
    posts = _posts(5_000)
    assert np.array_equal(posts["image_count"] > 0, posts["media"] == IMAGE)
    assert np.array_equal(posts["video_duration_ms"] > 0, posts["media"] == VIDEO)
    assert np.array_equal(posts["link_count"] > 0, posts["media"] == LINK)
    assert 0.4 < (posts["media"] == TEXT).mean() < 0.6
    interests = POPULATION.interests[posts["author"], posts["topic"]]
    assert np.all(interests > 0), "people write about what they care for"
    two = posts["second_topic"] >= 0
    assert np.array_equal(two, posts["second_share"] > 0)
    assert posts["second_share"].max() <= 0.5
    assert 0.005 < posts["adult"].mean() < 0.05
    assert 0.005 < posts["toxic"].mean() < 0.08


def test_a_reply_carries_its_topics_and_names_its_parent_and_root() -> None:
    table, recorder = PostTable(), Recorder()
    root = table.append(_posts(1))
    reply = draw_posts(
        POPULATION,
        np.array([4]),
        np.array([START_MS + 9]),
        np.random.default_rng(3),
        table.rows[root],
    )
    reply["reply_to"], reply["root"] = root, root
    rows = table.append(reply)
    record_posts(POPULATION, table, rows, recorder, np.random.default_rng(4))
    batch = recorder.take()
    assert batch is not None
    event = batch.to_pylist()[0]
    parent = table.rows[0]
    assert table.rows["topic"][1] == parent["topic"]
    assert event["reply_to_id"] == event["root_id"] == parent["id"]
    assert event["reply_to_author_id"] == POPULATION.user_ids[parent["author"]]
    assert event["author_id"] == POPULATION.user_ids[4]
    assert event["post_id"] == table.rows["id"][1]

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.stores.ranked_lists import RankedLists
from tests.timeline.sources.embedded_worlds import (
    LIKES,
    VECTORS,
    Likes,
    World,
    asked,
    created_ms,
    events_of,
    write_world,
)
from tests.worlds import HOUR_MS, NOW_MS, POSTS, USERS, author_of
from timeline.findings import Finding, ask_together
from timeline.query import Query
from timeline.sources.twhin_ann import of_posts, of_viewer

ANN, UNTRAINED = USERS[0], USERS[7]
SHARED_FOLDER = settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    return folder, write_world(folder)


def found(query: Query, finding: Finding[RankedLists]) -> RankedLists:
    lists = ask_together(query, {"twhin": finding}, 1.0)["twhin"]
    assert lists is not None
    assert query.degraded == []
    return lists


def by_post(query: Query, posts: list[int]) -> RankedLists:
    post_ids = np.array(posts, np.int64)
    authors = np.array([author_of(post) for post in posts], np.int64)
    return found(query, of_posts(query, post_ids, authors))


def vectors_of(likes: Likes) -> dict[int, np.ndarray]:
    """Directions of posts: the mean of those who engaged with them."""
    sums: dict[int, np.ndarray] = {}
    for user, post in likes:
        if user != author_of(post) and user in VECTORS:
            unit = np.array(VECTORS[user], np.float32)
            sums[post] = sums.get(post, 0.0) + unit
    return {post: vector / np.linalg.norm(vector) for post, vector in sums.items()}


def check(lists: RankedLists, at: int, expected: dict[int, float]) -> None:
    mine = slice(lists.offsets[at], lists.offsets[at + 1])
    scores = dict(zip(lists.post_ids[mine].tolist(), lists.scores[mine].tolist(), strict=True))
    assert scores == pytest.approx(expected, abs=1e-5)
    assert (np.diff(lists.scores[mine]) <= 0).all()
    assert lists.author_ids[mine].tolist() == [author_of(post) for post in scores]
    assert lists.created_ms[mine].tolist() == [created_ms(post) for post in scores]


@SHARED_FOLDER
@given(LIKES, st.sampled_from([1, 4]), st.sampled_from([10, 40]))
def test_they_find_what_is_nearest(world: World, likes: Likes, n_shards: int, hours: int) -> None:
    limits = {"max_age_ms": hours * HOUR_MS}
    query = asked(world, events_of(likes), n_shards, twhin_ann=limits)
    every = vectors_of(likes)
    young = {
        post: vector
        for post, vector in every.items()
        if NOW_MS - created_ms(post) <= hours * HOUR_MS
    }
    own = np.array(VECTORS[ANN]) / np.linalg.norm(VECTORS[ANN])
    check(found(query, of_viewer(query)), 0, {post: float(v @ own) for post, v in young.items()})
    lists = by_post(query, POSTS)
    assert len(lists) == len(POSTS)
    for at, post in enumerate(POSTS):
        near = young.items() if post in every else ()
        check(lists, at, {o: float(v @ every[post]) for o, v in near if o != post})


@SHARED_FOLDER
@given(LIKES)
def test_the_best_of_all_shards_are_kept(world: World, likes: Likes) -> None:
    told = []
    for n_shards in (1, 4):
        query = asked(world, events_of(likes), n_shards, twhin_ann={"max_results": 3})
        lists = by_post(query, POSTS)
        assert (np.diff(lists.offsets) <= 3).all()
        told.append((lists.offsets.tolist(), lists.scores.tolist()))
    assert told[0][0] == told[1][0]
    assert told[0][1] == pytest.approx(told[1][1], abs=1e-5)


def test_who_has_no_vector_finds_nothing(world: World, tmp_path: Path) -> None:
    likes = {(USERS[1], 1_000): 5, (UNTRAINED, 1_001): 5}
    query = asked(world, events_of(likes), 2, viewer=UNTRAINED)
    assert found(query, of_viewer(query)).offsets.tolist() == [0, 0]
    assert by_post(query, [1_001, 1_002]).offsets.tolist() == [0, 0, 0]
    nothing_trained = asked((tmp_path, {}), events_of(likes), 2)
    assert found(nothing_trained, of_viewer(nothing_trained)).offsets.tolist() == [0, 0]
    assert by_post(nothing_trained, [1_000]).offsets.tolist() == [0, 0]


def test_shards_that_do_not_answer_find_nothing(world: World) -> None:
    query = asked(world, events_of({(USERS[1], 1_000): 5, (USERS[2], 1_003): 5}), 4)
    for finding in (
        of_viewer(query),
        of_posts(query, np.array([1_000]), np.array([author_of(1_000)])),
    ):
        next(finding)
        with pytest.raises(StopIteration) as done:
            finding.send({})
        assert done.value.value.offsets.tolist() == [0, 0]

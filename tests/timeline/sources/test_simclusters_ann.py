from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.stores.ranked_lists import RankedLists
from cluster.events import Kind
from tests.timeline.sources.embedded_worlds import (
    LIKES,
    ROWS,
    Likes,
    World,
    asked,
    embeddings,
    events_of,
    like_source,
    write_world,
)
from tests.worlds import NOW_MS, POSTS, USERS, Clock, author_of
from timeline.findings import Finding, ask_together
from timeline.query import Query
from timeline.sources.simclusters_ann import of_interests, of_posts, of_producers

ANN = USERS[0]
SHARED_FOLDER = settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    return folder, write_world(folder)


def found(query: Query, finding: Finding[RankedLists]) -> RankedLists:
    lists = ask_together(query, {"sann": finding}, 1.0)["sann"]
    assert lists is not None
    assert query.degraded == []
    return lists


def by_post(query: Query, posts: list[int]) -> RankedLists:
    post_ids = np.array(posts, np.int64)
    authors = np.array([author_of(post) for post in posts], np.int64)
    return found(query, of_posts(query, post_ids, authors))


def check(lists: RankedLists, at: int, expected: dict[int, float]) -> None:
    mine = slice(lists.offsets[at], lists.offsets[at + 1])
    scores = dict(zip(lists.post_ids[mine].tolist(), lists.scores[mine].tolist(), strict=True))
    assert scores == pytest.approx(expected, rel=1e-5)
    order = np.lexsort((-lists.post_ids[mine], -lists.scores[mine]))
    assert order.tolist() == list(range(len(order)))
    assert lists.author_ids[mine].tolist() == [author_of(post) for post in scores]


# No cosine of these rows comes near a least one by chance: rounding decides nothing.
@SHARED_FOLDER
@given(LIKES, st.sampled_from([1, 4]))
def test_they_find_what_the_specification_says(world: World, likes: Likes, n_shards: int) -> None:
    query = asked(world, events_of(likes), n_shards)
    check(found(query, of_interests(query)), 0, like_source(likes, ROWS[ANN], 0.072))
    authors = USERS[1:]
    lists = found(query, of_producers(query, np.array(authors, np.int64)))
    assert len(lists) == len(authors)
    for at, author in enumerate(authors):
        check(lists, at, like_source(likes, ROWS.get(author, {}), 0.7))
    lists = by_post(query, POSTS)
    rows = embeddings(likes)
    for at, post in enumerate(POSTS):
        row = {c: score for c, score in rows.get(post, {}).items() if score >= 0.02}
        expected = like_source(likes, row, 0.5)
        expected.pop(post, None)
        check(lists, at, expected)


@SHARED_FOLDER
@given(LIKES)
def test_the_number_of_shards_does_not_matter(world: World, likes: Likes) -> None:
    told = []
    for n_shards in (1, 4):
        query = asked(world, events_of(likes), n_shards, simclusters_ann={"max_results": 2})
        lists = [by_post(query, POSTS), found(query, of_interests(query))]
        told.append([(one.offsets.tolist(), one.post_ids.tolist()) for one in lists])
    assert told[0] == told[1]


def test_a_list_for_each_source_in_the_order_asked(world: World) -> None:
    # A liker of community 0 and one of 3, each of two posts.
    likes = {(USERS[6], 1_001): 60, (USERS[6], 1_002): 90}
    likes |= {(USERS[3], 1_000): 60, (USERS[3], 1_005): 90}
    query = asked(world, events_of(likes), 4)
    lists = by_post(query, [1_000, 1_004, 1_001, 1_002])
    assert lists.offsets.tolist() == [0, 1, 1, 2, 3]
    assert lists.post_ids.tolist() == [1_005, 1_002, 1_001]
    assert lists.scores.tolist() == [1.0, 1.0, 1.0]


def test_settings_say_what_is_found(world: World) -> None:
    likes = {(USERS[2], post): 60 for post in POSTS[:6]}
    events = events_of(likes)

    def n_found(**sann: Any) -> int:
        query = asked(world, events, 4, simclusters_ann=sann)
        return len(found(query, of_interests(query)).post_ids)

    # One of the six is the liker's own, which says nothing.
    assert n_found() == 5
    assert n_found(max_results=3) == 3
    assert n_found(max_age_ms=2 * 3_600_000) == 1
    # Of the viewer's communities those posts are of the second only, of which each of the two
    # shards that have some of them scans one.
    assert n_found(max_communities=1) == 0
    assert n_found(max_posts_per_community=1) == 2
    assert n_found(min_interested_in=0.5) == 0


def test_nothing_trained_nothing_asked(tmp_path: Path) -> None:
    query = asked((tmp_path, {}), events_of({(USERS[1], 1_000): 5}), 2)
    posts = np.array([1_000], np.int64)
    for finding, n in (
        (of_interests(query), 1),
        (of_producers(query, posts), 1),
        (of_posts(query, posts, np.array([author_of(1_000)])), 1),
    ):
        assert found(query, finding).offsets.tolist() == [0] * (n + 1)


def test_shards_that_do_not_answer_find_nothing(world: World) -> None:
    likes = {(USERS[6], post): 60 for post in POSTS}
    query = asked(world, events_of(likes), 4)
    posts, authors = np.array([1_001]), np.array([author_of(1_001)])
    for finding in (of_interests(query), of_producers(query, authors)):
        assert isinstance(next(finding), dict)
        with pytest.raises(StopIteration) as done:
            finding.send({})
        assert done.value.value.offsets.tolist() == [0, 0]
    finding = of_posts(query, posts, authors)
    assert len(next(finding)) == 1
    with pytest.raises(StopIteration) as done:
        finding.send({})
    assert done.value.value.offsets.tolist() == [0, 0]


def test_deleted_posts_are_neither_sources_nor_found(world: World) -> None:
    likes = {(USERS[6], 1_001): 60, (USERS[6], 1_002): 90, (USERS[6], 1_003): 90}
    gone = Clock().event(Kind.POST_DELETE, post_id=1_002, author_id=author_of(1_002))
    query = asked(world, events_of(likes, [gone | {"time_ms": NOW_MS - 1_000}]), 2)
    lists = by_post(query, [1_001, 1_002])
    assert lists.offsets.tolist() == [0, 1, 1]
    assert lists.post_ids.tolist() == [1_003]

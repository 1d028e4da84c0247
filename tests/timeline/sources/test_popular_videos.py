"""The source of popular videos: of whom, where, and how many."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.router import LocalRouter
from cluster.events import Kind
from cluster.settings import Settings
from tests.timeline.sources.finding import run, unanswered
from tests.worlds import HOUR_MS, NOW_MS, USERS, Clock, Event, plain, states_of, worlds
from timeline.hydration import fetch_viewer
from timeline.query import Query
from timeline.sources.popular_videos import PopularVideos

VIEWER, FRIEND, OTHER, STRANGER = USERS[0], USERS[2], USERS[4], USERS[6]


def query(events: list[Event], n_shards: int = 1, **given: Any) -> Query:
    chosen = Settings(sources={"popular_videos": given})
    router = LocalRouter(states_of(events, n_shards, chosen))
    asked = Query(VIEWER, NOW_MS, 10, "request", chosen, router)
    fetch_viewer(asked)
    return asked


def video(clock: Clock, post: int, author: int, likes: int, **given: Any) -> list[Event]:
    return [
        clock.post(post, author, video_duration_ms=30_000, **given),
        *(clock.on_post(Kind.FAVOURITE, 9_000 + k, post, author) for k in range(likes)),
    ]


def test_videos_of_people_the_viewer_does_not_follow() -> None:
    clock = Clock()
    events = [
        *video(clock, 10, FRIEND, 9),
        *video(clock, 20, OTHER, 2),
        *(event for k in range(3) for event in video(clock, 30 + k, STRANGER, 3 + k)),
        *video(clock, 40, VIEWER, 5),
        clock.post(50, USERS[5]),
        clock.on_post(Kind.FAVOURITE, FRIEND, 50, USERS[5]),
    ]
    for n_shards in (1, 4):
        assert run(PopularVideos(), query(events, n_shards)).post_ids.tolist() == [10, 32, 31, 20]
        follow = [*events, clock.edge(Kind.FOLLOW, VIEWER, FRIEND, event_id=777)]
        found = run(PopularVideos(), query(follow, n_shards))
        assert found.post_ids.tolist() == [32, 31, 20]
        assert found.author_ids.tolist() == [STRANGER, STRANGER, OTHER]
        assert found.created_ms.tolist() == [0] * 3
        mute = [*follow, clock.edge(Kind.MUTE, VIEWER, STRANGER, event_id=778)]
        assert run(PopularVideos(), query(mute, n_shards)).post_ids.tolist() == [20]
        assert run(PopularVideos(), query(events, n_shards, results=1)).post_ids.tolist() == [10]


def test_where_the_viewer_is() -> None:
    clock = Clock()
    events = [
        clock.event(Kind.USER_CREATE, actor_id=VIEWER, language="en", country="US"),
        clock.event(Kind.USER_CREATE, actor_id=OTHER, country="DE"),
        *video(clock, 20, OTHER, 5),
        *video(clock, 21, OTHER, 4, language="en"),
        *video(clock, 30, STRANGER, 3, language="de"),
        *video(clock, 31, STRANGER, 2),
    ]
    for n_shards in (1, 4):
        assert run(PopularVideos(), query(events, n_shards)).post_ids.tolist() == [21, 31]
        found = run(PopularVideos(), query(events[1:], n_shards))
        assert found.post_ids.tolist() == [20, 21, 30, 31]


def test_a_day_is_the_window() -> None:
    clock = Clock(NOW_MS - 25 * HOUR_MS)
    events = [*video(clock, 20, OTHER, 5), *video(clock, 21, OTHER, 1, time_ms=NOW_MS - HOUR_MS)]
    assert run(PopularVideos(), query(events)).post_ids.tolist() == [21]


@settings(max_examples=12)
@given(worlds(), st.integers(1, 4), st.integers(1, 4))
def test_the_same_for_any_number_of_shards(events: list[Event], most: int, n_shards: int) -> None:
    for event in events:
        if event["kind"] == "post_create":
            event["video_duration_ms"] = 1
    found = [run(PopularVideos(), query(events, n, results=most)) for n in (1, n_shards)]
    assert plain(found[0]) == plain(found[1])
    assert len(found[0]) <= most
    assert VIEWER not in found[0].author_ids.tolist()


def test_nothing_and_nobody_answers() -> None:
    assert len(run(PopularVideos(), query([]))) == 0
    assert len(unanswered(PopularVideos(), query([], 3))) == 0

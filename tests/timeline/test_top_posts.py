"""Top posts since the viewer left: since when, whose, and in what order."""

from typing import Any

import pytest

from actors.stores.newest_between import Place
from actors.viewer_state import ViewerState
from cluster.events import Kind
from cluster.ids import MAX_ID
from cluster.settings import load
from tests.timeline.candidate_rows import query
from tests.timeline.small_worlds import FRIEND, OTHER, STRANGER, VIEWER, ids, small_world
from tests.worlds import DAY_MS, HOUR_MS, NOW_MS, Clock, Event, shown, states_of, timelines_of
from timeline.cursors import Walk
from timeline.pages import Page
from timeline.timelines import Asked
from timeline.top_posts import since_last_visit, when_left_ms

MINUTE_MS = 60_000
GAP_MS = 30 * MINUTE_MS


def ago(*minutes: float) -> tuple[int, ...]:
    return tuple(NOW_MS - int(m * MINUTE_MS) for m in minutes)


@pytest.mark.parametrize(
    ("visits", "left"),
    [
        ((), None),
        (ago(31), 31),
        # The present visit is not one the viewer left.
        (ago(0), None),
        (ago(30), None),
        (ago(0, 10, 40), None),
        (ago(0, 10, 41), 41),
        (ago(5, 20, 300, 310), 300),
        (ago(300, 310), 300),
        # All that is known belongs to the present one.
        (ago(*range(0, 290, 29)), None),
    ],
)
def test_when_the_viewer_left(visits: tuple[int, ...], left: float | None) -> None:
    expected = None if left is None else NOW_MS - int(left * MINUTE_MS)
    assert when_left_ms(visits, NOW_MS, GAP_MS) == expected


@pytest.mark.parametrize(
    ("visits", "asked_ms", "since_ms"),
    [
        (ago(50), None, NOW_MS - 50 * MINUTE_MS),
        ((), None, NOW_MS - DAY_MS),
        (ago(5), None, NOW_MS - DAY_MS),
        (ago(5), NOW_MS - 7, NOW_MS - 7),
        (ago(20 * 24 * 60), None, NOW_MS - 14 * DAY_MS),
        ((), NOW_MS - 20 * DAY_MS, NOW_MS - 14 * DAY_MS),
        ((), NOW_MS + 5, NOW_MS + 5),
    ],
)
def test_since_when(visits: tuple[int, ...], asked_ms: int | None, since_ms: int) -> None:
    asked = query()
    asked.state = ViewerState(visits_ms=visits)
    if asked_ms is not None:
        asked.walk = Walk(after=Place(asked_ms, MAX_ID))
    assert since_last_visit(asked)
    assert asked.walk.after == Place(since_ms, MAX_ID)
    windows = asked.settings.windows
    window_ms = max(NOW_MS - since_ms, 0)
    assert windows.in_network_ms == windows.in_network_light_ms == window_ms
    assert windows.out_of_network_ms == window_ms
    assert windows.served_ms == load().windows.served_ms


def top_posts(events: list[Event], n_shards: int = 1, limit: int = 100, **asked: Any) -> Page:
    timelines = timelines_of(states_of(events, n_shards))
    return timelines.page(Asked("top_posts", VIEWER, limit, NOW_MS, **asked))


@pytest.mark.parametrize("n_shards", [1, 4])
def test_the_network_and_what_it_liked_best_first(n_shards: int) -> None:
    page = top_posts(small_world(Clock()), n_shards, limit=100)
    assert set(ids(page)) == {*range(100, 105), *range(200, 205), 300}
    assert {item.source for item in page.items} == {"in_network", "user_tweet_entity_graph"}
    scores = [item.score for item in page.items]
    assert scores == sorted(scores, reverse=True)
    assert (page.cursor, page.newer_cursor, page.gap_cursor) == (None, None, None)
    assert (page.product, page.reason, page.degraded) == ("top_posts", None, [])
    assert shown(top_posts(small_world(Clock()), limit=3)) == shown(page)[:3]


def test_only_what_is_newer_than_asked_for() -> None:
    events = small_world(Clock())
    [at_ms] = [e["time_ms"] for e in events if e.get("post_id") == 201 and "target_id" not in e]
    assert set(ids(top_posts(events, since_ms=at_ms))) == {202, 203, 204, 300}
    assert top_posts(events, since_ms=NOW_MS).items == []


def test_what_came_while_the_viewer_was_away_for_days() -> None:
    def posted(hours: float, post_id: int) -> Event:
        return clock.post(post_id, FRIEND, time_ms=NOW_MS - int(hours * HOUR_MS))

    clock = Clock(NOW_MS - 20 * DAY_MS)
    events = [clock.edge(Kind.FOLLOW, VIEWER, FRIEND), posted(23, 13), posted(70, 12)]
    events += [posted(13 * 24, 11), posted(15 * 24, 10)]
    # Nobody knows when the viewer left: a day.
    assert set(ids(top_posts(events))) == {13}
    assert set(ids(top_posts(events, since_ms=NOW_MS - 80 * HOUR_MS))) == {12, 13}
    assert set(ids(top_posts(events, since_ms=1))) == {11, 12, 13}


def test_what_was_seen_or_is_not_wanted_is_left_out() -> None:
    clock = Clock()
    events = small_world(clock)
    events += [clock.on_post(Kind.IMPRESSION, VIEWER, post, FRIEND) for post in (103, 104)]
    events.append(clock.on_post(Kind.NOT_INTERESTED, VIEWER, 102, FRIEND))
    events.append(clock.event(Kind.POST_DELETE, post_id=101, author_id=FRIEND))
    events.append(clock.post(400, VIEWER))
    events.append(clock.on_post(Kind.FAVOURITE, FRIEND, 400, VIEWER))
    assert set(ids(top_posts(events))) == {100, *range(200, 205), 300}
    for hidden in (
        clock.edge(Kind.MUTE, VIEWER, OTHER),
        clock.edge(Kind.BLOCK, OTHER, VIEWER),
        clock.event(Kind.USER_DEACTIVATE, actor_id=OTHER),
    ):
        assert set(ids(top_posts([*events, hidden]))) == {100, 300}
    protected = clock.event(Kind.USER_UPDATE, actor_id=STRANGER, protected=True)
    assert 300 not in ids(top_posts([*events, protected]))

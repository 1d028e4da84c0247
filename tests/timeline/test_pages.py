"""Promise 4: chains of pages serve every post once and end."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.events import Kind
from cluster.settings import Settings
from tests.timeline.small_worlds import (
    FRIEND,
    OTHER,
    STRANGER,
    VIEWER,
    ids,
    small_world,
)
from tests.worlds import (
    NOW_MS,
    USERS,
    Clock,
    Event,
    apply,
    empty_states,
    states_of,
    timelines_of,
    worlds,
)
from timeline.cursors import InvalidCursor
from timeline.timelines import Timelines


def chain_of(
    timelines: Timelines, product: str, limit: int, more: Any = None, max_pages: int = 30
) -> list[int]:
    """All posts of a chain of pages; `more` is called between two pages."""
    found: list[int] = []
    cursor = None
    for number in range(max_pages):
        page = getattr(timelines, product)(VIEWER, limit, now_ms=NOW_MS + number, cursor=cursor)
        assert len(page.items) <= limit
        found += ids(page)
        cursor = page.cursor
        if cursor is None:
            return found
        if more:
            more(number)
    raise AssertionError("a chain of pages did not end")


@pytest.mark.parametrize("product", ["for_you", "following"])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_a_chain_serves_everything_once(product: str, limit: int) -> None:
    timelines = timelines_of(states_of(small_world(Clock()), 2))
    found = chain_of(timelines, product, limit)
    everything = {*range(100, 105), *range(200, 205), *([300] if product == "for_you" else [])}
    assert len(found) == len(set(found))
    assert set(found) == everything


@settings(max_examples=25)
@given(worlds(), worlds(), st.integers(1, 4), st.sampled_from(["for_you", "following"]))
def test_no_post_comes_twice_in_a_chain(
    events: list[Event], news: list[Event], limit: int, product: str
) -> None:
    """Promise 4, while posts, follows, deletions and reposts arrive between the pages."""
    clock = Clock()
    follows = [
        clock.edge(Kind.FOLLOW, VIEWER, user, event_id=900 + k) for k, user in enumerate(USERS[1:])
    ]
    states = empty_states(2)
    apply(states, [*follows, *events])
    arriving = [e | {"event_id": e["event_id"] + 5_000} for e in news]
    # A post keeps its id: those that are there already are new ones under another.
    arriving = [
        e | ({"post_id": e["post_id"] + 80} if e["kind"] == "post_create" else {}) for e in arriving
    ]

    def more(page: int) -> None:
        apply(states, arriving[3 * page : 3 * page + 3], offset=page + 2)

    found = chain_of(timelines_of(states), product, limit, more, max_pages=60)
    assert len(found) == len(set(found))


def test_a_repost_does_not_bring_back_what_the_chain_showed() -> None:
    clock = Clock()
    link = {"repost_of_id": 300, "repost_of_author_id": STRANGER}
    events = [clock.edge(Kind.FOLLOW, VIEWER, FRIEND), clock.post(300, STRANGER)]
    events.append(clock.post(150, FRIEND, **link))
    states = states_of(events)
    timelines = timelines_of(states)
    first = timelines.for_you(VIEWER, 1, now_ms=NOW_MS)
    apply(states, [clock.on_post(Kind.FAVOURITE, FRIEND, 300, STRANGER)], offset=2)
    second = timelines.for_you(VIEWER, 9, now_ms=NOW_MS, cursor=first.cursor)
    assert len(ids(first)) == 1
    assert ids(second) == []


def test_muting_somebody_loud_does_not_end_following() -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, VIEWER, user) for user in (FRIEND, OTHER)]
    events += [clock.post(200 + k, OTHER) for k in range(3)]
    events += [clock.post(1_000 + k, FRIEND) for k in range(200)]
    events.append(clock.edge(Kind.MUTE, VIEWER, FRIEND))
    assert chain_of(timelines_of(states_of(events)), "following", 2) == [202, 201, 200]


def test_following_pages_through_posts_of_one_instant() -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, VIEWER, FRIEND)]
    events += [clock.post(100 + k, FRIEND, time_ms=NOW_MS - 9) for k in range(7)]
    found = chain_of(timelines_of(states_of(events)), "following", 2)
    assert found == [106, 105, 104, 103, 102, 101, 100]


def test_a_chain_ends() -> None:
    settings = Settings(for_you={"max_chain": 4})  # type: ignore[arg-type]
    states = states_of(small_world(Clock()), settings=settings)
    assert 4 <= len(chain_of(timelines_of(states), "for_you", 2)) <= 6


def test_cursors_are_for_their_viewer_and_timeline() -> None:
    timelines = timelines_of(states_of(small_world(Clock())))
    page = timelines.for_you(VIEWER, 2, now_ms=NOW_MS)
    for viewer, product in ((FRIEND, timelines.for_you), (VIEWER, timelines.following)):
        with pytest.raises(InvalidCursor):
            product(viewer, 2, now_ms=NOW_MS, cursor=page.cursor)

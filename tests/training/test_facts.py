from typing import Any

import pytest

from cluster.events import Kind
from tests.worlds import Clock, Event, checked
from training.facts import Facts, collect

AUTHOR, VIEWER, OTHER = 1, 2, 3


@pytest.fixture
def clock() -> Clock:
    return Clock()


def facts_of(events: list[Event], per_batch: int = 100) -> Facts:
    parts = [events[i : i + per_batch] for i in range(0, len(events), per_batch)]
    return collect(checked(part) for part in parts)


def shown(clock: Clock, kind: Kind, post_id: int = 10, viewer: int = VIEWER, **given: Any) -> Event:
    return clock.on_post(kind, viewer, post_id, AUTHOR, **given)


def test_an_empty_archive_has_no_facts() -> None:
    facts = collect([])
    assert (
        len(facts.impressions.post_ids)
        == len(facts.engaged.kinds)
        == len(facts.posts.post_ids)
        == 0
    )


@pytest.mark.parametrize("per_batch", [1, 100])
def test_an_impression_is_as_of_when_its_request_was_served(clock: Clock, per_batch: int) -> None:
    served = shown(clock, Kind.SERVED, request_id="a", position=0)
    clock.now_ms += 5_000
    impression = shown(clock, Kind.IMPRESSION, request_id="a")
    facts = facts_of([clock.post(10, AUTHOR), served, impression], per_batch).impressions
    assert facts.asked_ms.tolist() == [served["time_ms"]]
    assert facts.times_ms.tolist() == [impression["time_ms"]]
    assert facts.request_ids.to_pylist() == ["a"]


def test_what_was_served_to_another_says_nothing(clock: Clock) -> None:
    events = [
        shown(clock, Kind.SERVED, viewer=OTHER, request_id="a", position=0),
        shown(clock, Kind.IMPRESSION, request_id="a"),
    ]
    assert facts_of(events).impressions.asked_ms.tolist() == [events[1]["time_ms"]]


def test_ones_own_posts_were_not_recommended(clock: Clock) -> None:
    events = [
        clock.post(10, AUTHOR),
        shown(clock, Kind.IMPRESSION, viewer=AUTHOR),
        shown(clock, Kind.IMPRESSION),
    ]
    assert facts_of(events).impressions.viewer_ids.tolist() == [VIEWER]
    assert facts_of(events, per_batch=1).impressions.viewer_ids.tolist() == [VIEWER]


def test_impressions_of_one_request_are_as_of_its_first(clock: Clock) -> None:
    first = shown(clock, Kind.IMPRESSION, 10, request_id="a")
    clock.now_ms += 400_000
    later = shown(clock, Kind.IMPRESSION, 11, request_id="a")
    facts = facts_of([first, later]).impressions
    assert facts.asked_ms.tolist() == [first["time_ms"]] * 2
    assert facts.requests.tolist() == [0, 0]


def test_without_a_request_what_one_viewer_saw_together_is_one(clock: Clock) -> None:
    clock.now_ms -= clock.now_ms % 300_000
    events = [
        shown(clock, Kind.IMPRESSION, 10),
        shown(clock, Kind.IMPRESSION, 11, viewer=OTHER),
        shown(clock, Kind.IMPRESSION, 12),
    ]
    clock.now_ms += 300_000
    events.append(shown(clock, Kind.IMPRESSION, 13))
    facts = facts_of(events).impressions
    assert facts.requests.tolist() == [0, 1, 0, 2]
    assert facts.asked_ms.tolist() == [events[i]["time_ms"] for i in (0, 1, 0, 3)]


def test_a_reply_made_as_a_post_is_an_engagement(clock: Clock) -> None:
    reply = clock.post(20, VIEWER, reply_to_id=10, reply_to_author_id=AUTHOR)
    engaged = facts_of([clock.post(10, AUTHOR), reply]).engaged
    found = (engaged.actor_ids, engaged.post_ids, engaged.author_ids, engaged.kinds)
    assert [column.tolist() for column in found] == [[VIEWER], [10], [AUTHOR], [Kind.REPLY]]


def test_a_video_counts_once_half_of_it_was_watched(clock: Clock) -> None:
    events = [
        clock.post(10, AUTHOR, video_duration_ms=10_000),
        clock.post(11, AUTHOR),
        shown(clock, Kind.VIDEO_WATCH, 10, value=4_999.0),
        shown(clock, Kind.VIDEO_WATCH, 10, viewer=OTHER, value=5_000.0),
        shown(clock, Kind.VIDEO_WATCH, 11, value=1.0),
    ]
    engaged = facts_of(events).engaged
    assert list(zip(engaged.actor_ids, engaged.post_ids, strict=True)) == [
        (OTHER, 10),
        (VIEWER, 11),
    ]

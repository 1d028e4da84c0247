from typing import Any

import pyarrow as pa
import pytest

from cluster.events import Kind
from tests.worlds import HOUR_MS, Clock, Event, checked
from training.heavy_ranker.impressions import COLUMNS, shown_of
from training.heavy_ranker.labels import Shown

AUTHOR, VIEWER, OTHER = 1, 2, 3


@pytest.fixture
def clock() -> Clock:
    return Clock()


def read(events: list[Event], since_ms: int = 0, until_ms: int = 2**62) -> Shown:
    table = pa.Table.from_batches([checked(events)])
    for name in COLUMNS:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table), pa.string()))
    return shown_of(table.select(COLUMNS), since_ms, until_ms)


def shown(clock: Clock, kind: Kind, post: int = 10, viewer: int = VIEWER, **given: Any) -> Event:
    return clock.on_post(kind, viewer, post, AUTHOR, **given)


def test_an_impression_is_as_of_when_its_request_was_served(clock: Clock) -> None:
    served = shown(clock, Kind.SERVED, request_id="a", position=0, source="in_network")
    clock.now_ms += 5_000
    impression = shown(clock, Kind.IMPRESSION, request_id="a")
    found = read([served, impression])
    assert (found.viewer_ids.tolist(), found.post_ids.tolist()) == ([VIEWER], [10])
    assert found.asked_ms.tolist() == [served["time_ms"]]
    assert found.shown_ms.tolist() == [impression["time_ms"]]
    assert found.request_ids.to_pylist() == ["a"]
    assert found.sources.to_pylist() == ["in_network"]


def test_what_was_served_but_never_came_on_screen_is_none(clock: Clock) -> None:
    assert len(read([shown(clock, Kind.SERVED, request_id="a", position=0)])) == 0


def test_a_post_that_came_on_screen_again_counts_once(clock: Clock) -> None:
    events = [shown(clock, Kind.IMPRESSION, request_id="a") for _ in range(3)]
    found = read(events)
    assert found.shown_ms.tolist() == [events[0]["time_ms"]]
    again = shown(clock, Kind.IMPRESSION, request_id="b")
    assert read([*events, again]).request_ids.to_pylist() == ["a", "b"]


def test_a_request_is_one_viewers(clock: Clock) -> None:
    events = [
        shown(clock, Kind.SERVED, viewer=OTHER, request_id="a", position=0, source="x"),
        shown(clock, Kind.IMPRESSION, request_id="a"),
        shown(clock, Kind.IMPRESSION, request_id="a", viewer=OTHER),
    ]
    found = read(events)
    assert found.viewer_ids.tolist() == [OTHER, VIEWER]
    assert found.asked_ms.tolist() == [events[0]["time_ms"], events[1]["time_ms"]]
    assert found.sources.to_pylist() == ["x", None]


def test_without_a_word_of_the_server_a_request_begins_with_its_first_impression(
    clock: Clock,
) -> None:
    first = shown(clock, Kind.IMPRESSION, 10, request_id="a")
    clock.now_ms += 1_000
    later = shown(clock, Kind.IMPRESSION, 11, request_id="a")
    behind = shown(clock, Kind.SERVED, 11, request_id="a", position=1, source="s")
    found = read([first, later, behind])
    assert found.asked_ms.tolist() == [first["time_ms"]] * 2
    assert found.sources.to_pylist() == [None, "s"]


def test_impressions_that_name_no_request_are_one_where_they_fall_together(clock: Clock) -> None:
    clock.now_ms = clock.now_ms // 300_000 * 300_000
    events = [shown(clock, Kind.IMPRESSION, post) for post in (10, 11)]
    clock.now_ms += 300_000
    events.append(shown(clock, Kind.IMPRESSION, 12))
    found = read(events)
    assert found.asked_ms.tolist() == [events[0]["time_ms"]] * 2 + [events[2]["time_ms"]]
    assert found.request_ids.null_count == 3


def test_only_requests_of_the_time_asked_for(clock: Clock) -> None:
    served = shown(clock, Kind.SERVED, request_id="a", position=0)
    clock.now_ms += HOUR_MS
    impression = shown(clock, Kind.IMPRESSION, request_id="a")
    at = served["time_ms"]
    assert len(read([served, impression], at, at + 1)) == 1
    assert len(read([served, impression], at + 1)) == 0
    assert len(read([served, impression], 0, at)) == 0


def test_they_come_in_order_of_time(clock: Clock) -> None:
    events = [
        shown(clock, Kind.IMPRESSION, post, viewer=viewer, request_id=f"{viewer}{post % 3}")
        for post in (15, 13, 14, 11, 12, 10)
        for viewer in (OTHER, VIEWER)
    ]
    found = read(events)
    columns = (found.asked_ms, found.viewer_ids, found.post_ids)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    assert rows == sorted(rows)
    assert len(rows) == 12

"""An author's days, counted from log rows, against what somebody would count by hand."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.analytics import COUNTED, MAX_SOURCES, Analytics
from actors.rows import Engagements, Rows
from cluster.analytics_settings import AnalyticsSettings
from cluster.events import ENGAGEMENTS, UNDONE_BY, Kind
from cluster.ids import N_PARTITIONS, partition_range
from cluster.routing import PARTITION
from tests.worlds import DAY_MS, NOW_MS, USERS, Clock, Event, routed

AUTHOR, FAN, OTHER = USERS[0], USERS[2], USERS[4]
TODAY = NOW_MS // DAY_MS
FIRST = TODAY - 2
"""Of the three days that are looked at."""


def analytics_of(*batches: list[Event], shard: int = 0, n_shards: int = 1) -> Analytics:
    """What one shard counts of batches that came one after the other."""
    found = Analytics(AnalyticsSettings())
    first, end = partition_range(shard, n_shards)
    assert end <= N_PARTITIONS
    for events in batches:
        if events:
            rows = Rows(routed(events))
            rows = rows.where((rows[PARTITION] >= first) & (rows[PARTITION] < end))
            found.apply(rows, Engagements.of(rows))
    return found


def counts(found: Analytics, author: int = AUTHOR) -> list[dict[str, int]]:
    """By day, what was counted at all."""
    days = found.of(author, FIRST, 3)
    return [
        {kind.label: n for kind, n in zip(COUNTED, row, strict=True) if n}
        for row in days.counts.tolist()
    ]


def on_day(day: int, event: Event) -> Event:
    return event | {"time_ms": day * DAY_MS + event["event_id"]}


def test_every_kind_counts_on_its_day() -> None:
    clock = Clock()
    events = [clock.on_post(kind, FAN, 10, AUTHOR) for kind in (*ENGAGEMENTS, Kind.IMPRESSION)]
    events += [clock.edge(kind, FAN, AUTHOR) for kind in (Kind.FOLLOW, Kind.UNFOLLOW)]
    served = clock.on_post(Kind.SERVED, FAN, 10, AUTHOR, request_id="r", position=0, source="s")
    found = analytics_of([on_day(TODAY - 1, event) for event in [*events, served]])
    assert counts(found) == [{}, {kind.label: 1 for kind in COUNTED}, {}]
    assert counts(found, FAN) == [{}, {}, {}]


def test_replies_quotes_and_reposts_made_as_posts_count_too() -> None:
    links = {"reply_to_id": 10, "reply_to_author_id": AUTHOR, "quote_of_id": 11}
    links |= {"quote_of_author_id": AUTHOR}
    made = [on_day(TODAY, Clock().post(50, FAN, **links))]
    assert counts(analytics_of(made)) == [{}, {}, {"reply": 1, "quote": 1}]


@pytest.mark.parametrize(("undo", "kind"), [(u, k) for u, k in UNDONE_BY.items() if k in COUNTED])
def test_what_is_taken_back_counts_down_on_the_day_on_which_it_is(undo: Kind, kind: Kind) -> None:
    clock = Clock()
    events = [
        on_day(TODAY - 2, clock.on_post(kind, FAN, 10, AUTHOR)),
        on_day(TODAY - 2, clock.on_post(kind, OTHER, 10, AUTHOR)),
        on_day(TODAY, clock.on_post(undo, FAN, 10, AUTHOR)),
    ]
    assert counts(analytics_of(events)) == [{kind.label: 2}, {}, {kind.label: -1}]


def test_negative_feedback_is_not_told() -> None:
    clock = Clock()
    kinds = (Kind.SHOW_LESS, Kind.NOT_INTERESTED, Kind.REPORT, Kind.UNDO_REPORT)
    events = [on_day(TODAY, clock.on_post(kind, FAN, 10, AUTHOR)) for kind in kinds]
    found = analytics_of([*events, on_day(TODAY, clock.edge(Kind.BLOCK, FAN, AUTHOR))])
    assert counts(found) == [{}, {}, {}]
    assert found.memory_bytes == 0


def test_what_authors_do_themselves_does_not_count() -> None:
    clock = Clock()
    kinds = (Kind.FAVOURITE, Kind.IMPRESSION, Kind.PROFILE_CLICK)
    events = [on_day(TODAY, clock.on_post(kind, AUTHOR, 10, AUTHOR)) for kind in kinds]
    visit = clock.event(Kind.PROFILE_CLICK, actor_id=AUTHOR, author_id=AUTHOR)
    served = clock.on_post(Kind.SERVED, AUTHOR, 10, AUTHOR, request_id="r", position=0, source="s")
    found = analytics_of([*events, on_day(TODAY, visit), on_day(TODAY, served)])
    assert counts(found) == [{}, {}, {}]
    assert found.of(AUTHOR, FIRST, 3).served_by == {}
    assert found.of(AUTHOR, FIRST, 3).reach == 0


def test_visits_to_a_profile_count_with_and_without_a_post() -> None:
    clock = Clock()
    events = [
        clock.event(Kind.PROFILE_CLICK, actor_id=FAN, author_id=AUTHOR),
        clock.on_post(Kind.PROFILE_CLICK, FAN, 10, AUTHOR),
        clock.on_post(Kind.PROFILE_CLICK, OTHER, 10, AUTHOR),
    ]
    found = analytics_of([on_day(TODAY, event) for event in events])
    assert counts(found) == [{}, {}, {"profile_click": 3}]


def test_viewers_count_once_a_day_and_once_in_all() -> None:
    clock = Clock()
    events = [
        on_day(day, clock.on_post(Kind.IMPRESSION, viewer, post, AUTHOR))
        for day, viewer, post in (
            *((TODAY - 1, FAN, 10), (TODAY - 1, FAN, 11), (TODAY - 1, OTHER, 10)),
            *((TODAY, FAN, 10), (TODAY, USERS[6], 11)),
        )
    ]
    found = analytics_of(events).of(AUTHOR, FIRST, 3)
    assert found.viewers.round().tolist() == [0, 2, 2]
    assert round(found.reach) == 3


def test_what_was_served_by_source() -> None:
    clock = Clock()
    common: dict[str, Any] = {"request_id": "r", "position": 0}
    events = [
        on_day(day, clock.on_post(Kind.SERVED, FAN, 10, AUTHOR, **common, **source))
        for day, source in (
            *((TODAY - 1, {"source": "popular"}), (TODAY - 1, {"source": "in_network"})),
            *((TODAY, {"source": "popular"}), (TODAY, {})),
        )
    ]
    found = analytics_of(events)
    assert counts(found) == [{}, {"served": 2}, {"served": 2}]
    by_source = found.of(AUTHOR, FIRST, 3).served_by
    assert {name: n.tolist() for name, n in by_source.items()} == {
        "in_network": [0, 1, 0],
        "popular": [0, 1, 1],
    }
    assert list(by_source) == ["in_network", "popular"]


def test_made_up_sources_cost_no_more_than_some() -> None:
    clock = Clock()
    common: dict[str, Any] = {"request_id": "r", "position": 0}
    events = [
        on_day(TODAY, clock.on_post(Kind.SERVED, FAN, 10, AUTHOR, source=f"s{k}", **common))
        for k in range(MAX_SOURCES + 10)
    ]
    found = analytics_of(events)
    assert counts(found)[2] == {"served": MAX_SOURCES + 10}
    assert len(found.of(AUTHOR, FIRST, 3).served_by) == MAX_SOURCES


def test_days_beyond_the_window_are_forgotten() -> None:
    clock = Clock()
    liked = clock.on_post(Kind.FAVOURITE, FAN, 10, AUTHOR)
    found = analytics_of([on_day(TODAY - 28, liked)], [on_day(TODAY - 27, liked)])
    assert found.of(AUTHOR, TODAY - 28, 2).counts.sum() == 2
    # One day more than may be asked for is held, for clocks that run ahead.
    found = analytics_of([on_day(TODAY - 28, liked)], [on_day(TODAY + 1, liked)])
    assert found.of(AUTHOR, TODAY - 28, 2).counts.sum() == 0
    assert found.first_day == TODAY - 27


_kinds = st.sampled_from([*ENGAGEMENTS, Kind.IMPRESSION, Kind.SERVED, *UNDONE_BY])


@st.composite
def _happenings(draw: st.DrawFn) -> list[Event]:
    found: list[Event] = []
    for event_id in range(1, draw(st.integers(0, 25)) + 1):
        actor, author = draw(st.sampled_from(USERS)), draw(st.sampled_from(USERS[:3]))
        if draw(st.integers(0, 4)) == 0 and actor != author:
            kind = draw(st.sampled_from((Kind.FOLLOW, Kind.UNFOLLOW)))
            event: Event = {"target_id": author}
        else:
            kind = draw(_kinds)
            event = {"post_id": draw(st.integers(10, 12)), "author_id": author}
        if kind is Kind.SERVED:
            event |= {"request_id": "r", "position": 0, "source": draw(st.sampled_from("ab"))}
        event |= {"kind": kind.label, "actor_id": actor, "event_id": event_id}
        found.append(on_day(TODAY - draw(st.integers(0, 2)), event))
    return found


def model_of(events: list[Event], author: int) -> tuple[list[dict[str, int]], list[int], int]:
    """Counts by day, viewers by day, and viewers in all, event by event."""
    by_day: list[Counter[str]] = [Counter() for _ in range(3)]
    viewers: list[set[int]] = [set() for _ in range(3)]
    for event in events:
        owner = event.get("author_id", event.get("target_id"))
        if owner != author or event["actor_id"] == author:
            continue
        kind, at = Kind[event["kind"].upper()], event["time_ms"] // DAY_MS - FIRST
        if kind in COUNTED:
            by_day[at][kind.label] += 1
        elif UNDONE_BY[kind] in ENGAGEMENTS:
            by_day[at][UNDONE_BY[kind].label] -= 1
        if kind is Kind.IMPRESSION:
            viewers[at].add(event["actor_id"])
        if kind is Kind.SERVED:
            by_day[at]["by " + event["source"]] += 1
    kept = [{name: n for name, n in day.items() if n} for day in by_day]
    return kept, [len(day) for day in viewers], len(set.union(*viewers))


def seen_of(found: Analytics, author: int) -> tuple[list[dict[str, int]], list[int], int]:
    days = found.of(author, FIRST, 3)
    told = counts(found, author)
    for name, by_day in days.served_by.items():
        for day, n in zip(told, by_day.tolist(), strict=True):
            if n:
                day["by " + name] = n
    return told, [round(n) for n in days.viewers.tolist()], round(days.reach)


@settings(max_examples=25)
@given(_happenings(), st.integers(1, 9), st.randoms(use_true_random=False))
def test_any_order_of_any_batches_on_any_number_of_shards(
    events: list[Event], step: int, random: Any
) -> None:
    shuffled = random.sample(events, len(events))
    batches = [shuffled[begin : begin + step] for begin in range(0, len(shuffled), step)]
    shards = [analytics_of(*batches, shard=shard, n_shards=3) for shard in range(3)]
    whole = analytics_of(events)
    # And a snapshot of three shards, read by one.
    restored = Analytics(AnalyticsSettings())
    for shard in shards:
        for name, store in shard.stores.items():
            columns = store.columns()
            if len(columns["owner_ids"]):
                restored.stores[name].restore(columns)
    for author in USERS[:3]:
        expected = model_of(events, author)
        assert seen_of(whole, author) == seen_of(restored, author) == expected
        told = [seen_of(shard, author) for shard in shards]
        assert expected in told
        assert sum(any(map(bool, one[0])) for one in told) <= 1


def test_rows_of_other_partitions_do_not_count() -> None:
    # Each of the two has a partition of their own, so the event comes twice.
    rows = Rows(routed([on_day(TODAY, Clock().on_post(Kind.FAVOURITE, FAN, 10, AUTHOR))]))
    assert len(rows) == 2
    found = Analytics(AnalyticsSettings())
    found.apply(rows, Engagements.of(rows))
    assert counts(found)[2] == {"favourite": 1}
    mine = rows.where(rows.concern("actor_id"))
    elsewhere = Analytics(AnalyticsSettings())
    elsewhere.apply(mine, Engagements.of(mine))
    assert not np.any(elsewhere.of(AUTHOR, FIRST, 3).counts)

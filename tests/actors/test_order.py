"""F13: events redelivered and reordered leave the state as if each came once, in time order."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.state import ShardState
from cluster.events import Kind
from tests.worlds import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    USERS,
    Clock,
    Event,
    answers,
    apply,
    cut,
    empty_states,
    routed,
    worlds,
)

LogRecord = tuple[list[Event], bool]
"""Events, and whether they are imported history."""


@st.composite
def deliveries(draw: st.DrawFn, **world: Any) -> tuple[list[Event], list[list[Event]]]:
    """Events in time order, and the same ones out of order, in batches, with repetitions."""
    events = draw(worlds(**world))
    again = draw(st.lists(st.sampled_from(events), max_size=10)) if events else []
    order = draw(st.permutations([*events, *again]))
    batches = cut(draw, order)
    if batches:
        batches += draw(st.lists(st.sampled_from(batches), max_size=2))
    return events, batches


@settings(max_examples=30)
@given(deliveries(), st.sampled_from([1, 3]))
def test_within_the_window_order_and_repetition_do_not_matter(
    delivery: tuple[list[Event], list[list[Event]]], n_shards: int
) -> None:
    events, batches = delivery
    once, often = empty_states(n_shards), empty_states(n_shards)
    apply(once, events)
    for offset, batch in enumerate(batches, 1):
        apply(often, batch, offset=offset)
    assert answers(often) == answers(once)
    assert sum(s.counters["late"] for s in often) == 0
    assert [s.counters["applied"] for s in often] == [s.counters["applied"] for s in once]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Event], list[list[Event]]]:
    """Events in time order, and the same ones out of order, in appends some of which come again."""
    events = draw(worlds(span_ms=20 * DAY_MS))
    batches = cut(draw, draw(st.permutations(events)))
    if batches:
        batches += draw(st.lists(st.sampled_from(batches), max_size=3))
    return events, batches


@settings(max_examples=20)
@given(histories(), st.sampled_from([1, 3]))
def test_imported_history_may_come_in_any_order_and_again(
    history: tuple[list[Event], list[list[Event]]], n_shards: int
) -> None:
    events, batches = history
    ordered, shuffled = empty_states(n_shards), empty_states(n_shards)
    apply(ordered, events, imported=True)
    for offset, batch in enumerate(batches, 1):
        apply(shuffled, batch, offset=offset, imported=True)
    assert answers(shuffled) == answers(ordered)
    assert [s.counters["applied"] for s in shuffled] == [s.counters["applied"] for s in ordered]


@st.composite
def logs(draw: st.DrawFn) -> list[LogRecord]:
    """Records of days of events out of order, some of them sent again."""
    events = draw(worlds(span_ms=3 * DAY_MS))
    again = draw(st.lists(st.sampled_from(events), max_size=10)) if events else []
    records = cut(draw, draw(st.permutations([*events, *again])))
    return [(record, draw(st.booleans())) for record in records]


def read(states: Sequence[ShardState], log: Sequence[LogRecord], start: int, end: int) -> None:
    """Have every state apply the records from `start` to `end` at once, as a tailer does."""
    batches = [routed(events, imported=imported) for events, imported in log[start:end]]
    n_rows = [batch.num_rows for batch in batches]
    together = pa.concat_tables(map(pa.table, batches), promote_options="default")
    (rows,) = together.combine_chunks().to_batches()
    offsets = np.repeat(np.arange(start + 1, end + 1), n_rows)
    imported = np.repeat([imported for _, imported in log[start:end]], n_rows)
    for state in states:
        state.apply(rows, offsets, imported)


@settings(max_examples=40)
@given(logs(), st.sampled_from([1, 3]), st.data())
def test_how_many_records_are_read_at_once_does_not_matter(
    log: list[LogRecord], n_shards: int, data: st.DataObject
) -> None:
    singly, together = empty_states(n_shards), empty_states(n_shards)
    for k in range(len(log)):
        read(singly, log, k, k + 1)
    for part in cut(data.draw, range(len(log))):
        read(together, log, part[0], part[-1] + 1)
    assert answers(together) == answers(singly)
    assert [s.counters for s in together] == [s.counters for s in singly]
    assert [s.applied for s in together] == [s.applied for s in singly]


def test_a_log_of_many_quiet_days_is_read_at_once() -> None:
    clock, states = Clock(), empty_states(2)
    days = range(9, -1, -1)
    likes = [
        clock.on_post(Kind.FAVOURITE, USERS[1], 1_000, USERS[0], time_ms=NOW_MS - k * DAY_MS)
        for k in days
    ]
    read(states, [([like], False) for like in likes], 0, len(likes))
    assert [s.counters["late"] for s in states] == [0, 0]
    assert sum(s.counters["applied"] for s in states) == 2 * len(likes)


@settings(max_examples=15)
@given(worlds(), worlds())
def test_past_the_window_late_events_are_refused_and_counted(
    events: list[Event], late: list[Event]
) -> None:
    # Every lane has its own watermark: an edge of each user moves those that concern them.
    clock = Clock()
    news = [
        clock.edge(Kind.FOLLOW, user, other, event_id=900 + k)
        for k, (user, other) in enumerate(zip(USERS, [*USERS[1:], USERS[0]], strict=True))
    ]
    with_late, without = empty_states(2), empty_states(2)
    for states in (with_late, without):
        apply(states, events)
        apply(states, news, offset=2)
    old = [
        e | {"time_ms": e["time_ms"] - 5 * DAY_MS, "event_id": e["event_id"] + 500} for e in late
    ]
    apply(with_late, old, offset=3)
    assert answers(with_late) == answers(without)
    applied = [s.counters["applied"] for s in without]
    assert [s.counters["applied"] for s in with_late] == applied
    assert sum(s.counters["late"] for s in with_late) >= len(old)


def test_an_event_is_repeated_at_the_very_end_of_the_window() -> None:
    # Of the appliers, who take events that came slowly: 24 hours and 10 minutes.
    clock = Clock()
    first = clock.on_post(Kind.FAVOURITE, USERS[1], 1_000, USERS[0])
    states = empty_states(1)
    apply(states, [first])
    at_the_end = clock.on_post(
        *(Kind.FAVOURITE, USERS[1], 1_001, USERS[0]),
        time_ms=first["time_ms"] + 24 * HOUR_MS + 600_000,
    )
    apply(states, [at_the_end], offset=2)
    apply(states, [first], offset=3)
    assert (states[0].counters["repeated"], states[0].counters["late"]) == (2, 0)
    past_it = at_the_end | {"event_id": 77, "time_ms": at_the_end["time_ms"] + 1}
    apply(states, [past_it], offset=4)
    apply(states, [first], offset=5)
    assert (states[0].counters["repeated"], states[0].counters["late"]) == (2, 2)

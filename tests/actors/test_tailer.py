"""A tailer over a real log: what it applies, passes over, and leaves out."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import snapshot
from actors import tailer as tailer_module
from actors.state import ShardState
from actors.tailer import Tailer
from cluster.events import Kind
from cluster.routing import encode, route
from cluster.sqlite_log import SqliteLog
from tests.worlds import (
    DAY_MS,
    HOUR_MS,
    N_LANES,
    NOW_MS,
    USERS,
    Clock,
    Event,
    answers,
    checked,
    empty_states,
    states_of,
    worlds,
)

PATIENCE_S = 30


def append(log: SqliteLog, events: Sequence[Event], *, imported: bool = False) -> None:
    if events:
        lanes = route(checked(events), N_LANES)
        log.append({lane: encode(batch, imported=imported) for lane, batch in lanes.items()})


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


@contextmanager
def tailing(folder: Path, states: Sequence[ShardState], **options: Any) -> Iterator[list[Tailer]]:
    """Tailers of all states, once they hold everything appended so far."""
    tailers = [
        Tailer(
            state,
            lambda: SqliteLog.open_reader(folder / "log"),
            folder / "snapshots",
            **options,
        )
        for state in states
    ]
    begun_ms = time.time_ns() // 1_000_000
    for tailer in tailers:
        tailer.start()
    try:
        wait_for(lambda: all(tailer.caught_up_ms > begun_ms for tailer in tailers))
        yield tailers
    finally:
        for tailer in tailers:
            tailer.stop()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    with SqliteLog(tmp_path / "log", n_lanes=N_LANES) as opened:
        yield opened


def some_events(clock: Clock) -> list[Event]:
    return [
        *(clock.edge(Kind.FOLLOW, USERS[0], user) for user in USERS[1:5]),
        *(clock.post(100 + k, USERS[k % 8], text=f"post {k}") for k in range(16)),
        *(clock.on_post(Kind.FAVOURITE, USERS[2], 100 + k, USERS[k % 8]) for k in range(16)),
    ]


def test_shards_hold_what_the_log_says(tmp_path: Path, log: SqliteLog) -> None:
    clock = Clock()
    events = some_events(clock)
    append(log, events[:10])
    append(log, events[10:30], imported=True)
    states = empty_states(2)
    with tailing(tmp_path, states):
        append(log, events[30:])
        append(log, events[:20])
        wanted = states_of(events, 2)
        applied = [s.counters["applied"] for s in wanted]
        wait_for(lambda: [s.counters["applied"] for s in states] == applied)
        wait_for(lambda: sum(s.counters["repeated"] for s in states) > 20)
        assert answers(states) == answers(wanted)


def test_a_restart_goes_on_from_the_snapshot(tmp_path: Path, log: SqliteLog) -> None:
    clock = Clock()
    events = some_events(clock)
    append(log, events[:20])
    with tailing(tmp_path, empty_states(2)) as tailers:
        for tailer in tailers:
            tailer.request_snapshot()
        wait_for(lambda: all(tailer.last_snapshot for tailer in tailers))
    append(log, events[20:])
    # What snapshots hold may be trimmed from the log, and is not read again.
    log.trim({lane: offset for t in tailers for lane, offset in t.positions.items() if offset})
    states = empty_states(3)
    with tailing(tmp_path, states):
        assert answers(states) == answers(states_of(events, 3))
        assert sum(s.counters["applied"] for s in states) < 60


def test_a_shard_that_is_copied_is_behind_only_where_events_came(
    tmp_path: Path, log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, capture = threading.Event(), snapshot.capture
    monkeypatch.setattr(tailer_module, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(snapshot, "capture", lambda *of: copied.wait(PATIENCE_S) and capture(*of))
    clock = Clock()
    append(log, [clock.post(10, USERS[0])])
    with tailing(tmp_path, empty_states(1)) as [tailer]:
        tailer.request_snapshot()
        wait_for(lambda: tailer._writing_snapshot())
        begun_ms = time.time_ns() // 1_000_000
        wait_for(lambda: tailer.caught_up_ms > begun_ms)
        append(log, [clock.post(11, USERS[0])])
        behind_ms = time.time_ns() // 1_000_000
        time.sleep(0.1)
        assert tailer.caught_up_ms <= behind_ms
        copied.set()
        wait_for(lambda: tailer.last_snapshot and tailer.caught_up_ms > behind_ms)


def test_an_append_of_history_made_twice_counts_once(tmp_path: Path, log: SqliteLog) -> None:
    """A writer that is killed before it answers is asked again, after a restart of the shards."""
    clock = Clock()
    append(log, some_events(clock))
    old = [e | {"time_ms": e["time_ms"] - 9 * DAY_MS} for e in some_events(clock)]
    append(log, old, imported=True)
    states = empty_states(2)
    with tailing(tmp_path, states) as tailers:
        for tailer in tailers:
            tailer.request_snapshot()
        wait_for(lambda: all(tailer.last_snapshot for tailer in tailers))
        once = answers(states)
    append(log, old, imported=True)
    again = empty_states(2)
    with tailing(tmp_path, again):
        assert answers(again) == once
        assert [s.counters["applied"] for s in again] == [0, 0]
        assert all(s.counters["repeated"] > 0 for s in again)


def test_a_record_that_is_no_batch_is_passed_over_and_counted(
    tmp_path: Path, log: SqliteLog
) -> None:
    events = some_events(Clock())
    append(log, events[:10])
    log.append({3: b"nonsense", 9: b"more of it"})
    append(log, events[10:])
    [state] = empty_states(1)
    with tailing(tmp_path, [state]):
        assert state.counters["unreadable_records"] == 2
        assert answers([state]) == answers(states_of(events))


def test_a_log_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    [state] = empty_states(1)
    opened: list[SqliteLog] = []

    def open_log() -> SqliteLog:
        return SqliteLog.open_reader(tmp_path / "log")

    tailer = Tailer(state, open_log, tmp_path / "snapshots")
    tailer.start()
    try:
        wait_for(lambda: tailer.failure)
        events = some_events(Clock())
        opened.append(SqliteLog(tmp_path / "log", n_lanes=N_LANES))
        append(opened[0], events)
        wait_for(lambda: state.counters["applied"] >= 40 and tailer.failure is None)
        assert answers([state]) == answers(states_of(events))
    finally:
        tailer.stop()
        for log in opened:
            log.close()


def test_lag_is_how_long_ago_everything_was_there(tmp_path: Path, log: SqliteLog) -> None:
    append(log, some_events(Clock()))
    [state] = empty_states(1)
    with tailing(tmp_path, [state]) as [tailer]:
        now_ms = time.time_ns() // 1_000_000
        wait_for(lambda: tailer.lag_ms(now_ms) == 0)
    assert tailer.lag_ms(tailer.caught_up_ms + 5_000) == 5_000


@settings(max_examples=10)
@given(worlds(), worlds(), st.booleans())
def test_nothing_later_than_an_instant_leaks_into_a_state_as_of_it(
    tmp_path_factory: pytest.TempPathFactory,
    events: list[Event],
    later: list[Event],
    imported: bool,
) -> None:
    folder = tmp_path_factory.mktemp("log")
    future = [
        e | {"time_ms": e["time_ms"] + 20 * HOUR_MS + 1, "event_id": e["event_id"] + 500}
        for e in later
    ]
    with SqliteLog(folder / "log", n_lanes=N_LANES) as log:
        # Later events stand before and in the very records of earlier ones.
        append(log, future[::2], imported=imported)
        append(log, [*events[::2], *future[1::2]], imported=imported)
        append(log, events[1::2], imported=imported)
        states = empty_states(2)
        with tailing(folder, states, until_ms=NOW_MS):
            assert answers(states) == answers(states_of(events, 2))

"""How a state begins where the log was trimmed: the archive takes its place, or it is said."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors import snapshot
from actors.beginning import begin
from actors.state import ShardState
from actors.tailer import Tailer
from cluster.archiver import Archiver
from cluster.events import Kind
from cluster.settings import Settings
from cluster.sqlite_log import SqliteLog
from tests.actors.test_tailer import append, some_events, tailing, wait_for
from tests.worlds import (
    DAY_MS,
    HOUR_MS,
    N_LANES,
    NOW_MS,
    USERS,
    Clock,
    Event,
    answers,
    apply,
    empty_states,
    states_of,
)

LATER_MS = NOW_MS + HOUR_MS


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    with SqliteLog(tmp_path / "log", n_lanes=N_LANES) as opened:
        yield opened


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def archive(log: SqliteLog, settings: Settings) -> dict[int, int]:
    """Archive all of a log; returns how far it may be trimmed."""
    archiver = Archiver(log, settings.archive_root, range(N_LANES))
    while archiver.step():
        pass
    return {lane: offset for lane, offset in archiver.positions().items() if offset}


def later_events() -> list[Event]:
    clock = Clock(LATER_MS)
    return [
        clock.edge(Kind.BLOCK, USERS[1], USERS[2], event_id=7_001),
        clock.post(190, USERS[3], text="later", event_id=7_002),
        clock.on_post(Kind.FAVOURITE, USERS[5], 101, USERS[1], event_id=7_003),
    ]


def snapshots_of(folder: Path, states: list[ShardState]) -> None:
    with tailing(folder, states) as tailers:
        for tailer in tailers:
            tailer.request_snapshot()
        wait_for(lambda: all(tailer.last_snapshot for tailer in tailers))


def failure_of(folder: Path, state: ShardState, **options: Any) -> str | None:
    """What a tailer that gives up says."""
    tailer = Tailer(
        state, lambda: SqliteLog.open_reader(folder / "log"), folder / "snapshots", **options
    )
    tailer.start()
    wait_for(lambda: tailer.ended)
    assert not tailer.caught_up_ms
    return tailer.failure


@pytest.mark.parametrize("n_shards", [1, 3])
def test_an_instant_before_the_snapshots_of_a_trimmed_log(
    tmp_path: Path, log: SqliteLog, settings: Settings, n_shards: int
) -> None:
    events = some_events(Clock())
    append(log, events)
    append(log, later_events())
    snapshots_of(tmp_path, empty_states(2, settings))
    log.trim(archive(log, settings))
    # What comes after the archive's end is read from the log, however old it is.
    last = Clock(NOW_MS - 1).edge(Kind.FOLLOW, USERS[6], USERS[7], event_id=7_100)
    append(log, [last])
    states = empty_states(n_shards, settings)
    with tailing(tmp_path, states, until_ms=NOW_MS):
        assert answers(states) == answers(states_of([*events, last], n_shards))


def test_snapshots_that_nobody_can_read_behind_a_trimmed_log(
    tmp_path: Path, log: SqliteLog, settings: Settings
) -> None:
    events = [*some_events(Clock()), *later_events()]
    append(log, events[:30])
    snapshots_of(tmp_path, empty_states(1, settings))
    for manifest in (tmp_path / "snapshots").glob("*/manifest.json"):
        manifest.write_text("{}")
    log.trim(archive(log, settings))
    append(log, events[30:])
    states = empty_states(2, settings)
    with tailing(tmp_path, states):
        assert answers(states) == answers(states_of(events, 2))


def test_what_a_snapshot_holds_is_not_taken_from_the_archive_again(
    tmp_path: Path, log: SqliteLog, settings: Settings
) -> None:
    """Of two shards one lost its snapshot; a shard of everything begins with both."""
    events = [*some_events(Clock()), *later_events()]
    append(log, events[:30])
    snapshots_of(tmp_path, empty_states(2, settings))
    first = min((tmp_path / "snapshots").glob("*-0000-*"))
    (first / "manifest.json").unlink()
    append(log, events[30:])
    log.trim(
        {lane: offset for lane, offset in archive(log, settings).items() if lane < N_LANES // 2}
    )
    states = empty_states(1, settings)
    with tailing(tmp_path, states):
        assert answers(states) == answers(states_of(events))


@pytest.mark.parametrize("lost", [False, True])
def test_no_partition_is_too_late_for_what_others_of_its_lane_hold(
    tmp_path: Path, lost: bool
) -> None:
    """One of two shards, which share a lane, ended days before the other, or lost all it had."""
    few_lanes, clock = Settings(log={"lanes": 3}), Clock()  # type: ignore[arg-type]
    days = [
        [clock.edge(Kind.FOLLOW, user, 90 + day, time_ms=NOW_MS + day * DAY_MS) for user in USERS]
        for day in range(9)
    ]

    def read(states: list[ShardState], end: int) -> None:
        for day in range(end):
            apply(states, days[day], offset=day + 1)

    whole, early, late = (empty_states(n, few_lanes) for n in (1, 2, 2))
    for states, end in ((whole, 9), (early, 3), (late, 7)):
        read(states, end)
    if not lost:
        snapshot.write(snapshot.capture(early[0], dict.fromkeys(early[0].lanes, 3)), tmp_path)
    snapshot.write(snapshot.capture(late[1], dict.fromkeys(late[1].lanes, 7)), tmp_path)
    [state] = empty_states(1, few_lanes)
    positions = begin(state, tmp_path, dict.fromkeys(state.lanes, 1))
    assert positions == {0: 0 if lost else 3, 1: 0 if lost else 3, 2: 7}
    assert not snapshot.is_even(state, positions)
    read([state], 9)
    assert answers([state]) == answers(whole)
    assert state.counters["late"] == 0
    assert snapshot.is_even(state, dict.fromkeys(state.lanes, 9))


@pytest.mark.parametrize("until_ms", [None, NOW_MS])
def test_a_trimmed_log_without_its_archive_is_told(
    tmp_path: Path, log: SqliteLog, settings: Settings, until_ms: int | None
) -> None:
    append(log, some_events(Clock()))
    head = log.heads()[0]
    log.trim({0: head})
    append(log, later_events())
    [state] = empty_states(1, settings)
    assert failure_of(tmp_path, state, until_ms=until_ms) == (
        f"lane 0: the state ends at offset 0, the log begins at {head + 1}, and neither a "
        f"snapshot nor the archive {tmp_path / 'archive'} holds what lies between"
    )


def test_an_archive_that_ends_before_the_log_begins_is_told(
    tmp_path: Path, log: SqliteLog, settings: Settings
) -> None:
    events = some_events(Clock())
    append(log, events[:20])
    archive(log, settings)
    append(log, events[20:])
    log.trim(log.heads())
    [state] = empty_states(1, settings)
    failure = failure_of(tmp_path, state)
    assert failure
    assert "neither a snapshot nor the archive" in failure

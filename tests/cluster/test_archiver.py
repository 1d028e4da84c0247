import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.archive import Archive, Archiver
from cluster.archive_catalog import ArchiveConflict
from cluster.archive_files import Storage
from cluster.archiver import ArchiveGap, UnreadableFeatures
from cluster.routing import UnreadableBatch
from cluster.sqlite_log import SqliteLog
from tests.cluster.archive_events import (
    DAY_MS,
    JANUARY_1_MS,
    LANES,
    N_LANES,
    NOW_MS,
    Event,
    append,
    archive_all,
    event_ids,
    favourite,
    follow,
    served,
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    with SqliteLog(tmp_path / "log" / "log.db", n_lanes=N_LANES + 1) as log:
        yield log


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def test_retention_knows_how_far_the_archive_is(log: SqliteLog, root: Path) -> None:
    archiver = Archiver(log, root, LANES, step_bytes=1)
    assert archiver.positions() == dict.fromkeys(LANES, 0)
    append(log, [follow(1, JANUARY_1_MS, actor_id=1, target_id=2)])
    append(log, [follow(2, JANUARY_1_MS, actor_id=3, target_id=4)])
    archiver.step()
    first = archiver.positions()
    assert Archive(root).positions() == first
    log.trim(first)
    archiver.step()
    assert archiver.step() == 0
    heads = log.heads()
    assert archiver.positions() == {lane: heads[lane] or 0 for lane in LANES}
    append(log, [follow(3, JANUARY_1_MS), follow(4, JANUARY_1_MS, actor_id=3, target_id=4)])
    log.trim(log.heads())
    append(log, [follow(5, JANUARY_1_MS)])
    with pytest.raises(ArchiveGap, match=r"lane \d: the archive ends at offset \d+"):
        archiver.step()
    archive_all(log, root, skip_gaps=True)
    assert event_ids(Archive(root).scan()) == [1, 2, 5]


def test_a_second_archiver_is_noticed(
    log: SqliteLog, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, [follow(1, JANUARY_1_MS)])
    archiver, other = Archiver(log, root, LANES), Archiver(log, root, LANES)
    write = Storage.write

    def write_late(storage: Storage, path: str, content: pa.Buffer) -> None:
        monkeypatch.setattr(Storage, "write", write)
        append(log, [follow(2, JANUARY_1_MS)])
        other.step()
        write(storage, path, content)

    monkeypatch.setattr(Storage, "write", write_late)
    with pytest.raises(ArchiveConflict, match="is at generation 1, expected 0"):
        archiver.step()
    assert event_ids(Archive(root).scan()) == [1, 2]


def test_a_record_that_is_no_event_batch_stops_the_archiver(log: SqliteLog, root: Path) -> None:
    append(log, [follow(1, JANUARY_1_MS)])
    log.append({2: b"what"})
    with pytest.raises(UnreadableBatch) as caught:
        archive_all(log, root)
    assert "in lane 2 at offset" in caught.value.__notes__[0]
    assert Archive(root).positions() == {}


def test_features_that_cannot_be_stored_are_refused(log: SqliteLog, root: Path) -> None:
    good = pa.ipc.open_stream(served("r", [1], [[1, 2]])).read_all()
    wide = good.set_column(3, "features", pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)))
    null = good.set_column(3, "features", pa.array([None], pa.list_(pa.float16(), 2)))
    for number, (table, message) in enumerate(
        [
            (good.drop_columns("post_id"), "no column"),
            (wide, r"features are fixed_size_list.*float.*expected .* halffloat"),
            (null, "features hold nulls"),
        ]
    ):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        lane = number % N_LANES
        log.append({lane: sink.getvalue().to_pybytes()})
        archiver = Archiver(log, root / str(number), [], features_lane=lane)
        with pytest.raises(UnreadableFeatures, match=f"lane {lane}, offset .*{message}"):
            archiver.step()


class Crash(BaseException):
    """Where a process would have died."""


def crashing(at: int) -> Callable[[pytest.MonkeyPatch], None]:
    """Make the `at`-th point within the storage's calls the last one reached."""
    reached = 0

    def point() -> None:
        nonlocal reached
        reached += 1
        if reached == at:
            raise Crash

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        write, replace, delete = Storage.write, Storage.replace, Storage.delete

        def torn_write(storage: Storage, path: str, content: pa.Buffer) -> None:
            point()
            write(storage, path, content.slice(0, content.size // 2))
            point()
            write(storage, path, content)
            point()

        def between_replace(storage: Storage, path: str, content: bytes) -> None:
            point()
            replace(storage, path, content)
            point()

        def between_delete(storage: Storage, path: str) -> None:
            point()
            delete(storage, path)
            point()

        monkeypatch.setattr(Storage, "write", torn_write)
        monkeypatch.setattr(Storage, "replace", between_replace)
        monkeypatch.setattr(Storage, "delete", between_delete)

    return patch


some_events = st.lists(
    st.builds(
        lambda make, number: make(
            # The id says all there is to say, so equal ids are copies of one event.
            number + (100 if make is favourite else 0),
            JANUARY_1_MS + number * (DAY_MS // 17),
            number % 7 + 20,
        ),
        st.sampled_from([follow, favourite]),
        st.integers(1, 50),
    ),
    min_size=1,
    max_size=6,
)
actions = st.one_of(
    st.tuples(st.just("append"), some_events),
    st.tuples(st.sampled_from(["step", "compact", "sweep"]), st.integers(1, 25)),
)


@settings(max_examples=60)
@given(st.lists(actions, max_size=14))
def test_the_archive_is_what_was_appended_whatever_crashes(todo: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "archive"
        with SqliteLog(Path(folder) / "log.db", n_lanes=N_LANES) as log:
            appended: list[tuple[int, list[Event]]] = []

            def check() -> None:
                """Readers see exactly the appends up to the committed positions."""
                done = max(Archive(root).positions().values(), default=0)
                expected = {
                    (e["time_ms"], e["event_id"])
                    for last, es in appended
                    if last <= done
                    for e in es
                }
                table = Archive(root).scan(columns=["time_ms", "event_id"])
                assert [tuple(row.values()) for row in table.to_pylist()] == sorted(expected)

            for what, value in todo:
                if what == "append":
                    appended.append((append(log, value), value))
                    continue
                archiver = Archiver(log, root, LANES, step_bytes=1)
                with pytest.MonkeyPatch.context() as monkeypatch:
                    crashing(value)(monkeypatch)
                    try:
                        if what == "step":
                            while archiver.step():
                                pass
                        elif what == "compact":
                            for date in archiver.fragmented(2):
                                archiver.compact(date, NOW_MS)
                        else:
                            # Long after every file there is was written.
                            archiver.sweep(NOW_MS + 100_000 * DAY_MS)
                    except Crash:
                        pass
                check()
            archive_all(log, root).sweep(NOW_MS + 100_000 * DAY_MS)
            assert Archive(root).positions() == (log.heads() if appended else {})
            check()
            committed = {Path(f) for f in Archive(root).files()}
            assert set(root.rglob("*.parquet")) == committed


CHILD = """
import os, signal, sys
from pathlib import Path
from tests.cluster import archive_events as t
from cluster.archive import Archive, Archiver
from cluster.sqlite_log import SqliteLog

folder = Path(sys.argv[1])
appended = []
with SqliteLog(folder / "log.db", n_lanes=t.N_LANES) as log:
    for i in range(3):
        events = [t.follow(3 * i + 1, t.JANUARY_1_MS + i), t.favourite(3 * i + 2, t.NOW_MS - i)]
        appended.append((t.append(log, events), {e["event_id"] for e in events}))

def work(root):
    with SqliteLog.open_reader(folder / "log.db") as log:
        archiver = Archiver(log, root, t.LANES, step_bytes=1)
        while archiver.step():
            pass
        archiver.compact("2026-01-01", t.NOW_MS)
        archiver.sweep(t.NOW_MS + 100_000 * t.DAY_MS)

def check(root, at_least=0):
    done = max(Archive(root).positions().values(), default=0)
    assert done >= at_least, (done, at_least)
    found = Archive(root).scan().column("event_id").to_pylist()
    expected = sorted(set().union(*(ids for last, ids in appended if last <= done)))
    assert sorted(found) == expected, (found, expected)

steps, kill_at = 0, 0
def step(*_):
    global steps
    steps += 1
    if steps == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)

def counted(call):
    def before_and_after(*args, **kwargs):
        step()
        answer = call(*args, **kwargs)
        step()
        return answer
    return before_and_after

while True:
    kill_at += 1
    root = folder / str(kill_at)
    child = os.fork()
    if child == 0:
        os.fsync, os.replace = counted(os.fsync), counted(os.replace)
        sys.addaudithook(
            lambda event, args: step()
            if event in ("open", "os.mkdir") and str(root) in str(args[0]) else None
        )
        work(root)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(kill_at, status, flush=True)
    check(root)
    work(root)
    check(root, at_least=appended[-1][0])
    if status != signal.SIGKILL:
        break
"""


def test_an_archiver_killed_at_any_step_loses_and_doubles_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stderr
    statuses = [int(line.split()[1]) for line in done.stdout.splitlines()]
    assert len(statuses) > 40
    assert statuses == [signal.SIGKILL] * (len(statuses) - 1) + [0]

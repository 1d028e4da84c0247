"""A shard killed at any point of a rebuild of its vector index: nothing is lost, nothing stays."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pytest

from actors import near_rebuild
from actors.models import Models
from actors.near_rebuild import NearRebuilds
from actors.state import ShardState
from actors.stores import nearest
from actors.tailer import Tailer
from actors.vector_questions import AskNear, AskVectors
from actors.vectors import VectorsKind
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.routing import encode, route
from cluster.settings import Settings
from cluster.sqlite_log import SqliteLog
from cluster.validation import check_objects
from tests.actors.test_near_rebuild import is_running
from tests.actors.test_tailer import wait_for
from tests.timeline.sources.embedded_worlds import write_world
from tests.worlds import DAY_MS, N_LANES, USERS, Clock, Event, author_of

ROOT = Path(__file__).parents[2]
POINTS = ("exported", "building", "built", "swapping", "swapped")
N_POSTS = 60
FIRST = 40
"""Posts before the snapshot; the others are in the log alone."""
QUERIES = np.array([[1, 0, 0.3], [-1, 0.2, 0.3], [0.1, 1, 0.3]], np.float32)


class Running:
    """A shard's state, tailer and rebuilds over a folder, as the actor holds them."""

    def __init__(self, folder: Path) -> None:
        models = Models(ArtifactStore(folder / "artifacts"))
        self.state = ShardState(Settings(data_dir=folder), models)
        self.tailer = Tailer(
            self.state, lambda: SqliteLog.open_reader(folder / "log"), folder / "snapshots"
        )
        self.rebuilds = NearRebuilds(
            lambda: self.state.vectors, folder / "scratch", rebuild_after=5, look_every_s=0.01
        )

    def stop(self) -> None:
        self.rebuilds.stop()
        self.tailer.stop()


def die_at(point: str) -> None:
    """From now on this process is killed where a rebuild comes to the point."""

    def die(*_: Any) -> NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("a killed process goes on")

    def dying_after(owner: Any, name: str) -> None:
        whole = getattr(owner, name)

        def cut(*given: Any, **named: Any) -> None:
            told = whole(*given, **named)
            if isinstance(told, Popen):
                print(told.pid, flush=True)
            die()

        setattr(owner, name, cut)

    match point:
        case "exported":
            dying_after(VectorsKind, "export_fresh_near")
        case "building":
            dying_after(near_rebuild.subprocess, "Popen")
        case "built":
            dying_after(near_rebuild.HnswBase, "load")
        case "swapping":
            nearest._known_rows = die
        case "swapped":
            dying_after(VectorsKind, "swap_near")


def events(clock: Clock, versions: dict[str, str]) -> tuple[list[Event], list[Event]]:
    """What comes before a snapshot, and what after it: posts, likes, undone likes, a delete."""
    activate = Kind.ARTIFACT_ACTIVATE
    first = [clock.event(activate, name=n, model_version=v) for n, v in versions.items()]
    parts = (first, [])
    for number in range(N_POSTS):
        post, part = 1_000 + number, parts[number >= FIRST]
        part.append(clock.post(post, author_of(post)))
        others = [user for user in USERS[:7] if user != author_of(post)]
        likers = [others[(number + k) % len(others)] for k in range(1 + number % 3)]
        part += [clock.on_post(Kind.FAVOURITE, u, post, author_of(post)) for u in likers]
    parts[1].append(clock.event(Kind.POST_DELETE, post_id=1_003, author_id=author_of(1_003)))
    parts[1].append(clock.on_post(Kind.FAVOURITE, USERS[5], 1_004, author_of(1_004)))
    return parts


def answers(state: ShardState, now_ms: int) -> list[Any]:
    """Scores of what is near to some vectors, all vectors, and which there are."""
    version, posts = state.vectors.version, np.arange(1_000, 1_000 + N_POSTS)
    asked = [AskNear(version, query, N_POSTS, now_ms, DAY_MS) for query in QUERIES]
    *found, (vectors, known) = state.ask([*asked, AskVectors(version, posts, now_ms)])
    near = [dict(zip(one.ids.tolist(), one.scores.tolist(), strict=True)) for one in found]
    return [near, vectors, known]


def assert_same(found: list[Any], expected: list[Any]) -> None:
    for mine, theirs in zip(found[0], expected[0], strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-6)
    assert found[2].tolist() == expected[2].tolist()


def routed(happened: list[Event], now_ms: int) -> dict[int, pa.RecordBatch]:
    """Lanes of valid events of these minutes: a shard forgets what is older by the real clock."""
    checked = check_objects(happened, now_ms=now_ms)
    assert not checked.problems
    return route(checked.batch, N_LANES)


def append(log: SqliteLog, happened: list[Event], now_ms: int) -> None:
    log.append({lane: encode(rows) for lane, rows in routed(happened, now_ms).items()})


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    with SqliteLog(tmp_path / "log", n_lanes=N_LANES) as opened:
        yield opened


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_rebuild_loses_nothing(tmp_path: Path, log: SqliteLog, point: str) -> None:
    now_ms = time.time_ns() // 1_000_000
    first, second = events(Clock(now_ms - 600_000), write_world(tmp_path))
    append(log, first, now_ms)
    command = [sys.executable, "-m", "tests.actors.test_near_rebuild_crash", str(tmp_path), point]
    with Popen(command, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True) as shard:
        assert shard.stdin is not None
        assert shard.stdout is not None
        try:
            assert shard.stdout.readline() == "snapshot\n"
            append(log, second, now_ms)
            print(file=shard.stdin, flush=True)
            rest = shard.stdout.read().split()
            assert shard.wait(60) == -signal.SIGKILL
        finally:
            shard.kill()
    if point == "building":
        wait_for(lambda: not is_running(int(rest[0])))
    left = list((tmp_path / "scratch").glob("*"))
    assert bool(left) == (point != "exported")
    again = Running(tmp_path)
    begun_ms = time.time_ns() // 1_000_000
    again.tailer.start()
    try:
        wait_for(lambda: again.tailer.caught_up_ms > begun_ms)
        assert again.state.counters["applied"] < len(first)
        expected = ShardState(again.state.settings, again.state.models)
        for rows in routed([*first, *second], now_ms).values():
            expected.apply(rows, np.ones(rows.num_rows, np.int64), False)
        before = answers(again.state, now_ms)
        assert_same(before, answers(expected, now_ms))
        assert len(before[0][0]) == N_POSTS - 1
        again.rebuilds.start()
        wait_for(lambda: again.rebuilds.built)
        assert again.state.vectors.sizes()["vectors_one_by_one"] == 0
        assert_same(answers(again.state, now_ms), before)
        [kept] = (tmp_path / "scratch").glob("*")
        assert kept not in left
    finally:
        again.stop()
    assert not (tmp_path / "scratch").exists()


def main() -> None:
    """Be a shard that writes a snapshot, applies what comes then, and dies in its next rebuild."""
    folder, point = Path(sys.argv[1]), sys.argv[2]
    running = Running(folder)
    begun_ms = time.time_ns() // 1_000_000
    running.tailer.start()
    wait_for(lambda: running.tailer.caught_up_ms > begun_ms)
    running.tailer.request_snapshot()
    wait_for(lambda: running.tailer.last_snapshot)
    print("snapshot", flush=True)
    sys.stdin.readline()
    wait_for(lambda: running.state.vectors.sizes()["vectors"] == N_POSTS - 1)
    die_at(point)
    running.rebuilds.start()
    wait_for(lambda: running.rebuilds.failure)
    raise AssertionError(running.rebuilds.failure)


if __name__ == "__main__":
    main()

"""kill -9 under load: nothing acknowledged is lost, and no append is found in half."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.jetstream_log import JetStreamLog
from cluster.log import AppendUnknown, EventLog, LogUnavailable
from cluster.nats_server import NatsCluster, NatsServer
from cluster.sqlite_log import SqliteLog

ROOT = Path(__file__).parents[2]
N_LANES = 16
N_WRITERS = 4

SQLITE_WRITER = """
import json, sys, threading
from pathlib import Path
from cluster.sqlite_log import SqliteLog

log = SqliteLog(Path(sys.argv[1]))
start = int(sys.argv[2])
say = threading.Lock()

def work(worker):
    i = start
    while True:
        lanes = [(worker + k) % 16 for k in range(1 + i % 16)]
        payload = json.dumps({"id": f"{worker}-{i}", "lanes": lanes, "pad": "x" * 2000})
        offset = log.append({lane: payload.encode() for lane in lanes})
        with say:
            print(json.dumps([f"{worker}-{i}", offset]), flush=True)
        i += 1

for worker in range(4):
    threading.Thread(target=work, args=(worker,)).start()
"""


def check_log(log: EventLog, acked: dict[str, int]) -> set[str]:
    """Every acknowledged append is where it was acknowledged; every append there is whole.

    Returns the ids found.
    """
    at = dict.fromkeys(range(N_LANES), 0)
    lanes_by_append: dict[tuple[str, int], list[int]] = {}
    wanted: dict[str, list[int]] = {}
    while records := log.read(at, timeout_s=0.5):
        here: set[tuple[str, int]] = set()
        for record in records:
            assert record.offset > at[record.lane]
            at[record.lane] = record.offset
            append = json.loads(record.payload)
            lanes = sorted(append["lanes"])
            last = record.offset - lanes.index(record.lane) + len(lanes) - 1
            key = (append["id"], last)
            assert key in here or key not in lanes_by_append, "one append came in two reads"
            here.add(key)
            lanes_by_append.setdefault(key, []).append(record.lane)
            wanted[append["id"]] = lanes
    for (name, last), found in lanes_by_append.items():
        assert found == wanted[name], f"half of append {name} at {last}: {found}"
    lost = {name for name, last in acked.items() if (name, last) not in lanes_by_append}
    assert not lost, f"acknowledged and lost: {sorted(lost)[:10]} of {len(acked)}"
    return {name for name, _ in lanes_by_append}


class Load:
    """Writers that append until told to stop, and remember what was acknowledged."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.acked: dict[str, int] = {}
        self.unknown: list[str] = []
        self.failed: list[BaseException] = []
        self._threads = [threading.Thread(target=self._work, args=(k,)) for k in range(N_WRITERS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, n_more: int, deadline_s: float = 40.0) -> None:
        goal = len(self.acked) + n_more
        wait_until(lambda: len(self.acked) >= goal, deadline_s)

    def _work(self, worker: int) -> None:
        i = 0
        while not self._stop.is_set():
            name = f"{worker}-{i}"
            lanes = [(worker + k) % N_LANES for k in range(1 + i % N_LANES)]
            payload = json.dumps({"id": name, "lanes": lanes, "pad": "x" * 2000}).encode()
            try:
                offset = self._log.append(dict.fromkeys(lanes, payload))
            except (AppendUnknown, LogUnavailable):
                self.unknown.append(name)
            except BaseException as error:
                self.failed.append(error)
                raise
            else:
                with self._lock:
                    self.acked[name] = offset
            i += 1


def wait_until(condition: Callable[[], bool], deadline_s: float) -> None:
    until = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < until, f"not so after {deadline_s} s"
        time.sleep(0.01)


@contextlib.contextmanager
def sqlite_writer(path: Path, start: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SQLITE_WRITER, str(path), str(start)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_sqlite_writer_killed_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    acked: dict[str, int] = {}
    for n_acks in (40, 150, 333):
        with sqlite_writer(path, start=1000 * n_acks) as process:
            assert process.stdout is not None
            for _ in range(n_acks):
                name, offset = json.loads(process.stdout.readline())
                acked[name] = offset
            process.kill()
            # What was printed before the kill was acknowledged too; its last line may be torn.
            for line in process.stdout.read().splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    name, offset = json.loads(line)
                    acked[name] = offset
        with SqliteLog(path) as log:
            check_log(log, acked)
    assert len(acked) >= 523
    assert len(set(acked.values())) == len(acked)


def test_single_jetstream_server_killed_and_restarted(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as server, JetStreamLog([server.url], replicas=1) as log:
        with Load(log) as load:
            for _ in range(3):
                load.wait_for_more(60)
                server.kill()
                server.start()
            load.wait_for_more(60)
        assert not load.failed
        assert not load.unknown
        found = check_log(log, load.acked)
        assert found == set(load.acked)
        with JetStreamLog([server.url], replicas=1) as reader:
            assert check_log(reader, load.acked) == found


@pytest.mark.parametrize("victim", ["leader", "connected"])
def test_one_of_three_jetstream_servers_killed(tmp_path: Path, victim: str) -> None:
    with NatsCluster(tmp_path / "nats") as cluster, JetStreamLog(cluster.urls) as log:
        follower = JetStreamLog(cluster.urls)
        with Load(log) as load:
            load.wait_for_more(60)
            name, url = log.leader(), log.connected_to()
            killed = next(
                server
                for server in cluster.servers
                if (server.name == name if victim == "leader" else server.url == url)
            )
            killed.kill()
            load.wait_for_more(60)
            assert follower.read(dict.fromkeys(range(N_LANES), 0), timeout_s=10.0)
            killed.start()
            load.wait_for_more(60)
        assert not load.failed
        assert not load.unknown
        assert check_log(log, load.acked) == set(load.acked)
        assert check_log(follower, load.acked) == set(load.acked)
        follower.close()

"""How fast the event log acknowledges, and how cheap it is to follow, for every storage.

One append is 1,000 events of about 80 bytes, spread over 16 lanes, fsynced before it is
acknowledged. `python -m benchmarks.log [--seconds 5] [--out results/log.json]`
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import emit, percentiles
from cluster.jetstream_log import JetStreamLog
from cluster.log import EventLog
from cluster.nats_server import NatsCluster, NatsServer
from cluster.sqlite_log import SqliteLog

N_LANES = 16
EVENTS_PER_APPEND = 1000
EVENT_BYTES = 80
APPENDERS = (1, 8)
IDLE_POLLS = 100
IDLE_EVERY_S = 0.01

OpenLog = Callable[[], EventLog]


def main() -> None:
    """Measures SQLite, one JetStream server and three, and prints one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="per figure")
    parser.add_argument("--folder", type=Path, help="where the logs are written (default: temp)")
    parser.add_argument("--out", type=Path, help="also write the JSON document here")
    arguments = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for name, opened in _storages(Path(folder)).items():
            with opened as (writer, reader):
                figures[name] = _measure(writer, reader, arguments.seconds)
    emit(
        "log",
        figures,
        out=arguments.out,
        lanes=N_LANES,
        events_per_append=EVENTS_PER_APPEND,
        bytes_per_append=EVENTS_PER_APPEND * EVENT_BYTES,
        seconds_per_figure=arguments.seconds,
    )


def _storages(
    folder: Path,
) -> dict[str, contextlib.AbstractContextManager[tuple[EventLog, EventLog]]]:
    return {
        "sqlite": _sqlite(folder / "log.db"),
        "jetstream_1": _jetstream(folder / "one", 1),
        "jetstream_3": _jetstream(folder / "three", 3),
    }


@contextlib.contextmanager
def _sqlite(path: Path) -> Iterator[tuple[EventLog, EventLog]]:
    with SqliteLog(path) as log, SqliteLog.open_reader(path) as reader:
        yield log, reader


@contextlib.contextmanager
def _jetstream(folder: Path, replicas: int) -> Iterator[tuple[EventLog, EventLog]]:
    with contextlib.ExitStack() as stack:
        if replicas == 1:
            urls = [stack.enter_context(NatsServer(folder)).url]
        else:
            urls = stack.enter_context(NatsCluster(folder, replicas)).urls
        log = stack.enter_context(JetStreamLog(urls, replicas=replicas))
        yield log, stack.enter_context(JetStreamLog(urls, replicas=replicas))


def _measure(log: EventLog, reader: EventLog, seconds: float) -> dict[str, Any]:
    figures: dict[str, Any] = {f"appenders_{n}": _append_for(log, n, seconds) for n in APPENDERS}
    positions, figures["replay"] = _replay(reader)
    figures["idle_poll"] = _poll_idle(reader, positions)
    figures["append_to_visible"] = _follow(log, reader, positions, min(1.0, seconds))
    return figures


def _append_for(log: EventLog, n_appenders: int, seconds: float) -> dict[str, Any]:
    payloads = _payloads()
    log.append(payloads)
    until = time.perf_counter() + seconds
    samples_s: list[list[float]] = [[] for _ in range(n_appenders)]

    def work(mine: list[float]) -> None:
        while (start := time.perf_counter()) < until:
            log.append(payloads)
            mine.append(time.perf_counter() - start)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in samples_s]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.perf_counter() - start
    every_s = [sample for mine in samples_s for sample in mine]
    return {
        "appends_per_s": round(len(every_s) / took_s, 1),
        "events_per_s": round(len(every_s) * EVENTS_PER_APPEND / took_s),
        "acknowledged": percentiles(every_s),
    }


def _replay(reader: EventLog) -> tuple[dict[int, int], dict[str, Any]]:
    positions = dict.fromkeys(range(N_LANES), 0)
    n_records = n_bytes = 0
    start = time.perf_counter()
    while records := reader.read(positions):
        n_records += len(records)
        n_bytes += sum(len(record.payload) for record in records)
        positions.update((record.lane, record.offset) for record in records)
    took_s = time.perf_counter() - start
    return positions, {
        "events_per_s": round(n_bytes / EVENT_BYTES / took_s),
        "mb_per_s": round(n_bytes / 1e6 / took_s, 1),
        "records": n_records,
    }


def _poll_idle(reader: EventLog, positions: dict[int, int]) -> dict[str, float]:
    samples_s = []
    for _ in range(IDLE_POLLS):
        start = time.perf_counter()
        reader.read(positions)
        samples_s.append(time.perf_counter() - start)
        time.sleep(IDLE_EVERY_S)
    return percentiles(samples_s) | {"mean_ms": round(1e3 * sum(samples_s) / IDLE_POLLS, 4)}


def _follow(
    log: EventLog, reader: EventLog, positions: dict[int, int], seconds: float
) -> dict[str, float]:
    """From the acknowledgement to the read that has the append, by a reader that waits for it."""
    payloads = _payloads()
    samples_s = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        last = log.append(payloads)
        start = time.perf_counter()
        while positions[N_LANES - 1] < last:
            records = reader.read(positions, timeout_s=1.0)
            positions.update((record.lane, record.offset) for record in records)
        samples_s.append(time.perf_counter() - start)
    return percentiles(samples_s)


def _payloads() -> dict[int, bytes]:
    n_bytes = EVENTS_PER_APPEND * EVENT_BYTES // N_LANES
    return {lane: np.random.default_rng(lane).bytes(n_bytes) for lane in range(N_LANES)}


if __name__ == "__main__":
    main()

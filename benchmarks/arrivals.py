"""Events arriving at a steady rate, sent by a process of their own while others measure.

Run as `python -m benchmarks.arrivals`: reads a plan (JSON) from standard input, sends new
favourites as Arrow over HTTP until it is ended, and keeps to the rate as long as it can.
"""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.system import RunningSystem
from benchmarks.worlds import DenseWorld
from cluster.events import Kind

_PER_S = 10
_ARROW = "application/vnd.apache.arrow.stream"


@contextmanager
def arriving(system: RunningSystem, world: DenseWorld, events_per_s: int) -> Iterator[None]:
    """While the block runs, favourites such as the world's arrive."""
    host, port = system.address
    plan = {"host": host, "port": port, "token": system.token, "events_per_s": events_per_s}
    plan |= {"world": vars(world)}
    command = [sys.executable, "-m", "benchmarks.arrivals"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(json.dumps(plan).encode())
    process.stdin.close()
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _send(plan: dict[str, Any]) -> None:
    rng = np.random.default_rng()
    world, size = DenseWorld(**plan["world"]), plan["events_per_s"] // _PER_S
    authors = world.authors()
    connection = http.client.HTTPConnection(plan["host"], plan["port"], timeout=30)
    headers = {"Authorization": f"Bearer {plan['token']}", "Content-Type": _ARROW}
    due = time.monotonic()
    while True:
        now_ms = time.time_ns() // 1_000_000
        columns = {
            "kind": np.full(size, Kind.FAVOURITE, np.uint8),
            "time_ms": np.full(size, now_ms),
            **world.drawn(size, authors, rng),
        }
        batch = pa.RecordBatch.from_pydict(columns)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        connection.request("POST", "/v1/events", sink.getvalue().to_pybytes(), headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(f"events were answered by {answer.status}")
        due += 1 / _PER_S
        time.sleep(max(due - time.monotonic(), 0))


if __name__ == "__main__":
    _send(json.load(sys.stdin))

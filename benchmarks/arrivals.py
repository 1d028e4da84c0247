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

import numpy as np
import pyarrow as pa

from benchmarks.system import RunningSystem
from benchmarks.worlds import DenseWorld
from cluster.events import Kind

_PER_S = 10
_ARROW = "application/vnd.apache.arrow.stream"


@contextmanager
def arriving(system: RunningSystem, world: DenseWorld, events_per_s: int) -> Iterator[None]:
    """While the block runs, favourites of the world's posts arrive."""
    host, port = system.address
    plan = {"host": host, "port": port, "token": system.token, "events_per_s": events_per_s}
    plan |= {"users": world.users, "posts": world.posts}
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


def _send(plan: dict[str, object]) -> None:
    rng = np.random.default_rng()
    n, users, posts = (int(str(plan[key])) for key in ("events_per_s", "users", "posts"))
    connection = http.client.HTTPConnection(str(plan["host"]), int(str(plan["port"])), timeout=30)
    headers = {"Authorization": f"Bearer {plan['token']}", "Content-Type": _ARROW}
    authors = np.arange(1, users + 1)
    due = time.monotonic()
    while True:
        size = n // _PER_S
        now_ms = time.time_ns() // 1_000_000
        columns = {
            "kind": np.full(size, Kind.FAVOURITE, np.uint8),
            "time_ms": np.full(size, now_ms),
            "actor_id": rng.choice(authors, size),
            "post_id": 10**12 + 1 + rng.integers(0, posts, size),
            "author_id": rng.choice(authors, size),
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

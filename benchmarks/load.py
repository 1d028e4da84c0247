"""A load generator in a process of its own: keep-alive connections, nothing else.

Run as `python -m benchmarks.load`: reads a plan (JSON) from standard input, in the lines below it
what is posted, and prints what it measured. Its own CPU time is part of the result, so that it can
be told apart from that of the system on the same machine.
"""

import http.client
import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any


def measure(
    host: str,
    port: int,
    paths: list[str],
    *,
    clients: int,
    token: str,
    seconds: float,
    bodies: Sequence[bytes] = (),
) -> dict[str, Any]:
    """Send requests from `clients` connections for a while, in another process.

    With `bodies` (JSON without newlines) each is posted once, and the end comes no later than
    that of the last. Returns `samples_s`, `statuses`, `requests_per_s`, `client_cpu_s` and
    `bytes`.
    """
    plan = {
        "host": host,
        "port": port,
        "paths": paths,
        "clients": clients,
        "token": token,
        "seconds": seconds,
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=b"\n".join([json.dumps(plan).encode(), *bodies]),
        stdout=subprocess.PIPE,
        check=True,
        timeout=seconds + 120,
    )
    return dict(json.loads(done.stdout))


def _run(plan: dict[str, Any], bodies: Sequence[bytes]) -> dict[str, Any]:
    samples: list[float] = []
    statuses: dict[int, int] = {}
    received = 0
    lock = threading.Lock()
    deadline = time.perf_counter() + plan["seconds"]
    headers = {"Authorization": f"Bearer {plan['token']}"}
    method = "POST" if bodies else "GET"
    if bodies:
        headers["Content-Type"] = "application/json"
    to_send: Iterator[bytes | None] = iter(bodies) if bodies else repeat(None)

    def client(number: int) -> None:
        nonlocal received
        connection = http.client.HTTPConnection(plan["host"], plan["port"], timeout=30)
        mine: list[tuple[float, int]] = []
        n_bytes, turn = 0, number
        while time.perf_counter() < deadline:
            with lock:
                body = next(to_send, b"")
            if body == b"":
                break
            path = plan["paths"][turn % len(plan["paths"])]
            turn += plan["clients"]
            started = time.perf_counter()
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            n_bytes += len(answer.read())
            mine.append((time.perf_counter() - started, answer.status))
        with lock:
            received += n_bytes
            for elapsed, status in mine:
                samples.append(elapsed)
                statuses[status] = statuses.get(status, 0) + 1

    started = time.perf_counter()
    threads = [threading.Thread(target=client, args=(i,)) for i in range(plan["clients"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "samples_s": samples,
        "statuses": statuses,
        "requests_per_s": len(samples) / elapsed,
        "client_cpu_s": used.ru_utime + used.ru_stime,
        "seconds": elapsed,
        "bytes": received,
    }


if __name__ == "__main__":
    plan, *bodies = sys.stdin.buffer.read().split(b"\n")
    print(json.dumps(_run(json.loads(plan), bodies)))

"""Restart: a killed shard's state from snapshot and log; and what a snapshot costs queries."""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.report import emit, percentiles
from benchmarks.system import RunningSystem, running_system
from benchmarks.worlds import DenseWorld

_TIMEOUT_S = 600.0
_CALM_QUERIES = 30_000
_SLEEPER = """
import select, sys, time
print(flush=True)
late = []
while True:
    started = time.perf_counter()
    if select.select([sys.stdin], [], [], 0.001)[0]:
        break
    late.append(time.perf_counter() - started - 0.001)
print(*late)
"""


def main() -> None:
    """Import, snapshot under load, import more, kill every shard, and wait for them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    arguments, _ = parser.parse_known_args()
    first = DenseWorld(users=100_000, follows=20, posts=1_000_000, favourites=6_000_000)
    rest = DenseWorld(users=100_000, follows=1, posts=1, favourites=900_000, seed=7)
    if arguments.quick:
        first = DenseWorld(users=10_000, follows=20, posts=50_000, favourites=400_000)
        rest = DenseWorld(users=10_000, follows=1, posts=1, favourites=40_000, seed=7)
    with running_system(shards={"snapshot_every_s": 100_000.0}) as system:
        from cluster.commands.bulk import ingest_batches

        in_snapshot = ingest_batches(system.settings, first.batches)
        stall = _snapshot_under_load(system)
        in_log = ingest_batches(system.settings, rest.batches)
        figures = {
            "events_in_snapshot": in_snapshot,
            "events_in_log": in_log,
            "snapshot": stall,
            "restore": _kill_and_wait(system),
        }
    emit("restore", figures, first=vars(first), rest=vars(rest))


def _snapshot_under_load(system: RunningSystem) -> dict[str, Any]:
    """Query latency before snapshots and while shards take and write theirs in turn."""
    import ray

    from actors.questions import AskContext
    from actors.ray_router import connect_router, shard_name
    from cluster import ray_head

    ray_head.connect(system.settings, start=False)
    router = connect_router(system.settings)
    question = AskContext(1, time.time_ns() // 1_000_000, 1_000, 1_000)

    def sample(until: Any) -> list[float]:
        samples: list[float] = []
        while not until(len(samples)):
            started = time.perf_counter()
            if router.ask({0: [question]}, 30.0).missing:
                raise RuntimeError("the shard does not answer")
            samples.append(time.perf_counter() - started)
        return samples

    sample(lambda n: n > 200)
    # As many as meanwhile: a machine has stalls of its own.
    quiet = sample(lambda n: n > _CALM_QUERIES)
    done = threading.Event()

    def in_turn() -> None:
        try:
            for shard in range(system.settings.shards.count):
                before = _last_snapshots(system)[shard]
                actor: Any = ray.get_actor(shard_name(shard), system.settings.namespace)
                ray.get(actor.snapshot.remote())
                deadline = time.monotonic() + _TIMEOUT_S
                while _last_snapshots(system)[shard] == before and time.monotonic() < deadline:
                    time.sleep(0.1)
        finally:
            done.set()

    waiter = threading.Thread(target=in_turn)
    started = time.perf_counter()
    with _idle_process() as late_s:
        waiter.start()
        busy = sample(lambda _: done.is_set())
        waiter.join()
    calm, under = percentiles(quiet), percentiles(busy)
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "queries_before": calm,
        "queries_meanwhile": under,
        "longest_stall_ms": round(under["max_ms"] - calm["p50_ms"], 2),
        "idle_process_woke_late": percentiles(late_s),
    }


@contextmanager
def _idle_process() -> Iterator[list[float]]:
    """By how much a process that only sleeps wakes late: what the machine itself stalls."""
    late_s: list[float] = []
    command = [sys.executable, "-c", _SLEEPER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sleeper:
        assert sleeper.stdin
        assert sleeper.stdout
        sleeper.stdout.readline()
        yield late_s
        sleeper.stdin.close()
        late_s += map(float, sleeper.stdout.read().split())


def _last_snapshots(system: RunningSystem) -> dict[int, str | None]:
    """By shard, the name of its newest snapshot."""
    from cluster import launch

    return {one["shard"]: one["last_snapshot"] for one in launch.status(system.settings)["shards"]}


def _kill_and_wait(system: RunningSystem) -> dict[str, Any]:
    """SIGKILL every shard; the time until each answers again with everything applied."""
    from cluster import launch

    killed_ms = time.time_ns() // 1_000_000
    for shard in launch.status(system.settings)["shards"]:
        os.kill(shard["pid"], signal.SIGKILL)
    started = time.perf_counter()
    while time.perf_counter() - started < _TIMEOUT_S:
        shards = launch.status(system.settings)["shards"]
        now_ms = time.time_ns() // 1_000_000
        if all(s["ready"] and now_ms - s["lag_ms"] > killed_ms for s in shards):
            return {
                "seconds": round(time.perf_counter() - started, 2),
                "shards": len(shards),
                "store_mib": [round(s["store_bytes"] / 2**20) for s in shards],
            }
        time.sleep(0.1)
    raise RuntimeError(f"the shards were not back in {_TIMEOUT_S} s")


if __name__ == "__main__":
    main()

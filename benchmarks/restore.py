"""Restart: a killed shard's state from snapshot and log; and what a snapshot costs queries."""

import argparse
import os
import signal
import threading
import time
from typing import Any

from benchmarks.report import emit, percentiles
from benchmarks.system import RunningSystem, running_system
from benchmarks.worlds import DenseWorld

_TIMEOUT_S = 600.0


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
    """Query latency before a snapshot and while it is taken and written."""
    import ray

    from actors.questions import AskContext
    from actors.ray_router import connect_router, shard_name
    from cluster import launch, ray_head

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
    quiet = sample(lambda n: n > 1_000)
    done = threading.Event()

    def wait() -> None:
        shards = launch.status(system.settings)["shards"]
        before = {shard["shard"]: shard["last_snapshot"] for shard in shards}
        for shard in range(system.settings.shards.count):
            other: Any = ray.get_actor(shard_name(shard), system.settings.namespace)
            ray.get(other.snapshot.remote())
        deadline = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < deadline:
            shards = launch.status(system.settings)["shards"]
            if all(shard["last_snapshot"] != before[shard["shard"]] for shard in shards):
                break
            time.sleep(0.1)
        done.set()

    waiter = threading.Thread(target=wait)
    started = time.perf_counter()
    waiter.start()
    busy = sample(lambda _: done.is_set())
    waiter.join()
    calm, under = percentiles(quiet), percentiles(busy)
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "queries_before": calm,
        "queries_meanwhile": under,
        "longest_stall_ms": round(under["max_ms"] - calm["p50_ms"], 2),
    }


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

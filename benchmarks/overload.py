"""Overload: ten times the sustainable rate for a while. Who is let in is answered in time, all
others are told when to come back, memory stays flat, and quality comes back afterwards."""

import argparse
import os
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.load import measure
from benchmarks.open_loop import crowd
from benchmarks.report import emit, percentiles
from benchmarks.system import RunningSystem, running_system
from benchmarks.worlds import DenseWorld

TIMES = 10.0
_LIMITS = {"in_network_results": 700, "out_of_network_results": 800}
_FACTORS = {"warm_up_s": 0.0}
_FACTOR = "murmuration_quality_factor"
_RECOVERY_S = 180.0
_OURS = ("ray::", "raylet", "gcs_server", "haproxy")


def main() -> None:
    """Build a dense world, find what is sustainable, and ask for ten times as much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments, _ = parser.parse_known_args()
    world = DenseWorld()
    if arguments.quick:
        world = DenseWorld(users=4_000, follows=200, posts=30_000, favourites=300_000)
    others = set(_memory_mib())
    with running_system(for_you=_LIMITS, sources={"quality_factor": _FACTORS}) as system:
        _fill(system, world)
        figures = measured(system, world, arguments.seconds, others)
    emit("overload", figures, world=vars(world), limits=_LIMITS, times=TIMES)


def measured(
    system: RunningSystem, world: DenseWorld, seconds: float, others: set[int] | None = None
) -> dict[str, Any]:
    """Figures of the time before, in and after the rush; `others` are processes of other systems.

    `holds` says of each promise whether it was kept.
    """
    users = world.user_ids()[:: max(1, world.users // 500)].tolist()
    paths = [f"/v1/timelines/for-you/{user}?limit=35" for user in users]
    calm_s = min(15.0, seconds)
    measure(*system.address, paths, clients=8, token=system.token, seconds=5.0)
    sustained = measure(*system.address, paths, clients=8, token=system.token, seconds=calm_s)
    per_s = sustained["requests_per_s"]
    factors_before = _factors(system)
    with _watched(others or set()) as memory:
        rush = crowd(
            *system.address, paths, token=system.token, per_s=TIMES * per_s, seconds=seconds
        )
        factors_after = _factors(system)
    recovered_s = _recovery_s(system, paths)
    told = _of_rush(rush, seconds)
    deadline_s = system.settings.http.deadline_ms / 1000
    within = float(np.mean(np.array(told["admitted_s"]) <= deadline_s)) if told["admitted_s"] else 0
    holds = {
        "admitted_within_the_deadline": round(within, 4),
        "admitted_without_the_viewers_context": told["blind"],
        "refused_with_retry_after": told["refused_with_retry_after"],
        "other_statuses": told["others"],
        "memory_grown_mib": memory.grown_mib(),
        "quality_recovered_after_s": recovered_s,
    }
    return {
        "sustained": {
            "requests_per_s": round(per_s, 1),
            "statuses": sustained["statuses"],
            **percentiles(sustained["samples_s"]),
        },
        "asked_per_s": round(TIMES * per_s, 1),
        "deadline_ms": system.settings.http.deadline_ms,
        "statuses": told["statuses"],
        "admitted": percentiles(told["admitted_s"]) if told["admitted_s"] else {},
        "admitted_per_s": round(len(told["admitted_s"]) / seconds, 1),
        "refused": percentiles(told["refused_s"]) if told["refused_s"] else {},
        "memory_mib": memory.by_second(),
        "factors": {"before": factors_before, "after": factors_after, "last": _factors(system)},
        "generator": {"late_s": round(rush["late_s"], 3), "cpu_s": round(rush["client_cpu_s"], 1)},
        "holds": holds,
    }


def _of_rush(rush: dict[str, Any], seconds: float) -> dict[str, Any]:
    status, took_s = np.array(rush["status"]), np.array(rush["seconds"])
    admitted, refused = status == 200, np.isin(status, (429, 503))
    return {
        "statuses": dict(Counter(rush["status"])),
        "admitted_s": took_s[admitted].tolist(),
        "refused_s": took_s[refused].tolist(),
        "blind": int(np.array(rush["blind"])[admitted].sum()),
        "refused_with_retry_after": round(float(np.array(rush["retry_after"])[refused].mean()), 4)
        if refused.any()
        else None,
        "others": int((~admitted & ~refused).sum()),
    }


def _recovery_s(system: RunningSystem, paths: list[str]) -> float | None:
    """Seconds of ordinary load until every factor is where it starts; None where it never is."""
    started = time.monotonic()
    start = system.settings.sources.quality_factor.start
    while time.monotonic() - started < _RECOVERY_S:
        if min(_factors(system).values()) >= start:
            return round(time.monotonic() - started, 1)
        measure(*system.address, paths, clients=2, token=system.token, seconds=2.0)
    return None


def _factors(system: RunningSystem) -> dict[str, float]:
    host, port = system.address
    request = urllib.request.Request(
        f"http://{host}:{port}/metrics", headers={"Authorization": f"Bearer {system.token}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read().decode()
    return {
        sample.labels["name"]: round(sample.value, 4)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == _FACTOR
    }


@dataclass
class _Memory:
    """MiB of all processes of the system, second by second."""

    samples: list[float] = field(default_factory=list)

    def by_second(self) -> list[float]:
        return [round(sample) for sample in self.samples]

    def grown_mib(self) -> float:
        """Of the last third of the time against the first."""
        third = max(len(self.samples) // 3, 1)
        first, last = np.median(self.samples[:third]), np.median(self.samples[-third:])
        return round(float(last - first), 1)


@contextmanager
def _watched(others: set[int]) -> Iterator[_Memory]:
    memory, over = _Memory(), threading.Event()

    def watch() -> None:
        while True:
            found = _memory_mib()
            memory.samples.append(sum(mib for pid, mib in found.items() if pid not in others))
            if over.wait(1.0):
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        over.set()
        thread.join()


def _memory_mib() -> dict[int, float]:
    """Memory of their own (not shared) of the processes of Ray's systems here, by process id."""
    page_mib = os.sysconf("SC_PAGE_SIZE") / 2**20
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            command = (
                (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            )
            if any(name in command for name in _OURS):
                resident, shared = (folder / "statm").read_text().split()[1:3]
                found[int(folder.name)] = (int(resident) - int(shared)) * page_mib
        except (OSError, ValueError):
            continue
    return found


def _fill(system: RunningSystem, world: DenseWorld) -> None:
    from cluster.commands.bulk import ingest_batches
    from cluster.commands.training import train

    ingest_batches(system.settings, world.batches)
    list(train(system.settings, "light_ranker", None, True))


if __name__ == "__main__":
    main()

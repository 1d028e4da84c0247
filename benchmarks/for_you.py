"""For You over HTTP: latency at one client and throughput at eight, over 1,500 candidates.

All sources are asked, or with `--sources in_network user_tweet_entity_graph` only those named. A
replica for each core makes pages, as one process runs Python in one thread at a time.
"""

import argparse
import json
import os
import urllib.request
from typing import Any, get_args

from benchmarks.load import measure
from benchmarks.report import emit, percentiles
from benchmarks.system import RunningSystem, cpu_seconds, running_system
from benchmarks.worlds import DenseWorld
from cluster.source_settings import SourceName

_SOURCES = get_args(SourceName)
_LIMITS = {"in_network_results": 700, "out_of_network_results": 800}


def main() -> None:
    """Build a dense world, train on it, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--sources", nargs="+", choices=_SOURCES, default=_SOURCES)
    parser.add_argument("--replicas", type=int, default=os.cpu_count())
    arguments, _ = parser.parse_known_args()
    world = DenseWorld()
    if arguments.quick:
        world = DenseWorld(users=4_000, follows=200, posts=30_000, favourites=300_000)
    off = [name for name in _SOURCES if name not in arguments.sources]
    changed = {
        "for_you": _LIMITS,
        "sources": {"off": off},
        "http": {"replicas": arguments.replicas},
    }
    with running_system(**changed) as system:
        _fill(system, world)
        figures = measured(system, world, arguments.seconds)
    emit("for_you", figures, world=vars(world), settings=changed)


def measured(system: RunningSystem, world: DenseWorld, seconds: float) -> dict[str, Any]:
    """Figures for one client and for eight, after a warm-up."""
    users = world.user_ids()[:: max(1, world.users // 200)].tolist()
    paths = [f"/v1/timelines/for-you/{user}?limit=35" for user in users]
    # A viewer's first page comes with whom to follow, the next ones for hours do not.
    for path in paths:
        _answer(system, path)
    figures: dict[str, Any] = {"candidates": _candidates(system, paths[0])}
    for clients in (1, 8):
        before = cpu_seconds()
        load = measure(*system.address, paths, clients=clients, token=system.token, seconds=seconds)
        n = len(load["samples_s"])
        cpu_s = cpu_seconds() - before - load["client_cpu_s"]
        figures[f"clients_{clients}"] = {
            **percentiles(load["samples_s"]),
            "requests_per_s": round(load["requests_per_s"], 1),
            "system_cpu_ms_per_request": round(cpu_s / n * 1000, 2),
            "load_generator_cpu_ms_per_request": round(load["client_cpu_s"] / n * 1000, 2),
            "statuses": load["statuses"],
            "bytes_per_answer": load["bytes"] // n,
        }
    return figures


def _candidates(system: RunningSystem, path: str) -> dict[str, Any]:
    """What a request like those measured, one of a viewer who was here before, is made of."""
    page = _answer(system, path)
    found = {name: source["found"] for name, source in page["candidates"].items()}
    return {
        "items": len(page["items"]),
        "found": sum(found.values()),
        "by_source": found,
        "timings_ms": page["timings_ms"],
    }


def _answer(system: RunningSystem, path: str) -> Any:
    host, port = system.address
    headers = {"Authorization": f"Bearer {system.token}"}
    request = urllib.request.Request(f"http://{host}:{port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def _fill(system: RunningSystem, world: DenseWorld) -> None:
    from cluster.commands.bulk import ingest_batches
    from cluster.commands.training import train

    ingest_batches(system.settings, world.batches)
    list(train(system.settings, "light_ranker", None, True))


if __name__ == "__main__":
    main()

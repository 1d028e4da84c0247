"""Events in: bulk import, HTTP ingest, and how soon an acknowledged post is seen."""

import argparse
import json
import time
import urllib.request
from typing import Any

import numpy as np
import orjson

from benchmarks.load import measure
from benchmarks.report import emit, percentiles
from benchmarks.system import RunningSystem, cpu_seconds, running_system
from benchmarks.worlds import DenseWorld
from cluster.ids import Ids

_BATCH_EVENTS = 1_000
_MOST_PER_S = 100
"""Batches made ahead for each second; a faster system ends sooner."""


def main() -> None:
    """Measure import, HTTP ingest and freshness on one running system."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    arguments, _ = parser.parse_known_args()
    world = DenseWorld(users=20_000, follows=50, posts=100_000, favourites=2_000_000)
    seconds = 15.0
    if arguments.quick:
        world = DenseWorld(users=4_000, follows=50, posts=20_000, favourites=100_000)
        seconds = 4.0
    with running_system() as system:
        figures = {
            "bulk_import": _bulk(system, world),
            "http_ingest": _http(system, world, seconds),
            "freshness": _freshness(system, 20 if arguments.quick else 200),
        }
    emit("ingest", figures, world=vars(world), http_batch_events=_BATCH_EVENTS)


def _bulk(system: RunningSystem, world: DenseWorld) -> dict[str, Any]:
    """Import through the log and into the shards, until everything is applied."""
    from cluster.commands.bulk import ingest_batches

    started, cpu = time.perf_counter(), cpu_seconds()
    accepted = ingest_batches(system.settings, world.batches)
    elapsed = time.perf_counter() - started
    return {
        "events": accepted,
        "seconds": round(elapsed, 2),
        "events_per_s": round(accepted / elapsed),
        "cpu_us_per_event": round((cpu_seconds() - cpu) / accepted * 1e6, 2),
    }


def _http(system: RunningSystem, world: DenseWorld, seconds: float) -> dict[str, Any]:
    """Batches of 1,000 favourites as JSON, all different, acknowledged when durable."""
    rng, authors = np.random.default_rng(1), world.authors()
    figures: dict[str, Any] = {}
    for clients in (1, 4):
        n_batches = round(seconds * _MOST_PER_S)
        bodies = [orjson.dumps(_events(world, authors, rng)) for _ in range(n_batches)]
        figures.setdefault("body_bytes", len(bodies[0]))
        load = measure(
            *system.address,
            ["/v1/events"],
            clients=clients,
            token=system.token,
            seconds=seconds,
            bodies=bodies,
        )
        figures[f"clients_{clients}"] = {
            **percentiles(load["samples_s"]),
            "events_per_s": round(load["requests_per_s"] * _BATCH_EVENTS),
            "statuses": load["statuses"],
        }
    return figures


def _freshness(system: RunningSystem, posts: int) -> dict[str, Any]:
    """From the acknowledgement of a post until it is in a follower's Following timeline."""
    now_ms = _now_ms()
    author, viewer = 10**15 + 1, 10**15 + 2
    follow = {"kind": "follow", "actor_id": viewer, "target_id": author, "time_ms": now_ms - 1000}
    _call(system, "/v1/events", orjson.dumps([follow]))
    samples = []
    for number in range(posts):
        post_id = 2 * 10**15 + number
        post = {
            "kind": "post_create",
            "post_id": post_id,
            "author_id": author,
            "time_ms": _now_ms() - 1,
            "text": "fresh",
        }
        _call(system, "/v1/events", orjson.dumps([post]))
        acknowledged = time.perf_counter()
        while True:
            page = _call(system, f"/v1/timelines/following/{viewer}?limit=1")
            if page["items"] and page["items"][0]["post_id"] == str(post_id):
                samples.append(time.perf_counter() - acknowledged)
                break
            if time.perf_counter() - acknowledged > 10:
                raise RuntimeError(f"post {post_id} was not seen in 10 s")
    return percentiles(samples)


def _events(world: DenseWorld, authors: Ids, rng: np.random.Generator) -> list[dict[str, Any]]:
    drawn = world.drawn(_BATCH_EVENTS, authors, rng)
    rows = zip(*(ids.tolist() for ids in drawn.values()), strict=True)
    favourite = {"kind": "favourite", "time_ms": _now_ms()}
    return [favourite | dict(zip(drawn, row, strict=True)) for row in rows]


def _call(system: RunningSystem, path: str, body: bytes | None = None) -> dict[str, Any]:
    host, port = system.address
    headers = {"Authorization": f"Bearer {system.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{host}:{port}{path}", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    main()

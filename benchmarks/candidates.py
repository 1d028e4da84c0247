"""The candidate stage: all sources over two shards, and what is built on it, over HTTP.

With `--ranker laptop` or `--ranker twitter` also For You ranked by a heavy ranker of that preset's
inputs and sizes, whose weights are drawn: what it takes does not depend on them.
"""

import argparse
import contextlib
import json
import os
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.arrivals import arriving
from benchmarks.load import measure
from benchmarks.report import emit, percentiles
from benchmarks.system import RunningSystem, running_system
from benchmarks.worlds import DenseWorld
from cluster.settings import PRESETS

if TYPE_CHECKING:
    from cluster.artifacts import ArtifactStore

_TRAINED = ("simclusters", "twhin", "light_ranker")
"""Real Graph is a lookup at the time of a request, and takes minutes to learn from this."""
_EVENTS_PER_S = 20_000
_SETTINGS: dict[str, Any] = {
    "training": {"twhin": {"epochs": 1}, "max_examples": 20_000},
    # Every request does all of the work, whoever asked a moment ago.
    "sources": {"off": ["cached"]},
}
_RANKERS: dict[str, dict[str, Any]] = {
    "laptop": {},
    "twitter": {
        "training": {"twhin": {"epochs": 1, "dimensions": 200}, "max_examples": 20_000},
        "heavy_ranker": PRESETS["twitter"]["heavy_ranker"] | {"threads": 2},
        "http": {"deadline_ms": 10_000},
    },
}
_LOADED_WITHIN_S = 120.0
_INDEXED_WITHIN_S = 1_200.0
_STAGES = ("viewer_context", "candidates", "hydration")


def main() -> None:
    """Build a world of communities, train on it, and measure without and with arriving events."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--ranker", choices=("laptop", "twitter"))
    arguments, _ = parser.parse_known_args()
    world = DenseWorld(100_000, 80, 1_000_000, 10_000_000, communities=500)
    if arguments.quick:
        world = DenseWorld(10_000, 80, 100_000, 800_000, communities=50)
    settings = _SETTINGS | (_RANKERS[arguments.ranker] if arguments.ranker else {})
    with running_system(**settings) as system:
        trained = _fill(system, world)
        users = np.random.default_rng(1).choice(world.user_ids(), arguments.requests).tolist()
        figures = {"trained": trained, "first_visits": _first_visits(system, users)}
        figures["at_rest"] = _measured(system, users)
        if arguments.ranker:
            figures["heavy_ranker"] = {"preset": arguments.ranker, **_ranked(system, users)}
        with arriving(system, world, _EVENTS_PER_S):
            figures[f"with_{_EVENTS_PER_S}_events_per_s"] = _measured(system, users)
    emit("candidates", figures, world=vars(world))


def _fill(system: RunningSystem, world: DenseWorld) -> dict[str, Any]:
    from cluster.commands.bulk import ingest_batches
    from cluster.commands.training import train

    ingest_batches(system.settings, world.batches)
    found = {}
    for name in _TRAINED:
        for one in train(system.settings, name, None, True):
            found[name] = {key: one.get(key) for key in ("version", "seconds", "passed")}
    return found | {"vectors": _indexed(system)}


def _indexed(system: RunningSystem) -> dict[str, Any]:
    """Wait until no index of vectors is being built: until then they are compared one by one."""
    from cluster import launch

    started, most = time.monotonic(), system.settings.vectors.rebuild_after
    while True:
        shards = launch.status(system.settings)["shards"]
        one_by_one = [shard["vectors_one_by_one"] for shard in shards]
        seconds = round(time.monotonic() - started, 1)
        if max(one_by_one) <= most:
            return {"one_by_one": one_by_one, "index_seconds": seconds}
        if seconds > _INDEXED_WITHIN_S:
            raise RuntimeError(f"{one_by_one} vectors are in no index after {seconds} s")
        time.sleep(0.5)


def _first_visits(system: RunningSystem, users: list[int]) -> dict[str, Any]:
    """For You over HTTP of viewers whom nothing was shown: with whom to follow beside it.

    That comes back after hours; what is measured later is of viewers who have seen it.
    """
    samples, items = [], []
    degraded: Counter[str] = Counter()
    for user in users:
        started = time.perf_counter()
        with urllib.request.urlopen(_request(system, _for_you(user))) as answer:
            page = json.load(answer)
        samples.append(time.perf_counter() - started)
        items.append(len(page["items"]))
        degraded.update(page["degraded"])
    return {**percentiles(samples), "items": float(np.mean(items)), "degraded": degraded}


def _for_you(user_id: int, limit: int = 35) -> str:
    return f"/v1/timelines/for-you/{user_id}?limit={limit}"


def _measured(system: RunningSystem, users: list[int]) -> dict[str, Any]:
    return {
        "candidate_stage": _candidate_stage(system, users),
        "for_you_http": _http(system, [_for_you(user) for user in users]),
        "follow_recommendations_http": _http(
            system, [f"/v1/users/{u}/follow-recommendations?limit=20" for u in users]
        ),
    }


def _ranked(system: RunningSystem, users: list[int]) -> dict[str, Any]:
    """For You once a heavy ranker serves."""
    from cluster.artifacts import ArtifactStore
    from cluster.commands.training import activate, train

    for _ in train(system.settings, "aggregates", None, True):
        pass
    version = _drawn_ranker(system, ArtifactStore(system.settings.data_dir / "artifacts"))
    activate(system.settings, "heavy_ranker", version)
    deadline = time.monotonic() + _LOADED_WITHIN_S
    while _model_of_a_page(system, users[0]) != version:
        if time.monotonic() > deadline:
            raise RuntimeError(f"heavy_ranker {version} does not score")
        time.sleep(0.2)
    paths = [_for_you(user) for user in users]
    with urllib.request.urlopen(_request(system, paths[0])) as answer:
        timings_ms = json.load(answer)["timings_ms"]
    return {"for_you_http": _http(system, paths), "timings_ms_of_one": timings_ms}


def _drawn_ranker(system: RunningSystem, artifacts: "ArtifactStore") -> str:
    from actors.features.registry import schema_for
    from actors.features.tasks import TASK_NAMES
    from training.heavy_ranker.export import export
    from training.heavy_ranker.model import HeavyRanker

    schema, settings = schema_for(system.settings), system.settings.heavy_ranker
    with artifacts.writing("heavy_ranker", schema_version=1) as draft:
        model = HeavyRanker(schema, settings).eval()
        export(model, schema, settings, dict.fromkeys(TASK_NAMES, (1.0, 0.0)), draft.folder)
    return str(draft.version)


def _model_of_a_page(system: RunningSystem, user_id: int) -> str:
    with urllib.request.urlopen(_request(system, _for_you(user_id, limit=1))) as answer:
        return str(json.load(answer)["model_version"])


def _request(system: RunningSystem, path: str) -> urllib.request.Request:
    host, port = system.address
    headers = {"Authorization": f"Bearer {system.token}"}
    return urllib.request.Request(f"http://{host}:{port}{path}", headers=headers)


def _candidate_stage(system: RunningSystem, users: list[int]) -> dict[str, Any]:
    """The stages up to merged and hydrated candidates, run here as a replica runs them."""
    run = _first_stages(system)
    for user in users[:50]:
        run(user)
    samples, candidates, in_network = [], [], []
    sources: dict[str, list[int]] = {}
    stages: dict[str, list[float]] = {}
    degraded = 0
    cpu_s = _cpu_s()
    for user in users:
        started = time.perf_counter()
        found, trace, query = run(user)
        samples.append(time.perf_counter() - started)
        candidates.append(len(found))
        in_network.append(float((found.feature("is_followed") > 0).mean()) if len(found) else 0.0)
        degraded += bool(query.degraded)
        for name, by in trace.sources.items():
            sources.setdefault(name, []).append(by.found)
        for name, ms in trace.timings_ms().items():
            stages.setdefault(name, []).append(ms)
    cpu_ms = (_cpu_s() - cpu_s) / len(users) * 1000
    return {
        **percentiles(samples),
        "cpu_ms_per_request": round(cpu_ms, 2),
        "candidates": round(float(np.mean(candidates))),
        "in_network_share": round(float(np.mean(in_network)), 3),
        "degraded": degraded,
        "stages_p50_ms": {name: round(float(np.median(ms)), 2) for name, ms in stages.items()},
        "sources_mean": {name: round(float(np.mean(n)), 1) for name, n in sources.items()},
    }


def _first_stages(system: RunningSystem) -> Callable[[int], Any]:
    from actors.models import Models
    from actors.ray_router import connect_router
    from actors.warm import pass_over_what_stays, warm
    from cluster import ray_head
    from cluster.artifacts import ArtifactStore
    from timeline.pipeline import Pipeline
    from timeline.products import for_you
    from timeline.query import Query

    ray_head.connect(system.settings, start=False)
    router = connect_router(system.settings)
    models = Models(ArtifactStore(system.settings.data_dir / "artifacts"))
    product = for_you(models)
    warm()
    pass_over_what_stays()
    first = Pipeline("candidates", [s for s in product.stages if s.name in _STAGES])

    def run(user_id: int) -> Any:
        query = Query(
            viewer_id=user_id,
            now_ms=time.time_ns() // 1_000_000,
            limit=35,
            request_id="",
            settings=system.settings,
            router=router,
            deadline_s=time.monotonic() + 1.5,
            recorded=True,
            posts_only=True,
        )
        return *first.run(query), query

    return run


def _http(system: RunningSystem, paths: list[str]) -> dict[str, Any]:
    measure(*system.address, paths, clients=1, token=system.token, seconds=3.0)
    before = _cpu_s()
    load = measure(*system.address, paths, clients=1, token=system.token, seconds=10.0)
    n = len(load["samples_s"])
    cpu_s = _cpu_s() - before
    return {
        **percentiles(load["samples_s"]),
        "system_cpu_ms_per_request": round(cpu_s / n * 1000, 2),
        "statuses": load["statuses"],
    }


def _cpu_s() -> float:
    """CPU time of this process and of all that the system consists of, whatever else runs here.

    Its processes inherit where its settings are. The client that sends requests has ended, and
    the process that sends events is none of it.
    """
    mark = f"MURMURATION_CONFIG={os.environ['MURMURATION_CONFIG']}".encode()
    total = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        # A process may end meanwhile, and others' may not be looked at.
        with contextlib.suppress(OSError):
            mine = folder.name == str(os.getpid())
            if not mine and mark not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            if b"benchmarks.arrivals" in (folder / "cmdline").read_bytes():
                continue
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / float(os.sysconf("SC_CLK_TCK"))


if __name__ == "__main__":
    main()

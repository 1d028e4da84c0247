"""Everything after the heavy ranker, what tracing adds to a request, and how balanced pages are.

Run `python -m benchmarks.after_scoring` (`--quick` for a smaller world and fewer viewers); prints
JSON. Two shards answer in this process, one after the other, so that what they do counts, too;
there is no ranker, so a whole request is cheaper than elsewhere, and tracing the greater share.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.models import HEAVY_RANKER, Models
from actors.router import LocalRouter
from actors.state import ShardState
from benchmarks.report import emit, percentiles
from benchmarks.talking_world import TalkingWorld
from cluster.artifacts import ArtifactStore
from cluster.ids import Ids
from cluster.routing import route
from cluster.settings import Settings
from cluster.validation import check_batch
from timeline.candidates import NONE, Candidates, concatenate
from timeline.dressing import between, dressed
from timeline.explain import pack_trace, stage_kinds
from timeline.pipeline import (
    Extend,
    Filter,
    Pipeline,
    Prepare,
    Refine,
    Rescore,
    Retrieve,
    Score,
    Select,
)
from timeline.products import FOR_YOU
from timeline.query import Query
from timeline.retrieval import retrieve
from timeline.survivors import settled, sift
from timeline.timelines import Asked, Timelines
from timeline.trace import StageTrace

NOW_MS = 1_760_000_000_000
LIMIT = 35
TARGETS = {"after_scoring_p50_ms": 8.0, "tracing_share": 0.05, "pages_within_5_percent": 1.0}
_WARM_UP = 20
# Untrained models find less than trained ones, so the sources without a model are asked for more.
_WIDER: dict[str, Any] = {
    "shards": {"kinds": ("graph", "posts", "vectors")},
    "for_you": {
        **{"in_network_hits": 20_000, "in_network_results": 1_200},
        **{"out_of_network_results": 800, "popular_results": 400},
    },
}
_MODULES = ("who_to_follow", "who_to_subscribe", "post_preview", "topics", "prompt")
_NO_MODULES = {name: {"on": False} for name in _MODULES}


def main() -> None:
    """Fill two shards, then measure one thing after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    arguments, _ = parser.parse_known_args()
    world = TalkingWorld(6_000, 150, 60_000, 600_000)
    if arguments.quick:
        world = TalkingWorld(2_000, 120, 20_000, 150_000)
    n_requests, n_viewers = (60, 200) if arguments.quick else (300, 1_000)
    settings = Settings(**_WIDER)
    with tempfile.TemporaryDirectory(prefix="murmuration-after-scoring-") as folder:
        models = Models(ArtifactStore(Path(folder)))
        states = _filled(settings, models, world)
        timelines = Timelines(settings, LocalRouter(states), models, bytes(32))
        rng = np.random.default_rng(1)
        users = rng.choice(world.user_ids(), _WARM_UP + n_requests, replace=False).tolist()
        viewers = rng.choice(world.user_ids(), n_viewers, replace=False).tolist()
        system = System(settings, timelines, LocalRouter(states))
        figures = {
            "after_scoring": after_scoring(system, users),
            "tracing": tracing(system, users),
            "balance": {str(share): balance(system, viewers, share) for share in (0.5, 0.8)},
        }
    emit(
        "after_scoring",
        figures,
        world=vars(world),
        shards=len(states),
        requests=n_requests,
        limit=LIMIT,
        targets=TARGETS,
    )


@dataclass(frozen=True)
class System:
    """What answers requests."""

    settings: Settings
    timelines: Timelines
    router: LocalRouter

    @property
    def product(self) -> Pipeline:
        """For You."""
        return self.timelines.products[FOR_YOU]

    def query(self, viewer_id: int, *, posts_only: bool = False) -> Query:
        """A request of a viewer, without a deadline."""
        now_ms, given = NOW_MS + 1, (self.settings, self.router)
        return Query(viewer_id, now_ms, LIMIT, "", *given, posts_only=posts_only)


@dataclass
class Taken:
    """What each part of many requests took, in seconds: by the clock, and of the CPU."""

    wall: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def add(self, part: str, wall_s: float, cpu_s: float) -> None:
        """One request more."""
        self.wall.setdefault(part, []).append(wall_s)
        self.cpu.setdefault(part, []).append(cpu_s)

    def timed(self, part: str, work: Callable[[], Any]) -> Any:
        """The result of some work, which counts as a part."""
        began = _now()
        result = work()
        self.add(part, *(b - a for a, b in zip(began, _now(), strict=True)))
        return result

    def figures(self, parts: Sequence[str]) -> dict[str, float]:
        """Of the sum of parts, request by request."""
        wall = np.sum([self.wall[part] for part in parts], axis=0)
        cpu = np.sum([self.cpu[part] for part in parts], axis=0)
        return {**percentiles(wall.tolist()), "cpu_p50_ms": _median_ms(cpu)}

    def medians(self) -> dict[str, dict[str, float]]:
        """Part → milliseconds by the clock and of the CPU."""
        return {
            part: {"p50_ms": _median_ms(self.wall[part]), "cpu_p50_ms": _median_ms(self.cpu[part])}
            for part in self.wall
        }


def after_scoring(system: System, users: Sequence[int]) -> dict[str, Any]:
    """The stages behind the ranker, then dressing, and what stands between the posts."""
    marks: list[tuple[float, float]] = []
    product, parts = _marked(system.product, marks)
    quiet = Settings(**_WIDER, mixer=_NO_MODULES)
    taken, scored, items, modules = Taken(), [], [], []
    for number, user in enumerate(users):
        one = Taken() if number < _WARM_UP else taken
        query = system.query(user)
        marks.clear()
        shown, trace = product.run(query)
        for part, (began, ended) in zip(parts, pairwise(marks), strict=True):
            one.add(part, *(b - a for a, b in zip(began, ended, strict=True)))
        names = product.source_names
        dress = partial(dressed, query, shown, names, ordered=False)
        made = one.timed("dressing", dress)
        for part, settings in (("between", quiet), ("between_with_modules", system.settings)):
            query.settings = settings
            mixed = one.timed(part, partial(between, query, FOR_YOU, shown, made, None))
        by_name = {stage.name: stage for stage in trace.stages}
        scored.append(by_name["heuristics"].n_in)
        items.append(len(made))
        modules.append(len(mixed))
    plain = [*parts, "dressing", "between"]
    return {
        "candidates": {"mean": round(float(np.mean(scored))), "least": min(scored)},
        "items": {"mean": round(float(np.mean(items)), 1), "least": min(items)},
        "modules": round(float(np.mean(modules)), 2),
        "all": taken.figures(plain),
        "all_with_modules": taken.figures([*plain[:-1], "between_with_modules"]),
        "by_part": taken.medians(),
    }


def tracing(system: System, users: Sequence[int]) -> dict[str, Any]:
    """What it costs that stages are traced and the trace is packed, of the CPU.

    The pipeline is compared with the functions of its stages, called one after the other.
    """
    product, kinds = system.product, stage_kinds(system.product)
    taken, sizes = Taken(), []
    for number, user in enumerate(users):
        one = Taken() if number < _WARM_UP else taken
        runs: list[tuple[str, Callable[[Query], Candidates]]] = [
            ("traced", lambda query: product.run(query)[0]),
            ("plain", lambda query: _plainly(product, query)),
        ]
        found = {}
        # By turns, so that neither always finds the caches warm.
        for part, run in runs if number % 2 else runs[::-1]:
            found[part] = one.timed(part, partial(run, system.query(user, posts_only=True)))
        assert found["traced"].post_ids.tolist() == found["plain"].post_ids.tolist()
        asked = Asked(FOR_YOU, user, LIMIT, NOW_MS + 1, posts_only=True)
        page = one.timed("request", partial(system.timelines.page, asked))
        packed = one.timed("packing", partial(pack_trace, page, kinds))
        sizes.append(len(packed))
    recording = np.subtract(taken.cpu["traced"], taken.cpu["plain"])
    added_ms = _median_ms(recording) + _median_ms(taken.cpu["packing"])
    untraced_ms = _median_ms(taken.cpu["request"]) - _median_ms(recording)
    return {
        "recording_cpu_p50_ms": _median_ms(recording),
        "packing_cpu_p50_ms": _median_ms(taken.cpu["packing"]),
        "request_cpu_p50_ms": _median_ms(taken.cpu["request"]),
        "share_of_a_request": round(added_ms / untraced_ms, 4),
        "bytes": round(float(np.mean(sizes))),
    }


def balance(system: System, viewers: Sequence[int], share: float) -> dict[str, Any]:
    """The in-network share of what is shown, where a share is asked for."""
    # No model ranks here, and pages that nobody learned to rank have a share of their own.
    asked_for = {"balance": {"in_network_share": share, "untrained_in_network_share": share}}
    settings = Settings(**_WIDER, mixer=_NO_MODULES, heuristics=asked_for)
    shares, runs, sizes = [], [], []
    for viewer in viewers:
        asked = Asked(FOR_YOU, viewer, LIMIT, NOW_MS + 1, settings=settings, posts_only=True)
        shown = system.timelines.page(asked).shown
        shares.append(float((shown.feature("is_followed") > 0).mean()))
        runs.append(max(len(list(run)) for _, run in groupby(shown.author_ids.tolist())))
        sizes.append(len(shown))
    within = np.abs(np.array(shares) - share) <= 0.05
    return {
        "viewers": len(viewers),
        "in_network_share": {
            **{"mean": round(float(np.mean(shares)), 4), "sd": round(float(np.std(shares)), 4)},
            **{"least": round(min(shares), 3), "most": round(max(shares), 3)},
        },
        "pages_within_5_percent": round(float(within.mean()), 4),
        "longest_author_run": max(runs),
        "most_allowed": settings.heuristics.balance.max_author_run,
        "posts_on_a_page": {"mean": round(float(np.mean(sizes)), 1), "least": min(sizes)},
    }


def _marked(product: Pipeline, marks: list[tuple[float, float]]) -> tuple[Pipeline, list[str]]:
    """The product with a note of the time after the ranker and after each later stage."""

    def mark(query: Query) -> bool:
        marks.append(_now())
        return True

    names = [stage.name for stage in product.stages]
    ranked = names.index(HEAVY_RANKER) + 1
    after: list[Any] = [Prepare("scored", mark)]
    for stage in product.stages[ranked:]:
        after += [stage, Prepare(f"after_{stage.name}", mark)]
    stages = [*product.stages[:ranked], *after]
    return Pipeline(product.name, stages, product.given), names[ranked:]


class _Unrecorded(StageTrace):
    """Takes nothing down; that ids are looked up to be told to it counts in both ways."""

    def drop(self, post_ids: Ids) -> None:
        pass

    def judge(
        self, post_ids: Ids, reasons: npt.NDArray[np.integer], names: tuple[str, ...]
    ) -> None:
        pass


def _plainly(product: Pipeline, query: Query) -> Candidates:
    """What a product's stages make of a request, with nobody looking."""
    candidates, nothing = NONE, _Unrecorded("", 0.0, 0, 0)
    for stage in product.stages:
        if isinstance(stage, Filter):
            candidates = sift(stage, query, candidates, nothing)
            continue
        candidates = settled(candidates)
        match stage:
            case Prepare():
                if not stage.run(query):
                    return NONE
            case Retrieve():
                candidates, _ = retrieve(stage, query)
            case Extend():
                candidates = stage.run(query, candidates)
            case Score():
                candidates = candidates.with_scores(stage.run(query, candidates))
            case Rescore():
                product_of_all = np.ones(len(candidates))
                for one in stage.factors(query, candidates):
                    product_of_all *= one[1] if isinstance(one, tuple) else one
                candidates = candidates.with_scores(candidates.scores * product_of_all)
            case Select():
                candidates = candidates.take(stage.rows(query, candidates))
            case Refine():
                candidates = _refined(stage, query, candidates, nothing)
            case _:
                raise TypeError(f"{stage.name} is no stage of For You")
    return settled(candidates)


def _refined(
    stage: Refine, query: Query, candidates: Candidates, nothing: StageTrace
) -> Candidates:
    order, width, kept = stage.order(query, candidates), stage.width(query), NONE
    for number in range(stage.rounds):
        taken = candidates.take(order[number * width : (number + 1) * width])
        kept = concatenate([kept, stage.prepare(query, taken)])
        for one in stage.filters:
            kept = sift(one, query, kept, nothing)
        kept = settled(kept)
        if (number + 1) * width >= len(order) or stage.enough(query, kept):
            break
    return kept


def _filled(settings: Settings, models: Models, world: TalkingWorld) -> list[ShardState]:
    """Shards that hold a world."""
    count = settings.shards.count
    states = [ShardState(settings, models, shard, count) for shard in range(count)]
    for batch in world.batches(NOW_MS):
        checked = check_batch(batch, now_ms=NOW_MS)
        if checked.problems:
            raise ValueError(f"the world has an event that is refused: {checked.problems[0]}")
        for lane, rows in route(checked.batch, settings.log.lanes).items():
            for state in states:
                if lane in state.lanes:
                    state.apply(rows, np.ones(rows.num_rows, np.int64), imported=True)
    return states


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _median_ms(seconds: Any) -> float:
    return round(float(np.median(seconds)) * 1000, 3)


if __name__ == "__main__":
    main()

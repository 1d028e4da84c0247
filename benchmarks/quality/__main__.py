"""Quality: what the sources find of what users want next, beside published recommenders.

    python -m benchmarks.quality [--data christianity …] [--seeds 3] [--quick] [--out FILE]

`--data` takes the known data sets and CSV files (`--option NAME=VALUE` as the importer does,
`--follows FILE` for their edges). All who are compared know the same rows: the first 70 % of
engagements by time to learn from, the next 10 % to choose by, the last 20 % to be judged by.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.quality import blend
from benchmarks.quality.baselines import Result, run_baselines
from benchmarks.quality.data import FAVOURITES, NoData, as_favourites, at_speed, read
from benchmarks.quality.metrics import judge, unique_shares
from benchmarks.quality.ours import SIZES, Found, World, with_shuffled_follows
from benchmarks.quality.splits import History, Problem, problem
from benchmarks.report import emit

DATA = ("christianity", "android", "kuairand", "flickr")
SPAN_MS = 86_400_000.0
"""The clock of a history: decays and windows are made for a network that lives by the hour."""
FEW_POSTS = 1_000
"""With fewer, half of all posts are among the first hundred: recall@20 counts, not @100."""
LEARNERS = 2_000
"""Users of the validation part, at most, from whom the order of candidates is learnt."""
SOCIAL = ("in_network", "user_tweet_entity_graph", "follow_recommendations", "backfill")
METRICS = ("recall@20", "recall@50", "recall@100", "ndcg@20", "hit_rate@20", "coverage@20")


def main() -> None:
    """Run every data set that is there, and say how the merged candidates compare."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", nargs="*", default=list(DATA))
    parser.add_argument("--folder", type=Path, default=os.environ.get("MURMURATION_DATA"))
    parser.add_argument("--follows", type=Path)
    parser.add_argument("--option", action="append", default=[])
    parser.add_argument("--users", type=int, default=2_000, help="at most so many are judged")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kept", type=Path, help="folder that keeps what baselines found")
    parser.add_argument("--quick", action="store_true")
    given, _ = parser.parse_known_args()
    console = Console(stderr=True)
    users, seeds = (300, 1) if given.quick else (given.users, given.seeds)
    figures = {}
    for name in given.data:
        options = dict(one.split("=", 1) for one in given.option)
        try:
            history = read(
                name, given.folder, options, (given.follows, {}) if given.follows else None
            )
        except NoData as missing:
            console.print(f"[yellow]{missing}[/]")
            continue
        figures[history.name] = compared(history, users, seeds, given.quick, console, given.kept)
    if figures:
        wins = [name for name, one in figures.items() if one["merged_over_best"] > 1]
        least = min(one["merged_over_best"] for one in figures.values())
        verdict = f"merged beats the best baseline on {len(wins)} of {len(figures)} sets"
        console.print(f"[bold]{verdict}[/], and reaches {least:.0%} of it at least")
        emit("quality", figures, users=users, seeds=seeds, split="70/10/20", clock_ms=SPAN_MS)


def compared(
    history: History,
    users: int,
    seeds: int,
    quick: bool,
    console: Console,
    kept: Path | None = None,
) -> dict[str, Any]:
    """All figures of one data set."""
    if history.name in FAVOURITES:
        history = as_favourites(history, FAVOURITES[history.name])
    history = at_speed(history, SPAN_MS)
    (begin, middle), end = history.cuts_ms, history.end_ms
    validation = problem(history, begin, middle, users, np.random.default_rng(0))
    test = problem(history, middle, end, users, np.random.default_rng(1))
    learners = users if quick else max(users, LEARNERS)
    learning = problem(history, begin, middle, learners, np.random.default_rng(0))
    target = "recall@20" if len(test.post_ids) < FEW_POSTS else "recall@100"

    def told(what: str) -> None:
        console.print(f"{history.name}: {what}", highlight=False)

    baselines = run_baselines(validation, test, target, seeds, quick, told, kept)
    learnt, found = _retrieved(history, (learning, test), told)
    results = dict(baselines)
    blends = blend.fitted(learnt, learning, target, seeds)
    judged = [judge(one.lists(found, test), test) for one in blends]
    results["merged"] = Result(
        judged, {"blend": blends[0].kind, "cross_validation": dict(blends[0].validation)}
    )
    light = blend.lists_by(found.light, found, test)
    results["merged, by the light ranker"] = Result([judge(light, test)], {})
    sources = {name: judge(lists, test) for name, lists in found.lists.items()}
    alone = {name: lists for name, lists in found.lists.items() if "/" not in name}
    unique = unique_shares(alone, test)
    shuffled: Mapping[str, Mapping[str, float]] = {}
    if not quick:
        told("the same with shuffled follows")
        other = with_shuffled_follows(history, np.random.default_rng(2))
        (control,) = _retrieved(other, (test,), told)
        shuffled = {name: judge(control.lists[name], test) for name in SOCIAL}
    _print(console, history, results, sources, unique, shuffled)
    means = {name: _means(result.metrics) for name, result in results.items()}
    best = max(baselines, key=lambda name: means[name][target])
    return {
        "users": len(test.users),
        "posts": len(test.post_ids),
        "wanted": len(test.wanted),
        "reachable": round(test.reachable, 4),
        "timed": history.timed,
        "target": target,
        "best_baseline": best,
        "merged_over_best": round(means["merged"][target] / means[best][target], 4),
        "candidates": round(found.n_merged, 1),
        "degraded": dict(found.degraded),
        "methods": {
            name: means[name] | {"sd": _deviations(result.metrics), **result.configuration}
            for name, result in results.items()
        },
        "sources": {name: one | {"unique": unique.get(name)} for name, one in sources.items()},
        "with_shuffled_follows": shuffled,
    }


def _retrieved(
    history: History, problems: Sequence[Problem], told: Callable[[str], None]
) -> list[Found]:
    """What the sources find at each problem's instant, with models of what was before."""
    with tempfile.TemporaryDirectory(prefix="murmuration-quality-") as folder:
        world = World(Path(folder), history, SIZES)
        found = []
        for one in problems:
            world.train(one.now_ms, told)
            world.replay(one.now_ms)
            told(f"asking for {len(one.users)} users")
            found.append(world.retrieve(one, lambda _: None))
        return found


def _means(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([run[name] for run in runs])), 4) for name in METRICS}


def _deviations(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(float(np.std([run[name] for run in runs])), 4) for name in METRICS}


def _print(
    console: Console,
    history: History,
    results: Mapping[str, Result],
    sources: Mapping[str, Mapping[str, float]],
    unique: Mapping[str, float],
    shuffled: Mapping[str, Mapping[str, float]],
) -> None:
    table = Table("method", *METRICS, title=history.name)
    for name, result in results.items():
        means, deviations = _means(result.metrics), _deviations(result.metrics)
        cells = [f"{means[m]:.4f} ± {deviations[m]:.4f}" for m in METRICS]
        table.add_row(name, *cells)
    console.print(table)
    title = f"{history.name}: sources, and found by no other among their first 100"
    table = Table("source", *METRICS, "unique", "shuffled recall@100", title=title)
    for name, judged in sources.items():
        alone = f"{unique[name]:.3f}" if name in unique else ""
        control = f"{shuffled[name]['recall@100']:.4f}" if name in shuffled else ""
        table.add_row(name, *(f"{judged[m]:.4f}" for m in METRICS), alone, control)
    console.print(table)


if __name__ == "__main__":
    main()

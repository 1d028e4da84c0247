"""Quality of the heavy ranker beside published click models, on public multi-feedback data.

    python -m benchmarks.heavy_ranker_quality --folder DATA [--data kuairand …] [--quick]

One model of ours for all tasks against FuxiCTR's parts put together as ParallelMaskNet and
DeepFM, one model a task. All know the same columns of the same rows: the first 70 % by time to
learn from, the next 10 % to choose the configuration and the epoch by, the last 20 % to be judged
by, once. Each has as many configurations to choose from. AUC is the mean over seeds.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from sklearn.metrics import log_loss, roc_auc_score

from benchmarks.heavy_ranker_data import DATA, Rows, quantiles, standardised
from benchmarks.heavy_ranker_ours import OURS, learnt, trained_at
from benchmarks.peers_environment import run_ctr
from benchmarks.report import emit
from training.heavy_ranker.calibration import calibrated, fit_calibration

Floats = npt.NDArray[np.float32]

PEERS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "parallel-masknet": [
        {"learning_rate": rate, "numbers": numbers}
        for rate in (5e-4, 1e-3)
        for numbers in ("vectors", "buckets")
    ],
    "deepfm": [
        {"learning_rate": rate, "numbers": numbers}
        for rate in (5e-4, 1e-3)
        for numbers in ("vectors", "buckets")
    ],
}
"""What the validation part chooses from, for each task. A number is a multiple of a vector that
is learnt, or the vector of its quantile."""
FIXED: Mapping[str, Any] = {
    **{"dimensions": 8, "dropout": 0.1, "table_l2": 0.0, "batch": 512},
    **{"epochs": 10, "patience": 2},
}
"""Of all peers: FuxiCTR's own early stopping, and its default patience."""
ROUNDS = 3
"""Of measuring speed, in turn."""


@dataclass(frozen=True)
class Judged:
    """One model's probabilities of one task and seed, by what it was chosen and how it does."""

    validation_auc: float
    auc: float
    logloss: float
    logloss_calibrated: float
    """After Platt's method on the validation part, the same for all."""


def main() -> None:
    """Run every data set and say who is better."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", nargs="*", default=list(DATA))
    parser.add_argument("--folder", type=Path, default=os.environ.get("MURMURATION_DATA", "."))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="1 seed, 1 configuration, 1 row in 4")
    given, _ = parser.parse_known_args()
    console = Console(stderr=True)
    figures = {}
    for name in given.data:
        try:
            rows = DATA[name](Path(given.folder))
        except FileNotFoundError as missing:
            console.print(f"[yellow]{name} is not there: {missing}[/]")
            continue
        if given.quick:
            rows = rows.few(4)
        figures[name] = compared(rows, 1 if given.quick else given.seeds, given.quick, console)
    emit("heavy_ranker_quality", figures, seeds=1 if given.quick else given.seeds, split="70/10/20")


def compared(rows: Rows, seeds: int, quick: bool, console: Console) -> dict[str, Any]:
    """All figures of one data set."""
    results: dict[str, dict[str, list[Judged]]] = {}
    chosen: dict[str, dict[str, Any]] = {}
    results["ours"], chosen["ours"] = _ours(rows, seeds, quick, console)
    table = _table(rows)
    for peer, grid in PEERS.items():
        console.print(f"{rows.name}: {peer}")
        results[peer], chosen[peer] = _peer(rows, table, peer, grid[:1] if quick else grid, seeds)
    speeds = _speeds(rows, table, chosen["ours"]["settings"])
    begin, middle = rows.cuts
    tasks = {}
    for i, task in enumerate(rows.tasks):
        of_task: dict[str, dict[str, Any]] = {
            name: _summed(found[task]) for name, found in results.items()
        }
        aucs = {name: float(of_task[name]["auc"]) for name in of_task}
        best = max(PEERS, key=aucs.__getitem__)
        tasks[task] = {
            "positives": {
                "learnt": int(rows.labels[:begin, i].sum()),
                "validation": int(rows.labels[begin:middle, i].sum()),
                "test": int(rows.labels[middle:, i].sum()),
            },
            **of_task,
            "best_peer": best,
            "ours_over_best_peer": round(aucs["ours"] - aucs[best], 4),
        }
    _print(console, rows, tasks, speeds)
    n = {"learnt": begin, "validation": middle - begin, "test": len(rows) - middle}
    return {"rows": n, "tasks": tasks, "speed": speeds, "chosen": chosen}


def _ours(
    rows: Rows, seeds: int, quick: bool, console: Console
) -> tuple[dict[str, list[Judged]], dict[str, Any]]:
    """One model for all tasks, so one configuration and one epoch for all of them."""
    tried = []
    for settings in OURS[:1] if quick else OURS:
        console.print(f"{rows.name}: ours, {settings}")
        tried.append((settings, _best_epoch(rows, settings, 0)))
    settings, first = max(tried, key=lambda one: one[1][1])
    found = [first, *(_best_epoch(rows, settings, seed) for seed in range(1, seeds))]
    judged = {
        task: [_judged(rows, i, one[0][:, i]) for one in found] for i, task in enumerate(rows.tasks)
    }
    told = [{**given, "validation_auc": round(score, 4)} for given, (_, score, _) in tried]
    return judged, {"settings": settings, "tried": told, "epochs": [one[2] for one in found]}


def _best_epoch(rows: Rows, settings: Mapping[str, Any], seed: int) -> tuple[Floats, float, int]:
    """Probabilities (n, tasks), mean AUC on the validation part, and the epoch they are of."""
    best: tuple[Floats, float, int] | None = None
    weights = _weights(rows)
    for epoch, probabilities in enumerate(learnt(rows, settings, seed), 1):
        columns = enumerate(probabilities.T)
        aucs = [_judged(rows, i, column).validation_auc for i, column in columns]
        score = float(np.average(aucs, weights=weights))
        if best is None or score > best[1]:
            best = probabilities, score, epoch
    assert best is not None
    return best


def _weights(rows: Rows) -> npt.NDArray[np.float64]:
    """Of tasks' AUCs on the validation part, in their mean: the inverse of their variance.

    By Hanley and McNeil's bound for an AUC of 3/4; a handful of positives says next to nothing.
    """
    begin, middle = rows.cuts
    positives = rows.labels[begin:middle].sum(0).astype(np.float64)
    negatives = middle - begin - positives
    auc = 0.75
    one, other = auc / (2 - auc) - auc**2, 2 * auc**2 / (1 + auc) - auc**2
    spread = auc * (1 - auc) + (positives - 1) * one + (negatives - 1) * other
    found: npt.NDArray[np.float64] = positives * negatives / np.maximum(spread, 1e-9)
    return found


def _peer(
    rows: Rows,
    table: Mapping[str, Any],
    peer: str,
    grid: Sequence[Mapping[str, Any]],
    seeds: int,
) -> tuple[dict[str, list[Judged]], dict[str, Any]]:
    """A model for each task, with a configuration and an epoch of its own."""
    wanted = [{**FIXED, **given, "task": task, "seed": 0} for task in rows.tasks for given in grid]
    found, said = run_ctr(peer, table, wanted)
    judged, again, told = {}, [], {}
    for i, task in enumerate(rows.tasks):
        own = range(i * len(grid), (i + 1) * len(grid))
        tried = {at: _judged(rows, i, found[at]) for at in own}
        best = max(own, key=lambda at: tried[at].validation_auc)
        judged[task] = [tried[best]]
        again += [{**wanted[best], "seed": seed} for seed in range(1, seeds)]
        told[task] = {**said[best], "validation_aucs": [tried[at].validation_auc for at in own]}
    if again:
        found, _ = run_ctr(peer, table, again)
        for given, probabilities in zip(again, found, strict=True):
            i = rows.tasks.index(given["task"])
            judged[given["task"]].append(_judged(rows, i, probabilities))
    return judged, told


def _judged(rows: Rows, task: int, probabilities: npt.NDArray[Any]) -> Judged:
    """From probabilities of the rows not learnt from."""
    begin, middle = rows.cuts
    n = middle - begin
    labels = rows.labels[begin:, task].astype(np.float32)
    p = np.clip(np.asarray(probabilities, np.float64), 1e-7, 1 - 1e-7)
    logits = (np.log(p) - np.log1p(-p))[:, None].astype(np.float32)
    ones = np.ones((n, 1), np.float32)
    platt = fit_calibration(logits[:n], labels[:n, None], ones, ones[:, 0], ("task",))
    after = calibrated(logits[n:], ("task",), platt)[:, 0].astype(np.float64)
    return Judged(
        float(roc_auc_score(labels[:n], probabilities[:n])),
        float(roc_auc_score(labels[n:], probabilities[n:])),
        float(log_loss(labels[n:], p[n:])),
        float(log_loss(labels[n:], np.clip(after, 1e-7, 1 - 1e-7))),
    )


def _speeds(rows: Rows, table: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Examples a second of one thread: ours with reading from disk, peers' from memory."""
    rates: dict[str, list[float]] = {"ours": [], **{peer: [] for peer in PEERS}}
    for _ in range(ROUNDS):
        rates["ours"].append(trained_at(rows, settings))
        for peer, grid in PEERS.items():
            once = {**FIXED, **grid[0], "epochs": 1, "task": rows.tasks[0], "seed": 0}
            _, said = run_ctr(peer, table, [once])
            rates[peer].append(said[0]["examples_per_s"])
    medians = {name: float(np.median(of)) for name, of in rates.items()}
    n_tasks = len(rows.tasks)
    return {
        "examples_per_s_a_pass": medians,
        "examples_per_s_times_tasks": {**medians, "ours": medians["ours"] * n_tasks},
        "tasks_of_a_pass": {name: n_tasks if name == "ours" else 1 for name in medians},
        "rounds": rates,
    }


def _table(rows: Rows) -> dict[str, Any]:
    """As peers/ctr.py reads it."""
    return {
        "numbers": standardised(rows),
        "codes": rows.codes,
        "buckets": quantiles(rows),
        "labels": rows.labels,
        "cuts": np.array(rows.cuts),
        "n_codes": rows.n_codes,
        "number_names": np.array(rows.number_names),
        "code_names": np.array(rows.code_names),
        "tasks": np.array(rows.tasks),
    }


def _summed(runs: Sequence[Judged]) -> dict[str, Any]:
    names = ("auc", "validation_auc", "logloss", "logloss_calibrated")
    found: dict[str, Any] = {
        name: round(float(np.mean([getattr(one, name) for one in runs])), 4) for name in names
    }
    found["auc_sd"] = round(float(np.std([one.auc for one in runs])), 4)
    return found | {"auc_runs": [round(one.auc, 4) for one in runs]}


def _print(
    console: Console, rows: Rows, tasks: Mapping[str, Any], speeds: Mapping[str, Any]
) -> None:
    names = ("ours", *PEERS)
    title = f"{rows.name}: AUC (calibrated logloss)"
    table = Table("task", "positives", *names, "ours − best peer", title=title)
    for task, told in tasks.items():
        cells = [
            f"{told[name]['auc']:.4f} ± {told[name]['auc_sd']:.4f}"
            f" ({told[name]['logloss_calibrated']:.4f})"
            for name in names
        ]
        gained = f"{told['ours_over_best_peer']:+.4f}"
        table.add_row(task, str(told["positives"]["test"]), *cells, gained)
    console.print(table)
    console.print({name: round(rate) for name, rate in speeds["examples_per_s_a_pass"].items()})


if __name__ == "__main__":
    main()

"""How good predictions are: AUROC, cross entropy against a constant, calibration, by task.

Metrics as the published training code defines them (the-algorithm-ml, metrics), by weight.
"""

from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

Floats = npt.NDArray[np.float32]
Metrics = dict[str, Any]

CLIP = 1e-7
"""Probabilities stay this far from 0 and 1."""


@dataclass(frozen=True)
class Judged:
    """Predictions beside what happened; all (n, tasks) but weights, (n,)."""

    probabilities: Floats
    labels: Floats
    mask: Floats
    """1 where the label is known."""
    weights: Floats
    tasks: tuple[str, ...]

    def take(self, rows: npt.NDArray[Any]) -> "Judged":
        """Some of them."""
        return Judged(
            self.probabilities[rows],
            self.labels[rows],
            self.mask[rows],
            self.weights[rows],
            self.tasks,
        )


def evaluate(judged: Judged, sources: npt.NDArray[Any]) -> dict[str, dict[str, Metrics]]:
    """Metrics by task, of all examples (`all`) and of each candidate source (`source NAME`).

    `sources` of shape (n,), None where it is not known.
    """
    found = {"all": by_task(judged)}
    for source in sorted({source for source in sources.tolist() if source is not None}):
        found[f"source {source}"] = by_task(judged.take(np.flatnonzero(sources == source)))
    return found


def by_task(judged: Judged) -> dict[str, Metrics]:
    """Metrics of each task, of the examples whose label is known."""
    found = {}
    for i, task in enumerate(judged.tasks):
        known = judged.mask[:, i] > 0
        found[task] = task_metrics(
            judged.probabilities[known, i], judged.labels[known, i] > 0.5, judged.weights[known]
        )
    return found


def task_metrics(probabilities: Floats, labels: npt.NDArray[np.bool_], weights: Floats) -> Metrics:
    """`auroc`, `rce`, `nrce`, `calibration`, and how many `examples` and `positives` there are.

    RCE is the share in per cent by which cross entropy is below that of predicting the mean
    label everywhere; NRCE is the same after predictions were scaled to have the mean of the
    labels, so what is between the two is miscalibration. Calibration is mean prediction over
    mean label. All but the counts are None where only one label occurs.
    """
    counts: Metrics = {"examples": len(labels), "positives": int(labels.sum())}
    if not 0 < counts["positives"] < counts["examples"]:
        return counts | dict.fromkeys(("auroc", "rce", "nrce", "calibration"))
    p, w = probabilities.astype(np.float64), weights.astype(np.float64)
    observed = float(np.average(labels, weights=w))
    promised = float(np.average(p, weights=w))
    reference = -(observed * log(observed) + (1 - observed) * log(1 - observed))
    scaled = p * (observed / max(promised, CLIP))
    return counts | {
        # Equal predictions count half, as they should.
        "auroc": float(roc_auc_score(labels, p, sample_weight=w)),
        "rce": 100 * (1 - cross_entropy(p, labels, w) / reference),
        "nrce": 100 * (1 - cross_entropy(scaled, labels, w) / reference),
        "calibration": promised / observed,
    }


def cross_entropy(
    p: npt.NDArray[np.float64], labels: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64]
) -> float:
    """Weighted mean in nats."""
    inside = np.clip(p, CLIP, 1 - CLIP)
    return float(-np.average(np.log(np.where(labels, inside, 1 - inside)), weights=weights))

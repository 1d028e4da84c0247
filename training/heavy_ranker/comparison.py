"""A new model beside the light ranker and earlier versions, all on the same latest examples."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from actors.features.weighted_score import weighted_score
from cluster.ranker_settings import HeavyRankerSettings
from training.facts import pair_keys
from training.heavy_ranker.evaluate import Judged, by_task
from training.heavy_ranker.example_set import ExampleSet
from training.heavy_ranker.gate import ByTask
from training.heavy_ranker.labels import UNWANTED
from training.heavy_ranker.versions import Version
from training.metrics import ranking_metrics


@dataclass(frozen=True)
class Compared:
    """Metrics of the examples of which every model can say something."""

    found: ByTask
    """Of the new model."""
    light: dict[str, float]
    """The light ranker's AUROC by task."""
    before: dict[str, ByTask]
    """Of earlier versions, as they were called."""
    ranking: dict[str, dict[str, float]]
    """How well the one score of each ranker orders what one page showed."""
    left_out: int
    """Examples of which the light ranker's features are not known."""


def compare(
    judged: Judged,
    examples: ExampleSet,
    light_logits: npt.NDArray[np.float32],
    before: Mapping[str, Version],
    settings: HeavyRankerSettings,
) -> Compared:
    """Judge all models on the examples (n,) that `judged` tells of.

    `light_logits` of shape (n,) are not numbers where they are not known.
    """
    rows = np.flatnonzero(np.isfinite(light_logits))
    mine, logits = judged.take(rows), light_logits[rows]
    times_ms, viewers = (examples.described(name)[rows] for name in ("time_ms", "viewer_id"))
    return Compared(
        by_task(mine),
        _aurocs(mine, logits),
        {name: by_task(version.judged(examples).take(rows)) for name, version in before.items()},
        _rankings(mine, logits, pair_keys(times_ms, viewers), settings),
        len(light_logits) - len(rows),
    )


def _aurocs(judged: Judged, logits: npt.NDArray[np.float32]) -> dict[str, float]:
    """AUROC of one score for every task, where both labels are known of some example."""
    found = {}
    for i, task in enumerate(judged.tasks):
        known = judged.mask[:, i] > 0
        labels = judged.labels[known, i] > 0.5
        if labels.any() and not labels.all():
            weights = judged.weights[known]
            found[task] = float(roc_auc_score(labels, logits[known], sample_weight=weights))
    return found


def _rankings(
    judged: Judged,
    logits: npt.NDArray[np.float32],
    requests: npt.NDArray[np.int64],
    settings: HeavyRankerSettings,
) -> dict[str, dict[str, float]]:
    """Wanted is what the viewer engaged with and gave no negative feedback on."""
    score = weighted_score(judged.probabilities, settings.weights)
    unwanted = np.isin(judged.tasks, UNWANTED)
    happened = judged.labels > 0
    labels: npt.NDArray[np.bool_] = happened[:, ~unwanted].max(axis=1)
    labels &= ~happened[:, unwanted].max(axis=1)
    if not labels.any() or labels.all():
        return {}
    return {
        "heavy_ranker": ranking_metrics(score, labels, requests, settings.seed),
        "light_ranker": ranking_metrics(logits, labels, requests, settings.seed),
    }

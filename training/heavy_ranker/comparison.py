"""A new model beside the light ranker and earlier versions, all on the same latest examples."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from actors.features.both_rankers import light_factor
from actors.features.weighted_score import weighted_score
from actors.models import HEAVY_RANKER, LIGHT_RANKER
from cluster.ids import Ids
from cluster.ranker_settings import HeavyRankerSettings
from training.facts import pair_keys
from training.heavy_ranker.evaluate import Judged, by_task
from training.heavy_ranker.example_set import ExampleSet
from training.heavy_ranker.gate import SERVED, ByOrder, ByTask
from training.heavy_ranker.labels import UNWANTED
from training.heavy_ranker.versions import Version
from training.metrics import grouped_auc, ranking_metrics

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Compared:
    """Metrics of the examples of which every model can say something."""

    found: ByTask
    """Of the new model."""
    light: dict[str, float]
    """The light ranker's AUROC by task."""
    in_order: dict[str, ByOrder]
    """How well each score orders what one page showed: `served`, that of both rankers, by which
    pages are ranked once the model serves, and `light_ranker`, which ranks them without it."""
    before: dict[str, ByTask]
    """Of earlier versions, as they were called."""
    ranking: dict[str, dict[str, float]]
    """The same of what viewers engaged with at all, and of the heavy ranker's score too."""
    left_out: int
    """Examples of which the light ranker's features are not known."""


def compare(
    judged: Judged,
    examples: ExampleSet,
    light_logits: Floats,
    before: Mapping[str, Version],
    settings: HeavyRankerSettings,
    light_share: float,
) -> Compared:
    """Judge all models on the examples (n,) that `judged` tells of.

    `light_logits` of shape (n,) are not numbers where they are not known; `light_share` is the
    light ranker's in the score of both.
    """
    rows = np.flatnonzero(np.isfinite(light_logits))
    mine, logits = judged.take(rows), light_logits[rows]
    times_ms, viewers = (examples.described(name)[rows] for name in ("time_ms", "viewer_id"))
    requests = pair_keys(times_ms, viewers)
    heavy = weighted_score(mine.probabilities, settings.weights)
    light = expit(logits)
    scores = {
        SERVED: heavy * light_factor(heavy, light, light_share),
        HEAVY_RANKER: heavy,
        LIGHT_RANKER: light,
    }
    return Compared(
        by_task(mine),
        _aurocs(mine, logits),
        {name: _in_order(mine, scores[name], requests) for name in (SERVED, LIGHT_RANKER)},
        {name: by_task(version.judged(examples).take(rows)) for name, version in before.items()},
        _rankings(mine, scores, requests, settings.seed),
        len(light_logits) - len(rows),
    )


def _aurocs(judged: Judged, logits: Floats) -> dict[str, float]:
    """AUROC of one score for every task, where both labels are known of some example."""
    found = {}
    for i, task in enumerate(judged.tasks):
        known = judged.mask[:, i] > 0
        labels = judged.labels[known, i] > 0.5
        if labels.any() and not labels.all():
            weights = judged.weights[known]
            found[task] = float(roc_auc_score(labels, logits[known], sample_weight=weights))
    return found


def _in_order(judged: Judged, score: Floats, requests: Ids) -> ByOrder:
    """The grouped AUC of one score for every task of which some request has both labels."""
    found = {}
    for i, task in enumerate(judged.tasks):
        known = judged.mask[:, i] > 0
        labels, groups = judged.labels[known, i] > 0.5, requests[known]
        if np.isin(groups[labels], groups[~labels]).any():
            found[task] = grouped_auc(score[known], labels, groups)
    return found


def _rankings(
    judged: Judged, scores: Mapping[str, Floats], requests: Ids, seed: int
) -> dict[str, dict[str, float]]:
    """Wanted is what the viewer engaged with and gave no negative feedback on."""
    unwanted = np.isin(judged.tasks, UNWANTED)
    happened = judged.labels > 0
    labels: npt.NDArray[np.bool_] = happened[:, ~unwanted].max(axis=1)
    labels &= ~happened[:, unwanted].max(axis=1)
    if not labels.any() or labels.all():
        return {}
    return {name: ranking_metrics(score, labels, requests, seed) for name, score in scores.items()}

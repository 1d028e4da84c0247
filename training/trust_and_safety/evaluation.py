"""How good a candidate is, by cross-validation: on each label, and on each source by itself."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from actors.features.safety_ngrams import Ngrams
from training.trust_and_safety.labelled import UNKNOWN, Labelled
from training.trust_and_safety.models import Fit

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]

RECALL = 0.85
"""At which precision is told (the original's)."""


def cross_validated(
    fit: Fit,
    texts: Ngrams,
    data: Labelled,
    folds: Int64s,
    n_buckets: int,
    seed: int,
    done: Callable[[float], None] = lambda share: None,
) -> Floats:
    """The logits (n, labels) of each text by a model that learned the other folds alone."""
    logits = np.empty(data.values.shape, np.float32)
    numbers = np.unique(folds)
    for i, fold in enumerate(numbers.tolist()):
        learned, judged = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        model = fit(texts.take(learned), data.values[learned], n_buckets, seed)
        logits[judged] = model.logits(texts.take(judged))
        done((i + 1) / len(numbers))
    return logits


def judged(data: Labelled, scores: Floats) -> dict[str, dict[str, Any]]:
    """By label, the figures of all texts together and, under `sources`, of each source.

    All together is kind to a model that tells the sources apart: where their shares of
    positives differ, so does what it should say. The figures of one source do not have that.
    """
    found: dict[str, dict[str, Any]] = {}
    for column, label in enumerate(data.labels):
        known = data.values[:, column] != UNKNOWN
        truths, column_scores = data.values[known, column] == 1, scores[known, column]
        sources = data.source_of[known]
        found[label] = figures(truths, column_scores) | {
            "sources": {
                name: figures(truths[sources == i], column_scores[sources == i])
                for i, name in enumerate(data.sources)
                if 0 < truths[sources == i].sum() < (sources == i).sum()
            }
        }
    return found


def figures(truths: npt.NDArray[np.bool_], scores: Floats) -> dict[str, float | int]:
    """AUC, area under precision and recall, and precision at recall 0.85 of one label."""
    precisions, recalls, _ = precision_recall_curve(truths, scores)
    return {
        "examples": len(truths),
        "positives": int(truths.sum()),
        "auc": round(float(roc_auc_score(truths, scores)), 4),
        "pr_auc": round(float(average_precision_score(truths, scores)), 4),
        "precision_at_recall_0.85": round(float(precisions[recalls >= RECALL].max()), 4),
    }


def mean_pr_auc(found: dict[str, dict[str, Any]]) -> float:
    """By which candidates are compared: labels count alike, the rare ones too."""
    return round(float(np.mean([one["pr_auc"] for one in found.values()])), 4)

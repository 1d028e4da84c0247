"""The light ranker: a logistic regression over binned features (Earlybird's form), trained."""

import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from actors.features.binned import BinnedModel, untrained
from actors.features.light import FEATURES
from actors.models import LIGHT_RANKER, LIGHT_RANKER_SCHEMA
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.settings import Settings
from cluster.training_settings import TrainingSettings
from training.dataset import MIN_POSITIVES, Dataset, build
from training.examples import Examples
from training.job import Progress, Trained, TrainingError, silent
from training.metrics import probability_metrics, ranking_metrics

Floats = npt.NDArray[np.float32]

INVERSE_L2 = 0.03
"""scikit-learn's C: bins into which few examples fall stay near zero."""
TOLERANCE = 1e-4
MAX_ITERATIONS = 1_000
_COUNTED = ("favourites", "reposts", "replys", "quotes", "bookmarks", "shares", "clicks")


def train(
    settings: Settings,
    archive: Archive,
    artifacts: ArtifactStore,
    *,
    until_ms: int | None = None,
    progress: Progress = silent,
) -> Trained:
    """Learn from everything archived before `until_ms` and write a new `light_ranker`.

    The metrics are those on the validation part, of the model (`auc`) and of what it has to
    beat (`untrained_auc`, `recency_auc`, `popularity_auc`).

    Trains on the earlier examples and judges by the latest `validation_share` of them,
    beside recency, popularity and the untrained model. The same archive, settings and
    `until_ms` give the same weights. Activating the version is another's business.

    Raises `TrainingError`, naming what is missing, where there is too little to learn from;
    nothing is written then.
    """
    began_s = time.perf_counter()
    data = build(settings, archive, until_ms, progress)
    built_s = time.perf_counter()
    progress("training", 0.0)
    earlier, later = split_by_time(data.examples, settings.training.validation_share)
    model = _fit_part(data, earlier, settings.training)
    fitted_s = time.perf_counter()
    metrics: dict[str, float | int | str] = {
        **_judge(data, later, model, settings.training.seed),
        "source": data.source,
        **_counts(data, earlier, later),
    }
    details = {
        "bins": _readable(model),
        "importance": _importance(model, data.features[earlier]),
        "settings": settings.training.model_dump(),
    }
    version = _write(artifacts, model, metrics, details, data.data_range_ms)
    progress("training", 1.0)
    seconds = {"dataset": built_s - began_s, "fit": fitted_s - built_s}
    return Trained(LIGHT_RANKER, version, metrics, seconds)


def split_by_time(
    examples: Examples, validation_share: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows before and from the instant that leaves the latest share for validation.

    Raises `TrainingError` where either part has too few positives or negatives.
    """
    n = len(examples)
    cut_ms = examples.times_ms[min(math.ceil(n * (1 - validation_share)), n - 1)]
    first = int(np.searchsorted(examples.times_ms, cut_ms))
    parts = np.arange(first), np.arange(first, n)
    for name, rows in zip(("training", "validation"), parts, strict=True):
        n_positive = int(examples.labels[rows].sum())
        needed = MIN_POSITIVES // 2
        if min(n_positive, len(rows) - n_positive) < needed:
            raise TrainingError(
                f"the {name} part, split at {cut_ms} ms, has {n_positive:,} positive and "
                f"{len(rows) - n_positive:,} negative examples; at least {needed} of each are "
                "needed: bring in more events, or events of more different times"
            )
    return parts


def fit(
    features: Floats,
    labels: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float32],
    names: tuple[str, ...],
    n_bins: int,
) -> BinnedModel:
    """The model of least weighted log loss with an L2 penalty; features of shape (n, names)."""
    edges = bin_edges(features, n_bins)
    bins = _bins(features, edges)
    n, k = bins.shape
    columns = (bins + np.arange(k) * n_bins).astype(np.int32)
    hot = sparse.csr_matrix(
        (np.ones(n * k), columns.ravel(), np.arange(0, n * k + 1, k)), shape=(n, k * n_bins)
    )
    regression = LogisticRegression(C=INVERSE_L2, max_iter=MAX_ITERATIONS, tol=TOLERANCE)
    regression.fit(hot, labels, sample_weight=weights.astype(np.float64))
    found = regression.coef_.reshape(k, n_bins).astype(np.float32)
    n_edges = (edges < _PAD).sum(axis=1)
    # Values beyond the last edge, infinity among them, stay in the last real bin.
    last = np.minimum(np.arange(n_bins)[None, :], n_edges[:, None])
    found = np.take_along_axis(found, last, axis=1)
    # Rounded as an artifact keeps it, so that what was judged is what will serve.
    return BinnedModel(names, edges, found, float(np.float32(regression.intercept_[0])))


def bin_edges(features: Floats, n_bins: int) -> Floats:
    """Edges of shape (features, n_bins − 1): quantiles of what is above 0, and 0 apart.

    Edges lie halfway between values that occur, so that a count rounded to float16, as
    served, stays in its bin. Features of few values get a bin a value. Unused edges are the
    largest float32.
    """
    edges = np.full((features.shape[1], n_bins - 1), _PAD, np.float32)
    for i in range(features.shape[1]):
        column = features[:, i].astype(np.float64)
        values, counts = np.unique(column[np.isfinite(column)], return_counts=True)
        if len(values) < 2:
            continue
        middles = (values[1:] + values[:-1]) / 2
        if len(middles) >= n_bins:
            starts = int(values[0] == 0)
            below = np.cumsum(counts)[starts:]
            already = below[0] - counts[starts]
            n_quantiles = n_bins - starts
            wanted = already + (below[-1] - already) * np.arange(1, n_quantiles) / n_quantiles
            at = np.minimum(np.searchsorted(below, wanted), len(below) - 2) + starts
            middles = middles[np.unique(np.concatenate([np.arange(starts), at]))]
        found = np.unique(middles.astype(np.float32))
        edges[i, : len(found)] = found
    return edges


_PAD = np.finfo(np.float32).max


def _bins(features: Floats, edges: Floats) -> npt.NDArray[np.int64]:
    bins = np.empty(features.shape, np.int64)
    for i in range(features.shape[1]):
        # An infinite value passes even the padding: into the last real bin with it.
        found = np.searchsorted(edges[i], features[:, i], side="right")
        bins[:, i] = np.minimum(found, (edges[i] < _PAD).sum())
    return bins


def _fit_part(
    data: Dataset, rows: npt.NDArray[np.int64], settings: TrainingSettings
) -> BinnedModel:
    examples = data.examples
    return fit(
        data.features[rows], examples.labels[rows], examples.weights[rows], FEATURES, settings.bins
    )


def _judge(
    data: Dataset, rows: npt.NDArray[np.int64], model: BinnedModel, seed: int
) -> dict[str, float]:
    """Metrics on the rows, of the model and of what it has to beat."""
    examples, features = data.examples.take(rows), data.features[rows]
    column = dict(zip(FEATURES, features.T, strict=True))
    popularity = np.sum([np.expm1(column[name]) for name in _COUNTED], axis=0)
    models = {"": model, "untrained_": untrained(FEATURES)}
    scores = {name: one.logits(features) for name, one in models.items()}
    scores |= {"recency_": -column["age_hours"], "popularity_": popularity}
    judged: dict[str, float] = {}
    for name, values in scores.items():
        found = ranking_metrics(values, examples.labels, examples.groups, seed)
        if name in models:
            probabilities = 1 / (1 + np.exp(-values.astype(np.float64)))
            found |= probability_metrics(probabilities, examples.labels, examples.weights)
        judged |= {f"{name}{metric}": value for metric, value in found.items()}
    return judged


def _counts(
    data: Dataset, earlier: npt.NDArray[np.int64], later: npt.NDArray[np.int64]
) -> dict[str, int]:
    labels = data.examples.labels
    return {
        "training_examples": len(earlier),
        "training_positives": int(labels[earlier].sum()),
        "validation_examples": len(later),
        "validation_positives": int(labels[later].sum()),
        "examples_as_served": int(data.as_served.sum()),
    }


def _importance(model: BinnedModel, features: Floats) -> dict[str, float]:
    """By feature, the standard deviation of what it adds to the logit; greatest first."""
    spread = model.contributions(features).std(axis=0)
    order = np.argsort(-spread, kind="stable")
    return {model.names[i]: round(float(spread[i]), 4) for i in order.tolist()}


def _write(
    artifacts: ArtifactStore,
    model: BinnedModel,
    metrics: dict[str, float | int | str],
    details: dict[str, Any],
    data_range_ms: tuple[int, int],
) -> str:
    with artifacts.writing(
        LIGHT_RANKER,
        schema_version=LIGHT_RANKER_SCHEMA,
        metrics=metrics,
        data_range_ms=data_range_ms,
    ) as draft:
        tensors = {
            "edges": model.edges,
            "weights": model.weights,
            "bias": np.array([model.bias], np.float32),
        }
        draft.write_tensors("model.safetensors", tensors)
        draft.write_json("features.json", list(model.names))
        draft.write_json("training.json", details)
    return draft.written


def _readable(model: BinnedModel) -> dict[str, list[dict[str, float | None]]]:
    """For people: the bins of each feature with their weights; a bin holds from ≤ x < to."""
    told = {}
    for name, edges, weights in zip(model.names, model.edges, model.weights, strict=True):
        bounds = [None, *edges[edges < _PAD].tolist(), None]
        told[name] = [
            {"from": low, "to": high, "weight": round(weight, 5)}
            for low, high, weight in zip(bounds[:-1], bounds[1:], weights.tolist(), strict=False)
        ]
    return told

"""The light ranker, trained: two logistic regressions over binned features (Earlybird's form).

One learns from what was shown of followed authors, the other from the rest, each with its own
sampling; see `training.examples` for labels and weights.
"""

import math
import time
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from actors.features.binned import BinnedModel, LightRanker, untrained_pair
from actors.features.light import FEATURES
from actors.models import LIGHT_RANKER, LIGHT_RANKER_SCHEMA, SIDES
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.settings import Settings
from cluster.training_settings import KeepRates, TrainingSettings
from training.binned import PAD, fit
from training.dataset import MIN_POSITIVES, Dataset, build
from training.examples import Examples
from training.job import Progress, Trained, TrainingError, silent
from training.metrics import probability_metrics, ranking_metrics

Floats = npt.NDArray[np.float32]

_IS_FOLLOWED = FEATURES.index("is_followed")
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

    The metrics are those on the validation part, of the two models, each where it serves
    (`auc`), and of what they have to beat (`untrained_auc`, `recency_auc`, `popularity_auc`);
    the same of each side begin with its name (`in_network_auc`).

    Trains on the earlier examples and judges by the latest `validation_share` of them,
    beside recency, popularity and the untrained model. A side whose own examples teach less
    than all is served by a model of all (`LightRankerSettings`). The same archive, settings
    and `until_ms` give the same weights. Activating the version is another's business.

    Raises `TrainingError`, naming what is missing, where there is too little to learn from;
    nothing is written then.
    """
    began_s = time.perf_counter()
    data = build(settings, archive, until_ms, progress)
    built_s = time.perf_counter()
    progress("training", 0.0)
    earlier, later = split_by_time(data.examples, settings.training.validation_share)
    ranker, own = _fit_sides(data, earlier, settings.training)
    fitted_s = time.perf_counter()
    metrics: dict[str, float | int | str] = {
        **_judge(data, later, ranker, settings.training.seed),
        "source": data.source,
        **_counts(data, earlier, later),
    }
    metrics |= {f"{side}_own_model": int(side in own) for side in SIDES}
    details = {
        side: {
            "bins": _readable(ranker.of(followed)),
            "importance": _importance(ranker.of(followed), data.features[earlier]),
        }
        for side, followed in zip(SIDES, (True, False), strict=True)
    }
    details["settings"] = settings.training.model_dump(mode="json")
    version = _write(artifacts, ranker, metrics, details, data.data_range_ms)
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


def sampled(
    labels: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float32],
    rates: KeepRates,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Which of n examples to learn from, drawn by label, and what each weighs then.

    A weight is divided by the rate, so that on average nothing changes but the number of
    examples. (The original draws for each label of an example; ours are drawn as a whole.)
    """
    rate = np.where(labels, rates.positives, rates.negatives)
    rows = np.flatnonzero(rng.random(len(labels)) < rate)
    return rows, (weights[rows] / rate[rows]).astype(np.float32)


def _fit_sides(
    data: Dataset, rows: npt.NDArray[np.int64], settings: TrainingSettings
) -> tuple[LightRanker, tuple[str, ...]]:
    """The pair of models, and which sides have one of their own."""
    parts = _parts(data, rows, settings)
    enough = settings.light_ranker.min_positives
    own = []
    for side, part in parts.items():
        labels = data.examples.labels[part.rows]
        if min(labels.sum(), (~labels).sum()) >= enough:
            own.append(side)
    if own and settings.light_ranker.own_models == "better":
        own = _better_alone(data, rows, own, settings)
    models = {side: _fit_part(data, [parts[side]], settings) for side in own}
    if len(own) < len(SIDES):
        of_all = _fit_part(data, list(parts.values()), settings)
        models |= {side: of_all for side in SIDES if side not in own}
    return LightRanker(*(models[side] for side in SIDES)), tuple(own)


def _better_alone(
    data: Dataset, rows: npt.NDArray[np.int64], sides: list[str], settings: TrainingSettings
) -> list[str]:
    """The sides whose own model judges the latest of their examples better than one of all."""
    n_earlier = math.ceil(len(rows) * (1 - settings.validation_share))
    parts = _parts(data, rows[:n_earlier], settings)
    later = rows[n_earlier:]
    of_all = _fit_part(data, list(parts.values()), settings)
    better = []
    for side in sides:
        mine = later[_of_side(data, later, side)]
        learnt = data.examples.labels[parts[side].rows]
        if not len(mine) or learnt.all() or not learnt.any():
            continue
        alone = _fit_part(data, [parts[side]], settings)
        if _log_loss(data, mine, alone) < _log_loss(data, mine, of_all):
            better.append(side)
    return better


class _Part(NamedTuple):
    rows: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


def _parts(
    data: Dataset, rows: npt.NDArray[np.int64], settings: TrainingSettings
) -> dict[str, _Part]:
    """The examples that each side learns from, and their weights."""
    chosen, examples = settings.light_ranker, data.examples
    parts = {}
    for number, side in enumerate(SIDES):
        mine = rows[_of_side(data, rows, side)]
        rates = chosen.in_network if side == SIDES[0] else chosen.out_of_network
        rng = np.random.default_rng([settings.seed, number])
        kept, weights = sampled(examples.labels[mine], examples.weights[mine], rates, rng)
        parts[side] = _Part(mine[kept], weights)
    return parts


def _fit_part(data: Dataset, parts: list[_Part], settings: TrainingSettings) -> BinnedModel:
    rows = np.concatenate([part.rows for part in parts])
    weights = np.concatenate([part.weights for part in parts])
    labels = data.examples.labels[rows]
    return fit(data.features[rows], labels, weights, FEATURES, settings.bins)


def _log_loss(data: Dataset, rows: npt.NDArray[np.int64], model: BinnedModel) -> float:
    """The mean weighted loss in nats."""
    logits = model.logits(data.features[rows]).astype(np.float64)
    losses = np.logaddexp(0, np.where(data.examples.labels[rows], -logits, logits))
    return float(np.average(losses, weights=data.examples.weights[rows]))


def _of_side(data: Dataset, rows: npt.NDArray[np.int64], side: str) -> npt.NDArray[np.bool_]:
    """Which examples are by authors whom the viewer followed then, or by others."""
    of_side: npt.NDArray[np.bool_] = (data.features[rows, _IS_FOLLOWED] > 0) == (side == SIDES[0])
    return of_side


def _judge(
    data: Dataset, rows: npt.NDArray[np.int64], ranker: LightRanker, seed: int
) -> dict[str, float]:
    """Metrics on the rows, of the ranker and of what it has to beat: of all and of each side."""
    judged = _judge_part(data, rows, ranker, seed)
    for side in SIDES:
        mine = rows[_of_side(data, rows, side)]
        labels = data.examples.labels[mine]
        if labels.any() and not labels.all():
            found = _judge_part(data, mine, ranker, seed)
            judged |= {f"{side}_{name}": value for name, value in found.items()}
    return judged


def _judge_part(
    data: Dataset,
    rows: npt.NDArray[np.int64],
    ranker: LightRanker,
    seed: int,
) -> dict[str, float]:
    examples, features = data.examples.take(rows), data.features[rows]
    column = dict(zip(FEATURES, features.T, strict=True))
    popularity = np.sum([np.expm1(column[name]) for name in _COUNTED], axis=0)
    followed = features[:, _IS_FOLLOWED] > 0
    scores = {
        "": ranker.logits(features, followed),
        "untrained_": untrained_pair(FEATURES).logits(features, followed),
        "recency_": -column["age_hours"],
        "popularity_": popularity,
    }
    judged: dict[str, float] = {}
    for name, values in scores.items():
        found = ranking_metrics(values, examples.labels, examples.groups, seed)
        if name in ("", "untrained_"):
            probabilities = 1 / (1 + np.exp(-values.astype(np.float64)))
            found |= probability_metrics(probabilities, examples.labels, examples.weights)
        judged |= {f"{name}{metric}": value for metric, value in found.items()}
    return judged


def _counts(
    data: Dataset, earlier: npt.NDArray[np.int64], later: npt.NDArray[np.int64]
) -> dict[str, int]:
    labels = data.examples.labels
    counts = {
        "training_examples": len(earlier),
        "training_positives": int(labels[earlier].sum()),
        "validation_examples": len(later),
        "validation_positives": int(labels[later].sum()),
        "examples_as_served": int(data.as_served.sum()),
    }
    for side in SIDES:
        mine = _of_side(data, np.arange(len(labels)), side)
        counts[f"{side}_examples"] = int(mine.sum())
        counts[f"{side}_positives"] = int(labels[mine].sum())
    return counts


def _importance(model: BinnedModel, features: Floats) -> dict[str, float]:
    """By feature, the standard deviation of what it adds to the logit; greatest first."""
    spread = model.contributions(features).std(axis=0)
    order = np.argsort(-spread, kind="stable")
    return {model.names[i]: round(float(spread[i]), 4) for i in order.tolist()}


def _write(
    artifacts: ArtifactStore,
    ranker: LightRanker,
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
        sides = (ranker.in_network, ranker.out_of_network)
        tensors = {
            "edges": np.stack([model.edges for model in sides]),
            "weights": np.stack([model.weights for model in sides]),
            "biases": np.array([model.bias for model in sides], np.float32),
        }
        draft.write_tensors("model.safetensors", tensors)
        draft.write_json("features.json", list(ranker.names))
        draft.write_json("training.json", details)
    return draft.written


def _readable(model: BinnedModel) -> dict[str, list[dict[str, float | None]]]:
    """For people: the bins of each feature with their weights; a bin holds from ≤ x < to."""
    told = {}
    for name, edges, weights in zip(model.names, model.edges, model.weights, strict=True):
        bounds = [None, *edges[edges < PAD].tolist(), None]
        told[name] = [
            {"from": low, "to": high, "weight": round(weight, 5)}
            for low, high, weight in zip(bounds[:-1], bounds[1:], weights.tolist(), strict=False)
        ]
    return told

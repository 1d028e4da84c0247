"""What a post's score is made of, and how it ranked, as a kept trace tells.

The parts multiply and add up to the score that was used, to within 1e-6 of it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.features.binned import BinnedModel, LightRanker
from actors.features.tasks import TASK_NAMES
from actors.features.weighted_score import EPSILON
from actors.models import HEAVY_RANKER, LIGHT_RANKER

Arrays = Mapping[str, npt.NDArray[Any]]
Told = Mapping[str, Any]
ModelOf = Callable[[str], LightRanker]

TOP_CONTRIBUTIONS = 8
"""Features shown of either sign, the heaviest first."""
PREDICTED = "predicted"
"""The array (tasks, n) of what the heavy ranker predicted; NaN where it was not asked."""


def stage_column(number: int) -> str:
    """The array (n,) of what the stage of this number scored; NaN where it did not."""
    return f"stage.{number}"


def factor_column(number: int, name: str) -> str:
    """The array (n,) of one of the factors of a stage that has several; NaN for 1."""
    return f"factor.{number}.{name}"


def order_column(number: int) -> str:
    """The array (n,) of places in the order that a stage put the posts into; −1 for none."""
    return f"order.{number}"


def score_of(row: int, reached: int, arrays: Arrays, said: Told, model_of: ModelOf) -> Any:
    """What ranked the post in a row, through the first `reached` stages; None before any did.

    A stage's score is `final` times the factors after it. `model_of` gives a light ranker by
    its version; contributions are left out where it raises `LookupError`, `OSError` or
    `ValueError`.
    """
    score: dict[str, Any] = {}
    factors: dict[str, float] = {}
    final: float | None = None
    for number, stage in enumerate(said["stages"][:reached]):
        value = _at(arrays, stage_column(number), row)
        if stage["kind"] == "score" and not np.isnan(value):
            score[stage["name"]] = final = value
            factors = {}
        elif stage["kind"] == "rescore" and final is not None and "values" in stage:
            for name in stage.get("factors") or [None]:
                column = factor_column(number, name) if name else stage_column(number)
                factor = _at(arrays, column, row)
                # Only posts whose score a stage changed are in its trace.
                factor = 1.0 if np.isnan(factor) else factor
                label = name or stage["name"]
                factors[f"{stage['name']}.{label}" if label in factors else label] = factor
                final *= factor
    if final is None:
        return None
    if LIGHT_RANKER in score:
        score |= _by_light_ranker(row, arrays, said, model_of)
    if HEAVY_RANKER in score:
        score |= _by_heavy_ranker(row, arrays, said["weights"])
    return score | {"factors": factors, "final": final}


def ranks_of(arrays: Arrays, stages: Sequence[Told]) -> list[npt.NDArray[np.int64]]:
    """The rank of every row after each stage, from 0; −1 where it has none.

    From the first score on posts rank by score, ties by post id; a stage that puts them into an
    order of its own ranks by that, until a later one scores again.
    """
    dropped_at, post_ids = arrays["dropped_at"], arrays["post_ids"]
    nowhere = np.full(len(post_ids), -1, np.int64)
    found: list[npt.NDArray[np.int64]] = []
    worth = np.full(len(post_ids), np.nan)
    for number, stage in enumerate(stages):
        values, order = arrays.get(stage_column(number)), arrays.get(order_column(number))
        if stage["kind"] == "score" and values is not None:
            worth = values.astype(np.float64)
        elif stage["kind"] == "rescore" and values is not None:
            # Rounded as the pipeline does, so that ties are the same.
            worth = (worth * _product(arrays, number, stage)).astype(np.float32).astype(np.float64)
        elif order is not None:
            ranked = np.where(order >= 0, -order.astype(np.float64), np.nan)
            worth = np.where(np.isnan(ranked), -np.inf, ranked)
        there = np.flatnonzero(((dropped_at < 0) | (dropped_at > number)) & ~np.isnan(worth))
        ranks = nowhere.copy()
        ranks[there[np.lexsort((post_ids[there], -worth[there]))]] = np.arange(len(there))
        found.append(ranks)
    return found


def _product(arrays: Arrays, number: int, stage: Told) -> npt.NDArray[np.float64]:
    """The product (n,) of all factors of a stage."""
    product = np.ones(len(arrays["post_ids"]))
    names = stage.get("factors") or [None]
    for name in names:
        factors = arrays.get(factor_column(number, name) if name else stage_column(number), 1.0)
        product *= np.where(np.isnan(factors), 1.0, factors)
    return product


def _by_light_ranker(row: int, arrays: Arrays, said: Told, model_of: ModelOf) -> dict[str, Any]:
    names = said["features"]
    values = dict(zip(names, arrays["features"][:, row].tolist(), strict=True))
    try:
        model = model_of(said["light_ranker"]).of(values.get("is_followed", 0.0) > 0)
    except (LookupError, OSError, ValueError):
        return {}
    if not set(model.names) <= values.keys():
        return {}
    return _contributions(model, np.array([[values[name] for name in model.names]], np.float32))


def _contributions(model: BinnedModel, values: npt.NDArray[np.float32]) -> dict[str, Any]:
    """The features that moved the logit most: the heaviest of either sign, and all others."""
    added = model.contributions(values)[0].astype(np.float64)
    heaviest = np.argsort(-np.abs(added), kind="stable")
    chosen = [
        i
        for sign in (1, -1)
        for i in [i for i in heaviest.tolist() if added[i] * sign > 0][:TOP_CONTRIBUTIONS]
    ]
    return {
        "bias": float(model.bias),
        "logit": float(model.bias + added.sum()),
        "contributions": [
            {"feature": model.names[i], "value": float(values[0, i]), "adds": float(added[i])}
            for i in chosen
        ],
        "others": float(added.sum() - added[chosen].sum()),
    }


def _by_heavy_ranker(row: int, arrays: Arrays, weights: Mapping[str, float]) -> dict[str, Any]:
    """What the heavy ranker predicted, and what each adds to the score, the heaviest first.

    The score is `scale` times the sum of what they add, plus `offset`; see
    `actors.features.weighted_score`.
    """
    if PREDICTED not in arrays:
        return {}
    found = dict(zip(TASK_NAMES, arrays[PREDICTED][:, row].tolist(), strict=True))
    if np.isnan(list(found.values())).any():
        return {}
    # As `weighted_score` counts it: by the likelier of both heads.
    likelier = max(found["is_good_clicked"], found["is_good_clicked_v2"])
    told: list[dict[str, Any]] = [
        {"engagement": name, "probability": p, "weight": weights[name]}
        | {"adds": (likelier if name == "is_good_clicked" else p) * weights[name]}
        for name, p in found.items()
    ]
    total = sum(one["adds"] for one in told)
    negative = -sum(weight for weight in weights.values() if weight < 0)
    both = sum(abs(weight) for weight in weights.values())
    scale, offset = 1.0, EPSILON
    if both == 0:
        offset = 0.0
    elif total < 0:
        scale, offset = EPSILON / both, EPSILON * negative / both
    combined = {"sum": total, "scale": scale, "offset": offset}
    return {"predicted": sorted(told, key=lambda one: -abs(one["adds"])), "combined": combined}


def _at(arrays: Arrays, name: str, row: int) -> float:
    return float(arrays[name][row]) if name in arrays else np.nan

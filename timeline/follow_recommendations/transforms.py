"""What may be done to ranked accounts before they are checked: a random order by score."""

import numpy as np
import numpy.typing as npt

from timeline.follow_recommendations.accounts import Floats

_NOTHING = -10.0
"""Scores of this or less count as no score."""


def sampled(
    scores: Floats, multiplier: float, rng: np.random.Generator, top: int = 0
) -> npt.NDArray[np.int64]:
    """A random order by Plackett and Luce: first one row, then one of the rest, and so on.

    Row i is drawn in proportion to e^(multiplier · (score − best)): of random r in 0 … 1 the
    order is that of r^(1 / weight), descending, which has that distribution. The first `top`
    rows stay. A greater multiplier strays less from the order of scores.
    """
    values = np.where(scores <= _NOTHING, 0.0, scores)
    weights = np.exp(multiplier * (values - values.max(initial=_NOTHING)))
    # ln r / weight orders as r^(1 / weight) does, and cannot underflow.
    keys = np.log(np.maximum(rng.random(len(scores)), np.finfo(np.float64).tiny))
    keys /= np.maximum(weights, np.finfo(np.float64).tiny)
    order = np.argsort(-keys[top:], kind="stable") + top
    return np.concatenate([np.arange(min(top, len(scores))), order])

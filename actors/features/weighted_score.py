"""The one score made of ten probabilities, by which serving ranks and training judges."""

import numpy as np
import numpy.typing as npt

from actors.features.tasks import TASK_NAMES
from cluster.ranker_settings import HeadWeights

Floats = npt.NDArray[np.float32]

EPSILON = 0.001
"""Keeps scores above 0, so that factors that rescore them keep their meaning (published)."""
_GOOD_CLICK, _GOOD_CLICK_V2 = (TASK_NAMES.index(f"is_good_clicked{end}") for end in ("", "_v2"))


def weighted_score(probabilities: Floats, weights: HeadWeights) -> Floats:
    """One score of each row (n, tasks): Σ weight · probability, kept above 0; shape (n,).

    The published combination: `S + ε` where the sum S is not negative, else `ε (S + N) / W`,
    N and W being the absolute sums of negative and of all weights; just S ≥ 0 without weights.
    *Opened the conversation* counts by the likelier of its two heads, and the second once more.
    """
    of_task = np.array([getattr(weights, name) for name in TASK_NAMES])
    heads = probabilities.astype(np.float64)
    heads[:, _GOOD_CLICK] = np.maximum(heads[:, _GOOD_CLICK], heads[:, _GOOD_CLICK_V2])
    total = heads @ of_task
    negative = float(-of_task[of_task < 0].sum())
    both = float(np.abs(of_task).sum())
    if both == 0:
        scores = np.maximum(total, 0)
    else:
        below = EPSILON * np.maximum(total + negative, 0) / both
        scores = np.where(total < 0, below, total + EPSILON)
    single: Floats = scores.astype(np.float32)
    return single

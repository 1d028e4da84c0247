"""What a model is told of its examples before it learns, so that its first steps are not lost.

Inputs are normed as they are distributed, where running statistics would need hundreds of steps
to get there; and every task begins with its base rate for all, where a rare one would need as
many to find that it is rare.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from actors.features.tasks import TASK_NAMES
from training.heavy_ranker.calibration import NegativeSampling
from training.heavy_ranker.example_set import ExampleSet
from training.heavy_ranker.preprocessing import signed_log

Doubles = npt.NDArray[np.float64]

SAMPLE = 65_536
"""Examples, of row groups that lie evenly over all, by which inputs are normed at first."""
RAREST = 0.002
"""A task that is rarer weighs no more in a loss by entropy: its few labels would be all of it."""


@dataclass(frozen=True)
class InputStatistics:
    """Of continuous inputs after the logarithm, each (continuous,)."""

    mean: Doubles
    variance: Doubles


def input_statistics(examples: ExampleSet) -> InputStatistics:
    """Mean and variance of a sample, the same in every process."""
    n_groups, sizes = len(examples.rows), [len(rows) for rows in examples.rows]
    n_read = max(1, min(n_groups, int(SAMPLE / np.mean(sizes))))
    count, mean, squares = 0, np.zeros(0), np.zeros(0)
    for at in np.linspace(0, n_groups - 1, n_read).round().astype(int):
        continuous = examples.read(examples.rows[at]).continuous
        x = signed_log(torch.tensor(continuous)).double().numpy()
        # Chan's update: sums of squares about the mean, group by group.
        n, own = len(x), x.mean(0)
        about = ((x - own) ** 2).sum(0)
        if not count:
            count, mean, squares = n, own, about
            continue
        away = own - mean
        mean = mean + away * n / (count + n)
        squares = squares + about + away**2 * count * n / (count + n)
        count += n
    return InputStatistics(mean, squares / max(count - 1, 1))


def base_rates(examples: ExampleSet, sampling: NegativeSampling) -> Doubles:
    """Each task's share of positives by weight, as training sees them, (tasks,).

    Strictly between 0 and 1; not a number for a task whose label no example knows.
    """
    positives, known = np.zeros(len(TASK_NAMES)), np.zeros(len(TASK_NAMES))
    for rows in examples.rows:
        labels, mask, weights = examples.outcomes(rows)
        happened = labels & mask
        kept = np.where(happened.any(1), 1.0, sampling.kept * sampling.weight)
        positives += (weights * kept) @ happened
        known += (weights * kept) @ mask
    rates = (positives + 0.5) / (known + 1.0)
    return np.where(known > 0, rates, np.nan)


def entropy_scales(rates: Doubles) -> npt.NDArray[np.float32]:
    """By what each task's loss is multiplied so that all begin alike, (tasks,), 1 on average.

    A task's loss is then its normalised entropy (He et al. 2014): a rare task, whose cross
    entropy is small whatever the model does, has as much of a say in what tasks share.
    """
    inside = np.clip(rates, RAREST, 1 - RAREST)
    scales: npt.NDArray[Any] = -1 / (inside * np.log(inside) + (1 - inside) * np.log1p(-inside))
    known = np.isfinite(scales)
    scales[known] /= scales[known].mean() if known.any() else 1.0
    return np.where(known, scales, 1.0).astype(np.float32)

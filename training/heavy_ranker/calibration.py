"""From logits to probabilities that mean what they say: negative sampling, and scale and bias.

Sampling of negatives is corrected once: by weights in the loss, or afterwards in probabilities.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Calibration = dict[str, tuple[float, float]]
"""Task → a and b of its probability, sigmoid(a · logit + b)."""

MIN_EACH = 20
"""Positives and negatives that a scale needs; a bias alone needs one of each."""
_STEPS, _CLOSE = 100, 1e-9
_PRIOR = 1.0
"""How firmly scale and bias are held to 1 and 0, in examples of a probability of a half."""


@dataclass(frozen=True)
class NegativeSampling:
    """That a share of negatives was learnt from, and how this is corrected: never twice."""

    kept: float
    corrected: Literal["weights", "probabilities"] = "weights"

    @property
    def weight(self) -> float:
        """Of each negative that was kept, in the loss."""
        return 1 / self.kept if self.corrected == "weights" else 1.0

    @property
    def ratio(self) -> float:
        """Of the rates at which negatives and positives were kept, as probabilities see it."""
        return self.kept if self.corrected == "probabilities" else 1.0


def corrected(probabilities: Floats, ratio: float) -> Floats:
    """r·p / (1 − p + r·p): what sampled negatives promise, among all (published).

    The same as to add log r to logits.
    """
    found = ratio * probabilities / (1 - probabilities + ratio * probabilities)
    return found.astype(np.float32)


def calibrated(logits: Floats, tasks: tuple[str, ...], calibration: Calibration) -> Floats:
    """Probabilities, (n, tasks), from logits of the same shape."""
    scale, bias = np.array([calibration[task] for task in tasks], np.float32).T
    return _sigmoid(logits * scale + bias).astype(np.float32)


def fit_calibration(
    logits: Floats,
    labels: Floats,
    mask: Floats,
    weights: Floats,
    tasks: tuple[str, ...],
    ratio: float = 1.0,
) -> Calibration:
    """Scale and bias of every task by Platt's method, from examples that it did not learn from.

    All of shape (n, tasks) but weights, (n,). `ratio` is that of `NegativeSampling`; held-out
    negatives have to be there all, or by weight. A task without both labels keeps its logits,
    one with few of either gets a bias alone, and none is turned upside down.
    """
    shift = float(np.log(ratio))
    found = {}
    for i, task in enumerate(tasks):
        known = mask[:, i] > 0
        a, b = _platt(
            logits[known, i].astype(np.float64) + shift, labels[known, i] > 0.5, weights[known]
        )
        found[task] = (a, a * shift + b)
    return found


def _platt(
    logits: npt.NDArray[np.float64], labels: npt.NDArray[np.bool_], weights: Floats
) -> tuple[float, float]:
    """By Newton's method; the loss is convex."""
    fewest = min(int(labels.sum()), int((~labels).sum()))
    if not fewest:
        return 1.0, 0.0
    a, b = _newton(logits, labels, weights, scaled=fewest >= MIN_EACH)
    return (a, b) if a > 0 else _newton(logits, labels, weights, scaled=False)


def _newton(
    logits: npt.NDArray[np.float64],
    labels: npt.NDArray[np.bool_],
    weights: Floats,
    *,
    scaled: bool,
) -> tuple[float, float]:
    x = np.stack([logits, np.ones_like(logits)], 1)
    start, prior = np.array([1.0, 0.0]), np.diag([_PRIOR / 4, _PRIOR / 4])
    theta, free = start.copy(), np.array([scaled, True])
    loss = _log_loss(x, theta, labels, weights, prior)
    for _ in range(_STEPS):
        p = _sigmoid(x @ theta)
        gradient = x.T @ (weights * (p - labels)) + prior @ (theta - start)
        hessian = (x * (weights * p * (1 - p))[:, None]).T @ x + prior
        step = np.zeros(2)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        # Halved until it helps: far from the optimum Newton's step may pass it.
        while (found := _log_loss(x, theta - step, labels, weights, prior)) > loss + _CLOSE:
            step /= 2
        theta, gained, loss = theta - step, loss - found, found
        if gained < _CLOSE:
            break
    return float(theta[0]), float(theta[1])


def _log_loss(
    x: npt.NDArray[np.float64],
    theta: npt.NDArray[np.float64],
    labels: npt.NDArray[np.bool_],
    weights: Floats,
    prior: npt.NDArray[np.float64],
) -> float:
    z = x @ theta
    away = theta - np.array([1.0, 0.0])
    losses = np.logaddexp(0, z) - labels * z
    return float(weights @ losses + away @ prior @ away / 2)


def _sigmoid(z: npt.NDArray[Any]) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = np.exp(-np.logaddexp(0, -z))
    return found


def identity(tasks: tuple[str, ...]) -> Calibration:
    """Probabilities as the logits say."""
    return dict.fromkeys(tasks, (1.0, 0.0))


def as_json(calibration: Mapping[str, tuple[float, float]]) -> dict[str, list[float]]:
    """As `model.json` has it."""
    return {task: [float(a), float(b)] for task, (a, b) in calibration.items()}

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

_STEPS, _CLOSE = 100, 1e-9
_SCALE_PRIOR = 4.0
"""How firmly a scale is held to 0: as if it were drawn from a normal distribution with a standard
deviation of one half. A few positives, of logits that lie a few apart, are stronger."""
_BIAS_PRIOR = 0.25
"""How firmly the mean is held to what was promised: as by one example of one half."""


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
    negatives have to be there all, or by weight. A scale is held to 0 until held-out labels
    speak for it: a task of which there are hardly any says nearly the same of all, where its
    noise, at weights of up to hundreds, would decide the order. None is turned upside down. A
    task of which no label is known keeps its logits.
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
    if not len(labels):
        return 1.0, 0.0
    # About the mean, so that a smaller scale leaves the mean where it is.
    centre = float(np.average(logits, weights=weights))
    promised = float(np.average(_sigmoid(logits), weights=weights))
    start = np.array([0.0, np.log(promised) - np.log1p(-promised)])
    x = np.stack([logits - centre, np.ones_like(logits)], 1)
    theta = _newton(x, labels, weights, start)
    if theta[0] < 0:
        theta = _newton(x * [0, 1], labels, weights, start)
    return float(theta[0]), float(theta[1] - theta[0] * centre)


def _newton(
    x: npt.NDArray[np.float64],
    labels: npt.NDArray[np.bool_],
    weights: Floats,
    start: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    prior, theta = np.diag([_SCALE_PRIOR, _BIAS_PRIOR]), start.copy()
    loss = _log_loss(x, theta, labels, weights, start, prior)
    for _ in range(_STEPS):
        p = _sigmoid(x @ theta)
        gradient = x.T @ (weights * (p - labels)) + prior @ (theta - start)
        hessian = (x * (weights * p * (1 - p))[:, None]).T @ x + prior
        step = np.linalg.solve(hessian, gradient)
        # Halved until it helps: far from the optimum Newton's step may pass it.
        while (found := _log_loss(x, theta - step, labels, weights, start, prior)) > loss + _CLOSE:
            step /= 2
        theta, gained, loss = theta - step, loss - found, found
        if gained < _CLOSE:
            break
    return theta


def _log_loss(
    x: npt.NDArray[np.float64],
    theta: npt.NDArray[np.float64],
    labels: npt.NDArray[np.bool_],
    weights: Floats,
    start: npt.NDArray[np.float64],
    prior: npt.NDArray[np.float64],
) -> float:
    z = x @ theta
    away = theta - start
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

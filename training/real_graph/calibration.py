"""From what a model says to probabilities that come true."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

Floats = npt.NDArray[np.float64]
Method = Literal["none", "platt", "isotonic"]

_SMALLEST = 1e-7
MIN_POSITIVES = 50
"""With fewer to calibrate by, only the down-sampling is undone."""


@dataclass(frozen=True)
class Calibration:
    """A monotone map of probabilities: the sampling undone, then a line or steps in log-odds."""

    sampling_log_odds: float
    """Added to the log-odds: ln of the share of negatives kept over that of positives."""
    slope: float = 1.0
    bias: float = 0.0
    levels: tuple[float, ...] = ()
    """Isotonic: probabilities at the log-odds `knots`, straight lines between them."""
    knots: tuple[float, ...] = ()

    def apply(self, raw: npt.NDArray[np.floating]) -> Floats:
        """Calibrated probabilities of raw ones, (n,)."""
        log_odds = _log_odds(raw) + self.sampling_log_odds
        if self.knots:
            return np.interp(log_odds, self.knots, self.levels)
        found: Floats = 1 / (1 + np.exp(-(self.slope * log_odds + self.bias)))
        return found

    def to_json(self) -> dict[str, Any]:
        """For the artifact."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def sampling_log_odds(negatives_kept: float, positives_kept: float = 1.0) -> float:
    """What to add to log-odds learnt from a sample with these shares of each label.

    With the published shares, q of negatives and 1 − q of positives at a positive rate of q,
    this is p = s·q / (s·q + (1 − s)(1 − q)).
    """
    return math.log(negatives_kept / positives_kept)


def calibrate(
    raw: npt.NDArray[np.floating],
    labels: npt.NDArray[np.bool_],
    sampling: float,
    method: Method,
) -> Calibration:
    """The calibration by held-out examples (not down-sampled), raw probabilities of shape (n,).

    `sampling` is that of the examples which the model saw. Platt's two numbers, or isotonic
    steps, are fitted where there are at least 50 of each label.
    """
    n_positive = int(labels.sum())
    if method == "none" or min(n_positive, len(labels) - n_positive) < MIN_POSITIVES:
        return Calibration(sampling)
    log_odds = _log_odds(raw) + sampling
    if method == "platt":
        # C is large: two numbers need no penalty.
        line = LogisticRegression(C=1e6, tol=1e-8, max_iter=1_000)
        line.fit(log_odds[:, None], labels)
        return Calibration(sampling, float(line.coef_[0, 0]), float(line.intercept_[0]))
    steps = IsotonicRegression(out_of_bounds="clip").fit(log_odds, labels)
    # Never quite 0 or 1, which no number of examples shows.
    edge = 1 / (len(labels) + 2)
    levels = np.clip(steps.y_thresholds_, edge, 1 - edge)
    return Calibration(
        sampling, levels=tuple(levels.tolist()), knots=tuple(steps.X_thresholds_.tolist())
    )


def _log_odds(probabilities: npt.NDArray[np.floating]) -> Floats:
    inside = np.clip(probabilities.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    found: Floats = np.log(inside) - np.log1p(-inside)
    return found

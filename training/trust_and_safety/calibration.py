"""From logits to probabilities, and from which probability on a label is precise enough."""

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

MIN_FLAGGED = 10
"""A precision of fewer texts is luck, so no threshold flags fewer."""
_MIN_SLOPE = 1e-3


def negative_weight(truths: Bools, prevalence: float | None) -> float:
    """What one negative text counts so that positives have at most the share `prevalence`.

    Labelled texts were looked for: three of four of the published ones are toxic. Where one in
    twenty is, the same threshold flags far more harmless texts for each that is not.
    """
    n_positive, n_negative = int(truths.sum()), int((~truths).sum())
    if prevalence is None or n_positive <= prevalence * len(truths) or not n_negative:
        return 1.0
    return n_positive * (1 - prevalence) / (prevalence * n_negative)


def platt(logits: Floats, truths: Bools, weight: float = 1.0) -> tuple[float, float]:
    """Slope and offset that make the logits (n,) log-odds (Platt, 1999).

    `weight` is that of a negative text, here and below (see `negative_weight`).

    The slope stays positive, so that calibration never turns an order around.
    """
    regression = LogisticRegression(C=1e6)
    weights = np.where(truths, 1.0, weight)
    regression.fit(logits[:, None].astype(np.float64), truths, sample_weight=weights)
    return max(float(regression.coef_[0, 0]), _MIN_SLOPE), float(regression.intercept_[0])


def threshold_at(scores: Floats, truths: Bools, precision: float, weight: float = 1.0) -> float:
    """The lowest score such that of those at or above it the share `precision` is true.

    Infinity where there is none that flags at least `MIN_FLAGGED`.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    n_flagged = np.arange(1, len(order) + 1)
    n_true = np.cumsum(truths[order])
    precise = n_true >= precision * (n_true + weight * (n_flagged - n_true))
    last_of_ties = np.append(ordered[1:] != ordered[:-1], True)
    good = np.flatnonzero(precise & last_of_ties & (n_flagged >= MIN_FLAGGED))
    return float(ordered[good[-1]]) if len(good) else np.inf


def precision_elsewhere(
    scores: Floats,
    truths: Bools,
    folds: npt.NDArray[np.int64],
    precision: float,
    weight: float = 1.0,
) -> float | None:
    """The precision that thresholds have on the fold they were not set on; None: no text.

    It says whether a threshold keeps its promise, which the texts it was set on cannot.
    """
    flagged = np.zeros(len(scores), bool)
    for fold in np.unique(folds):
        here = folds == fold
        threshold = threshold_at(scores[~here], truths[~here], precision, weight)
        flagged[here] = scores[here] >= threshold
    n_true, n_false = int(truths[flagged].sum()), int((~truths[flagged]).sum())
    return n_true / (n_true + weight * n_false) if flagged.any() else None

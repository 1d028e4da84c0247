"""How good scores of pairs are: as an order, as probabilities, and beside plain rules."""

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids
from training.metrics import probability_metrics, ranking_metrics
from training.real_graph.candidates import values_of
from training.real_graph.instant import FEATURES, Instant
from training.real_graph.labels import IS_LABEL

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]

N_BINS = 10
LIFT_SHARE = 0.01


def order_metrics(scores: Floats, labels: Labels, sources: Ids, seed: int) -> dict[str, float]:
    """`training.metrics.ranking_metrics` by source, and `lift_at_1_percent`."""
    found = ranking_metrics(scores, labels, sources, seed)
    return found | {"lift_at_1_percent": lift(scores, labels, LIFT_SHARE, seed)}


def probabilities_metrics(probabilities: Floats, labels: Labels) -> dict[str, float]:
    """`log_loss`, `calibration` (expected over observed) and `ece`."""
    found = probability_metrics(probabilities, labels, np.ones(len(labels), np.float32))
    return found | {"ece": expected_calibration_error(probabilities, labels)}


def lift(scores: Floats, labels: Labels, share: float, seed: int = 0) -> float:
    """The positive rate of the best `share` of examples over that of all; ties are drawn."""
    ties = np.random.default_rng(seed).permutation(len(scores))
    best = np.lexsort((ties, -scores))[: max(1, round(share * len(scores)))]
    return float(labels[best].mean() / labels.mean())


def deciles(probabilities: Floats, labels: Labels) -> list[dict[str, float]]:
    """Expected and observed positive rates in ten parts of as many examples, lowest first."""
    order = np.argsort(probabilities, kind="stable")
    return [
        {
            "examples": len(part),
            "expected": float(probabilities[part].mean(dtype=np.float64)),
            "observed": float(labels[part].mean()),
        }
        for part in np.array_split(order, N_BINS)
        if len(part)
    ]


def expected_calibration_error(probabilities: Floats, labels: Labels) -> float:
    """Mean distance of expected from observed over the deciles, weighted by examples."""
    parts = deciles(probabilities, labels)
    gaps = [abs(part["expected"] - part["observed"]) for part in parts]
    return float(np.average(gaps, weights=[part["examples"] for part in parts]))


def rules(pairs: Ids, instant: Instant) -> dict[str, Floats]:
    """Scores of pairs by the rules a model has to beat.

    `recent_` is the time of the last interaction, `frequent_` the number of interactions in
    all the past.
    """
    rows = np.flatnonzero(IS_LABEL[np.array(FEATURES)[instant.columns]])
    known, place, counts = np.unique(instant.pairs[rows], return_inverse=True, return_counts=True)
    last_ms = np.full(len(known), instant.at_ms)
    last_ms[place] = 0
    np.maximum.at(last_ms, place, instant.times_ms[rows])
    return {
        "recent_": values_of(pairs, known, last_ms),
        "frequent_": values_of(pairs, known, counts),
    }

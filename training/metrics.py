"""How good scores are: of single examples, and as an order within each request."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from cluster.ids import Ids

Array = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]


def ranking_metrics(scores: Array, labels: Labels, groups: Ids, seed: int = 0) -> dict[str, float]:
    """What an order says: `auc` and `average_precision` of all examples, and means over groups.

    `grouped_auc` is the probability of a correct pair order within a request (a constant
    score has 0.5) and `ndcg_at_10` has gains of 0 and 1; both are means over the groups that
    hold positives and negatives. Arguments of shape (n,); labels must hold both values.
    """
    return {
        "auc": float(roc_auc_score(labels, scores)),
        "average_precision": float(average_precision_score(labels, scores)),
        "grouped_auc": grouped_auc(scores, labels, groups),
        "ndcg_at_10": ndcg_at_k(scores, labels, groups, 10, seed),
        "recall_at_10": recall_at_k(scores, labels, groups, 10, seed),
    }


def probability_metrics(probabilities: Array, labels: Labels, weights: Array) -> dict[str, float]:
    """What probabilities are worth, by weight: `log_loss` (nats) and `calibration`.

    Calibration is the mean predicted probability over the observed share of positives: 1 is
    right, 2 promises twice as much as comes.
    """
    inside = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    observed = float(np.average(labels, weights=weights))
    return {
        "log_loss": float(log_loss(labels, inside, sample_weight=weights, labels=[False, True])),
        "calibration": float(np.average(inside, weights=weights)) / observed,
    }


def grouped_auc(scores: Array, labels: Labels, groups: Ids) -> float:
    """Mean over groups of the share of (positive, negative) pairs in order; ties count half."""
    order = np.lexsort((scores, groups))
    scores, labels, groups = scores[order], labels[order], groups[order]
    starts = _starts(groups)
    group = np.cumsum(starts) - 1
    first = np.flatnonzero(starts)
    rank = np.arange(len(scores)) - first[group]
    # Equal scores share the middle of their ranks.
    tied = np.cumsum(starts | np.r_[True, scores[1:] != scores[:-1]]) - 1
    rank = (np.bincount(tied, rank) / np.bincount(tied))[tied]
    n_positive = np.bincount(group, labels)
    n_negative = np.bincount(group, ~labels)
    won = np.bincount(group, np.where(labels, rank, 0)) - n_positive * (n_positive - 1) / 2
    both = (n_positive > 0) & (n_negative > 0)
    return _mean(won[both] / (n_positive * n_negative)[both])


def ndcg_at_k(scores: Array, labels: Labels, groups: Ids, k: int, seed: int = 0) -> float:
    """Mean NDCG of the first `k` over groups with positives and negatives; gains are 0 and 1.

    Equal scores are put in an order drawn from `seed`.
    """

    def gained(rank: Ids, hit: Labels, group: Ids, n_positive: Ids) -> Array:
        gains = np.bincount(group, np.where(hit & (rank < k), 1 / np.log2(rank + 2), 0.0))
        ideal = np.cumsum(1 / np.log2(np.arange(k) + 2))
        best: npt.NDArray[np.float64] = ideal[np.minimum(n_positive, k).astype(np.int64) - 1]
        return gains / best

    return _mean_of_groups(gained, scores, labels, groups, seed)


def recall_at_k(scores: Array, labels: Labels, groups: Ids, k: int, seed: int = 0) -> float:
    """Mean share of a group's positives among its first `k`; groups and ties as in NDCG."""

    def found(rank: Ids, hit: Labels, group: Ids, n_positive: Ids) -> Array:
        return np.bincount(group, hit & (rank < k)) / np.maximum(n_positive, 1)

    return _mean_of_groups(found, scores, labels, groups, seed)


def _mean_of_groups(
    measure: Callable[[Ids, Labels, Ids, Ids], Array],
    scores: Array,
    labels: Labels,
    groups: Ids,
    seed: int,
) -> float:
    ties = np.random.default_rng(seed).permutation(len(scores))
    order = np.lexsort((ties, -scores, groups))
    hit, starts = labels[order], _starts(groups[order])
    group = np.cumsum(starts) - 1
    rank = np.arange(len(order)) - np.flatnonzero(starts)[group]
    n_positive = np.bincount(group, hit)
    both = (n_positive > 0) & (n_positive < np.bincount(group))
    return _mean(measure(rank, hit, group, n_positive)[both])


def _starts(groups: Ids) -> Labels:
    """Where a new group begins, in sorted groups."""
    starts = np.ones(len(groups), bool)
    starts[1:] = groups[1:] != groups[:-1]
    return starts


def _mean(values: Array) -> float:
    """The mean; 0.0 where no group has both labels, so that it stays a number."""
    return float(values.mean()) if len(values) else 0.0

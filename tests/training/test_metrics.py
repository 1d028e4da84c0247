import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics import (
    grouped_auc,
    ndcg_at_k,
    probability_metrics,
    ranking_metrics,
    recall_at_k,
)

Rows = list[tuple[int, float, bool]]


def columns(
    rows: Rows,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    groups, scores, labels = zip(*rows, strict=True)
    return np.array(scores, np.float64), np.array(labels, bool), np.array(groups, np.int64)


def test_a_group_by_hand() -> None:
    scores, labels, groups = columns(
        [(7, 0.9, False), (7, 0.8, True), (7, 0.1, False), (7, 0.0, True), (9, 5.0, True)]
    )
    assert grouped_auc(scores, labels, groups) == pytest.approx(1 / 4)
    found = 1 / math.log2(3) + 1 / math.log2(5)
    assert ndcg_at_k(scores, labels, groups, 10) == pytest.approx(found / (1 + 1 / math.log2(3)))
    assert ndcg_at_k(scores, labels, groups, 1) == 0.0
    assert recall_at_k(scores, labels, groups, 2) == pytest.approx(0.5)


def test_a_constant_score_orders_half_of_the_pairs() -> None:
    labels = np.array([True, False, False, True, False])
    assert grouped_auc(np.zeros(5), labels, np.zeros(5, np.int64)) == 0.5


def test_ties_are_not_broken_in_favour_of_what_comes_first() -> None:
    n = 2_000
    labels = np.tile([True, False], n)
    groups = np.repeat(np.arange(n), 2)
    found = recall_at_k(np.zeros(2 * n), labels, groups, 1)
    assert 0.45 < found < 0.55


def test_no_group_with_both_labels_gives_a_number() -> None:
    scores, labels, groups = columns([(1, 0.5, True), (2, 0.4, False)])
    assert grouped_auc(scores, labels, groups) == 0.0
    assert ndcg_at_k(scores, labels, groups, 10) == 0.0


def test_calibration_and_log_loss_by_weight() -> None:
    labels = np.array([True, False])
    found = probability_metrics(np.array([0.5, 0.5]), labels, np.array([3.0, 1.0]))
    assert found["calibration"] == pytest.approx(0.5 / 0.75)
    assert found["log_loss"] == pytest.approx(math.log(2))


def test_certain_and_wrong_is_a_finite_loss() -> None:
    found = probability_metrics(np.array([0.0, 1.0]), np.array([True, False]), np.ones(2))
    assert np.isfinite(found["log_loss"])


def _slow_auc(rows: Rows) -> float:
    means = []
    for group in sorted({g for g, _, _ in rows}):
        positive = [s for g, s, hit in rows if g == group and hit]
        negative = [s for g, s, hit in rows if g == group and not hit]
        won = [(p > n) + (p == n) / 2 for p in positive for n in negative]
        if won:
            means.append(sum(won) / len(won))
    return sum(means) / len(means) if means else 0.0


def _slow_ndcg(rows: Rows, k: int) -> float:
    means = []
    for group in sorted({g for g, _, _ in rows}):
        ranked = [hit for g, _, hit in sorted(rows, key=lambda row: -row[1]) if g == group]
        if 0 < sum(ranked) < len(ranked):
            best = sum(1 / math.log2(i + 2) for i in range(min(k, sum(ranked))))
            means.append(sum(1 / math.log2(i + 2) for i, h in enumerate(ranked[:k]) if h) / best)
    return sum(means) / len(means) if means else 0.0


ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 5).map(float), st.booleans()),
    min_size=1,
    max_size=40,
)


@given(ROWS)
def test_grouped_auc_is_that_of_all_pairs(rows: Rows) -> None:
    assert grouped_auc(*columns(rows)) == pytest.approx(_slow_auc(rows))


@given(ROWS, st.integers(1, 12))
def test_ndcg_is_that_of_each_group(rows: Rows, k: int) -> None:
    apart = [(group, score + i / 1_000, hit) for i, (group, score, hit) in enumerate(rows)]
    assert ndcg_at_k(*columns(apart), k) == pytest.approx(_slow_ndcg(apart, k))


def test_all_ranking_metrics_of_a_perfect_order_are_one() -> None:
    labels = np.array([True, False, True, False])
    found = ranking_metrics(labels.astype(np.float64), labels, np.array([1, 1, 2, 2]))
    assert set(found.values()) == {1.0}

"""The score made of ten probabilities: the published combination, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.features.tasks import TASK_NAMES
from actors.features.weighted_score import EPSILON, weighted_score
from cluster.ranker_settings import HeadWeights

NOTHING = dict.fromkeys(TASK_NAMES, 0.0)


def row(**probabilities: float) -> np.ndarray:
    return np.array([[probabilities.get(name, 0.0) for name in TASK_NAMES]], np.float32)


def test_there_is_a_weight_for_every_task() -> None:
    assert set(HeadWeights.model_fields) == set(TASK_NAMES)


def test_a_sum_above_zero_is_raised_by_epsilon() -> None:
    # 0.5 · 0.2 + 13.5 · 0.1 = 1.45
    [score] = weighted_score(row(is_favorited=0.2, is_replied=0.1), HeadWeights())
    assert score == pytest.approx(1.45 + EPSILON)


def test_a_sum_below_zero_stays_above_zero() -> None:
    # S = −369 · 0.5 = −184.5, N = 74 + 369 = 443, W = 443 + 123.005
    [score] = weighted_score(row(is_reported=0.5), HeadWeights())
    assert score == pytest.approx(EPSILON * (443 - 184.5) / (443 + 123.005))
    assert 0 < score < EPSILON


def test_opening_the_conversation_counts_by_its_likelier_head_and_the_second_again() -> None:
    weights = HeadWeights(**NOTHING | {"is_good_clicked": 11.0, "is_good_clicked_v2": 10.0})
    first, second = row(is_good_clicked=0.3), row(is_good_clicked_v2=0.3)
    scores = weighted_score(np.concatenate([first, second]), weights)
    np.testing.assert_allclose(scores, np.array([11 * 0.3, 21 * 0.3]) + EPSILON, rtol=1e-6)


def test_without_weights_nothing_scores() -> None:
    np.testing.assert_array_equal(weighted_score(row(is_replied=1.0), HeadWeights(**NOTHING)), [0])


def test_what_is_passed_in_does_not_change() -> None:
    given_rows = row(is_good_clicked_v2=0.5)
    before = given_rows.copy()
    weighted_score(given_rows, HeadWeights())
    np.testing.assert_array_equal(given_rows, before)


@given(st.lists(st.lists(st.floats(0, 1), min_size=10, max_size=10), min_size=2, max_size=20))
def test_more_of_what_is_liked_never_scores_less(rows: list[list[float]]) -> None:
    probabilities = np.array(rows, np.float32)
    weights = HeadWeights()
    scores = weighted_score(probabilities, weights)
    assert (scores >= 0).all()
    assert np.isfinite(scores).all()
    liked = TASK_NAMES.index("is_replied")
    more = probabilities.copy()
    more[:, liked] = 1.0
    assert (weighted_score(more, weights) >= scores).all()

import numpy as np
import pytest

from cluster.events import Kind
from tests.training.real_graph.small import DAY_MS, START_MS, Diary, key
from training.real_graph.evaluation import deciles, expected_calibration_error, lift, rules
from training.real_graph.instant import known_at


def test_lift_by_hand() -> None:
    scores = np.arange(100) / 100
    labels = np.isin(np.arange(100), [99, 98, 10, 20])
    assert lift(scores, labels, 0.02) == pytest.approx(25)
    assert lift(scores, labels, 1) == pytest.approx(1)


def test_calibration_by_hand() -> None:
    probabilities = np.repeat([0.2, 0.6], 50)
    labels = np.concatenate([np.arange(50) < 10, np.arange(50) < 40])
    labels = labels[np.argsort(np.tile(np.arange(50), 2) % 10 + np.repeat([0, 10], 50))]
    parts = deciles(probabilities, labels)
    assert [part["examples"] for part in parts] == [10] * 10
    assert [part["expected"] for part in parts] == pytest.approx([0.2] * 5 + [0.6] * 5)
    assert sum(part["observed"] for part in parts) / 10 == pytest.approx(0.5)
    assert expected_calibration_error(np.full(20, 0.25), np.arange(20) % 2 == 0) == pytest.approx(
        0.25
    )


def test_rules_know_the_last_time_and_the_number() -> None:
    diary = Diary()
    for day in (0.5, 1.5):
        diary.did(Kind.CLICK, day, 1, 2)
    diary.did(Kind.FAVOURITE, 1.75, 1, 3)
    diary.did(Kind.IMPRESSION, 1.8, 1, 4)
    found = diary.collected()
    instant = known_at(found, START_MS + 2 * DAY_MS, DAY_MS)
    scores = rules(np.array([key(found, 1, other) for other in (2, 3, 4)]), instant)
    days = [START_MS + round(day * DAY_MS) for day in (1.5, 1.75)]
    assert scores["recent_"].tolist() == [*days, 0]
    assert scores["frequent_"].tolist() == [2, 1, 0]

import numpy as np
import pytest

from cluster.training_settings import RealGraphSettings
from training.real_graph.model import N_FOLDS, fit, folds_of, sampled

LOGISTIC = RealGraphSettings(model="logistic")
TREES = RealGraphSettings()


def planted(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    inputs = rng.exponential(2, (n, 3)).astype(np.float32)
    log_odds = 2 * np.log1p(inputs[:, 0]) - 1.5 * np.log1p(inputs[:, 1]) - 1
    true = 1 / (1 + np.exp(-log_odds))
    return inputs, true, rng.random(n) < true


@pytest.mark.parametrize(("settings", "error"), [(LOGISTIC, 0.02), (TREES, 0.05)])
def test_a_planted_model_is_found_again(settings: RealGraphSettings, error: float) -> None:
    inputs, _, labels = planted(20_000, 0)
    left_inputs, _, left_labels = planted(4_000, 1)
    model = fit(inputs, labels, 0, settings, (left_inputs, left_labels))
    fresh, true, _ = planted(4_000, 2)
    assert np.abs(model.raw(fresh) - true).mean() < error
    importance = model.importance()
    assert sum(importance) == pytest.approx(1)
    assert importance[0] > importance[1] > importance[2]


def test_trees_are_the_same_every_time_and_stop_early() -> None:
    inputs, _, labels = planted(3_000, 0)
    noise, _, _ = planted(500, 1)
    left_out = noise, np.arange(500) % 2 == 0
    one, two = (fit(inputs, labels, 3, TREES, left_out) for _ in range(2))
    assert one.to_json() == two.to_json()
    assert one.rounds < TREES.rounds


def test_a_sample_is_of_pairs_and_not_of_rows() -> None:
    sources, destinations = np.arange(1, 10_001), np.arange(10_001, 20_001)
    kept = sampled(sources, destinations, 0.25, seed=1)
    assert kept.mean() == pytest.approx(0.25, abs=0.02)
    shuffled = np.random.default_rng(0).permutation(10_000)
    assert (sampled(sources[shuffled], destinations[shuffled], 0.25, 1) == kept[shuffled]).all()
    assert (sampled(sources, destinations, 0.25, 2) != kept).any()
    assert sampled(sources, destinations, 1.0, 1).all()


def test_all_pairs_of_a_source_are_in_one_fold() -> None:
    folds = folds_of(np.repeat(np.arange(1, 5_001), 2))
    assert (folds[::2] == folds[1::2]).all()
    np.testing.assert_allclose(np.bincount(folds) / len(folds), 1 / N_FOLDS, atol=0.03)

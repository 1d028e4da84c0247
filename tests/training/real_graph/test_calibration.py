import numpy as np
import pytest

from training.real_graph.calibration import Calibration, Method, calibrate, sampling_log_odds


def drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True probabilities and what came of them."""
    rng = np.random.default_rng(seed)
    true = 1 / (1 + np.exp(-rng.normal(-3, 1.5, n)))
    return true, rng.random(n) < true


def logits(p: np.ndarray) -> np.ndarray:
    return np.log(p / (1 - p))


def test_undoing_the_published_sampling_is_its_formula() -> None:
    q, s = 0.02, np.array([0.1, 0.5, 0.9])
    found = Calibration(sampling_log_odds(q, 1 - q)).apply(s)
    np.testing.assert_allclose(found, s * q / (s * q + (1 - s) * (1 - q)))


@pytest.mark.parametrize("method", ["none", "platt", "isotonic"])
def test_a_sampled_share_is_undone_by_every_method(method: Method) -> None:
    true, labels = drawn(40_000)
    sampled_odds = true / (1 - true) / 0.1  # a tenth of the negatives was kept
    raw = sampled_odds / (1 + sampled_odds)
    found = calibrate(raw, labels, sampling_log_odds(0.1), method).apply(raw)
    assert found.mean() == pytest.approx(labels.mean(), rel=0.05)
    top = true > 0.3
    assert found[top].mean() == pytest.approx(labels[top].mean(), rel=0.05)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_too_great_confidence_is_taken_back(method: Method) -> None:
    true, labels = drawn(40_000)
    raw = 1 / (1 + np.exp(-(2 * logits(true) + 1)))
    found = calibrate(raw, labels, 0.0, method)
    fresh, outcome = drawn(40_000, seed=1)
    probabilities = found.apply(1 / (1 + np.exp(-(2 * logits(fresh) + 1))))
    assert np.abs(probabilities - fresh).mean() < 0.01
    assert probabilities.mean() == pytest.approx(outcome.mean(), rel=0.05)
    if method == "platt":
        assert (found.slope, found.bias) == (
            pytest.approx(0.5, abs=0.05),
            pytest.approx(-0.5, abs=0.1),
        )


def test_isotonic_keeps_the_order_and_is_never_certain() -> None:
    true, labels = drawn(2_000)
    calibration = calibrate(true, labels, 0.0, "isotonic")
    found = calibration.apply(np.linspace(0, 1, 101))
    assert (np.diff(found) >= 0).all()
    assert 0 < found.min() < found.max() < 1


def test_with_few_positives_only_the_sampling_is_undone() -> None:
    raw, labels = np.full(500, 0.5), np.arange(500) < 49
    assert calibrate(raw, labels, -1.0, "platt") == Calibration(-1.0)

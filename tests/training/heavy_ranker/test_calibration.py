import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.heavy_ranker.calibration import (
    NegativeSampling,
    calibrated,
    corrected,
    fit_calibration,
    identity,
)


def sigmoid(x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return 1 / (1 + np.exp(-x))


@given(st.floats(0.001, 1), st.floats(0.001, 0.999))
def test_sampling_is_corrected_exactly(kept: float, p: float) -> None:
    """Of positives all, of negatives a share is kept: odds rise by 1 / share."""
    sampled = p / (p + kept * (1 - p))
    assert corrected(np.array([sampled]), kept)[0] == pytest.approx(p, rel=1e-4)


@given(st.floats(0.001, 1))
def test_sampling_is_never_corrected_twice(kept: float) -> None:
    by_weights = NegativeSampling(kept, "weights")
    assert (by_weights.weight, by_weights.ratio) == (1 / kept, 1.0)
    afterwards = NegativeSampling(kept, "probabilities")
    assert (afterwards.weight, afterwards.ratio) == (1.0, kept)


def fit(logits: np.ndarray, labels: np.ndarray, **more: object) -> dict[str, tuple[float, float]]:  # type: ignore[type-arg]
    n, t = logits.shape
    columns = {"mask": np.ones((n, t)), "weights": np.ones(n), **more}
    tasks = tuple(f"t{i}" for i in range(t))
    return fit_calibration(logits, labels, tasks=tasks, **columns)  # type: ignore[arg-type]


def test_scale_and_bias_are_found_again() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (60_000, 2)).astype(np.float32)
    truth = np.stack([0.5 * logits[:, 0] - 1, 1.5 * logits[:, 1] + 0.3], 1)
    found = fit(logits, rng.random(truth.shape) < sigmoid(truth))
    assert found["t0"] == pytest.approx((0.5, -1), abs=0.05)
    assert found["t1"] == pytest.approx((1.5, 0.3), abs=0.07)
    probabilities = calibrated(logits, ("t0", "t1"), found)
    np.testing.assert_allclose(probabilities, sigmoid(truth), atol=0.02)
    assert probabilities.dtype == np.float32


def test_weights_and_masks_count() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1, (40_000, 1)).astype(np.float32)
    labels = rng.random(logits.shape) < sigmoid(logits - 2)
    kept = labels[:, 0] | (rng.random(len(labels)) < 0.2)
    weights = np.where(labels[:, 0], 1, 5.0)[kept]
    by_weight = fit(logits[kept], labels[kept], weights=weights)
    assert by_weight["t0"] == pytest.approx((1, -2), abs=0.08)
    half = np.arange(len(labels)) % 2 == 0
    turned = np.where(half[:, None], labels, ~labels)
    by_mask = fit(logits, turned, mask=half[:, None].astype(float))
    assert by_mask["t0"] == pytest.approx((1, -2), abs=0.08)


def test_a_ratio_is_part_of_what_comes_out() -> None:
    """A model of sampled negatives, corrected once, needs nothing but that correction."""
    rng = np.random.default_rng(2)
    truth = rng.normal(-2, 1, (60_000, 1))
    labels = rng.random(truth.shape) < sigmoid(truth)
    kept = 0.1
    of_sampled = (truth - np.log(kept)).astype(np.float32)
    a, b = fit(of_sampled, labels, ratio=kept)["t0"]
    assert (a, b) == pytest.approx((1, np.log(kept)), abs=0.1)


def test_a_scale_grows_with_what_speaks_for_it() -> None:
    """The same logits, which are right, and their labels, once and many times over."""
    rng = np.random.default_rng(3)
    logits = np.sort(rng.normal(-4, 1, (400, 1)).astype(np.float32), axis=0)
    labels = np.zeros(logits.shape, bool)
    # As many as are to be expected, where they are to be expected.
    labels[np.searchsorted(np.cumsum(sigmoid(logits)), np.arange(0.5, sigmoid(logits).sum()))] = 1
    found = [
        fit(np.tile(logits, (times, 1)), np.tile(labels, (times, 1)))["t0"] for times in (1, 4, 100)
    ]
    scales = [a for a, _ in found]
    assert 0.3 < scales[0] < 0.85 < scales[1] < scales[2]
    assert scales[2] == pytest.approx(1, abs=0.1)
    for a, b in found:
        # However small the scale, the mean is right.
        assert sigmoid(a * logits + b).mean() == pytest.approx(labels.mean(), rel=0.02)


def test_what_nothing_speaks_for_says_the_same_of_all() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(-3, 1, (500, 3)).astype(np.float32)
    labels = np.zeros((500, 3), bool)
    # Upside down: the more the model says, the less it happens.
    labels[:, 1] = rng.random(500) < sigmoid(-3 * (logits[:, 1] + 3))
    found = fit(logits, labels)
    probabilities = calibrated(logits, ("t0", "t1", "t2"), found)
    assert found["t0"][0] == pytest.approx(0, abs=0.05)
    assert 0 < probabilities[0, 0] < sigmoid(logits[:, 0]).mean()
    assert found["t1"][0] == 0
    assert probabilities[0, 1] == pytest.approx(labels[:, 1].mean(), abs=0.01)
    unknown = fit(logits, labels, mask=np.zeros((500, 3)))
    assert unknown == identity(("t0", "t1", "t2"))

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.trust_and_safety.calibration import (
    MIN_FLAGGED,
    negative_weight,
    platt,
    precision_elsewhere,
    threshold_at,
)


def test_platt_finds_the_planted_log_odds() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 40_000).astype(np.float32)
    truths = rng.random(40_000) < 1 / (1 + np.exp(-(0.5 * logits - 1)))
    np.testing.assert_allclose(platt(logits, truths), (0.5, -1), atol=0.04)


def test_platt_never_turns_an_order_around() -> None:
    logits = np.arange(20, dtype=np.float32)
    assert platt(logits, logits < 10)[0] > 0


def test_a_threshold_is_the_lowest_that_is_precise_enough() -> None:
    scores = np.linspace(1, 0, 21).astype(np.float32)
    truths = np.arange(21) < 12
    assert threshold_at(scores, truths, 1.0) == scores[11]
    assert threshold_at(scores, truths, 0.8) == scores[14]
    assert threshold_at(scores, truths, 0.5) == scores[20]
    assert threshold_at(scores, ~truths, 0.9) == np.inf


def test_rarer_positives_weigh_negatives_up() -> None:
    truths = np.arange(100) < 75
    weight = negative_weight(truths, 0.05)
    assert 75 / (75 + weight * 25) == np.float64(0.05)
    assert negative_weight(truths, None) == negative_weight(~truths, 0.5) == 1.0
    scores = np.linspace(1, 0, 100).astype(np.float32)
    # 1 negative that counts as 57 is too much for 75 positives.
    assert threshold_at(scores, truths, 0.85) == scores[87]
    assert threshold_at(scores, truths, 0.85, weight) == scores[74]
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 40_000).astype(np.float32)
    happened = rng.random(40_000) < 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(platt(logits, happened, 10.0), (1, -np.log(10)), atol=0.06)


def test_ties_are_flagged_together_or_not_at_all() -> None:
    scores = np.array([0.9] * 10 + [0.5] * 10, np.float32)
    truths = np.array([True] * 15 + [False] * 5)
    assert threshold_at(scores, truths, 0.9) == np.float32(0.9)


@given(
    st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=60),
    st.sampled_from([0.5, 0.85, 0.95]),
    st.sampled_from([0.25, 1.0, 4.0]),
)
def test_a_threshold_keeps_its_promise(
    rows: list[tuple[int, bool]], precision: float, weight: float
) -> None:
    scores = np.array([score for score, _ in rows], np.float32) / 8
    truths = np.array([truth for _, truth in rows])

    def good(threshold: float) -> bool:
        flagged = scores >= threshold
        enough = flagged.sum() >= MIN_FLAGGED
        n_true, n_false = truths[flagged].sum(), (~truths[flagged]).sum()
        return bool(enough and n_true >= precision * (n_true + weight * n_false))

    expected = min((float(s) for s in np.unique(scores) if good(s)), default=np.inf)
    assert threshold_at(scores, truths, precision, weight) == expected


def test_precision_elsewhere_is_of_texts_that_set_no_threshold() -> None:
    rng = np.random.default_rng(1)
    folds = np.repeat([0, 1], 500)
    truths = rng.random(1_000) < 0.5
    informed = (truths + rng.normal(0, 0.4, 1_000)).astype(np.float32)
    found = precision_elsewhere(informed, truths, folds, 0.9)
    assert found is not None
    assert 0.84 < found < 0.96
    nothing = np.zeros(1_000, np.float32)
    assert precision_elsewhere(nothing, truths, folds, 0.95) is None

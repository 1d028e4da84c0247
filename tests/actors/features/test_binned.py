import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.features.binned import OUT_OF_NETWORK_HALF_LIFE_H, BinnedModel, untrained_pair
from actors.features.light import FEATURES


def random_model(seed: int, n_features: int = 5, bins: int = 4) -> BinnedModel:
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.normal(size=(n_features, bins - 1)), axis=1).astype(np.float32)
    # Features with fewer bins are padded.
    edges[0, 1:] = np.inf
    weights = rng.normal(size=(n_features, bins)).astype(np.float32)
    return BinnedModel(tuple("abcde"[:n_features]), edges, weights, 0.25)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(0, 6), st.integers(0, 4))
def test_logits_against_numpy(seed: int, n_rows: int, first: int) -> None:
    model = random_model(seed)
    rng = np.random.default_rng(seed + 1)
    features = rng.normal(size=(n_rows, 5)).astype(np.float32)
    # Values on an edge belong to the bin above it.
    features[:, 1] = model.edges[1, rng.integers(0, 3, n_rows)]
    expected = np.full(n_rows, model.bias)
    for i in range(5):
        shown = features[:, i] if i >= first else np.full(n_rows, -np.inf)
        bins = (shown[:, None] >= model.edges[i][None, :]).sum(axis=1)
        expected += model.weights[i, bins]
    np.testing.assert_allclose(model.logits(features[:, first:], first), expected, atol=1e-5)
    added = model.contributions(features)
    assert added.shape == features.shape
    np.testing.assert_allclose(
        model.bias + added.sum(axis=1), model.logits(features), rtol=1e-4, atol=1e-5
    )


def test_leaving_out_the_last_features_shifts_all_rows_alike() -> None:
    model = random_model(3)
    features = np.random.default_rng(4).normal(size=(20, 5)).astype(np.float32)
    features[:, 3:] = -10
    np.testing.assert_allclose(model.logits(features), model.logits(features[:, :3]), atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_model_must_be_finite(bad: float) -> None:
    model = random_model(1)
    weights = model.weights.copy()
    weights[2, 2] = bad
    with pytest.raises(ValueError, match="must be finite"):
        BinnedModel(model.names, model.edges, weights, 0.0)
    with pytest.raises(ValueError, match="must be finite"):
        BinnedModel(model.names, model.edges, model.weights, bad)


def test_a_model_must_fit_together() -> None:
    model = random_model(1)
    with pytest.raises(ValueError, match=r"5 features need edges \(5, b\)"):
        BinnedModel(model.names, model.edges, model.weights[:, 1:], 0.0)


@pytest.mark.parametrize("followed", [True, False])
def test_the_untrained_models_prefer_what_they_should(followed: bool) -> None:
    model = untrained_pair(FEATURES).of(followed)
    features = np.zeros((6, len(FEATURES)), np.float32)
    column = FEATURES.index
    features[1, column("age_hours")] = 12
    features[2, column("age_hours")] = 1e6
    features[3, column("favourites")] = 3
    features[4, column("author_affinity")] = 2
    features[5, :] = 1e30
    logits = model.logits(features)
    assert np.isfinite(logits).all()
    new, older, ancient, liked, near, _ = logits.tolist()
    assert ancient < older < new < min(liked, near)


def test_untrained_a_strangers_post_counts_by_what_others_did_with_it() -> None:
    pair = untrained_pair(FEATURES)
    column = FEATURES.index
    features = np.zeros((4, len(FEATURES)), np.float32)
    features[1:3, column("age_hours")] = 10
    features[1, column("favourites")] = np.log1p(5)
    features[2, column("proof_weight")] = 2
    features[3, column("reports")] = np.log1p(1)
    new, liked, shared, reported = pair.out_of_network.logits(features).tolist()
    assert reported < new < min(liked, shared)
    # Of followed authors the news comes first.
    new, liked, shared, reported = pair.in_network.logits(features).tolist()
    assert max(liked, shared) < new == reported


def test_untrained_what_is_new_comes_from_the_network_and_what_is_old_from_strangers() -> None:
    pair = untrained_pair(FEATURES)
    features = np.zeros((2, len(FEATURES)), np.float32)
    features[:, FEATURES.index("age_hours")] = (1, 20)
    followed = features.copy()
    followed[:, FEATURES.index("is_followed")] = 1
    inside, outside = pair.in_network.logits(followed), pair.out_of_network.logits(features)
    assert (inside > outside).tolist() == [True, False]


def test_untrained_the_odds_of_a_strangers_post_halve_with_its_age() -> None:
    model = untrained_pair(FEATURES).out_of_network
    ages_h = model.edges[FEATURES.index("age_hours")]
    features = np.zeros((1 + len(ages_h), len(FEATURES)), np.float32)
    features[1:, FEATURES.index("age_hours")] = ages_h
    logits = model.logits(features)
    halved = 0.5 ** (ages_h[:10] / OUT_OF_NETWORK_HALF_LIFE_H)
    np.testing.assert_allclose(np.exp(logits[1:11] - logits[0]), halved, rtol=1e-4)


@pytest.mark.parametrize("followed", [True, False])
def test_the_untrained_models_multiply_odds_by_the_match_of_languages(followed: bool) -> None:
    model = untrained_pair(FEATURES).of(followed)
    matches = np.array([0.1, 0.3, 0.7, 1.0])
    features = np.zeros((4, len(FEATURES)), np.float32)
    features[:, FEATURES.index("language_match")] = matches
    for logged in (features, features.astype(np.float16).astype(np.float32)):
        logits = model.logits(logged)
        np.testing.assert_allclose(np.exp(logits - logits[-1]), matches, rtol=1e-5)

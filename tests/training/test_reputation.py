import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.reputation import PUBLISHED, Scale, Users, adjusted, fitted, prior_mass

ACCOUNTS = st.tuples(
    st.booleans(),
    st.booleans(),
    st.floats(0, 100) | st.just(math.inf),
    st.integers(0, 5_000),
    st.integers(0, 5_000),
)


def users_of(*accounts: tuple[bool, bool, float]) -> Users:
    verified, suspended, ages = zip(*accounts, strict=True)
    return Users(
        np.arange(1, len(accounts) + 1), np.array(verified), np.array(suspended), np.array(ages)
    )


def published_mass(
    verified: bool, suspended: bool, age_days: float, followings: int, followers: int
) -> float:
    """As in the specification, for one account that has a device and is not restricted."""
    if suspended:
        return 0.0
    if verified:
        mass = 100.0
    else:
        s = 0.05 + 0.5
        s *= 1 if age_days > 30 else min(1, math.log(1 + age_days / 15))
        s = max(s, 0.01)
        mass = 100 * min(max(s, 0), 1)
    ratio = (1 + followings) / (1 + followers)
    if followings > 500 and ratio > 0.6:
        mass = mass / math.exp(5 * (ratio - 0.6)) if ratio < 100 else 0.0
    return mass


def published_divisor(followings: int, followers: int) -> float:
    if followings <= 2_500:
        return 1.0
    ratio = (1 + followings) / (1 + followers)
    exponent = 3 * (ratio - 0.6) * math.log(math.log(followings))
    return min(max(math.exp(min(exponent, 700)), 1), 50)


def test_masses_worked_out_by_hand() -> None:
    users = users_of(
        (False, False, math.inf),
        (False, False, 15.0),
        (False, False, 0.0),
        (True, False, 0.0),
        (True, True, math.inf),
        (True, False, math.inf),
        (False, False, math.inf),
    )
    followings = np.array([500, 0, 0, 0, 0, 501, 700])
    followers = np.array([0, 0, 0, 0, 0, 501, 2_000])
    found = prior_mass(users, followings, followers)
    wanted = [55.0, 55 * math.log(2), 1.0, 100.0, 0.0, 100 * math.exp(-2), 55.0]
    np.testing.assert_allclose(found, wanted)


@given(st.lists(ACCOUNTS, min_size=1, max_size=20))
def test_masses_and_adjustments_are_the_published_ones(
    accounts: list[tuple[bool, bool, float, int, int]],
) -> None:
    users = users_of(*(account[:3] for account in accounts))
    followings, followers = (np.array([account[k] for account in accounts]) for k in (3, 4))
    masses = [published_mass(*account) for account in accounts]
    np.testing.assert_allclose(prior_mass(users, followings, followers), masses, atol=1e-200)

    ranks = np.linspace(1, 3, len(accounts))
    divided = ranks / [published_divisor(*account[3:]) for account in accounts]
    found = adjusted(ranks / ranks.sum(), followings, followers)
    np.testing.assert_allclose(found, divided / divided.sum(), rtol=1e-12)


def test_following_half_a_million_overflows_nothing() -> None:
    users = users_of((False, False, math.inf), (False, False, math.inf))
    followings, followers = np.array([500_000, 0]), np.array([0, 500_000])
    np.testing.assert_allclose(prior_mass(users, followings, followers), [0, 55])
    np.testing.assert_allclose(
        adjusted(np.array([0.5, 0.5]), followings, followers), [1 / 51, 50 / 51]
    )


def test_the_published_scale() -> None:
    # A score of 0 is reached at about 1.5e-11 and 100 at about 3.2e-3.
    ranks = np.array([0.0, 0.9e-20, 1.0e-11, 1.5e-11, 2e-11, 1e-8, 3.3e-3, 1.0])
    wanted = [0, 0, 0, 0, 2, round(130 + 5.21 * math.log(1e-8)), 100, 100]
    assert PUBLISHED.reputations(ranks).tolist() == wanted


def test_halves_are_rounded_to_even() -> None:
    ranks = np.ones(1)
    assert [Scale(middle, 1.0).reputations(ranks)[0] for middle in (40.5, 41.5, 42.5)] == [
        40,
        42,
        42,
    ]


@given(st.lists(st.floats(1e-19, 1), min_size=2, max_size=20, unique=True))
def test_the_fitted_line_ends_at_95_and_15(given_ranks: list[float]) -> None:
    ranks = np.array([0.0, *given_ranks])
    found = fitted(ranks).reputations(ranks)
    order = np.argsort(ranks)
    assert found[0] == 0
    assert (np.diff(found[order]) >= 0).all()
    if np.ptp(np.log(ranks[1:])) > 1e-3:
        assert found[ranks.argmax()] == 95
        assert found[1:][ranks[1:].argmin()] == 15


def test_equal_ranks_lie_half_way() -> None:
    ranks = np.full(4, 0.25)
    ranks[0] += 1e-9
    assert fitted(ranks).reputations(ranks).tolist() == [55.0] * 4


def test_a_step_of_one_is_a_fifth_more_rank() -> None:
    one, two = PUBLISHED.reputations(np.array([1e-6, 1e-6 * math.exp(10 / 5.21)]))
    assert two - one == pytest.approx(10)

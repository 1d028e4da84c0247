from dataclasses import replace

import numpy as np
import pytest

from cluster.events import Kind
from simulation.behaviour import HEAD_KINDS, HEADS, UTILITIES
from simulation.outcomes import Bootstrap, Outcomes
from simulation.reactions import Reactions

FAVOURITE, FOLLOW = HEAD_KINDS.index(Kind.FAVOURITE), HEAD_KINDS.index(Kind.FOLLOW)


def _outcomes(n_sessions: int = 400, n_users: int = 40, seed: int = 0) -> Outcomes:
    rng = np.random.default_rng(seed)
    viewers = rng.integers(0, n_users, n_sessions)
    done = rng.poisson(0.1, (n_sessions, len(HEADS)))
    expected = rng.normal(1, 1, n_sessions) + viewers / n_users
    best = expected + rng.exponential(1, n_sessions)
    best[::3] = np.nan
    return Outcomes(
        days=np.ones(n_sessions, np.int64),
        viewers=viewers,
        n_shown=np.full(n_sessions, 20),
        n_on_screen=np.full(n_sessions, 10),
        realised=done @ UTILITIES.astype(np.float64),
        expected=expected,
        best=best,
        done=done,
    )


def test_sessions_are_counted_by_hand() -> None:
    feeds = np.array([[5, 6, 7], [-1, -1, -1], [9, -1, -1]])
    done = np.zeros((3, len(HEADS)), bool)
    done[0, FAVOURITE] = done[1, FAVOURITE] = done[2, FOLLOW] = True
    # The first feed's first and third post got on screen, and the last feed's.
    reactions = Reactions(np.array([0, 2, 3]), done)
    best = np.array([3.0, np.nan, np.nan])
    found = Outcomes.of(2, np.array([4, 8, 6]), feeds, np.zeros(3), best, reactions)
    assert found.days.tolist() == [2, 2, 2]
    assert found.n_shown.tolist() == [3, 0, 1]
    assert found.n_on_screen.tolist() == [2, 0, 1]
    assert found.realised.tolist() == [2.0, 0.0, 4.0]
    assert found.done[:, FAVOURITE].tolist() == [2, 0, 0]
    twice = Outcomes.joined([found, replace(found, days=found.days + 1)])
    assert len(twice) == 6
    assert twice.of_day(3).realised.tolist() == found.realised.tolist()


def test_figures_by_hand() -> None:
    outcomes = _outcomes()
    summary = Bootstrap(40, 0).summary(outcomes, outcomes)
    judged = ~np.isnan(outcomes.best)
    assert summary.sessions == 400
    assert summary.realised.value == pytest.approx(outcomes.realised.mean())
    assert summary.regret.value == pytest.approx(
        (outcomes.best[judged] - outcomes.expected[judged]).mean()
    )
    assert summary.oracle_share.value == pytest.approx(
        outcomes.expected[judged].sum() / outcomes.best[judged].sum()
    )
    assert summary.rates["favourite"] == outcomes.done[:, FAVOURITE].sum() / 4_000
    assert summary.realised_gain.value == summary.realised_gain.low == 0


def test_intervals_are_those_of_resampled_users() -> None:
    outcomes = _outcomes()
    found = Bootstrap(40, 0, 2_000).summary(outcomes, outcomes).expected
    rng = np.random.default_rng(7)
    by_user = [outcomes.expected[outcomes.viewers == user] for user in range(40)]
    means = [
        np.concatenate([by_user[user] for user in rng.integers(0, 40, 40)]).mean()
        for _ in range(2_000)
    ]
    low, high = np.quantile(means, (0.025, 0.975))
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)


def test_what_differs_between_users_drops_out_of_a_gain() -> None:
    outcomes = _outcomes()
    better = replace(outcomes, expected=outcomes.expected + 0.5)
    gain = Bootstrap(40, 0).summary(better, outcomes).expected_gain
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.5, 0.5, 0.5))
    assert Bootstrap(40, 0).summary(better, outcomes).expected.high > gain.value + 0.5


def test_without_judged_sessions_there_is_no_regret() -> None:
    outcomes = replace(_outcomes(), best=np.full(400, np.nan))
    summary = Bootstrap(40, 0).summary(outcomes, outcomes)
    assert (summary.regret.value, summary.oracle_share.high) == (0, 0)

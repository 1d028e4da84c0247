"""What became of sessions, and what that says of a feed: means with confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids
from simulation.behaviour import HEADS, UTILITIES
from simulation.reactions import Reactions

Numbers = npt.NDArray[np.float64]

N_RESAMPLES = 1_000
LEVEL = 0.95


@dataclass(frozen=True)
class Outcomes:
    """Sessions, one per row; (S,) where nothing else is said. In favourites, where in anything."""

    days: Ids
    viewers: Ids
    n_shown: Ids
    n_on_screen: Ids
    realised: Numbers
    """What was done, weighted by the world's own utilities: what the session brought its user.
    Not by the published weights of the heavy ranker, which are what a system would have its
    users do. Every post followed from counts, also where two of them are one author's."""
    expected: Numbers
    """What the feed is worth on average, by the true model: `realised` without its luck."""
    best: Numbers
    """What the best feed would have been worth; not a number where that was not sought."""
    done: Ids
    """(S, len(HEADS)): how often each thing was done."""

    def __len__(self) -> int:
        return len(self.days)

    @staticmethod
    def of(
        day: int,
        viewers: Ids,
        feeds: Ids,
        expected: Numbers,
        best: Numbers,
        reactions: Reactions,
    ) -> "Outcomes":
        """Of the feeds (S, n) that viewers were shown, and what they did with them."""
        sessions = np.nonzero(feeds >= 0)[0][reactions.rows]
        n_sessions = len(feeds)
        done = np.zeros((n_sessions, len(HEADS)), np.int64)
        np.add.at(done, sessions, reactions.done)
        return Outcomes(
            days=np.full(n_sessions, day),
            viewers=viewers,
            n_shown=(feeds >= 0).sum(axis=1),
            n_on_screen=np.bincount(sessions, minlength=n_sessions),
            realised=done.astype(np.float64) @ UTILITIES.astype(np.float64),
            expected=expected,
            best=best,
            done=done,
        )

    @staticmethod
    def joined(parts: Sequence["Outcomes"]) -> "Outcomes":
        """All sessions of one part after another; there is one at least."""
        names = [field.name for field in fields(Outcomes)]
        return Outcomes(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})

    def of_day(self, day: int) -> "Outcomes":
        """The sessions of one day."""
        rows = self.days == day
        return Outcomes(**{f.name: getattr(self, f.name)[rows] for f in fields(Outcomes)})


@dataclass(frozen=True)
class Estimate:
    """A figure, and the interval in which it lies with 95 % confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """An arm's sessions in figures; utilities are means per session."""

    sessions: int
    users: int
    shown: float
    on_screen: float
    realised: Estimate
    realised_gain: Estimate
    """Over the arm compared with, in the same users' sessions."""
    expected: Estimate
    expected_gain: Estimate
    regret: Estimate
    """The best feed's expected utility less that of the feed shown; of the sessions judged."""
    oracle_share: Estimate
    """The expected utility of the feeds shown as a share of the best feeds'."""
    rates: dict[str, float]
    """Engagements of each kind for each post on screen."""


class Bootstrap:
    """Resamples users, whose sessions are alike; the same draws for every arm.

    So the interval of a difference between arms is that of the users' differences. The world
    is given: another world's users are another population.
    """

    def __init__(self, n_users: int, seed: int, n_resamples: int = N_RESAMPLES) -> None:
        rng = np.random.default_rng([seed, n_users])
        even = np.full(n_users, 1 / n_users)
        self._weights = rng.multinomial(n_users, even, n_resamples).astype(np.float64)
        """(resamples, users): how often each user was drawn."""
        self._n_users = n_users

    def summary(self, outcomes: Outcomes, other: Outcomes) -> Summary:
        """Figures of an arm's sessions beside those of the same users' sessions in another."""
        judged = ~np.isnan(outcomes.best)
        of_judged, expected = judged.astype(float), outcomes.expected * judged
        best = np.where(judged, outcomes.best, 0)
        rates = outcomes.done.sum(axis=0) / max(int(outcomes.n_on_screen.sum()), 1)
        return Summary(
            sessions=len(outcomes),
            users=len(np.unique(outcomes.viewers)),
            shown=float(outcomes.n_shown.mean()),
            on_screen=float(outcomes.n_on_screen.mean()),
            realised=self._mean(outcomes, outcomes.realised),
            realised_gain=self._gain(outcomes, outcomes.realised, other, other.realised),
            expected=self._mean(outcomes, outcomes.expected),
            expected_gain=self._gain(outcomes, outcomes.expected, other, other.expected),
            regret=self._ratio(outcomes, best - expected, of_judged),
            oracle_share=self._ratio(outcomes, expected, best),
            rates={h.kind.label: float(r) for h, r in zip(HEADS, rates, strict=True)},
        )

    def _mean(self, outcomes: Outcomes, values: Numbers) -> Estimate:
        return self._ratio(outcomes, values, np.ones(len(outcomes)))

    def _ratio(self, outcomes: Outcomes, above: Numbers, below: Numbers) -> Estimate:
        """Of the sums over sessions."""
        return _estimate(*self._ratios(outcomes, above, below))

    def _gain(
        self, outcomes: Outcomes, mine: Numbers, other: Outcomes, theirs: Numbers
    ) -> Estimate:
        """The difference of the means per session."""
        value, resampled = self._ratios(outcomes, mine, np.ones(len(mine)))
        base, base_resampled = self._ratios(other, theirs, np.ones(len(theirs)))
        return _estimate(value - base, resampled - base_resampled)

    def _ratios(self, outcomes: Outcomes, above: Numbers, below: Numbers) -> tuple[float, Numbers]:
        """The ratio of two sums over sessions, and what it is in each resample."""
        users = outcomes.viewers
        both = np.stack([np.bincount(users, of, self._n_users) for of in (above, below)], axis=1)
        sums = np.concatenate([both.sum(axis=0)[None], self._weights @ both])
        ratios = np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] != 0)
        return float(ratios[0]), ratios[1:]


def _estimate(value: float, resampled: Numbers) -> Estimate:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled, (tail, 1 - tail)).tolist()
    return Estimate(value, low, high)

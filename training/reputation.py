"""Tweepcred's formulas: whom the walk jumps to, and what a rank is worth from 0 to 100."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids

Floats = npt.NDArray[np.float64]

VERIFIED_MASS = 100.0
BASE_MASS = 0.05
DEVICE_MASS = 0.5
MIN_MASS = 0.01
OF_AGE_DAYS = 30.0
AGE_SCALE_DAYS = 15.0
FAIR_RATIO = 0.6
"""Followings per follower that cost nothing."""
PRIOR_FOLLOWINGS = 500
"""Only who follows more can lose prior mass by the ratio, at `PRIOR_STEEPNESS`."""
PRIOR_STEEPNESS = 5.0
ADJUSTED_FOLLOWINGS = 2_500
"""The same for the rank itself, which is divided by `MAX_DIVISOR` at most."""
ADJUSTED_STEEPNESS = 3.0
MAX_DIVISOR = 50.0
NO_RANK = 1e-20
"""A smaller rank is a reputation of 0."""
ALIKE = 1e-6
"""Where all log ranks lie within this, what sets them apart is the walk's tolerance."""
FITTED_HIGHEST = 95.0
FITTED_LOWEST = 15.0


@dataclass(frozen=True)
class Users:
    """Users who are there, by ascending id; arrays of shape (n,)."""

    ids: Ids
    verified: npt.NDArray[np.bool_]
    suspended: npt.NDArray[np.bool_]
    age_days: Floats
    """Infinite where no event created the user."""


@dataclass(frozen=True)
class Scale:
    """The line from the logarithm of a rank to a reputation."""

    intercept: float
    slope: float

    def reputations(self, ranks: Floats) -> npt.NDArray[np.float32]:
        """Whole numbers 0 … 100, rounded half to even; a rank below `NO_RANK` is 0."""
        logs = np.log(np.maximum(ranks, NO_RANK))
        found = np.clip(np.rint(self.intercept + self.slope * logs), 0.0, 100.0)
        return np.where(ranks < NO_RANK, 0.0, found).astype(np.float32)


PUBLISHED = Scale(130.0, 5.21)


def prior_mass(users: Users, followings: Ids, followers: Ids) -> Floats:
    """Where the walk jumps to, shape (n,), 0 … 100: verified, old and fairly followed accounts."""
    aged = np.minimum(1.0, np.log1p(users.age_days / AGE_SCALE_DAYS))
    aged = np.where(users.age_days > OF_AGE_DAYS, 1.0, aged)
    mass = 100.0 * np.clip((BASE_MASS + DEVICE_MASS) * aged, MIN_MASS, 1.0)
    mass = np.where(users.verified, VERIFIED_MASS, mass)
    mass = np.where(users.suspended, 0.0, mass)
    excess = _ratio(followings, followers) - FAIR_RATIO
    penalised = (followings > PRIOR_FOLLOWINGS) & (excess > 0)
    left: Floats = mass * np.exp(np.where(penalised, -PRIOR_STEEPNESS * excess, 0.0))
    return left


def adjusted(ranks: Floats, followings: Ids, followers: Ids) -> Floats:
    """Ranks of shape (n,) less what following too many costs, again of sum 1."""
    excess = _ratio(followings, followers) - FAIR_RATIO
    many = followings > ADJUSTED_FOLLOWINGS
    steepness = ADJUSTED_STEEPNESS * np.log(np.log(np.where(many, followings, ADJUSTED_FOLLOWINGS)))
    exponents = np.clip(steepness * excess, 0.0, np.log(MAX_DIVISOR))
    found: Floats = np.where(many, ranks / np.exp(exponents), ranks)
    return found / float(found.sum())


def fitted(ranks: Floats) -> Scale:
    """The line through the largest rank at 95 and the smallest at 15, half way where all are one.

    Ranks below `NO_RANK` are left out: they have a reputation of 0 whatever the line.
    """
    some = ranks[ranks >= NO_RANK]
    highest, lowest = float(np.log(some.max())), float(np.log(some.min()))
    if highest - lowest < ALIKE:
        return Scale((FITTED_HIGHEST + FITTED_LOWEST) / 2, 0.0)
    slope = (FITTED_HIGHEST - FITTED_LOWEST) / (highest - lowest)
    return Scale(FITTED_LOWEST - slope * lowest, slope)


def _ratio(followings: Ids, followers: Ids) -> Floats:
    ratio: Floats = (1 + followings) / (1 + followers)
    return ratio

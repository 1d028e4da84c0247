"""Who follows whom: a heavy-tailed graph with homophily and reciprocity, and its changes."""

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids
from simulation.population import Floats, Population

MEAN_FOLLOWS = 40.0
MAX_SHARE_FOLLOWED = 0.2
"""Nobody follows more than this share of all users at the start."""
GLOBAL_SHARE = 0.2
"""Share of choices made by fame alone, outside the chooser's communities."""
FOREIGN_ACCEPTANCE = 0.1
"""How often a user takes to somebody who writes in a language the user can't read."""
FOLLOW_BACK = 0.55
"""Chance that a follow between equals is returned; it falls as fame differs."""


class Edges:
    """A set of directed edges between user rows, held as sorted keys."""

    def __init__(self, n_users: int) -> None:
        self.n_users = n_users
        self.keys: Ids = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, sources: Ids, targets: Ids) -> None:
        """Add the edges that are not there yet."""
        new = np.sort(sources * self.n_users + targets)
        new = new[np.diff(new, prepend=-1) > 0]
        at = np.searchsorted(self.keys, new)
        missing = ~self._found(at, new)
        self.keys = np.insert(self.keys, at[missing], new[missing])

    def remove(self, sources: Ids, targets: Ids) -> None:
        """Remove the edges that are there."""
        keys = sources * self.n_users + targets
        at = np.searchsorted(self.keys, keys)
        self.keys = np.delete(self.keys, at[self._found(at, keys)])

    def contain(self, sources: Ids, targets: Ids) -> npt.NDArray[np.bool_]:
        """Whether each edge exists; any shape."""
        keys = sources * self.n_users + targets
        return self._found(np.searchsorted(self.keys, keys), keys)

    def pairs(self) -> tuple[Ids, Ids]:
        """(sources, targets) of every edge, by source."""
        return self.keys // self.n_users, self.keys % self.n_users

    def targets_by_source(self) -> tuple[Ids, Ids]:
        """(starts, targets): the targets of row u are `targets[starts[u]:starts[u + 1]]`."""
        starts = np.searchsorted(self.keys, np.arange(self.n_users + 1) * self.n_users)
        return starts.astype(np.int64), self.keys % self.n_users

    def _found(self, at: Ids, keys: Ids) -> npt.NDArray[np.bool_]:
        """Whether the keys are there, given where they would be."""
        if not len(self.keys):
            return np.zeros(keys.shape, bool)
        found: npt.NDArray[np.bool_] = self.keys[np.minimum(at, len(self.keys) - 1)] == keys
        return found


class Encounters:
    """Draws people whom users may come to follow, from the users' communities and by fame."""

    def __init__(self, population: Population) -> None:
        self.population = population
        weights = np.vstack([population.interests.T, np.ones((1, len(population)))])
        masses = np.cumsum(weights * population.fame, axis=1)
        self._n_groups = len(masses)
        # One increasing array for all groups, so that one binary search serves every draw.
        # In a small world a group may be empty; nobody draws from it.
        totals = np.maximum(masses[:, -1:], np.finfo(np.float64).tiny)
        self._bounds = (masses / totals + np.arange(self._n_groups)[:, None]).ravel()

    def draw(self, users: Ids, rng: np.random.Generator) -> tuple[Ids, Ids]:
        """(places, targets): whom the users at those places of `users` come to follow.

        One encounter each; some come to nothing, because the two don't take to each other.
        """
        population = self.population
        groups = population.draw_topics(users, 1, rng)[:, 0]
        groups[rng.random(len(users)) < GLOBAL_SHARE] = self._n_groups - 1
        # `random` is below 1, but adding the group may round up to the next group's first.
        found = np.searchsorted(self._bounds, groups + rng.random(len(users)), side="right")
        targets = np.clip(found - groups * len(population), 0, len(population) - 1)
        taken = rng.random(len(users)) < _acceptance(population, users, targets)
        taken &= users != targets
        places = np.flatnonzero(taken)
        return places, targets[places]


def initial_follows(
    encounters: Encounters, start_ms: int, rng: np.random.Generator
) -> tuple[Ids, Ids, Ids]:
    """(sources, targets, times_ms) of the follow graph before `start_ms`, in user rows."""
    population = encounters.population
    n_users = len(population)
    wanted = rng.lognormal(0, 0.8, n_users) * population.sessions_per_day**0.3
    wanted *= MEAN_FOLLOWS / wanted.mean()
    # More than half of all encounters come to nothing or are repeats.
    n_encounters = np.minimum(2.6 * wanted, MAX_SHARE_FOLLOWED * n_users).astype(np.int64)
    users = np.repeat(np.arange(n_users), n_encounters)
    places, targets = encounters.draw(users, rng)
    sources = users[places]
    back = follow_backs(population, sources, targets, rng)
    keys = np.concatenate([sources * n_users + targets, targets[back] * n_users + sources[back]])
    keys = np.unique(keys)
    sources, targets = keys // n_users, keys % n_users
    both_exist_ms = np.maximum(population.created_ms[sources], population.created_ms[targets])
    # Squared: most follows are made while an account is young.
    waited = (start_ms - both_exist_ms) * rng.random(len(keys)) ** 2
    return sources, targets, both_exist_ms + waited.astype(np.int64)


def follow_backs(
    population: Population, sources: Ids, targets: Ids, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Which of these new follows are returned: seldom by somebody far more famous."""
    equality = np.minimum(1.0, population.fame[sources] / population.fame[targets])
    chance = FOLLOW_BACK * np.sqrt(equality)
    chance *= _acceptance(population, targets, sources) ** 0.5
    returned: npt.NDArray[np.bool_] = rng.random(len(sources)) < chance
    return returned


def _acceptance(population: Population, users: Ids, others: Ids) -> Floats:
    """Chance that a user takes to somebody: language first, then the way of writing."""
    liked = 1 / (1 + np.exp(-0.4 - 0.9 * population.style_match(users, others)))
    readable = population.reads[users, population.languages[others]]
    chance: Floats = np.where(readable, liked, FOREIGN_ACCEPTANCE * liked).astype(np.float32)
    return chance

"""Who followed whom just before an instant, while the archive is read in order of time."""

import numpy as np
import numpy.typing as npt

from actors.stores.aggregates import tuple_keys
from actors.stores.relations import Relations
from cluster.ids import Ids

Bools = npt.NDArray[np.bool_]


class Following:
    """Follows as of now, and how the pairs that the last batch changed stood within it."""

    def __init__(self) -> None:
        self._follows, self._followers = Relations(), Relations()
        self._keys = self._times_ms = np.empty(0, np.int64)
        self._on = self._before = np.empty(0, bool)

    def write(self, users: Ids, others: Ids, times_ms: Ids, versions: Ids, on: Bools) -> None:
        """Take in the follows and unfollows of the next batch, in order of time."""
        keys = tuple_keys(users, others)
        order = np.argsort(keys, kind="stable")
        self._keys, self._times_ms, self._on = keys[order], times_ms[order], on[order]
        self._before = self._follows.holds(users, others)[order]
        self._follows.write(users, others, versions, on)
        self._followers.write(others, users, versions, on)

    def followers(self, users: Ids) -> npt.NDArray[np.int32]:
        """How many follow each user now."""
        return self._followers.degrees(users)

    def held(self, users: Ids, others: Ids, times_ms: Ids) -> Bools:
        """Whether each user followed the other just before an instant of the last batch."""
        found = self._follows.holds(users, others)
        if not len(self._keys):
            return found
        keys = tuple_keys(users, others)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        asked = np.flatnonzero(self._keys[at] == keys)
        found[asked] = self._within(keys[asked], times_ms[asked], at[asked])
        return found

    def _within(self, keys: Ids, times_ms: Ids, first: npt.NDArray[np.int64]) -> Bools:
        """The state by the last change before each instant, of pairs changed in the batch."""
        n = len(self._keys)
        whose = np.concatenate([self._keys, keys])
        when = np.concatenate([self._times_ms, times_ms])
        # At one instant an asker comes before a change, which is not seen yet.
        order = np.lexsort((np.arange(len(whose)) < n, when, whose))
        changes = np.maximum.accumulate(np.where(order < n, np.arange(len(order)), -1))
        last = np.full(len(whose), -1)
        last[order] = np.where(changes >= 0, order[changes], -1)
        last = last[n:]
        theirs = (last >= 0) & (self._keys[last] == keys)
        state: Bools = np.where(theirs, self._on[last], self._before[first])
        return state

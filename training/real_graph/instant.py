"""What was known at an instant: interactions, follows, refusals and who was gone."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids
from training.real_graph.interactions import Codes, Feature, Interactions, keys_of
from training.real_graph.labels import IS_LABEL
from training.real_graph.rollup import Days, Rolled, merged, roll_up, total_by_day

FEATURES = tuple(Feature)
"""The features of edges and vertices, by column."""
N_COLUMNS = 32
"""Columns that a series key has room for; a power of two."""
UNFOLLOWED_DAYS = 90
COLUMN_OF = np.zeros(256, np.int64)
COLUMN_OF[list(FEATURES)] = np.arange(len(FEATURES))
DWELL = FEATURES.index(Feature.TOTAL_DWELL_TIME)
FOLLOWS = FEATURES.index(Feature.NUM_FOLLOWS)
CREATED = FEATURES.index(Feature.NUM_CREATE_TWEETS)
PASSIVE = (DWELL, FEATURES.index(Feature.NUM_INSPECTED_STATUSES))
"""An edge with nothing else is dropped."""


@dataclass(frozen=True)
class Instant:
    """The past as it was at `at_ms`, in days of `day_ms` that end there.

    Arrays of shape (n,): one for each interaction before `at_ms` that was not taken back by
    then, on `days` from 0 to `today`.
    """

    n_users: int
    at_ms: int
    day_ms: int
    sources: Codes
    destinations: Codes
    columns: Ids
    days: Ids
    times_ms: Ids
    amounts: npt.NDArray[np.float32]
    today: int
    follows: Ids
    """Keys of pairs, ascending; so are `refused`."""
    followed_ms: Ids
    refused: Ids
    """The negative snapshot: who blocked (either way), muted or reported whom, or unfollowed
    within 90 days. The original caps it at 500 a user, for size; here it is whole."""
    gone: npt.NDArray[np.bool_]
    """Users deactivated, suspended or deleted, (n_users,)."""

    @cached_property
    def pairs(self) -> Ids:
        """Keys of (source, destination)."""
        return keys_of(self.sources, self.destinations, self.n_users)

    @cached_property
    def edge_days(self) -> Days:
        """By day, every count of an edge; the series are pair · 32 + column."""
        rows = np.flatnonzero((self.columns != DWELL) & (self.columns != CREATED))
        series = self.pairs[rows] * N_COLUMNS + self.columns[rows]
        return total_by_day(series, self.days[rows])

    @cached_property
    def label_days(self) -> Days:
        """Of `edge_days`, those of interactions that are labels."""
        days = self.edge_days
        chosen = np.flatnonzero(_LABEL_COLUMN[days.series % N_COLUMNS])
        return Days(days.series[chosen], days.days[chosen], days.totals[chosen])

    def created_since(self, n_days: int) -> npt.NDArray[np.int64]:
        """Posts of each user in the last `n_days`, (n_users,)."""
        rows = (self.columns == CREATED) & (self.days > self.today - n_days)
        return np.bincount(self.sources[rows], minlength=self.n_users)

    def roll_up_edges(self, decay: float) -> Rolled:
        """Statistics of the features of edges; the series are pair · 32 + column.

        Follows are a state, not a count: `follows` has them with their age. An edge of which
        only being shown and dwelling is left, and that is no follow, is dropped. `num_replies`
        is kept, though the original, for want of a combiner, loses it.
        """
        days = self.edge_days
        counted = days.series % N_COLUMNS != FOLLOWS
        days = Days(days.series[counted], days.days[counted], days.totals[counted])
        dwelt = np.flatnonzero(self.columns == DWELL)
        dwelling = total_by_day(
            self.pairs[dwelt] * N_COLUMNS + DWELL, self.days[dwelt], self.amounts[dwelt]
        )
        seconds = Days(dwelling.series, dwelling.days, dwelling.totals / 1_000)
        rolled = merged(
            roll_up(days, self.today, decay=decay), roll_up(seconds, self.today, decay=decay)
        )
        pairs = rolled.series // N_COLUMNS
        active = ~np.isin(rolled.series % N_COLUMNS, PASSIVE)
        kept = np.union1d(pairs[active], self.follows)
        return rolled.where(np.isin(pairs, kept))

    def roll_up_vertices(self, decay: float) -> Rolled:
        """Statistics of what users do and what is done to them.

        The series are (user · 2 + outgoing) · 32 + column; dwelling and follows are left out.
        """
        rows = np.flatnonzero((self.columns != DWELL) & (self.columns != FOLLOWS))
        outgoing = (self.sources[rows].astype(np.int64) * 2 + 1) * N_COLUMNS + self.columns[rows]
        others = rows[self.columns[rows] != CREATED]
        incoming = self.destinations[others].astype(np.int64) * 2 * N_COLUMNS + self.columns[others]
        days = total_by_day(
            np.concatenate([outgoing, incoming]),
            np.concatenate([self.days[rows], self.days[others]]),
        )
        return roll_up(days, self.today, decay=decay, drop="both")


_LABEL_COLUMN = np.zeros(N_COLUMNS, bool)
_LABEL_COLUMN[: len(FEATURES)] = IS_LABEL[list(FEATURES)]


def known_at(interactions: Interactions, at_ms: int, day_ms: int) -> Instant:
    """What `interactions` say of the time before `at_ms`."""
    n_users = len(interactions.user_ids)
    times_ms = interactions.times_ms
    rows = np.flatnonzero((times_ms < at_ms) & (interactions.undone_ms >= at_ms))
    ages = (at_ms - 1 - times_ms[rows]) // day_ms
    today = int(ages.max(initial=0))
    relations = {
        name: switches.at(at_ms, n_users) for name, switches in interactions.relations.items()
    }
    follows, following, followed_ms = relations["follows"]
    unfollowed = follows[~following & (followed_ms >= at_ms - UNFOLLOWED_DAYS * day_ms)]
    blocks, mutes, reports = (
        relations[name][0][relations[name][1]] for name in ("blocks", "mutes", "reports")
    )
    blocked_by = blocks % n_users * n_users + blocks // n_users
    gone = np.zeros(n_users, bool)
    for name in ("deactivations", "suspensions", "deletions"):
        pairs, on, _ = relations[name]
        gone[pairs[on] // n_users] = True
    return Instant(
        n_users,
        at_ms,
        day_ms,
        interactions.sources[rows],
        interactions.destinations[rows],
        COLUMN_OF[interactions.features[rows]],
        today - ages,
        times_ms[rows],
        interactions.amounts[rows],
        today,
        follows[following],
        followed_ms[following],
        np.unique(np.concatenate([unfollowed, blocks, blocked_by, mutes, reports])),
        gone,
    )

"""Which pairs are scored at an instant: who interacted lately, and whom people follow."""

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids
from training.real_graph.instant import N_COLUMNS, Instant

NEW_POSTS_DAYS = 3
"""Follows are ordered by how much they posted in this time."""


def candidates(instant: Instant, window_days: int, most: int) -> Ids:
    """Keys of candidate pairs, ascending; at most `most` of one source.

    The union of pairs with an interaction in the last `window_days` and of each source's
    `most` follows that posted most in the last three days; without those in the negative
    snapshot or with a user who is gone; of what is left, first those who interacted on most
    days, then those who posted most. The original leaves the negative snapshot out of
    training only; a pair in it has no score here either.
    """
    n = instant.n_users
    posted = instant.created_since(NEW_POSTS_DAYS)
    pairs, active_days = days_of_interaction(instant, window_days)
    wanted = instant.follows
    if len(wanted):
        order = np.lexsort((wanted, -posted[wanted % n], wanted // n))
        wanted = wanted[order[rank_in_group(wanted[order] // n) < most]]
    found = np.union1d(pairs, wanted)
    found = found[~(instant.gone[found // n] | instant.gone[found % n])]
    found = found[(found // n != found % n) & ~np.isin(found, instant.refused)]
    n_days = values_of(found, pairs, active_days)
    order = np.lexsort((found, -posted[found % n], -n_days, found // n))
    return np.sort(found[order[rank_in_group(found[order] // n) < most]])


def days_of_interaction(instant: Instant, window_days: int) -> tuple[Ids, Ids]:
    """Pairs that interacted within the window, ascending, and on how many days of it."""
    days = instant.label_days
    recent = np.flatnonzero(days.days > instant.today - window_days)
    ages = instant.today - days.days[recent]
    # A pair and an age in one number: a window has fewer days than this.
    width = int(ages.max(initial=0)) + 1
    of_days = np.unique(days.series[recent] // N_COLUMNS * width + ages)
    pairs, counts = np.unique(of_days // width, return_counts=True)
    return pairs, counts


def values_of(
    wanted: Ids, keys: Ids, values: npt.NDArray[np.integer] | npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """For each wanted key its value, 0 where it has none; `keys` ascending and unique."""
    found = np.zeros(len(wanted))
    if len(keys):
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        known = keys[at] == wanted
        found[known] = values[at[known]]
    return found


def rank_in_group(groups: Ids) -> Ids:
    """Each row's place within its group, from 0, where the rows of a group stand together."""
    starts = np.ones(len(groups), bool)
    starts[1:] = groups[1:] != groups[:-1]
    first = np.flatnonzero(starts)
    ranks: Ids = np.arange(len(groups)) - first[np.cumsum(starts) - 1]
    return ranks

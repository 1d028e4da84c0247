"""The daily rollup: what every feature of an edge or a vertex has come to by an instant."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel, writable
from cluster.ids import Ids

DECAY = 0.955
"""β: what a day's history counts for on the next. A half-life of ln 0.5 / ln 0.955 = 15.05
days; the original's comment says 7, which would be 0.9057."""
LONGEST_DAYS = 60
"""A feature silent for longer is dropped, and so is one below β to this power (0.063)."""

Drop = Literal["either", "both"]
"""An edge feature goes where *either* limit is passed, a vertex feature where *both* are."""


@dataclass(frozen=True)
class Days:
    """The days of each series on which something happened, by (series, day); (n,)."""

    series: Ids
    days: Ids
    totals: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rolled:
    """One row for each series that was not dropped, ascending; (n,)."""

    series: Ids
    ewmas: npt.NDArray[np.float64]
    """Decayed sums, despite the name."""
    means: npt.NDArray[np.float64]
    """Of the days on which something happened; `m2s` are their sums of squared deviations."""
    m2s: npt.NDArray[np.float64]
    elapsed_days: npt.NDArray[np.int32]
    non_zero_days: npt.NDArray[np.int32]
    days_since_last: npt.NDArray[np.int32]
    """1 where something happened today."""

    @property
    def variances(self) -> npt.NDArray[np.float64]:
        """Of the days on which something happened; 0 for a single one."""
        n = self.non_zero_days
        return np.where(n > 1, self.m2s / np.maximum(n - 1, 1), 0.0)

    def where(self, mask: npt.NDArray[np.bool_]) -> "Rolled":
        """The rows of a mask."""
        return Rolled(*(getattr(self, name)[mask] for name in self.__dataclass_fields__))


def total_by_day(series: Ids, days: Ids, amounts: npt.NDArray[np.float32] | None = None) -> Days:
    """What each series came to on each day: the number of its rows, or the sum of `amounts`.

    Series and days are numbers from 0; all arguments of shape (n,), in any order. Amounts that
    are whole numbers below 2^24 give the same sums in any order.
    """
    if not len(series):
        return Days(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    bits = np.int64(int(days.max()).bit_length())
    names: Ids | None = None
    if int(series.max()).bit_length() + int(bits) > 63:
        names, series = np.unique(series, return_inverse=True)
    keys = (series << bits) | days
    if amounts is None:
        # Sorting bare keys is ten times as fast as sorting rows by them.
        keys.sort()
    else:
        order = np.argsort(keys)
        keys = keys[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    if amounts is None:
        totals = np.diff(first, append=len(keys)).astype(np.float64)
    else:
        totals = np.add.reduceat(amounts[order].astype(np.float64), first)
    found = keys[first]
    series = found >> bits
    days = found & ((np.int64(1) << bits) - 1)
    return Days(series if names is None else names[series], days, totals)


def roll_up(days: Days, today: int, *, decay: float = DECAY, drop: Drop = "either") -> Rolled:
    """Where daily updates up to the end of `today` (no day is later) leave each series.

    Each day: ewma ← β·ewma + x; on days with x > 0 the mean and m2 by Welford; then the
    feature is dropped where it is silent for more than 60 days or its ewma is below β^60, and
    what happens later begins anew. Days without events need no work: both limits only come
    nearer on them, so it is enough to look at the last day of a gap.

    The original's vertex combiner does not decay the history that it reads first; here
    vertices decay like edges.
    """
    n_series = int((days.series[1:] != days.series[:-1]).sum()) + bool(len(days.series))
    rolled = Rolled(
        np.empty(n_series, np.int64),
        *(np.empty(n_series), np.empty(n_series), np.empty(n_series)),
        *(np.empty(n_series, np.int32), np.empty(n_series, np.int32)),
        np.empty(n_series, np.int32),
    )
    n = _roll(
        writable(days.series, np.int64),
        writable(days.days, np.int64),
        writable(days.totals, np.float64),
        today,
        decay,
        drop == "either",
        rolled.series,
        rolled.elapsed_days,
        rolled.non_zero_days,
        rolled.days_since_last,
        rolled.ewmas,
        rolled.means,
        rolled.m2s,
    )
    return rolled.where(np.arange(n_series) < n)


def merged(one: Rolled, other: Rolled) -> Rolled:
    """The rows of two rollups that share no series."""
    columns = [
        np.concatenate([getattr(one, name), getattr(other, name)])
        for name in Rolled.__dataclass_fields__
    ]
    order = np.argsort(columns[0], kind="stable")
    return Rolled(*(column[order] for column in columns))


@kernel
def _roll(
    series: Ids,
    days: Ids,
    totals: npt.NDArray[np.float64],
    today: int,
    decay: float,
    either: bool,
    out_series: Ids,
    out_elapsed: npt.NDArray[np.int32],
    out_non_zero: npt.NDArray[np.int32],
    out_since: npt.NDArray[np.int32],
    out_ewmas: npt.NDArray[np.float64],
    out_means: npt.NDArray[np.float64],
    out_m2s: npt.NDArray[np.float64],
) -> int:
    """Fills the outputs, one row a series that is left; returns how many."""
    floor = decay**LONGEST_DAYS
    n = 0
    ewma = mean = m2 = 0.0
    non_zero = 0
    first = last = np.int64(0)
    for i in range(len(series)):
        x = totals[i]
        if x > 0.0:
            if non_zero > 0:
                gap = days[i] - last
                silent = gap > LONGEST_DAYS
                faded = ewma * decay ** (gap - 1) < floor
                if (either and (silent or faded)) or (silent and faded):
                    non_zero = 0
            if non_zero == 0:
                first = days[i]
                ewma = mean = m2 = 0.0
                last = first
            ewma = ewma * decay ** (days[i] - last) + x
            last = days[i]
            non_zero += 1
            delta = x - mean
            mean += delta / non_zero
            m2 += delta * (x - mean)
            if either and ewma < floor:
                non_zero = 0
        if i + 1 == len(series) or series[i + 1] != series[i]:
            if non_zero > 0:
                since = today - last + 1
                value = ewma * decay ** (today - last)
                silent = since > LONGEST_DAYS
                faded = value < floor
                if not ((either and (silent or faded)) or (silent and faded)):
                    out_series[n] = series[i]
                    out_elapsed[n] = today - first + 1
                    out_non_zero[n] = non_zero
                    out_since[n] = since
                    out_ewmas[n] = value
                    out_means[n] = mean
                    out_m2s[n] = m2
                    n += 1
            non_zero = 0
    return n

"""The newest of many rows that fit within bounds, without sorting them all."""

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids

_STEPS = 4_096


def newest_fitting(
    times_ms: Ids, ids: Ids, costs: Ids, max_rows: float, max_cost: float
) -> npt.NDArray[np.bool_]:
    """Which rows (n,) stay when the newest, of equals the greatest ids, are kept up to a bound.

    Rows are counted by steps of time; only in the step in which they become too many does
    their order matter.
    """
    fits = np.ones(len(ids), np.bool_)
    if not len(ids):
        return fits
    oldest_ms = int(times_ms.min())
    width_ms = (int(times_ms.max()) - oldest_ms) // _STEPS + 1
    steps = (times_ms - oldest_ms) // width_ms
    rows_of_step = np.bincount(steps)
    cost_of_step = np.bincount(steps, weights=costs)
    rows_since = np.cumsum(rows_of_step[::-1])[::-1]
    cost_since = np.cumsum(cost_of_step[::-1])[::-1]
    over = np.flatnonzero((rows_since > max_rows) | (cost_since > max_cost))
    if not len(over):
        return fits
    cut = int(over[-1])
    fits[steps < cut] = False
    at_cut = np.flatnonzero(steps == cut)
    at_cut = at_cut[np.lexsort((ids[at_cut], times_ms[at_cut]))[::-1]]
    rows_above = rows_since[cut] - rows_of_step[cut]
    cost_above = cost_since[cut] - cost_of_step[cut]
    stay = rows_above + np.arange(len(at_cut)) < max_rows
    stay &= cost_above + np.cumsum(costs[at_cut]) <= max_cost
    fits[at_cut[~stay]] = False
    return fits

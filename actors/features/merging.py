"""Many rows become one: how aggregates by sparse keys are merged for a candidate.

A candidate has several engagers, lists or topics, and so several rows of counts. The three
policies of the original's aggregation framework, over ragged rows and without a Python loop.
"""

from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel, writable
from cluster.ids import Ids

Floats = npt.NDArray[np.float32]
Policy = Literal["combine_counts", "pick_top_ctr", "wilson"]

TOP_K = 2
MAX_VALUES = 20
"""Only the largest values of a column count (published, like the other constants here)."""
SMOOTHING = 1.0
WILSON_Z = 1.96

_COMBINED = {
    "sum": "sum over all",
    "nonzero": "how many have any",
    "mean": "mean of those that have any",
    "top1": "the largest",
    "top2": "the second largest",
}


def combine_counts(values: Floats, offsets: Ids) -> Floats:
    """For each column its sum, number and mean of non-zero values, and the two largest.

    `values` is of shape (m, c); the rows of candidate i are `offsets[i]` … `offsets[i + 1]`.
    Returns (n, 5c), column by column.
    """
    return _combine(writable(values, np.float32), writable(offsets, np.int64))


def pick_top_ctr(values: Floats, offsets: Ids, shown: Ids) -> Floats:
    """The largest engagements / (1 + impressions) over the rows of each candidate.

    `shown` (c,) names the column of each column's impressions, −1 for columns that are no
    engagement. Returns (n, number of engagements), 0 where a candidate has no row.
    """
    engaged = np.flatnonzero(shown >= 0)
    rates = values[:, engaged] / (np.float32(SMOOTHING) + values[:, shown[engaged]])
    return _largest(writable(rates, np.float32), writable(offsets, np.int64))


def wilson(values: Floats, offsets: Ids, shown: Ids) -> Floats:
    """The largest lower Wilson bound (z = 1.96) of engagements over impressions.

    As `pick_top_ctr`. With N = 1, 1 − Π(1 − p) over the top N is the largest itself.
    """
    engaged = np.flatnonzero(shown >= 0)
    n = np.maximum(values[:, shown[engaged]], values[:, engaged]).astype(np.float64)
    p = np.divide(values[:, engaged], n, out=np.zeros_like(n), where=n > 0)
    z_sq = WILSON_Z**2
    m = np.maximum(n, 1e-12)
    spread = WILSON_Z * np.sqrt((p * (1 - p) + z_sq / (4 * m)) / m)
    low = np.maximum((p + z_sq / (2 * m) - spread) / (1 + z_sq / m), 0.0)
    low[n <= 0] = 0.0
    return _largest(writable(low, np.float32), writable(offsets, np.int64))


class _Merge(Protocol):
    def __call__(self, values: Floats, offsets: Ids, shown: Ids) -> Floats:
        """Rows of ragged groups to one row of each group."""


class Merging(NamedTuple):
    """What a policy makes of a row's columns."""

    endings: dict[str, str]
    """Of names → what they mean; one for each number that is made of one column."""
    only_engagements: bool
    """Whether columns of impressions give nothing of their own."""
    merge: _Merge


POLICIES: dict[Policy, Merging] = {
    "combine_counts": Merging(
        _COMBINED, False, lambda values, offsets, shown: combine_counts(values, offsets)
    ),
    "pick_top_ctr": Merging({"top_ctr": "the largest rate"}, True, pick_top_ctr),
    "wilson": Merging({"wilson": "the largest lower bound of the rate"}, True, wilson),
}


@kernel
def _combine(values: Floats, offsets: Ids) -> Floats:
    n, c = len(offsets) - 1, values.shape[1]
    found = np.zeros((n, 5 * c), np.float32)
    largest = np.empty(MAX_VALUES, np.float32)
    for i in range(n):
        for k in range(c):
            held = 0
            for row in range(offsets[i], offsets[i + 1]):
                value = values[row, k]
                if value == 0 or (held == MAX_VALUES and value <= largest[held - 1]):
                    continue
                # Kept in order, the largest first.
                at = min(held, MAX_VALUES - 1)
                while at > 0 and largest[at - 1] < value:
                    largest[at] = largest[at - 1]
                    at -= 1
                largest[at] = value
                held = min(held + 1, MAX_VALUES)
            total = 0.0
            for at in range(held):
                total += largest[at]
            found[i, 5 * k] = total
            found[i, 5 * k + 1] = held
            if held > 0:
                found[i, 5 * k + 2] = total / held
                found[i, 5 * k + 3] = largest[0]
            if held > 1:
                found[i, 5 * k + 4] = largest[1]
    return found


@kernel
def _largest(values: Floats, offsets: Ids) -> Floats:
    found = np.zeros((len(offsets) - 1, values.shape[1]), np.float32)
    for i in range(len(offsets) - 1):
        for row in range(offsets[i], offsets[i + 1]):
            for k in range(values.shape[1]):
                found[i, k] = max(found[i, k], values[row, k])
    return found

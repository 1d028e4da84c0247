"""Decayed counts of a post's engagements: what happened lately counts, what is long ago fades.

Earlybird keeps such counts beside the plain ones; its half-life was not published. The same
events give the same counts in any order: a row is kept as of a whole half-life ("forward
decay", see `actors.stores.decay`), moving it on is a shift, and what an engagement adds has
few enough bits that sums over the last twenty half-lives are exact. Older ones are too faint
to be read.
"""

import math

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel
from cluster.events import UNDONE_BY, Kind
from cluster.ids import Ids

HALF_LIFE_MS = 3_600_000
"""Chosen: of a day's posts, those with an hour that is unlike the others stand out."""
DECAYED = (Kind.FAVOURITE, Kind.REPOST, Kind.REPLY, Kind.QUOTE)
"""What is counted, in column order; an undo takes one away as of its own time."""

COLUMNS = {"decayed": (np.float64, len(DECAYED)), "decayed_at": np.int32}
"""`decayed_at`: as of how many half-lives after the epoch the row's counts are."""

Float64s = npt.NDArray[np.float64]
Int32s = npt.NDArray[np.int32]

_COLUMN_OF = np.full(256, -1, np.int8)
_CHANGE_OF = np.zeros(256, np.int8)
for _column, _kind in enumerate(DECAYED):
    _COLUMN_OF[_kind], _CHANGE_OF[_kind] = _column, 1
for _undo, _kind in UNDONE_BY.items():
    if _kind in DECAYED:
        _COLUMN_OF[_undo], _CHANGE_OF[_undo] = DECAYED.index(_kind), -1

_UNIT_BITS = 2.0**20
READ_PARTS = 256.0
"""Counts are read to this part of one, so that what has faded is nothing at all."""
_FAINT = 64


def count_decayed(
    decayed: Float64s, decayed_at: Int32s, rows: Int32s, kinds: npt.NDArray[np.uint8], times_ms: Ids
) -> None:
    """Add events (n,) to the counts of their rows; other kinds than `DECAYED` do nothing."""
    _add(decayed, decayed_at, rows, _COLUMN_OF[kinds], _CHANGE_OF[kinds], times_ms)


def merged(
    decayed: Float64s, decayed_at: Int32s, others: Float64s, others_at: Int32s
) -> tuple[Float64s, Int32s]:
    """The sums of two sets of n rows, of shapes (n, 4) and (n,)."""
    at = np.maximum(decayed_at, others_at)
    sums: Float64s = _moved(decayed, decayed_at - at) + _moved(others, others_at - at)
    return sums, at


def _moved(decayed: Float64s, by: Int32s) -> Float64s:
    moved: Float64s = np.ldexp(decayed, np.maximum(by, -1100)[:, None])
    return moved


@kernel
def fading(now_ms: int) -> tuple[int, float]:
    """What `faded` needs of an instant: whole half-lives, and what the rest fades by."""
    halves = now_ms // HALF_LIFE_MS
    return halves, 2.0 ** (-(now_ms - halves * HALF_LIFE_MS) / HALF_LIFE_MS)


@kernel
def faded(at: int, halves: int, rest: float) -> float:
    """What a row's counts have to be multiplied by, in `READ_PARTS`ths; 0 for none to be seen."""
    since = halves - at
    return 0.0 if since > _FAINT else math.ldexp(rest * READ_PARTS, -max(since, -1))


@kernel
def _add(
    decayed: Float64s,
    decayed_at: Int32s,
    rows: Int32s,
    columns: npt.NDArray[np.int8],
    changes: npt.NDArray[np.int8],
    times_ms: Ids,
) -> None:
    for i in range(len(rows)):
        column = columns[i]
        if column < 0:
            continue
        row = rows[i]
        halves = times_ms[i] // HALF_LIFE_MS
        ahead = halves - decayed_at[row]
        if ahead > 0:
            for j in range(decayed.shape[1]):
                kept = decayed[row, j]
                if kept != 0:
                    decayed[row, j] = math.ldexp(kept, -min(ahead, 1100))
            decayed_at[row] = halves
            ahead = 0
        grown = 2.0 ** ((times_ms[i] - halves * HALF_LIFE_MS) / HALF_LIFE_MS)
        unit = math.floor(grown * _UNIT_BITS + 0.5) / _UNIT_BITS
        decayed[row, column] += changes[i] * math.ldexp(unit, max(ahead, -1100))

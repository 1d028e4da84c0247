"""Exponential decay measured from a landmark, so that stored sums need no touching to decay.

A sum is kept as Σ x·2^((τ − landmark)/half-life) ("forward decay", Cormode et al., 2009) and
read at `now` by one factor for all sums. Landmarks are multiples of the half-life: two
landmarks differ by a power of two, so every sum comes out bit for bit the same whichever one
it was kept from, and halves exactly in a half-life.
"""

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids

Float64s = npt.NDArray[np.float64]


def landmark_before(time_ms: int, half_life_ms: int) -> int:
    """The last multiple of the half-life not after a time."""
    return time_ms // half_life_ms * half_life_ms


def growth(times_ms: Ids, landmark_ms: int, half_life_ms: int) -> Float64s:
    """What one unit at each time counts in sums kept from a landmark: 2^((τ − landmark)/H)."""
    halves, rest_ms = np.divmod(times_ms - landmark_ms, half_life_ms)
    grown: Float64s = np.ldexp(np.exp2(rest_ms / half_life_ms), _exponents(halves))
    return grown


def decay(now_ms: int, landmark_ms: int, half_life_ms: int) -> float:
    """What a kept sum has to be multiplied by, to be read at `now_ms`."""
    halves, rest_ms = divmod(now_ms - landmark_ms, half_life_ms)
    exponent = -max(-1000, min(1000, halves))
    return float(np.ldexp(np.exp2(-rest_ms / half_life_ms), exponent))


def halves_between(landmark_ms: int, time_ms: int, half_life_ms: int) -> int:
    """Whole half-lives from a landmark to a time."""
    return (time_ms - landmark_ms) // half_life_ms


def _exponents(halves: Ids) -> npt.NDArray[np.int32]:
    # Beyond these a unit is zero, or so large that its store has to move its landmark first.
    return np.clip(halves, -1100, 1000).astype(np.int32)

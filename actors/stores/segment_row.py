"""How kernels see a segment: one row of int64, the addresses and lengths of its arrays.

A query thus reaches every segment in one kernel call, whatever their number, and nothing is
compiled again when that number changes. A row is valid only while the `Segment` that owns
its arrays is referenced.
"""

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int, int64s

Row = npt.NDArray[np.int64]

LEFT, RIGHT = 0, 1

# Columns of a row. The blocks of the two indexes (left: users, right: posts) begin at
# BLOCK + side * BLOCK_WIDTH, and the second group of columns counts from there.
FORM, EDGES, MIN_MS, MAX_MS, AUTHORS, BLOCK = range(6)
NODES, SLOTS, CAPACITY, KEYS, INDEX, ENTRIES, HIGH, BLOCK_WIDTH = range(8)
ROW_WIDTH = BLOCK + 2 * BLOCK_WIDTH

# LIVE_FORM: INDEX is the chains' nodes int64[n, 4], ENTRIES their pool int64[slots, 2].
# CSR_FORM: INDEX is offsets uint32[n + 1], ENTRIES int64[n], HIGH uint16[n] or address 0.
LIVE_FORM, CSR_FORM = 0, 1

# The word of an entry, 32 bits: the other end's dense id, whether the edge stands in both
# indexes, and its kind.
TARGET_SHIFT = 5
BOTH_BIT = 16
KIND_MASK = 15
LOW32 = 0xFFFFFFFF
MAX_SEGMENT_EDGES = 2**27


@kernel
def keys_of(row: Row, side: Int) -> npt.NDArray[np.int64]:
    """The ids of one side's nodes by dense id."""
    block = BLOCK + side * BLOCK_WIDTH
    return int64s(row[block + KEYS], row[block + NODES])


@kernel
def floor_power(number: Int) -> Int:
    """The greatest power of two not above `number`, for 1 … 2^32 − 1."""
    number |= number >> 1
    number |= number >> 2
    number |= number >> 4
    number |= number >> 8
    number |= number >> 16
    return number - (number >> 1)

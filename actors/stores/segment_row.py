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
NODES, SLOTS, CAPACITY, KEYS, INDEX, ENTRIES, HIGH, MARKS, BLOCK_WIDTH = range(9)
ROW_WIDTH = BLOCK + 2 * BLOCK_WIDTH

# LIVE_FORM: INDEX is the chains' nodes int64[n, 4], ENTRIES their pool int64[slots, 2].
# CSR_FORM: INDEX is offsets uint32[n + 1], ENTRIES int64[n], HIGH uint16[n] or address 0, and on
# the left MARKS uint16[n], of each entry's post.
LIVE_FORM, CSR_FORM = 0, 1

# The word of an entry, 32 bits: the other end's dense id, whether the edge stands in both
# indexes, and its kind.
TARGET_SHIFT = 5
BOTH_BIT = 16
KIND_MASK = 15
LOW32 = 0xFFFFFFFF
MAX_SEGMENT_EDGES = 2**27

# The first number of an entry in a pool: its time, and above it the mark of the other end.
MARK_SHIFT = 48
TIME_MASK = 2**MARK_SHIFT - 1
# Multiplicative hashing by the golden ratio.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@kernel
def slot_shift(slots: Int) -> Int:
    """By how much a 64-bit hash is shifted to be a place among a power of two of slots."""
    shift = np.int64(64)
    while slots > 1:
        slots >>= 1
        shift -= 1
    return np.uint64(shift)


@kernel
def mark_of(node_id: Int) -> Int:
    """16 bits of an id's hash, int64, by which edges are told apart without fetching ids."""
    return np.int64((np.uint64(node_id) * GOLDEN) >> np.uint64(MARK_SHIFT))


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

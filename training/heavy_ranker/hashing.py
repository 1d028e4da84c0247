"""Which row of an embedding table a raw id or code has: the same in training and in serving."""

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]

UNKNOWN = 0
"""The value of which nothing is known, and the row of it."""


def table_rows(values: Int64s, buckets: Int64s) -> Int64s:
    """Rows of raw values of shape (n, d) in d tables of so many rows, shape (d,).

    Codes that fit into their table are their own row, so they never collide. All others are
    hashed over the rows but 0 (splitmix64's finaliser). Raises `ValueError` for a table of
    fewer than two rows.
    """
    if len(buckets) and buckets.min() < 2:
        raise ValueError(f"a table needs 2 rows, and has {buckets.min()}")
    mixed = values.astype(np.uint64)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    hashed = (1 + mixed % (buckets - 1).astype(np.uint64)).astype(np.int64)
    return np.where((values >= 0) & (values < buckets), values, hashed)

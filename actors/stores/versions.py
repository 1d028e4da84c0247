"""Last writer wins: the order of conflicting writes, packed into one integer."""

import numpy as np
import numpy.typing as npt

_TIE_BITS = 20


def versions_of(
    times_ms: npt.NDArray[np.int64], event_ids: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Versions ordered by (time, event id): 43 bits of milliseconds, 20 bits of the id.

    Writes of one millisecond are ordered by the low bits of their event ids: arbitrary, but
    the same on every shard and in every order of arrival.
    """
    ties = event_ids & np.int64((1 << _TIE_BITS) - 1)
    return (times_ms << np.int64(_TIE_BITS)) | ties


def times_of(versions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The times of versions, in milliseconds."""
    return versions >> np.int64(_TIE_BITS)


def winners(
    keys: npt.NDArray[np.int32], versions: npt.NDArray[np.int64], current: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Which writes of a batch take effect: the newest of each key, if newer than `current`.

    `keys` (rows written, may repeat) and `versions` are of shape (n,); `current` holds the
    version of every row. Returns indices into the batch, one per key at most.
    """
    order = np.lexsort((versions, keys))
    sorted_keys = keys[order]
    last = np.ones(len(order), bool)
    last[:-1] = sorted_keys[1:] != sorted_keys[:-1]
    newest = order[last]
    won: npt.NDArray[np.int64] = newest[versions[newest] > current[keys[newest]]]
    return won

"""The sums of pairs of a post and a community, chained by post and by community: kernels.

An entry is a row of `links` (int32 (n, 4), see `community_lists`), a value and how many
favourites the value is made of. The chains begin at `first` (by post) and `heads` (by
community).
"""

import numpy as np
import numpy.typing as npt

from actors.stores.community_lists import (
    FIRST,
    NEXT_OF_COMMUNITY,
    NEXT_OF_POST,
    Float64s,
    Rows,
)
from actors.stores.id_map import Dense, Ids
from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int, prefetch

_MAX_INT32 = 2**31 - 1
# Posts whose entries are fetched from memory together.
_BLOCK = 32


@kernel
def add_to_entries(
    entries: Dense,
    deltas: Float64s,
    signs: npt.NDArray[np.int8],
    values: Float64s,
    counts: Rows,
) -> None:
    """Add to entries, each of which may be named several times, or take away (sign −1)."""
    for i in range(len(entries)):
        entry = entries[i]
        counts[entry] += signs[i]
        # What is left of a sum from which all was taken back is error of rounding.
        if counts[entry] <= 0:
            counts[entry] = 0
            values[entry] = 0.0
        else:
            values[entry] = max(values[entry] + deltas[i], 0.0)


@kernel
def link_entries(keys: Ids, known: Int, links: Rows, first: Rows, heads: Rows) -> None:
    """Chain entries from `known` on to their posts and communities."""
    for entry in range(known, len(keys)):
        pair = keys[entry] - 1
        post, community = pair >> 32, pair & 0xFFFFFFFF
        links[entry, 0] = post
        links[entry, 1] = community
        links[entry, NEXT_OF_POST] = first[post]
        links[entry, NEXT_OF_COMMUNITY] = heads[community, FIRST]
        first[post] = entry
        heads[community, FIRST] = entry


@kernel
def entries_of_posts(rows: Dense, first: Rows, links: Rows) -> Dense:
    """All entries of posts."""
    n = 0
    for row in rows:
        entry = np.int64(first[row])
        while entry >= 0:
            n += 1
            entry = np.int64(links[entry, NEXT_OF_POST])
    found = np.empty(n, np.int32)
    n = 0
    for row in rows:
        entry = np.int64(first[row])
        while entry >= 0:
            found[n] = entry
            n += 1
            entry = np.int64(links[entry, NEXT_OF_POST])
    return found


@kernel
def _fetch_chains(rows: Ids, first: Rows, links: Rows, values: Float64s) -> None:
    """Bring the entries of several posts into the cache, all chains in step.

    The next link of a chain is known only when the one before has come from memory; side by
    side the chains wait for memory together.
    """
    links_at, values_at = links.ctypes.data, values.ctypes.data
    at = np.empty(len(rows), np.int64)
    n = 0
    for row in rows:
        if row >= 0 and first[row] >= 0:
            at[n] = first[row]
            prefetch(links_at + 16 * at[n])
            n += 1
    while n > 0:
        left = 0
        for i in range(n):
            prefetch(values_at + 8 * at[i])
            following = np.int64(links[at[i], NEXT_OF_POST])
            if following >= 0:
                prefetch(links_at + 16 * following)
                at[left] = following
                left += 1
        n = left


@kernel
def best_of_posts(
    rows: Ids, first: Rows, links: Rows, values: Float64s, factor: float, lowest: float, k: Int
) -> tuple[Rows, npt.NDArray[np.float32], Ids]:
    """By score, then community: (communities (n, k), scores (n, k), sizes (n,))."""
    communities = np.empty((len(rows), k), np.int32)
    scores = np.empty((len(rows), k), np.float32)
    sizes = np.zeros(len(rows), np.int64)
    found = np.empty(1, np.float32)
    bits = found.view(np.int32)
    keys = np.empty(1_024, np.int64)
    for i in range(len(rows)):
        if i % _BLOCK == 0:
            _fetch_chains(rows[i : i + _BLOCK], first, links, values)
        entry = np.int64(-1)
        if rows[i] >= 0:
            entry = np.int64(first[rows[i]])
        n = 0
        while entry >= 0:
            found[0] = values[entry] * factor
            if found[0] >= lowest and found[0] > 0:
                if n == len(keys):
                    keys = np.append(keys, keys)
                # Positive floats are ordered like their bits; of equal ones the lesser
                # community is ahead.
                keys[n] = np.int64(bits[0]) << 32 | (_MAX_INT32 - np.int64(links[entry, 1]))
                n += 1
            entry = np.int64(links[entry, NEXT_OF_POST])
        ordered = np.sort(keys[:n])
        sizes[i] = min(n, k)
        for at in range(sizes[i]):
            key = ordered[n - 1 - at]
            bits[0] = np.int32(key >> 32)
            scores[i, at] = found[0]
            communities[i, at] = np.int32(_MAX_INT32 - (key & _MAX_INT32))
    return communities, scores, sizes

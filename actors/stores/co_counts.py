"""How many users of each key's list engaged with each post: counted in a shard, then summed.

All counts are integers, so that what several shards counted adds up to what one would have.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.stores.id_map import Ids, hash_id
from actors.stores.kernels import kernel, writable
from actors.stores.raw_memory import Int
from actors.stores.standing import Standing, Uint16s

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class CoCounts:
    """What the users of k keys engaged with; the posts of key i are `offsets[i]` …

    `offsets` int64[k+1], `post_ids`, `author_ids` int64[n], in no particular order within a key.
    """

    n_users: Int64s
    """(k,): users whose own number of engagements lets them count."""
    offsets: Int64s
    post_ids: Ids
    author_ids: Ids
    counts: Int32s
    """(n, levels): users whose engagement has exactly that level; one level if there are none."""
    weights: Int64s
    """(n,): the sum of the users' weights."""


def count_together(
    standing: Standing,
    degrees: Int64s,
    user_weights: Int64s,
    offsets: Int64s,
    members: Int32s,
    least_degrees: Int64s,
    below_degrees: Int64s,
    n_levels: int,
) -> CoCounts:
    """Count posts over the users `members[offsets[i]:offsets[i+1]]` of each key i.

    `members` are places in `standing`, whose users have `degrees` and `user_weights`, (u,). A
    user counts for a key when least ≤ degree < below, and a post once for each user, at the
    level of the greatest kind that stands if `n_levels` is above 1.
    """
    return CoCounts(
        *_count(
            standing.offsets,
            standing.other_ids,
            standing.author_ids,
            standing.kinds,
            writable(degrees, np.int64),
            writable(user_weights, np.int64),
            writable(offsets, np.int64),
            writable(members, np.int32),
            writable(least_degrees, np.int64),
            writable(below_degrees, np.int64),
            n_levels,
        )
    )


def sum_counts(parts: Sequence[CoCounts], least: Int64s) -> CoCounts:
    """Counts of all shards as one, of the posts that at least `least[i]` users of key i share.

    Posts of a key are ascending. Raises ValueError without parts.
    """
    if not parts:
        raise ValueError("there are no counts to sum")
    sizes = np.array([0, *(len(part.post_ids) for part in parts)]).cumsum()
    starts = np.stack([part.offsets + begin for part, begin in zip(parts, sizes, strict=False)])
    offsets, post_ids, author_ids, counts, weights = _sum(
        writable(starts, np.int64),
        np.concatenate([part.post_ids for part in parts]),
        np.concatenate([part.author_ids for part in parts]),
        np.concatenate([part.counts for part in parts]),
        np.concatenate([part.weights for part in parts]),
        writable(least, np.int64),
    )
    keys = np.repeat(np.arange(len(least)), np.diff(offsets))
    order = np.lexsort((post_ids, keys))
    n_users: Int64s = np.stack([part.n_users for part in parts]).sum(axis=0)
    return CoCounts(
        n_users, offsets, post_ids[order], author_ids[order], counts[order], weights[order]
    )


@kernel
def _table_for(entries: Int) -> Int64s:
    slots = 16
    while slots < 2 * entries:
        slots *= 2
    return np.zeros(slots, np.int64)


@kernel
def _enter(table: Int64s, base: Int, ids: Ids, n: Int, wanted: Int) -> Int:
    """The number of an id among `ids[:n]` from the one on which is `base`, or n if it is new.

    A slot holds 1 + the number; what is not above `base` belongs to an earlier key.
    """
    mask = len(table) - 1
    at = np.int64(hash_id(wanted) >> np.uint64(32)) & mask
    while table[at] > base:
        if ids[table[at] - 1] == wanted:
            return table[at] - 1
        at = (at + 1) & mask
    table[at] = n + 1
    return n


@kernel
def _count(
    standing_offsets: Int64s,
    standing_posts: Ids,
    standing_authors: Ids,
    standing_kinds: Uint16s,
    degrees: Int64s,
    user_weights: Int64s,
    offsets: Int64s,
    members: Int32s,
    least_degrees: Int64s,
    below_degrees: Int64s,
    n_levels: Int,
) -> tuple[Int64s, Int64s, Ids, Ids, Int32s, Int64s]:
    n_keys = len(offsets) - 1
    n_users = np.zeros(n_keys, np.int64)
    most, room = np.int64(0), np.int64(0)
    for key in range(n_keys):
        size = np.int64(0)
        for m in range(offsets[key], offsets[key + 1]):
            user = members[m]
            size += standing_offsets[user + 1] - standing_offsets[user]
        most = max(most, size)
        room += size
    table = _table_for(most)
    post_ids, author_ids = np.empty(room, np.int64), np.zeros(room, np.int64)
    counts, weights = np.zeros((room, n_levels), np.int32), np.zeros(room, np.int64)
    ends = np.zeros(n_keys + 1, np.int64)
    n = np.int64(0)
    for key in range(n_keys):
        base = n
        for m in range(offsets[key], offsets[key + 1]):
            user = members[m]
            if degrees[user] < least_degrees[key] or degrees[user] >= below_degrees[key]:
                continue
            n_users[key] += 1
            for e in range(standing_offsets[user], standing_offsets[user + 1]):
                row = _enter(table, base, post_ids, n, standing_posts[e])
                if row == n:
                    post_ids[n] = standing_posts[e]
                    n += 1
                author_ids[row] = max(author_ids[row], standing_authors[e])
                level = 0
                if n_levels > 1:
                    while standing_kinds[e] >> (level + 1) != 0:
                        level += 1
                counts[row, level] += 1
                weights[row] += user_weights[user]
        ends[key + 1] = n
    return n_users, ends, post_ids[:n], author_ids[:n], counts[:n], weights[:n]


@kernel
def _sum(
    starts: Int64s,
    part_posts: Ids,
    part_authors: Ids,
    part_counts: Int32s,
    part_weights: Int64s,
    least: Int64s,
) -> tuple[Int64s, Ids, Ids, Int32s, Int64s]:
    """Sum the parts, whose key i is `starts[p, i]` … `starts[p, i+1]` of the arrays."""
    n_parts, n_keys = len(starts), len(least)
    n_levels = part_counts.shape[1]
    most = np.int64(0)
    for key in range(n_keys):
        size = np.int64(0)
        for p in range(n_parts):
            size += starts[p, key + 1] - starts[p, key]
        most = max(most, size)
    # Rows of one key at a time; those that pass move to the front.
    room = len(part_posts)
    table = _table_for(most)
    key_posts, key_rows = np.empty(room, np.int64), np.empty(room, np.int64)
    totals = np.zeros(room, np.int64)
    post_ids, author_ids = np.empty(room, np.int64), np.zeros(room, np.int64)
    counts, weights = np.zeros((room, n_levels), np.int32), np.zeros(room, np.int64)
    ends = np.zeros(n_keys + 1, np.int64)
    seen, n = np.int64(0), np.int64(0)
    for key in range(n_keys):
        base = seen
        for p in range(n_parts):
            for e in range(starts[p, key], starts[p, key + 1]):
                row = _enter(table, base, key_posts, seen, part_posts[e])
                if row == seen:
                    key_posts[seen] = part_posts[e]
                    seen += 1
                for level in range(n_levels):
                    totals[row] += part_counts[e, level]
        for row in range(base, seen):
            key_rows[row] = -1
            if totals[row] >= least[key]:
                key_rows[row] = n
                post_ids[n] = key_posts[row]
                n += 1
        for p in range(n_parts):
            for e in range(starts[p, key], starts[p, key + 1]):
                row = key_rows[_enter(table, base, key_posts, seen, part_posts[e])]
                if row < 0:
                    continue
                author_ids[row] = max(author_ids[row], part_authors[e])
                weights[row] += part_weights[e]
                for level in range(n_levels):
                    counts[row, level] += part_counts[e, level]
        ends[key + 1] = n
    return ends, post_ids[:n], author_ids[:n], counts[:n], weights[:n]

"""For each community its best posts: the lists that a search by communities scans.

A list is unsorted and holds at least the `keep` best of all entries of its community, its
members lying side by side so that a scan streams through memory. Entries of all posts decay
at one rate, so their order changes only when something is added: an entry below a list's
floor cannot come into it by waiting.

A list grows to twice `keep`, is then cut to the `keep` best, and its floor becomes the last
of these. Where so many members lose value that fewer than `keep` reach the floor, the list is
filled anew from all entries of the community, which are chained for that.
"""

import numpy as np
import numpy.typing as npt

from actors.stores.id_map import Dense, Ids
from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int

Float64s = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int32]

# Columns of `links`: what an entry belongs to, and the next entry of the same.
POST, COMMUNITY, NEXT_OF_POST, NEXT_OF_COMMUNITY = range(4)
# Columns of `heads`, by community: its first entry; its list's size, capacity, and how many
# members are below the floor.
FIRST, SIZE, CAPACITY, BELOW = range(4)
_SMALLEST = 4
# Of a histogram of values: 32 buckets to a factor of two, over 32 such factors.
_BUCKETS = 1_024
_BUCKET_SHIFT = 47

HEADS = {"heads": (np.int32, 4), "starts": np.int64, "floors": np.float64}
"""Columns by community."""
MEMBERS = {
    "entries": np.int32,
    "posts": np.int32,
    "values": np.float64,
    "created_ms": np.int64,
}
"""Columns by place in a list; the list of community c begins at `starts[c]`."""


@kernel
def place_entries(
    entries: Dense,
    links: Rows,
    values: Float64s,
    places: Rows,
    post_ids: Ids,
    created_ms: Ids,
    heads: Rows,
    starts: Ids,
    floors: Float64s,
    member_entries: Rows,
    member_posts: Rows,
    member_values: Float64s,
    member_created: Ids,
    used: Int,
    keep: Int,
    done: Int,
) -> tuple[Int, Int]:
    """Bring lists up to date with entries whose value or whose post changed.

    Begins at position `done`; stops where the members' arrays are full. Only posts whose
    creation is known (`created_ms` > 0) are listed. Returns (done, used).
    """
    for i in range(done, len(entries)):
        entry = np.int64(entries[i])
        community = np.int64(links[entry, COMMUNITY])
        value = values[entry]
        floor = floors[community]
        place = np.int64(places[entry])
        if place >= 0:
            at = starts[community] + place
            heads[community, BELOW] += np.int32(value < floor) - np.int32(member_values[at] < floor)
            member_values[at] = value
            if (
                heads[community, BELOW] > 0
                and heads[community, SIZE] - heads[community, BELOW] < keep
            ):
                _refill(
                    community, links, values, places, post_ids, created_ms, heads, starts,
                    floors, member_entries, member_posts, member_values, member_created, keep,
                )  # fmt: skip
            continue
        if value <= 0 or value < floor or created_ms[links[entry, POST]] <= 0:
            continue
        if heads[community, SIZE] == heads[community, CAPACITY]:
            if heads[community, CAPACITY] == 2 * keep:
                _cut(
                    community, links, places, post_ids, heads, starts, floors,
                    member_entries, member_posts, member_values, member_created, keep,
                )  # fmt: skip
                if value < floors[community]:
                    continue
            else:
                capacity = min(max(2 * heads[community, CAPACITY], _SMALLEST), 2 * keep)
                if used + capacity > len(member_entries):
                    return i, used
                begin = starts[community]
                for k in range(heads[community, SIZE]):
                    member_entries[used + k] = member_entries[begin + k]
                    member_posts[used + k] = member_posts[begin + k]
                    member_values[used + k] = member_values[begin + k]
                    member_created[used + k] = member_created[begin + k]
                starts[community] = used
                heads[community, CAPACITY] = capacity
                used += capacity
        _append(
            entry, community, links, values, places, created_ms, heads, starts,
            member_entries, member_posts, member_values, member_created,
        )  # fmt: skip
    return len(entries), used


@kernel
def living_entries(
    community: Int,
    wanted: Int,
    lowest: float,
    factor: float,
    min_created_ms: Int,
    heads: Rows,
    starts: Ids,
    floors: Float64s,
    member_posts: Rows,
    member_values: Float64s,
    member_created: Ids,
    links: Rows,
    values: Float64s,
    created_ms: Ids,
) -> tuple[Float64s, Rows]:
    """Scores (value times `factor`) and posts of a community, `wanted` best ones among them.

    Of posts created since `min_created_ms` with a score of `lowest` or more. Members that
    grew too old since a list was cut stand where it left others out: where too few are left,
    all entries of the community are looked at, so that no answer depends on when the old
    ones are cleared away.
    """
    begin, size = starts[community], np.int64(heads[community, SIZE])
    floor = floors[community]
    scores, posts = np.empty(size, np.float64), np.empty(size, np.int32)
    n, n_reaching = 0, np.int64(0)
    for at in range(begin, begin + size):
        value = member_values[at]
        if value > 0 and member_created[at] >= min_created_ms:
            n_reaching += np.int64(value >= floor)
            if value * factor >= lowest:
                scores[n] = value * factor
                posts[n] = member_posts[at]
                n += 1
    if floor == 0 or n_reaching >= wanted or floor * factor < lowest:
        return scores[:n], posts[:n]
    length = 0
    entry = np.int64(heads[community, FIRST])
    while entry >= 0:
        length += 1
        entry = np.int64(links[entry, NEXT_OF_COMMUNITY])
    scores, posts = np.empty(length, np.float64), np.empty(length, np.int32)
    n = 0
    entry = np.int64(heads[community, FIRST])
    while entry >= 0:
        post = links[entry, POST]
        value = values[entry]
        # Known to be created, since 1 at least.
        if value > 0 and created_ms[post] >= max(min_created_ms, 1) and value * factor >= lowest:
            scores[n] = value * factor
            posts[n] = post
            n += 1
        entry = np.int64(links[entry, NEXT_OF_COMMUNITY])
    return scores[:n], posts[:n]


@kernel
def select_best(
    order: Rows, size: Int, values: Float64s, posts: Rows, post_ids: Ids, begin: Int, k: Int
) -> None:
    """Put the `k` best of the first `size` places of `order` at its front, in no order.

    `order` names members from `begin` on. The greater value is better; of equal ones the
    greater post id, so that no two tie.
    """
    low, high = np.int64(0), np.int64(size) - 1
    while low < high:
        middle = order[(low + high) >> 1]
        left, right = low, high
        while left <= right:
            while _before(order[left], middle, values, posts, post_ids, begin):
                left += 1
            while _before(middle, order[right], values, posts, post_ids, begin):
                right -= 1
            if left <= right:
                order[left], order[right] = order[right], order[left]
                left += 1
                right -= 1
        if k - 1 <= right:
            high = right
        elif k - 1 >= left:
            low = left
        else:
            return


@kernel
def select_best_listed(
    order: Rows, size: Int, values: Float64s, posts: Rows, post_ids: Ids, begin: Int, k: Int
) -> None:
    """`select_best` of more than `k` values of at least 0, with few branches to guess wrong.

    Positive floats are ordered like their bits: a histogram of the leading bits below the
    greatest value leaves only one bucket to select in. What stands behind the first `k`
    places afterwards is of no meaning.
    """
    bits = values.view(np.int64)
    greatest = np.int64(0)
    for i in range(size):
        greatest = max(greatest, bits[begin + order[i]])
    counts = np.zeros(_BUCKETS, np.int64)
    for i in range(size):
        counts[min((greatest - bits[begin + order[i]]) >> _BUCKET_SHIFT, _BUCKETS - 1)] += 1
    bucket, before = np.int64(0), np.int64(0)
    while before + counts[bucket] < k:
        before += counts[bucket]
        bucket += 1
    undecided = np.empty(counts[bucket], np.int32)
    n, n_undecided = np.int64(0), np.int64(0)
    for i in range(size):
        member = order[i]
        of = min((greatest - bits[begin + member]) >> _BUCKET_SHIFT, _BUCKETS - 1)
        if of < bucket:
            # Never written beyond i, so nothing is lost that is still to be read.
            order[n] = member
            n += 1
        elif of == bucket:
            undecided[n_undecided] = member
            n_undecided += 1
    select_best(undecided, n_undecided, values, posts, post_ids, begin, k - n)
    for i in range(k - n):
        order[n + i] = undecided[i]


@kernel
def _before(a: Int, b: Int, values: Float64s, posts: Rows, post_ids: Ids, begin: Int) -> bool:
    first, second = values[begin + a], values[begin + b]
    if first != second:
        return bool(first > second)
    return bool(post_ids[posts[begin + a]] > post_ids[posts[begin + b]])


@kernel
def _append(
    entry: Int,
    community: Int,
    links: Rows,
    values: Float64s,
    places: Rows,
    created_ms: Ids,
    heads: Rows,
    starts: Ids,
    member_entries: Rows,
    member_posts: Rows,
    member_values: Float64s,
    member_created: Ids,
) -> None:
    place = heads[community, SIZE]
    at = starts[community] + place
    post = links[entry, POST]
    member_entries[at] = entry
    member_posts[at] = post
    member_values[at] = values[entry]
    member_created[at] = created_ms[post]
    places[entry] = place
    heads[community, SIZE] = place + 1


@kernel
def _cut(
    community: Int,
    links: Rows,
    places: Rows,
    post_ids: Ids,
    heads: Rows,
    starts: Ids,
    floors: Float64s,
    member_entries: Rows,
    member_posts: Rows,
    member_values: Float64s,
    member_created: Ids,
    keep: Int,
) -> None:
    """Leave the `keep` best members."""
    begin, size = starts[community], np.int64(heads[community, SIZE])
    order = np.arange(size).astype(np.int32)
    select_best_listed(order, size, member_values, member_posts, post_ids, begin, keep)
    for k in range(size):
        places[member_entries[begin + k]] = -1
    kept = np.sort(order[:keep])
    floor = member_values[begin + kept[0]]
    for i in range(keep):
        source, at = begin + kept[i], begin + i
        member_entries[at] = member_entries[source]
        member_posts[at] = member_posts[source]
        member_values[at] = member_values[source]
        member_created[at] = member_created[source]
        places[member_entries[at]] = i
        if member_values[at] < floor:
            floor = member_values[at]
    heads[community, SIZE] = keep
    heads[community, BELOW] = 0
    floors[community] = floor


@kernel
def _refill(
    community: Int,
    links: Rows,
    values: Float64s,
    places: Rows,
    post_ids: Ids,
    created_ms: Ids,
    heads: Rows,
    starts: Ids,
    floors: Float64s,
    member_entries: Rows,
    member_posts: Rows,
    member_values: Float64s,
    member_created: Ids,
    keep: Int,
) -> None:
    """Fill a list anew; it has a floor, so it was cut before and has its full capacity."""
    begin = starts[community]
    for i in range(heads[community, SIZE]):
        places[member_entries[begin + i]] = -1
    heads[community, SIZE] = 0
    heads[community, BELOW] = 0
    floors[community] = 0.0
    entry = np.int64(heads[community, FIRST])
    while entry >= 0:
        listed = values[entry] > 0 and created_ms[links[entry, POST]] > 0
        if listed and values[entry] >= floors[community]:
            if heads[community, SIZE] == 2 * keep:
                _cut(
                    community, links, places, post_ids, heads, starts, floors,
                    member_entries, member_posts, member_values, member_created, keep,
                )  # fmt: skip
            if values[entry] >= floors[community]:
                _append(
                    entry, community, links, values, places, created_ms, heads, starts,
                    member_entries, member_posts, member_values, member_created,
                )  # fmt: skip
        entry = np.int64(links[entry, NEXT_OF_COMMUNITY])

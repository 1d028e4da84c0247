"""Sorted neighbour lists that follow a relation, and what one source shares with many of them.

The graph-feature service's worker: it looks each id of the shorter sorted list up in the
longer. Here lists that are not much longer than the source are scanned instead, each id looked
up in one small hash table of the source, made once for all lists.
"""

import threading
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.stores.columns import Columns
from actors.stores.kernels import kernel, writable
from actors.stores.raw_memory import Int
from actors.stores.relations import Relations
from cluster.ids import Ids

Int32s = npt.NDArray[np.int32]

# Measured: from about so many times the source's length on, searching beats scanning.
_SEARCH_RATIO = 24
# Empty enough that most strangers meet an empty slot; still small enough for the first cache.
_SLOTS_PER_ID = 4
# New edges looked at one by one before they are merged into an owner's list: this many, or
# this share of the list.
_LEAST_PENDING = 32
_PENDING_SHARE = 8
_SMALLEST_POOL = 1024


class Hits(NamedTuple):
    """Members that the source shares with lists; arrays of shape (hits,)."""

    rows: Int32s
    """Which list."""
    places: Int32s
    """Which id of the source."""
    edges: Int32s
    """Which edge of the relation."""


class SortedNeighbours:
    """The neighbours of a relation's owners as sorted lists, made when first asked for.

    Edges never leave a list: one that is switched off is told at the time of the query, as
    is one written since the list was made, so every answer is that of the relation now. Any
    number of threads may ask while nobody writes the relation.
    """

    def __init__(self, relations: Relations) -> None:
        self._relations = relations
        self._lists = Columns({"start": np.int64, "length": np.int32, "indexed": np.int32})
        self._ids = np.empty(_SMALLEST_POOL, np.int64)
        self._edges = np.empty(_SMALLEST_POOL, np.int32)
        self._used = 0
        self._live = 0
        # Queries that make lists; those that only read them use what was never written over.
        self._making = threading.Lock()

    @property
    def memory_bytes(self) -> int:
        """Memory held by the lists, spare capacity included."""
        return self._ids.nbytes + self._edges.nbytes + self._lists.memory_bytes

    def hits(self, source_ids: Ids, owner_ids: Ids) -> Hits:
        """Which of `source_ids` (s,), sorted and distinct, are neighbours of each owner (n,)."""
        owners = self._relations.owners_of(owner_ids)
        known = np.flatnonzero(owners >= 0)
        owners = owners[known]
        chains = self._relations.chains()
        with self._making:
            self._bring_up(np.unique(owners))
            lists = {name: self._lists[name][owners] for name in self._lists.names}
            pool_ids, pool_edges = self._ids, self._edges
        source_ids = writable(source_ids, np.int64)
        offsets, places, entries = intersect(
            source_ids, pool_ids, lists["start"], lists["length"].astype(np.int64)
        )
        late_rows, late_places, late_edges = _late_hits(
            source_ids, chains.heads[owners], lists["indexed"], chains.nexts, chains.other_ids
        )
        rows, edges = np.empty(len(places), np.int32), np.empty(len(places), np.int32)
        n = _keep_active(offsets, places, entries, known, pool_edges, chains.active, rows, edges)
        found = Hits(rows[:n], places[:n], edges[:n])
        on = chains.active[late_edges]
        if not on.any():
            return found
        late = Hits(known[late_rows[on]].astype(np.int32), late_places[on], late_edges[on])
        return Hits(*(np.concatenate(both) for both in zip(found, late, strict=True)))

    def _bring_up(self, owners: Int32s) -> None:
        """Make or merge the lists of owners that have too many edges beside them."""
        chains = self._relations.chains()
        n_new = len(chains.heads) - len(self._lists)
        if n_new:
            added = self._lists.extend(n_new)
            self._lists["indexed"][added] = -1
        lists = self._lists
        pending = _count_pending(
            owners, chains.heads, chains.nexts, lists["indexed"], lists["length"]
        )
        stale = owners[pending > 0]
        if not len(stale):
            return
        pending = pending[pending > 0]
        lengths = lists["length"][stale] + pending
        self._make_room(int(lengths.sum()))
        self._used = _merge_lists(
            stale,
            pending,
            *(chains.heads, chains.nexts, chains.other_ids),
            *(lists["start"], lists["length"], lists["indexed"]),
            *(self._ids, self._edges, self._used),
        )
        self._live += int(pending.sum())

    def _make_room(self, n: int) -> None:
        """Let `n` more entries fit, dropping what merged lists left behind if that is most."""
        if self._used + n <= len(self._ids):
            return
        capacity = max(2 * (self._live + n), _SMALLEST_POOL)
        ids, edges = np.empty(capacity, np.int64), np.empty(capacity, np.int32)
        self._used = _copy_lists(
            *(self._lists["start"], self._lists["length"]), *(self._ids, self._edges, ids, edges)
        )
        # Queries that run keep the arrays they took, which nothing changes any more.
        self._ids, self._edges = ids, edges


@kernel
def intersect(source_ids: Ids, pool_ids: Ids, starts: Ids, lengths: Ids) -> tuple[Ids, Int32s, Ids]:
    """What a sorted list shares with each of n sorted lists that lie in `pool_ids`.

    Returns offsets int64 (n + 1,), and for the members of list i, at `offsets[i]` up to
    `offsets[i + 1]` and ascending, their places in `source_ids` (int32) and in `pool_ids`
    (int64). All lists hold distinct ids.
    """
    n_source = len(source_ids)
    slots, bits = _places_of(source_ids)
    offsets = np.zeros(len(starts) + 1, np.int64)
    places = np.empty(1024, np.int32)
    entries = np.empty(1024, np.int64)
    count = 0
    for i in range(len(starts)):
        begin, end = starts[i], starts[i] + lengths[i]
        room = count + min(n_source, lengths[i])
        if room > len(places):
            wider, longer = np.empty(2 * room, np.int32), np.empty(2 * room, np.int64)
            wider[:count] = places[:count]
            longer[:count] = entries[:count]
            places, entries = wider, longer
        if lengths[i] > _SEARCH_RATIO * n_source:
            count = _search(source_ids, pool_ids, begin, end, places, entries, count)
        else:
            count = _scan(source_ids, slots, bits, pool_ids, begin, end, places, entries, count)
        offsets[i + 1] = count
    return offsets, places[:count], entries[:count]


@kernel
def _slot_of(id_: Int, bits: Int) -> Int:
    """Where probing for an id begins in a table of 2^bits slots, int64."""
    mixed = np.uint64(id_) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mixed >> np.uint64(64 - bits))


@kernel
def _places_of(ids: Ids) -> tuple[Int32s, Int]:
    """A hash table from an id to its place, −1 in the other slots; and the bits of its size."""
    bits = 6
    while (1 << bits) < _SLOTS_PER_ID * len(ids):
        bits += 1
    slots = np.full(1 << bits, -1, np.int32)
    for i in range(len(ids)):
        at = _slot_of(ids[i], bits)
        while slots[at] >= 0:
            at = (at + 1) & ((1 << bits) - 1)
        slots[at] = i
    return slots, bits


@kernel
def _scan(
    source_ids: Ids,
    slots: Int32s,
    bits: Int,
    pool_ids: Ids,
    begin: Int,
    end: Int,
    places: Int32s,
    entries: Ids,
    count: Int,
) -> Int:
    """Look the members of a list up in the source."""
    for at in range(begin, end):
        slot = _slot_of(pool_ids[at], bits)
        place = slots[slot]
        while place >= 0:
            if source_ids[place] == pool_ids[at]:
                places[count] = place
                entries[count] = at
                count += 1
                break
            slot = (slot + 1) & ((1 << bits) - 1)
            place = slots[slot]
    return count


@kernel
def _search(
    source_ids: Ids,
    pool_ids: Ids,
    begin: Int,
    end: Int,
    places: Int32s,
    entries: Ids,
    count: Int,
) -> Int:
    """Look the source up in a list."""
    low = begin
    for i in range(len(source_ids)):
        low = first_not_below(pool_ids, low, end, source_ids[i])
        if low == end:
            break
        if pool_ids[low] == source_ids[i]:
            places[count] = i
            entries[count] = low
            count += 1
    return count


@kernel
def first_not_below(ids: Ids, low: Int, high: Int, wanted: Int) -> Int:
    """The first place in low … high of sorted `ids` that is ≥ `wanted`, galloping from low."""
    step = 1
    top = low
    while top < high and ids[top] < wanted:
        low = top + 1
        top += step
        step <<= 1
    high = min(top, high)
    while low < high:
        middle = (low + high) >> 1
        if ids[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _keep_active(
    offsets: Ids,
    places: Int32s,
    entries: Ids,
    known: Ids,
    pool_edges: Int32s,
    active: npt.NDArray[np.bool_],
    rows: Int32s,
    edges: Int32s,
) -> Int:
    """Rows and edges of the members whose edge is on, `places` brought together in place."""
    count = 0
    for i in range(len(offsets) - 1):
        for k in range(offsets[i], offsets[i + 1]):
            edge = pool_edges[entries[k]]
            if active[edge]:
                rows[count] = known[i]
                places[count] = places[k]
                edges[count] = edge
                count += 1
    return count


@kernel
def _late_hits(
    source_ids: Ids, heads: Int32s, indexed: Int32s, nexts: Int32s, other_ids: Ids
) -> tuple[Int32s, Int32s, Int32s]:
    """Hits among the edges of each owner that are newer than its list."""
    found = np.empty((64, 3), np.int32)
    count = 0
    for i in range(len(heads)):
        edge = heads[i]
        while edge >= 0 and edge != indexed[i]:
            place = first_not_below(source_ids, 0, len(source_ids), other_ids[edge])
            if place < len(source_ids) and source_ids[place] == other_ids[edge]:
                if count == len(found):
                    wider = np.empty((2 * count, 3), np.int32)
                    wider[:count] = found
                    found = wider
                found[count, 0], found[count, 1], found[count, 2] = i, place, edge
                count += 1
            edge = nexts[edge]
    return found[:count, 0].copy(), found[:count, 1].copy(), found[:count, 2].copy()


@kernel
def _count_pending(
    owners: Int32s, heads: Int32s, nexts: Int32s, indexed: Int32s, lengths: Int32s
) -> Int32s:
    """How many edges of each owner are not in its list, 0 where they are few enough."""
    pending = np.zeros(len(owners), np.int32)
    for i in range(len(owners)):
        owner = owners[i]
        count = 0
        edge = heads[owner]
        while edge >= 0 and edge != indexed[owner]:
            count += 1
            edge = nexts[edge]
        if indexed[owner] < 0 or count > max(_LEAST_PENDING, lengths[owner] // _PENDING_SHARE):
            pending[i] = count
    return pending


@kernel
def _merge_lists(
    owners: Int32s,
    pending: Int32s,
    heads: Int32s,
    nexts: Int32s,
    other_ids: Ids,
    starts: Ids,
    lengths: Int32s,
    indexed: Int32s,
    pool_ids: Ids,
    pool_edges: Int32s,
    used: Int,
) -> Int:
    """Write the lists of owners anew at the end of the pool; returns where it then ends."""
    for i in range(len(owners)):
        owner = owners[i]
        edges = np.empty(pending[i], np.int32)
        edge = heads[owner]
        for k in range(len(edges)):
            edges[k] = edge
            edge = nexts[edge]
        edges = edges[np.argsort(other_ids[edges])]
        old, old_end = starts[owner], starts[owner] + lengths[owner]
        begin = used
        for k in range(len(edges)):
            other = other_ids[edges[k]]
            while old < old_end and pool_ids[old] < other:
                pool_ids[used], pool_edges[used] = pool_ids[old], pool_edges[old]
                used += 1
                old += 1
            pool_ids[used], pool_edges[used] = other, edges[k]
            used += 1
        while old < old_end:
            pool_ids[used], pool_edges[used] = pool_ids[old], pool_edges[old]
            used += 1
            old += 1
        starts[owner], lengths[owner] = begin, used - begin
        indexed[owner] = heads[owner]
    return used


@kernel
def _copy_lists(
    starts: Ids, lengths: Int32s, ids: Ids, edges: Int32s, new_ids: Ids, new_edges: Int32s
) -> Int:
    used: Int = 0
    for owner in range(len(starts)):
        begin, n = starts[owner], np.int64(lengths[owner])
        new_ids[used : used + n] = ids[begin : begin + n]
        new_edges[used : used + n] = edges[begin : begin + n]
        starts[owner] = used
        used += n
    return used

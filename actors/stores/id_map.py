"""Arbitrary 63-bit ids to dense int32 ids, in arrival order, as kernels over two arrays.

A slot is one uint32: the dense id plus one in its low bits, and as many bits of the key's
hash as are left above them. A probe therefore reads a key only when those bits agree, and
the table costs 4 bytes a slot. Any capacity works, not only powers of two: the slot of a
hash is its upper half scaled to the capacity.

Readers need no lock while one writer inserts: they take `slots`, `keys` and `len` once,
and every dense id at or above that length counts as absent.
"""

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel, writable
from actors.stores.raw_memory import Int, carve, prefetch

Ids = npt.NDArray[np.int64]
Dense = npt.NDArray[np.int32]
Slots = npt.NDArray[np.uint32]

MAX_KEYS = 2**31 - 2
GROWING_LOAD = 0.5
PACKED_LOAD = 0.7
_SMALLEST_CAPACITY = 16
_GROWS_SLOWLY_FROM = 2**16
"""Room for keys from which the next table is filled ahead, a part at each insertion."""
READY_FROM, _MOVED_PER_KEY = 0.75, 8
"""Which share of the room is used when that begins; keys moved for each new one. The last
quarter of the room is filled by as many as move the whole table twice."""
# Keys are hashed and their slots fetched this many at a time before any is compared.
_BLOCK = 128


class IdMap:
    """Maps keys in 1 … 2^63−1 to 0, 1, 2, … in the order in which they first arrive.

    `expected` pre-sizes the table; it grows by rehashing, and dense ids never change. A large
    table's successor is filled while it still has room, so that no insertion takes long.
    """

    def __init__(self, expected: int = 0) -> None:
        capacity = max(_SMALLEST_CAPACITY, int(expected / GROWING_LOAD) + 1)
        self._size = 0
        self._slots: Slots
        self._keys: Ids
        self._slots, self._keys = _arrays(capacity)
        self._next: tuple[Slots, Ids] | None = None
        self._n_moved = 0

    def __len__(self) -> int:
        return self._size

    @property
    def keys(self) -> Ids:
        """The keys by dense id, int64[len]; a view that later inserts do not change."""
        return self._keys[: self._size]

    @property
    def slots(self) -> Slots:
        """The table, uint32[capacity]; for `find` and `find_many`."""
        return self._slots

    @property
    def memory_bytes(self) -> int:
        """Bytes of both arrays, spare capacity included."""
        arrays = (self._slots, self._keys, *(self._next or ()))
        return sum(array.nbytes for array in arrays)

    def get(self, keys: Ids) -> Dense:
        """Dense ids of `keys`, int32[n]; −1 where a key is absent."""
        found = np.empty(len(keys), np.int32)
        find_many(self._slots, self.keys, writable(keys, np.int64), found)
        return found

    def get_or_insert(self, keys: Ids) -> Dense:
        """Dense ids of `keys`, int32[n], inserting those not seen before.

        Raises ValueError for a key below 1, and OverflowError beyond 2^31−2 keys.
        """
        keys = writable(keys, np.int64)
        if len(keys) and int(keys.min()) < 1:
            raise ValueError(f"keys must be in 1 … 2^63-1, got {int(keys.min())}")
        found = np.empty(len(keys), np.int32)
        known, done = self._size, 0
        while True:
            done, self._size = _insert_many(self._slots, self._keys, self._size, keys, found, done)
            if done == len(keys):
                break
            self._grow()
        room = len(self._keys)
        if room >= _GROWS_SLOWLY_FROM and self._size > max(known, READY_FROM * room):
            self._move(_MOVED_PER_KEY * (self._size - known))
        return found

    def _move(self, n_keys: int) -> tuple[Slots, Ids]:
        """Enter so many keys more into the next table."""
        if self._next is None:
            self._next, self._n_moved = _arrays(2 * len(self._slots)), 0
        slots, keys = self._next
        begin, end = self._n_moved, min(self._n_moved + n_keys, self._size)
        keys[begin:end] = self._keys[begin:end]
        fill_slots(slots, keys[begin:end], begin)
        self._n_moved = end
        return slots, keys

    def _grow(self) -> None:
        if self._size >= MAX_KEYS:
            raise OverflowError(f"an id map holds at most {MAX_KEYS} keys")
        # New arrays replace the old, which readers may still be probing.
        self._slots, self._keys = self._move(self._size)
        self._next = None


def _arrays(capacity: int) -> tuple[Slots, Ids]:
    """An empty table, and room for as many keys as it takes before it grows."""
    room = min(MAX_KEYS, int(capacity * GROWING_LOAD))
    if room >= _GROWS_SLOWLY_FROM:
        # Zero as the system gives it, page by page: to clear it here would take long at once.
        return np.zeros(capacity, np.uint32), np.empty(room, np.int64)
    slots, keys = carve((capacity, np.uint32), (room, np.int64))
    slots[:] = 0
    return slots, keys


def packed_capacity(size: int) -> int:
    """The fewest slots for `size` keys that will not grow any more."""
    return max(_SMALLEST_CAPACITY, int(size / PACKED_LOAD) + 1)


@kernel
def hash_id(key: Int) -> Int:
    """A 64-bit mix of `key` (uint64): two multiplications with folds between them."""
    mixed = np.uint64(key)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    mixed ^= mixed >> np.uint64(32)
    return mixed


@kernel
def tag_mask(capacity: Int) -> Int:
    """Which bits of a slot hold hash bits, uint32: those that no dense id plus one needs."""
    bits = 0
    while (capacity >> bits) != 0:
        bits += 1
    return np.uint32(0xFFFFFFFF ^ ((1 << bits) - 1))


@kernel
def slot_of(mixed: Int, capacity: Int) -> Int:
    """Where probing for a hash begins, int64 in 0 … capacity − 1."""
    return np.int64(((mixed >> np.uint64(32)) * np.uint64(capacity)) >> np.uint64(32))


@kernel
def find(slots: Slots, keys: Ids, key: Int) -> Int:
    """The dense id of one key among the first len(keys), int64; −1 if absent."""
    mixed = hash_id(key)
    tags = tag_mask(len(slots))
    low = np.uint32(mixed & np.uint64(0xFFFFFFFF))
    return probe(slots, keys, key, slot_of(mixed, len(slots)), low, tags)


@kernel
def probe(slots: Slots, keys: Ids, key: Int, at: Int, low: Int, tags: Int) -> Int:
    """`find` from a known first slot `at`, low hash half `low` and `tag_mask` `tags`."""
    capacity = len(slots)
    size = len(keys)
    while True:
        slot = slots[at]
        if slot == 0:
            return -1
        if ((slot ^ low) & tags) == 0:
            dense = np.int64(slot & ~tags) - 1
            if dense < size and keys[dense] == key:
                return dense
        at += 1
        if at == capacity:
            at = 0


@kernel
def find_many(slots: Slots, keys: Ids, wanted: Ids, found: Dense) -> None:
    """`find` for every id of `wanted`, into `found` (int32[n])."""
    capacity = len(slots)
    tags = tag_mask(capacity)
    starts = np.empty(_BLOCK, np.int64)
    lows = np.empty(_BLOCK, np.uint32)
    for begin in range(0, len(wanted), _BLOCK):
        count = min(_BLOCK, len(wanted) - begin)
        _fetch(slots, keys, wanted, begin, count, starts, lows)
        for i in range(count):
            found[begin + i] = probe(slots, keys, wanted[begin + i], starts[i], lows[i], tags)


@kernel
def _fetch(
    slots: Slots, keys: Ids, wanted: Ids, begin: Int, count: Int, starts: Ids, lows: Slots
) -> None:
    """Hash a block of keys, and fetch their first slots and the keys those lead to."""
    capacity = len(slots)
    tags = tag_mask(capacity)
    slots_at, keys_at = slots.ctypes.data, keys.ctypes.data
    for i in range(count):
        mixed = hash_id(wanted[begin + i])
        starts[i] = slot_of(mixed, capacity)
        lows[i] = np.uint32(mixed & np.uint64(0xFFFFFFFF))
        prefetch(slots_at + 4 * starts[i])
    for i in range(count):
        prefetch(keys_at + 8 * (np.int64(slots[starts[i]] & ~tags) - 1))


@kernel
def _insert_many(
    slots: Slots, keys: Ids, size: Int, wanted: Ids, found: Dense, done: Int
) -> tuple[Int, Int]:
    """Insert from position `done` on; stops where the table would have to grow."""
    capacity = len(slots)
    tags = tag_mask(capacity)
    starts = np.empty(_BLOCK, np.int64)
    lows = np.empty(_BLOCK, np.uint32)
    for begin in range(done, len(wanted), _BLOCK):
        count = min(_BLOCK, len(wanted) - begin)
        _fetch(slots, keys, wanted, begin, count, starts, lows)
        for i in range(count):
            key = wanted[begin + i]
            at = starts[i]
            low = lows[i]
            while True:
                slot = slots[at]
                if slot == 0:
                    if size == len(keys):
                        return begin + i, size
                    # The key is stored before the slot that leads to it, and a reader
                    # that sees the slot first finds the dense id above its length.
                    keys[size] = key
                    slots[at] = (low & tags) | np.uint32(size + 1)
                    dense = size
                    size += 1
                    break
                if ((slot ^ low) & tags) == 0:
                    dense = np.int64(slot & ~tags) - 1
                    if keys[dense] == key:
                        break
                at += 1
                if at == capacity:
                    at = 0
            found[begin + i] = dense
    return len(wanted), size


@kernel
def fill_slots(slots: Slots, keys: Ids, first: Int) -> None:
    """Enter distinct `keys`, none of them there yet: key i gets dense id `first` + i."""
    capacity = len(slots)
    tags = tag_mask(capacity)
    slots_at = slots.ctypes.data
    starts = np.empty(_BLOCK, np.int64)
    lows = np.empty(_BLOCK, np.uint32)
    for begin in range(0, len(keys), _BLOCK):
        count = min(_BLOCK, len(keys) - begin)
        for i in range(count):
            mixed = hash_id(keys[begin + i])
            starts[i] = slot_of(mixed, capacity)
            lows[i] = np.uint32(mixed & np.uint64(0xFFFFFFFF))
            prefetch(slots_at + 4 * starts[i])
        for i in range(count):
            at = starts[i]
            while slots[at] != 0:
                at += 1
                if at == capacity:
                    at = 0
            slots[at] = (lows[i] & tags) | np.uint32(first + begin + i + 1)

"""Ids and where they live: 63-bit integers, virtual partitions, shards and lanes."""

import hashlib

import numpy as np
import numpy.typing as npt

MAX_ID = 2**63 - 1
N_PARTITIONS = 1024
"""Virtual partitions. Shards and lanes own contiguous ranges of them, so either number
can change without moving a user from one partition to another."""

Ids = npt.NDArray[np.int64]


def mix64(values: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Mix 64-bit integers so that every input bit reaches every output bit.

    The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
    """
    x = np.asarray(values).astype(np.uint64)
    # Products wrap on purpose, which NumPy warns of where there is one value only.
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def distinct(ids: Ids) -> Ids:
    """Each id once, ascending, in one dimension; `np.unique` hashes and takes ten times as long."""
    ordered = np.sort(ids, axis=None)
    first = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def partitions_of(user_ids: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    """Virtual partition (0 … 1,023) of each user; a post lives in its author's."""
    return (mix64(user_ids) >> np.uint64(54)).astype(np.uint16)


def owners_of(partitions: npt.ArrayLike, n_owners: int) -> npt.NDArray[np.int64]:
    """Which of `n_owners` shards or lanes owns each partition, by contiguous ranges."""
    return np.asarray(partitions).astype(np.int64) * n_owners // N_PARTITIONS


def partition_range(owner: int, n_owners: int) -> tuple[int, int]:
    """The half-open range of partitions that `owner` of `n_owners` owns."""
    first = -(-owner * N_PARTITIONS // n_owners)
    end = -(-(owner + 1) * N_PARTITIONS // n_owners)
    return first, end


def lanes_of_shard(shard: int, n_shards: int, n_lanes: int) -> list[int]:
    """Lanes that hold at least one partition of `shard`."""
    first, end = partition_range(shard, n_shards)
    return sorted(set(owners_of(np.arange(first, end), n_lanes).tolist()))


def id_of_string(text: str) -> int:
    """The id of an external name (a DID, an AT-URI): 63 bits of its BLAKE2b hash."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") & MAX_ID) or 1

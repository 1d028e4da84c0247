import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.ids import (
    MAX_ID,
    N_PARTITIONS,
    distinct,
    id_of_string,
    lanes_of_shard,
    mix64,
    owners_of,
    partition_range,
    partitions_of,
)

OWNERS = st.integers(1, N_PARTITIONS)


def test_mixing_is_that_of_splitmix() -> None:
    # The first output of SplitMix64 seeded with 0: the finaliser of its increment.
    assert int(mix64(0x9E3779B97F4A7C15)) == 0xE220A8397B1DCDAF
    assert mix64(np.array([0x9E3779B97F4A7C15], np.uint64))[0] == 0xE220A8397B1DCDAF


def test_partitions_are_fixed_for_ever() -> None:
    # Logs and snapshots hold these numbers: a change would lose every user.
    assert partitions_of([1, 2, 3, MAX_ID]).tolist() == [346, 879, 121, 361]
    assert int(partitions_of(1)) == 346


def test_partitions_are_even() -> None:
    counts = np.bincount(partitions_of(np.arange(1, 200_001)), minlength=N_PARTITIONS)
    assert counts.min() > 120
    assert counts.max() < 280


@given(OWNERS)
def test_owners_own_contiguous_ranges(n_owners: int) -> None:
    owners = owners_of(np.arange(N_PARTITIONS), n_owners)
    for owner in {0, n_owners // 2, n_owners - 1}:
        first, end = partition_range(owner, n_owners)
        assert np.flatnonzero(owners == owner).tolist() == list(range(first, end))
    sizes = np.bincount(owners, minlength=n_owners)
    assert sizes.max() - sizes.min() <= 1


@given(st.integers(1, 64), st.integers(1, 64))
def test_every_partition_of_a_shard_is_in_one_of_its_lanes(n_shards: int, n_lanes: int) -> None:
    lanes = owners_of(np.arange(N_PARTITIONS), n_lanes)
    for shard in range(n_shards):
        first, end = partition_range(shard, n_shards)
        assert lanes_of_shard(shard, n_shards, n_lanes) == sorted(set(lanes[first:end].tolist()))


@pytest.mark.parametrize("text", ["", "did:plc:z72i7hdynmk6r22z27h6tvur", "at://x/y", "日本"])
def test_ids_of_strings(text: str) -> None:
    assert 1 <= id_of_string(text) <= MAX_ID
    assert id_of_string(text) == id_of_string(text)
    assert id_of_string(text) != id_of_string(text + " ")


@given(st.lists(st.integers(1, MAX_ID)))
def test_distinct_ids_are_the_set_in_order(ids: list[int]) -> None:
    assert distinct(np.array(ids, np.int64)).tolist() == sorted(set(ids))


def test_distinct_ids_of_a_table() -> None:
    assert distinct(np.array([[7, 3], [3, 9]])).tolist() == [3, 7, 9]

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.stores import id_map as module
from actors.stores.id_map import IdMap, fill_slots, find, find_many, packed_capacity

KEYS = st.integers(1, 40) | st.integers(1, 2**63 - 1)


def test_dense_ids_follow_arrival() -> None:
    ids = IdMap()
    largest = 2**63 - 1
    assert ids.get_or_insert(np.array([7, largest, 7, 1])).tolist() == [0, 1, 0, 2]
    assert ids.get(np.array([1, 2, largest])).tolist() == [2, -1, 1]
    assert ids.keys.tolist() == [7, largest, 1]
    assert len(ids) == 3


def test_keys_below_one_are_refused_and_change_nothing() -> None:
    ids = IdMap()
    for bad in (0, -5):
        with pytest.raises(ValueError, match=str(bad)):
            ids.get_or_insert(np.array([3, bad]))
    assert len(ids) == 0
    assert ids.get(np.array([0, -5])).tolist() == [-1, -1]


@given(st.lists(st.lists(KEYS, max_size=60), max_size=6))
def test_it_maps_as_a_dict_does(batches: list[list[int]]) -> None:
    ids, model = IdMap(), dict[int, int]()
    for batch in batches:
        expected = [model.setdefault(key, len(model)) for key in batch]
        assert ids.get_or_insert(np.array(batch, np.int64)).tolist() == expected
    asked = [*model, 41, 2**40]
    assert ids.get(np.array(asked, np.int64)).tolist() == [model.get(key, -1) for key in asked]


def test_growth_keeps_every_id() -> None:
    keys = np.random.default_rng(1).permutation(100_000).astype(np.int64) + 1
    ids = IdMap()
    for begin in range(0, len(keys), 777):
        ids.get_or_insert(keys[begin : begin + 777])
    assert np.array_equal(ids.get(keys), np.arange(len(keys)))
    assert np.array_equal(ids.keys, keys)
    # Its successor, which is being filled, included.
    assert ids.memory_bytes < 64 * len(keys)


def test_a_reader_of_older_arrays_sees_what_it_captured() -> None:
    ids = IdMap(expected=100)
    ids.get_or_insert(np.arange(1, 11))
    slots, keys = ids.slots, ids.keys
    ids.get_or_insert(np.arange(11, 21))
    assert ids.slots is slots, "no growth was meant to happen here"
    assert find(slots, keys, 10) == 9
    assert find(slots, keys, 11) == -1
    ids.get_or_insert(np.arange(21, 10_000))
    assert find(slots, keys, 10) == 9


def test_a_packed_table_finds_the_same() -> None:
    keys = np.random.default_rng(2).choice(10**6, 5_000, replace=False).astype(np.int64) + 1
    slots = np.zeros(packed_capacity(len(keys)), np.uint32)
    fill_slots(slots, keys, 0)
    found = np.empty(len(keys) + 1, np.int32)
    find_many(slots, keys, np.append(keys, 2 * 10**6), found)
    assert found.tolist() == [*range(len(keys)), -1]


def test_a_large_map_grows_while_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GROWS_SLOWLY_FROM", 64)
    ids, rng = IdMap(), np.random.default_rng(5)
    known: dict[int, int] = {}
    longest = 0
    for _ in range(2_000):
        keys = rng.integers(1, 20_000, 7)
        before, moved = ids.slots, ids._n_moved
        found = ids.get_or_insert(keys)
        for key, dense in zip(keys.tolist(), found.tolist(), strict=True):
            assert known.setdefault(key, len(known)) == dense
        if ids.slots is not before and len(before) > 128:
            # All but the newest had been moved when the next table took over.
            longest = max(longest, len(ids) - moved)
    assert ids.keys.tolist() == list(known)
    assert ids.get(np.array(list(known))).tolist() == list(range(len(known)))
    assert 0 < longest <= 14

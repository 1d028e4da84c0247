from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from timeline.trace_bytes import UnreadableTrace, pack, unpack

KINDS = (np.int8, np.int64, np.uint32, np.float32, np.bool_)
arrays = st.sampled_from(KINDS).flatmap(
    lambda kind: stn.arrays(kind, stn.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=5))
)


@given(
    st.dictionaries(st.text(max_size=5), arrays, max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers(-(2**53), 2**53) | st.text(), max_size=4),
)
def test_what_is_packed_is_unpacked(given_arrays: dict[str, Any], said: dict[str, Any]) -> None:
    found, told = unpack(pack(given_arrays, said))
    assert told == said
    assert list(found) == list(given_arrays)
    for name, array in given_arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_arrays_in_any_order_of_memory() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    found, _ = unpack(pack({"t": array.T, "s": array[:, ::2]}, {}))
    np.testing.assert_array_equal(found["t"], array.T)
    np.testing.assert_array_equal(found["s"], array[:, ::2])


def test_every_cut_is_noticed() -> None:
    packed = pack({"a": np.arange(50)}, {"x": 1})
    for end in range(len(packed)):
        with pytest.raises(UnreadableTrace):
            unpack(packed[:end])

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.time_heap import precedes, rise, sink

POSTS = st.lists(st.integers(0, 4), min_size=1, max_size=20)


@pytest.mark.parametrize("newest", [True, False])
@given(POSTS)
def test_roots_come_in_the_order_of_time(newest: bool, times: list[int]) -> None:
    created_ms, post_ids = np.array(times, np.int64), np.arange(len(times)) + 7
    columns = newest, created_ms, post_ids
    heap = np.empty(len(times), np.int64)
    for row in range(len(times)):
        rise(heap, row, row, *columns)
    found = []
    for n in range(len(times), 0, -1):
        found.append(int(heap[0]))
        sink(heap, n - 1, heap[n - 1], *columns)
    assert found == sorted(range(len(times)), key=lambda row: (times[row], row), reverse=newest)
    assert not precedes(found[0], found[0], *columns)

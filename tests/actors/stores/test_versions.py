import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.versions import times_of, versions_of, winners
from cluster.ids import MAX_ID

TIMES = st.integers(1, 2**42)
IDS = st.integers(1, 2**20 - 1)


@given(TIMES, IDS, TIMES, IDS)
def test_versions_order_by_time_then_event(
    time_ms: int, event_id: int, other_ms: int, other_id: int
) -> None:
    versions = versions_of(np.array([time_ms, other_ms]), np.array([event_id, other_id]))
    assert (versions[0] < versions[1]) == ((time_ms, event_id) < (other_ms, other_id))
    assert times_of(versions).tolist() == [time_ms, other_ms]


def test_large_ids_stay_within_their_bits() -> None:
    versions = versions_of(np.array([7, 8]), np.array([MAX_ID, 1]))
    assert versions[0] < versions[1]
    assert times_of(versions).tolist() == [7, 8]


def test_winners() -> None:
    keys = np.array([0, 1, 0, 2, 1], np.int32)
    versions = np.array([5, 3, 9, 4, 2])
    current = np.array([6, 0, 4])
    # The newest of key 0 beats what stands; key 2's is not newer than what stands.
    assert sorted(winners(keys, versions, current).tolist()) == [1, 2]
    assert winners(keys[:0], versions[:0], current).tolist() == []

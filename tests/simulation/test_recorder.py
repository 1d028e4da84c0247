import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.events import Kind
from simulation.recorder import Recorder


def test_nothing_recorded_is_no_batch() -> None:
    recorder = Recorder()
    recorder.add(Kind.FOLLOW, np.empty(0, np.int64), actor_id=1, target_id=2)
    assert recorder.take() is None
    assert recorder.take(10) is None


def test_columns_and_single_values_become_one_batch_in_time_order() -> None:
    recorder = Recorder()
    recorder.add(Kind.FOLLOW, np.array([30, 10]), actor_id=np.array([5, 6]), target_id=7)
    recorder.add(Kind.KEYWORD_MUTE, np.array([20]), actor_id=np.array([8]), keyword=["rain"])
    batch = recorder.take()
    assert batch is not None
    assert batch.column("time_ms").to_pylist() == [10, 20, 30]
    assert batch.column("actor_id").to_pylist() == [6, 8, 5]
    assert batch.column("target_id").to_pylist() == [7, 0, 7]
    assert batch.column("keyword").to_pylist() == [None, "rain", None]
    assert all(batch.column("event_id").to_pylist())


def test_an_invalid_event_is_refused() -> None:
    recorder = Recorder()
    recorder.add(Kind.FOLLOW, np.array([30]), actor_id=5, target_id=5)
    with pytest.raises(ValueError, match="target_id must be another user"):
        recorder.take()


@given(
    st.lists(st.lists(st.integers(1, 50), max_size=6), max_size=5),
    st.lists(st.integers(1, 50), max_size=4),
)
def test_each_event_comes_out_once_when_it_is_due(added: list[list[int]], ends: list[int]) -> None:
    recorder = Recorder()
    for times_ms in added:
        recorder.add(Kind.FOLLOW, np.array(times_ms, np.int64), actor_id=1, target_id=2)
    found: list[int] = []
    for end_ms in [*sorted(ends), None]:
        batch = recorder.take(end_ms)
        times_ms = [] if batch is None else batch.column("time_ms").to_pylist()
        assert end_ms is None or all(time_ms < end_ms for time_ms in times_ms)
        found += times_ms
    assert found == sorted(time_ms for times_ms in added for time_ms in times_ms)

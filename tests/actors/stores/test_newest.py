import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.newest import newest_fitting

ROWS = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 5_000, 90_000]), st.integers(0, 5)), max_size=20
)


@given(ROWS, st.floats(0, 20), st.floats(0, 40))
def test_the_newest_stay(rows: list[tuple[int, int]], max_rows: float, max_cost: float) -> None:
    ids = np.arange(len(rows))
    order = sorted(ids.tolist(), key=lambda i: (-rows[i][0], -i))
    costs = np.array([cost for _, cost in rows], np.int64)
    expected = [
        i for k, i in enumerate(order) if k < max_rows and costs[order[: k + 1]].sum() <= max_cost
    ]
    times = np.array([time_ms for time_ms, _ in rows], np.int64)
    fits = newest_fitting(times, ids, costs, max_rows, max_cost)
    assert np.flatnonzero(fits).tolist() == sorted(expected)

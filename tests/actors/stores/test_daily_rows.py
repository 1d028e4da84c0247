from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.daily_rows import DailyRows

N_DAYS = 4

Write = tuple[int, int, int, int, int]
"""Owner, other, day, column, value."""


def sums(n_days: int = N_DAYS, max_rows: int = 1_000) -> DailyRows:
    return DailyRows(3, np.int32, np.add, n_days, max_rows)


def write(rows: DailyRows, writes: list[Write]) -> None:
    if writes:
        owners, others, days, columns, values = np.array(writes, np.int64).T
        rows.write(owners, others, days, columns, values.astype(np.int32))


def test_rows_by_owner_other_and_day() -> None:
    rows = sums()
    write(rows, [(1, 0, 10, 0, 2), (1, 0, 10, 0, 3), (1, 0, 12, 2, -1), (2, 0, 12, 1, 7)])
    write(rows, [(1, 5, 12, 1, 4)])
    assert rows.of(1, 0, 9, 4).tolist() == [[0, 0, 0], [5, 0, 0], [0, 0, 0], [0, 0, -1]]
    assert rows.of(1, 5, 12, 1).tolist() == [[0, 4, 0]]
    assert rows.of(2, 0, 12, 2).tolist() == [[0, 7, 0], [0, 0, 0]]
    assert rows.of(3, 0, 12, 1).tolist() == [[0, 0, 0]]
    assert len(rows) == 4
    assert rows.first_day == 9


def test_a_day_is_forgotten_as_a_whole() -> None:
    rows = sums(max_rows=3_000)
    write(rows, [(owner, 0, 10, 0, 1) for owner in range(1, 2_001)])
    before = rows.memory_bytes
    write(rows, [(1, 0, 13, 0, 1)])
    assert rows.of(1, 0, 10, 4)[:, 0].tolist() == [1, 0, 0, 1]
    write(rows, [(1, 0, 14, 0, 1)])
    assert rows.of(1, 0, 10, 5)[:, 0].tolist() == [0, 0, 0, 1, 1]
    assert (len(rows), rows.first_day) == (2, 11)
    assert rows.memory_bytes < before / 20
    write(rows, [(1, 0, 10, 0, 1), (1, 0, 11, 0, 9)])
    assert rows.of(1, 0, 10, 2)[:, 0].tolist() == [0, 9]


def test_beyond_the_most_rows_the_oldest_days_go() -> None:
    rows = sums(max_rows=5)
    for day in (10, 11):
        write(rows, [(owner, 0, day, 0, 1) for owner in (1, 2)])
    assert (len(rows), rows.first_day) == (4, 8)
    write(rows, [(owner, 0, 12, 0, 1) for owner in (1, 2)])
    assert (len(rows), rows.first_day) == (4, 11)
    # The newest day stays, however long it is.
    write(rows, [(owner, 0, 12, 0, 1) for owner in range(1, 9)])
    assert (len(rows), rows.first_day) == (8, 12)
    write(rows, [(1, 0, 11, 0, 1)])
    assert len(rows) == 8


def test_nothing_at_all() -> None:
    rows = sums()
    again = sums()
    again.restore(rows.columns())
    assert (len(again), again.memory_bytes, again.first_day) == (0, 0, 0)


_writes = st.lists(
    st.tuples(
        *(st.integers(1, 3), st.integers(0, 1), st.integers(10, 18)),
        *(st.integers(0, 2), st.integers(1, 5)),
    ),
    max_size=30,
)


@pytest.mark.parametrize(("join", "joined"), [(np.add, sum), (np.maximum, max)])
@given(_writes, st.integers(1, 7), st.randoms(use_true_random=False))
def test_order_does_not_matter_and_a_restored_copy_says_the_same(
    join: np.ufunc, joined: Any, writes: list[Write], step: int, random: Any
) -> None:
    newest = max((write[2] for write in writes), default=0)
    model: dict[tuple[int, int, int, int], list[int]] = {}
    for owner, other, day, column, value in writes:
        if day > newest - N_DAYS:
            model.setdefault((owner, other, day, column), []).append(value)
    rows = DailyRows(3, np.int32, join, N_DAYS, 1_000)
    shuffled = random.sample(writes, len(writes))
    for begin in range(0, len(shuffled), step):
        write(rows, shuffled[begin : begin + step])
    # As shards that were split anew restore it: owner by owner.
    again = DailyRows(3, np.int32, join, N_DAYS, 1_000)
    exported = rows.columns()
    for owner in (3, 1, 2):
        mine = exported["owner_ids"] == owner
        again.restore({name: values[mine] for name, values in exported.items()})
    for found in (rows, again):
        held = {
            (owner, other, 10 + at, column): int(value)
            for owner in (1, 2, 3)
            for other in (0, 1)
            for (at, column), value in np.ndenumerate(found.of(owner, other, 10, 9))
            if value
        }
        assert held == {key: joined(values) for key, values in model.items()}

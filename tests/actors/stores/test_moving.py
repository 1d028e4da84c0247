from collections.abc import Generator

import numpy as np
import pytest

from actors.stores.moving import Move, finished, slices_of


def test_rows_are_cut_by_what_they_cost() -> None:
    assert slices_of(np.array([1, 1, 1, 1]), 2).tolist() == [2, 4]
    assert slices_of(np.array([9, 1, 1, 9, 9]), 3).tolist() == [1, 4, 5]
    assert slices_of(np.array([1]), 100).tolist() == [1]
    assert slices_of(np.empty(0, np.int64), 100).tolist() == []


def test_writes_follow_rows_that_were_moved_or_came_later() -> None:
    moved: list[slice] = []
    move = Move("successor", 4)
    rows = np.array([-1, 0, 1, 2, 3, 4])
    assert move.follows(rows).tolist() == [True, False, False, False, False, True]
    run = move.run(moved.append, np.array([2, 4]))
    next(run)
    assert moved == [slice(0, 2)]
    assert move.follows(rows).tolist() == [True, True, True, False, False, True]
    next(run)
    assert move.follows(rows).all()
    with pytest.raises(StopIteration):
        next(run)


def test_slices_with_nothing_between() -> None:
    def slices() -> Generator[None, None, int]:
        yield
        yield
        return 7

    assert finished(slices()) == 7

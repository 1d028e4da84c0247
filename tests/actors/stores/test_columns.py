import numpy as np
import pytest

from actors.stores import raw_memory
from actors.stores.columns import Columns


def test_columns_grow_zeroed_and_keep_what_they_held() -> None:
    columns = Columns({"ids": np.int64, "counts": (np.int32, 3)}, capacity=2)
    assert columns.names == ["ids", "counts"]
    added = columns.extend(2)
    assert (added.start, added.stop) == (0, 2)
    columns["ids"][added] = [1, 2]
    columns["counts"][1] = 7
    columns.extend(5)
    assert columns["ids"].tolist() == [1, 2, 0, 0, 0, 0, 0]
    assert columns["counts"].shape == (7, 3)
    assert columns["counts"][1].tolist() == [7, 7, 7]
    assert len(columns) == 7
    assert columns.memory_bytes >= 7 * (8 + 12)


def test_rows_that_are_kept_are_moved_as_little_as_can_be() -> None:
    columns = Columns({"ids": np.int64, "counts": (np.int32, 2)}, capacity=8)
    columns.extend(6)
    columns["ids"][:] = [0, 1, 2, 3, 4, 5]
    columns["counts"][:, 1] = [0, 10, 20, 30, 40, 50]
    rows = columns.keep(np.array([True, False, True, False, True, True]))
    assert rows.tolist() == [0, 4, 2, 5]
    assert columns["ids"].tolist() == [0, 4, 2, 5]
    assert columns["counts"][:, 1].tolist() == [0, 40, 20, 50]
    columns.extend(2)
    assert columns["ids"].tolist() == [0, 4, 2, 5, 0, 0]
    assert not columns["counts"][4:].any()
    assert columns.keep(np.zeros(6, bool)).tolist() == []
    assert len(columns) == 0


def test_no_memory_is_taken_for_more_than_the_most_rows() -> None:
    columns = Columns({"ids": np.int64}, max_rows=1_500)
    columns.extend(1_025)
    assert columns.memory_bytes == 8 * 1_500


def test_a_copy_is_safe_from_later_writes() -> None:
    columns = Columns({"ids": np.int64}, capacity=4)
    columns.extend(1)
    copied = columns.copy()
    columns["ids"][0] = 9
    assert copied["ids"].tolist() == [0]


def test_a_large_column_stays_where_it_is_and_takes_memory_as_it_fills() -> None:
    columns = Columns({"ids": np.int64, "vectors": (np.float32, 3)})
    columns.extend(1_000)
    columns["ids"][:] = 7
    columns.extend(200_000)
    before = columns["ids"].ctypes.data, columns["vectors"].ctypes.data
    for _ in range(10):
        columns.extend(200_000)
    assert (columns["ids"].ctypes.data, columns["vectors"].ctypes.data) == before
    assert columns["ids"].sum() == 7_000
    assert not columns["vectors"].any()
    assert columns["vectors"].shape == (2_201_000, 3)
    assert columns["vectors"].flags.carray
    assert columns.memory_bytes == 2_201_000 * (8 + 12)


def test_where_addresses_are_refused_columns_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("cannot allocate memory")

    monkeypatch.setattr(raw_memory.mmap, "mmap", refuse)
    columns = Columns({"ids": np.int64})
    columns.extend(300_000)
    columns["ids"][:] = 7
    columns.extend(300_000)
    assert columns["ids"].sum() == 7 * 300_000
    assert len(columns["ids"]) == 600_000
    assert columns.memory_bytes == 600_000 * 8

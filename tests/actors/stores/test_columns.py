import numpy as np

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


def test_a_copy_is_safe_from_later_writes() -> None:
    columns = Columns({"ids": np.int64}, capacity=4)
    columns.extend(1)
    copied = columns.copy()
    columns["ids"][0] = 9
    assert copied["ids"].tolist() == [0]

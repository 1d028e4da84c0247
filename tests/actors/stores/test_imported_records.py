import numpy as np
import pytest

from actors.stores import imported_records
from actors.stores.imported_records import ImportedRecords


def copies(records: ImportedRecords, *rows: tuple[int, int]) -> list[bool]:
    """Each row is (key, offset of its record)."""
    keys, offsets = np.array(rows, np.int64).reshape(-1, 2).T
    return records.copies(keys, offsets).tolist()


def test_a_record_of_the_same_rows_is_a_copy_wherever_it_stands() -> None:
    records = ImportedRecords()
    assert copies(records, (5, 1), (6, 1), (5, 2)) == [False, False, False]
    assert copies(records, (6, 3), (5, 3), (7, 4)) == [True, True, False]
    # One that shares some rows is another record.
    assert copies(records, (6, 5), (6, 6), (7, 6)) == [False, False, False]
    assert copies(records) == []


def test_a_record_that_is_read_again_is_no_copy_of_itself() -> None:
    records = ImportedRecords()
    copies(records, (5, 3))
    assert copies(records, (5, 3), (5, 8)) == [False, True]
    assert copies(records, (5, 3)) == [False]


def test_restore() -> None:
    early, late = ImportedRecords(), ImportedRecords()
    copies(early, (5, 3))
    copies(late, (5, 3), (6, 4))
    restored = ImportedRecords()
    restored.restore(late.columns())
    restored.restore(early.columns())
    assert copies(restored, (5, 3), (6, 4), (5, 7), (6, 7)) == [False] * 4
    assert copies(restored, (5, 8), (6, 9)) == [True, True]


def test_the_oldest_records_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imported_records, "KEPT", 3)
    records = ImportedRecords()
    assert copies(records, *((offset, offset) for offset in range(1, 6))) == [False] * 5
    assert records.columns()["offsets"].tolist() == [3, 4, 5]
    assert copies(records, (3, 6), (2, 7)) == [True, False]


def test_memory_is_what_is_said() -> None:
    records = ImportedRecords()
    for offset in range(1, imported_records.KEPT + 1_000, 1_000):
        copies(records, *((offset + k, offset + k) for k in range(1_000)))
    assert 1_000_000 < records.memory_bytes <= 2 * 2**20

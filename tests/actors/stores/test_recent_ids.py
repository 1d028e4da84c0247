import numpy as np
import numpy.typing as npt

from actors.stores.recent_ids import RecentIds

WINDOW_MS = 1_000


def admit(
    recent: RecentIds, *events: tuple[int, int], partition: int = 0, imported: bool = False
) -> tuple[list[bool], int]:
    """Each event is (id, time in ms)."""
    event_ids, times_ms = np.array(events, np.int64).reshape(-1, 2).T
    partitions: npt.NDArray[np.uint16] = np.full(len(event_ids), partition, np.uint16)
    mine, history = np.full((2, len(event_ids)), [[True], [imported]])
    admitted, late = recent.admit(event_ids, partitions, times_ms, mine, history)
    return admitted.tolist(), late


def test_an_event_is_new_once_in_each_partition() -> None:
    recent = RecentIds(WINDOW_MS)
    assert admit(recent, (1, 5_000), (2, 5_001), (1, 5_000)) == ([True, True, False], 0)
    assert admit(recent, (2, 5_001), (3, 5_002)) == ([False, True], 0)
    assert admit(recent, (1, 5_000), partition=9) == ([True], 0)


def test_what_is_older_than_the_window_is_late() -> None:
    recent = RecentIds(WINDOW_MS)
    admit(recent, (1, 5_000))
    assert admit(recent, (2, 4_000), (3, 3_999)) == ([True, False], 1)
    assert recent.watermark_ms == 5_000
    # By what came before, and not by what came after it in the same batch.
    assert admit(recent, (4, 4_500), (5, 6_000), (6, 4_999)) == ([True, True, False], 1)


def test_rows_of_others_say_how_late_it_is() -> None:
    recent = RecentIds(WINDOW_MS)
    columns = np.array([1, 2, 1]), np.zeros(3, np.uint16), np.array([5_000, 9_000, 8_000])
    mine, imported = np.array([[True, False, True], [False] * 3])
    admitted, late = recent.admit(*columns, mine, imported)
    assert (admitted.tolist(), late, recent.watermark_ms) == ([True, False, True], 0, 9_000)
    assert admit(recent, (1, 7_999)) == ([False], 1)


def test_imported_events_are_never_late_but_still_come_once() -> None:
    recent = RecentIds(WINDOW_MS)
    admit(recent, (1, 5_000))
    assert admit(recent, (2, 100), (1, 5_000), imported=True) == ([True, False], 0)


def test_memory_is_bounded_by_the_window() -> None:
    recent = RecentIds(WINDOW_MS)
    held = set()
    for k in range(200):
        admit(recent, *((1_000 * k + i, 100 * k + i) for i in range(50)))
        held.add(len(recent.columns()["keys"]))
    assert max(held) <= 50 * (WINDOW_MS // 100 + 4)


def test_restore() -> None:
    recent = RecentIds(WINDOW_MS)
    admit(recent, (1, 5_000), (2, 5_400))
    restored = RecentIds(WINDOW_MS)
    restored.restore(recent.columns(), recent.watermark_ms)
    # What another shard knew of the same lane comes beside it.
    other = RecentIds(WINDOW_MS)
    admit(other, (7, 4_900), partition=3)
    restored.restore(other.columns(), other.watermark_ms)
    assert restored.watermark_ms == 4_900
    assert admit(restored, (1, 5_000), (3, 5_000), (8, 3_999)) == ([False, True, False], 1)
    assert admit(restored, (7, 4_900), partition=3) == ([False], 0)


def test_nothing_is_admitted_from_nothing() -> None:
    recent = RecentIds(WINDOW_MS)
    assert admit(recent) == ([], 0)
    assert recent.watermark_ms == 0
    assert recent.columns()["keys"].tolist() == []

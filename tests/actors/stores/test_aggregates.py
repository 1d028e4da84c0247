import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.aggregates import NOTHING, Additions, AggregateTable, tuple_keys

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
HALF_LIVES_MS = (30.0 * MINUTE_MS, 1.0 * DAY_MS, math.inf)
LARGEST = (False, False, True)
T0_MS = 1_700_000_000_123

Event = tuple[int, int, tuple[tuple[int, float], ...]]
"""(id, time, what it adds to which cells)."""


def table(max_rows: int = 1_000, max_age_ms: float = math.inf) -> AggregateTable:
    n_slots = len(HALF_LIVES_MS) * len(LARGEST)
    return AggregateTable(
        np.array(HALF_LIVES_MS),
        np.array(LARGEST),
        n_ids=1,
        max_bytes=max_rows * (8 * (n_slots + 1) + 40),
        max_age_ms=max_age_ms,
    )


def add(into: AggregateTable, events: Sequence[Event]) -> None:
    ids = np.array([event[0] for event in events], np.int64)
    times_ms = np.array([event[1] for event in events], np.int64)
    parts = [part for event in events for part in event[2]]
    additions = Additions(
        np.cumsum([0, *(len(event[2]) for event in events)]),
        np.array([cell for cell, _ in parts], np.int32),
        np.array([amount for _, amount in parts], np.float32),
    )
    into.add((ids,), ids + 7, times_ms, additions)


def read(of: AggregateTable, ids: Sequence[int], now_ms: int) -> npt.NDArray[np.float32]:
    return of.read((np.array(ids, np.int64),), now_ms)


def slow(events: Sequence[Event], ids: Sequence[int], now_ms: int) -> npt.NDArray[np.float64]:
    """Decayed sums (and latest) by their definition, from a list of all events."""
    found = np.zeros((len(ids), len(HALF_LIVES_MS) * len(LARGEST)))
    for row, wanted in enumerate(ids):
        mine = [event for event in events if event[0] == wanted]
        as_of = max([now_ms, *(time_ms for _, time_ms, _ in mine)])
        for _, time_ms, parts in mine:
            for cell, amount in parts:
                for h, half_life_ms in enumerate(HALF_LIVES_MS):
                    value = amount * 2.0 ** (-(as_of - time_ms) / half_life_ms)
                    slot = h * len(LARGEST) + cell
                    if LARGEST[cell]:
                        found[row, slot] = max(found[row, slot], value)
                    else:
                        found[row, slot] += value
    return np.where(abs(found) < NOTHING, 0, found)


_cells = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([1.0, 0.25, 3.0, 1234.5])), min_size=1, max_size=3
).map(tuple)
_events = st.lists(
    st.tuples(st.integers(1, 4), st.integers(T0_MS, T0_MS + 3 * DAY_MS), _cells), max_size=30
)


def test_a_count_halves_in_a_half_life() -> None:
    counts = table()
    add(counts, [(5, T0_MS, ((0, 1.0),)), (5, T0_MS + 30 * MINUTE_MS, ((0, 1.0), (1, 4.0)))])
    found = read(counts, [5, 6], T0_MS + 60 * MINUTE_MS)
    assert found[0, :2] == pytest.approx([0.75, 2.0], rel=1e-6)
    forever = found[0, 6:]
    assert forever.tolist() == [2.0, 4.0, 0.0]
    assert not found[1].any()


def test_a_late_event_adds_its_decayed_share_and_moves_no_time() -> None:
    counts = table()
    add(counts, [(5, T0_MS + 30 * MINUTE_MS, ((0, 1.0),)), (5, T0_MS, ((0, 1.0),))])
    assert read(counts, [5], T0_MS)[0, 0] == pytest.approx(1.5, rel=1e-6)
    assert read(counts, [5], T0_MS + 60 * MINUTE_MS)[0, 0] == pytest.approx(0.75, rel=1e-6)


def test_last_reset_is_1_at_the_event_and_decays_smoothly() -> None:
    counts = table()
    add(counts, [(5, T0_MS, ((2, 1.0),)), (5, T0_MS + 20 * MINUTE_MS, ((2, 1.0),))])
    assert read(counts, [5], T0_MS + 20 * MINUTE_MS)[0, 2] == pytest.approx(1.0, rel=1e-6)
    # The original's integer division would say 1 until a whole half-life has passed.
    assert read(counts, [5], T0_MS + 35 * MINUTE_MS)[0, 2] == pytest.approx(0.5**0.5, rel=1e-6)


@given(_events, st.integers(0, 2 * DAY_MS), st.data())
def test_any_order_and_any_cut_gives_the_same_bits_as_the_definition(
    events: list[Event], later_ms: int, data: st.DataObject
) -> None:
    now_ms = T0_MS + 2 * DAY_MS + later_ms
    shuffled = data.draw(st.permutations(events))
    places = data.draw(st.lists(st.integers(0, len(events)), max_size=4))
    whole, cut = table(), table()
    if events:
        add(whole, sorted(events, key=lambda event: event[1]))
    for begin, end in pairwise([0, *sorted(places), len(events)]):
        if end > begin:
            add(cut, shuffled[begin:end])
    found = read(whole, [1, 2, 3, 4, 9], now_ms)
    assert found.tobytes() == read(cut, [1, 2, 3, 4, 9], now_ms).tobytes()
    expected = slow(events, [1, 2, 3, 4, 9], now_ms)
    # A value at the threshold of nothing may fall on either side of it.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1.01 * NOTHING)


@given(_events, _events, st.integers(0, 2 * DAY_MS))
def test_merged_tables_are_one_table(one: list[Event], two: list[Event], later_ms: int) -> None:
    now_ms = T0_MS + DAY_MS + later_ms
    first, second, whole = table(), table(), table()
    for into, events in ((first, one), (second, two), (whole, one + two)):
        if events:
            add(into, events)
    first.merge(second.rows())
    ids = [1, 2, 3, 4]
    np.testing.assert_array_equal(read(first, ids, now_ms), read(whole, ids, now_ms))


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 50)), min_size=1, max_size=120),
    st.integers(4, 16),
    st.data(),
)
def test_a_full_table_forgets_what_was_used_least_recently(
    uses: list[tuple[int, int]], max_rows: int, data: st.DataObject
) -> None:
    events = [(key, T0_MS + MINUTE_MS * minute, ((0, 1.0),)) for key, minute in uses]
    whole, cut = table(max_rows), table(max_rows)
    add(whole, events)
    places = data.draw(st.lists(st.integers(0, len(events)), max_size=4))
    for begin, end in pairwise([0, *sorted(places), len(events)]):
        if end > begin:
            add(cut, events[begin:end])
    kept: dict[int, list[Event]] = {}
    n_evicted = 0
    for event in events:
        key = event[0]
        if key not in kept and len(kept) == max_rows:
            order = sorted(kept, key=lambda k: (max(e[1] for e in kept[k]), k))
            gone = order[: max_rows - int(0.75 * max_rows)]
            n_evicted += len(gone)
            for old in gone:
                del kept[old]
        kept.setdefault(key, []).append(event)
    ids = list(range(1, 41))
    now_ms = T0_MS + HOUR_MS
    expected = slow([event for mine in kept.values() for event in mine], ids, now_ms)
    for found in (whole, cut):
        assert len(found) == len(kept) <= max_rows
        assert found.evicted == n_evicted
        np.testing.assert_allclose(read(found, ids, now_ms), expected, rtol=1e-6, atol=2e-6)


def test_memory_stays_under_the_cap() -> None:
    rng = np.random.default_rng(0)
    counts = table(max_rows=5_000)
    cap = 5_000 * (8 * 10 + 40)
    for step in range(20):
        ids = rng.integers(1, 1_000_000, 2_000)
        add(counts, [(int(i), T0_MS + step * HOUR_MS, ((0, 1.0),)) for i in ids])
        assert counts.memory_bytes <= 1.05 * cap
    assert len(counts) > 3_000
    assert counts.evicted > 30_000


def test_rows_without_events_for_too_long_are_gone_dropped_or_not() -> None:
    dropped, left = table(max_age_ms=DAY_MS), table(max_age_ms=DAY_MS)
    for counts in (dropped, left):
        add(counts, [(1, T0_MS, ((0, 1.0),)), (2, T0_MS + HOUR_MS, ((0, 1.0),))])
    dropped.expire(T0_MS + DAY_MS)
    assert (len(dropped), len(left)) == (1, 2)
    for counts in (dropped, left):
        assert read(counts, [1, 2], T0_MS + DAY_MS)[:, 6].tolist() == [0, 1]
        add(counts, [(1, T0_MS + DAY_MS, ((0, 1.0),)), (2, T0_MS + DAY_MS, ((0, 1.0),))])
        assert read(counts, [1, 2], T0_MS + DAY_MS)[:, 6].tolist() == [1, 2]


def test_a_row_knows_its_ids_and_owner() -> None:
    counts = AggregateTable(np.array([math.inf]), np.array([False]), n_ids=2, max_bytes=10_000)
    ids = (np.array([3, 3]), np.array([4, 5]))
    one = Additions(np.arange(3), np.zeros(2, np.int32), np.ones(2, np.float32))
    counts.add(ids, np.array([3, 8]), np.array([T0_MS, T0_MS]), one)
    rows = counts.rows()
    assert rows["ids"].tolist() == [[3, 4], [3, 5]]
    assert rows["owner_ids"].tolist() == [3, 8]
    assert counts.read(ids, T0_MS).tolist() == [[1], [1]]


def test_keys_of_tuples_are_ids_or_mixes_of_them_in_order() -> None:
    ids = np.arange(1, 2_000)
    assert tuple_keys(ids).tolist() == ids.tolist()
    pairs = tuple_keys(np.repeat(ids[:100], 100), np.tile(ids[:100], 100))
    assert len(np.unique(pairs)) == len(pairs)
    assert pairs.min() > 0

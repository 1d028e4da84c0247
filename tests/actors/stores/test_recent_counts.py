from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.recent_counts import (
    DECAYED,
    HALF_LIFE_MS,
    READ_PARTS,
    Float64s,
    Int32s,
    count_decayed,
    faded,
    fading,
    merged,
)
from cluster.events import UNDONE_BY, Kind

H = HALF_LIFE_MS
Event = tuple[int, Kind, int]
"""(row, kind, time in ms)"""


def kept(events: Sequence[Event], n_rows: int = 2) -> tuple[Float64s, Int32s]:
    decayed, at = np.zeros((n_rows, len(DECAYED))), np.zeros(n_rows, np.int32)
    rows = np.array([row for row, _, _ in events], np.int32)
    kinds = np.array([kind for _, kind, _ in events], np.uint8)
    count_decayed(decayed, at, rows, kinds, np.array([ms for *_, ms in events], np.int64))
    return decayed, at


def read(counts: tuple[Float64s, Int32s], now_ms: int) -> Float64s:
    decayed, at = counts
    halves, rest = fading(now_ms)
    scales = np.array([faded(row, halves, rest) for row in at.tolist()])
    parts: Float64s = np.floor(np.maximum(decayed * scales[:, None], 0) + 0.5)
    return parts / READ_PARTS


def test_a_count_halves_in_a_half_life() -> None:
    counts = kept([(0, Kind.FAVOURITE, 7 * H), (0, Kind.FAVOURITE, 8 * H)])
    assert [read(counts, (8 + k) * H)[0, 0] for k in range(4)] == [1.5, 0.75, 0.375, 0.1875]
    assert read(counts, 8 * H + H // 2)[0, 0] == round(1.5 / 2**0.5 * READ_PARTS) / READ_PARTS


def test_only_public_engagements_count_each_in_its_column() -> None:
    at_ms = 3 * H + 17
    counts = kept([(1, kind, at_ms) for kind in (*DECAYED, Kind.CLICK, Kind.IMPRESSION)])
    assert read(counts, at_ms).tolist() == [[0, 0, 0, 0], [1, 1, 1, 1]]


def test_an_undo_takes_one_away_and_never_below_nothing() -> None:
    done, undone = (0, Kind.REPOST, 5 * H), (0, Kind.UNREPOST, 6 * H)
    assert read(kept([done, undone]), 6 * H)[0, 1] == 0
    assert read(kept([done, done, done, undone]), 6 * H)[0, 1] == 0.5
    assert read(kept([undone, (0, Kind.REPOST, 9 * H)]), 9 * H)[0, 1] == 1 - 1 / 8


def test_what_is_long_ago_has_faded_and_what_is_to_come_is_little_more_than_one() -> None:
    counts = kept([(0, Kind.QUOTE, 2 * H)])
    assert read(counts, 12 * H)[0, 3] == 0
    assert read(counts, 10**15)[0, 3] == 0
    assert read(counts, 0)[0, 3] <= 2
    later = kept([(0, Kind.QUOTE, 2 * H), (0, Kind.QUOTE, 400_000 * H)])
    assert read(later, 400_000 * H)[0, 3] == 1


KINDS = st.sampled_from([*DECAYED, *UNDONE_BY, Kind.CLICK])
EVENTS = st.lists(st.tuples(st.integers(0, 1), KINDS, st.integers(100 * H, 110 * H)), max_size=30)


@given(EVENTS, st.randoms(use_true_random=False), st.integers(0, 3 * H))
def test_counts_are_those_of_a_plain_sum_in_any_order(
    events: list[Event], random: np.random.Generator, later_ms: int
) -> None:
    now_ms = 110 * H + later_ms
    expected = np.zeros((2, len(DECAYED)))
    for row, kind, ms in events:
        subject, sign = (UNDONE_BY[kind], -1) if kind in UNDONE_BY else (kind, 1)
        if subject in DECAYED:
            expected[row, DECAYED.index(subject)] += sign * 2.0 ** ((ms - now_ms) / H)
    counts = kept(events)
    np.testing.assert_allclose(
        read(counts, now_ms), np.maximum(expected, 0), atol=0.51 / READ_PARTS
    )
    shuffled = list(events)
    random.shuffle(shuffled)  # type: ignore[arg-type]
    for one, other in zip(counts, kept(shuffled), strict=True):
        np.testing.assert_array_equal(one, other)


@given(EVENTS, st.integers(0, 30))
def test_two_halves_together_are_the_whole(events: list[Event], cut: int) -> None:
    whole, (one, one_at), (other, other_at) = (
        kept(part) for part in (events, events[:cut], events[cut:])
    )
    together = merged(one, one_at, other, other_at)
    np.testing.assert_array_equal(together[0], whole[0])
    np.testing.assert_array_equal(together[1], whole[1])

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.real_graph.rollup import DECAY, Drop, Rolled, merged, roll_up, total_by_day


@dataclass
class Slow:
    """One series, updated day by day as the specification writes it."""

    ewma: float = 0.0
    mean: float = 0.0
    m2: float = 0.0
    elapsed: int = 0
    non_zero: int = 0
    since: int = 0

    def update(self, x: float, decay: float) -> None:
        self.ewma = decay * self.ewma + x
        self.elapsed += 1
        self.since = 1 if x > 0 else self.since + 1
        if x > 0:
            self.non_zero += 1
            delta = x - self.mean
            self.mean += delta / self.non_zero
            self.m2 += delta * (x - self.mean)

    def dropped(self, decay: float, drop: Drop) -> bool:
        limits = [self.since > 60, self.ewma < decay**60]
        return any(limits) if drop == "either" else all(limits)


def slow_roll_up(totals: dict[int, float], today: int, decay: float, drop: Drop) -> Slow | None:
    found: Slow | None = None
    for day in range(today + 1):
        x = totals.get(day, 0.0)
        if found is None and x > 0:
            found = Slow()
        if found is not None:
            found.update(x, decay)
            if found.dropped(decay, drop):
                found = None
    return found


def rolled(totals: dict[int, float], today: int, **more: object) -> Rolled:
    days = np.array(list(totals), np.int64)
    amounts = np.array(list(totals.values()), np.float32)
    return roll_up(total_by_day(np.zeros_like(days), days, amounts), today, **more)  # type: ignore[arg-type]


def test_counts_of_a_day_are_added_up_and_series_are_apart() -> None:
    series = np.array([7, 3, 7, 7, 3], np.int64)
    days = total_by_day(series, np.array([2, 0, 2, 5, 1], np.int64))
    assert days.series.tolist() == [3, 3, 7, 7]
    assert days.days.tolist() == [0, 1, 2, 5]
    assert days.totals.tolist() == [1, 1, 2, 1]


def test_amounts_of_a_day_are_added_up() -> None:
    days = total_by_day(
        np.array([1, 1, 0], np.int64), np.array([4, 4, 4], np.int64), np.array([2, 0.5, 8])
    )
    assert (days.series.tolist(), days.totals.tolist()) == ([0, 1], [8, 2.5])


def test_series_too_large_to_stand_beside_a_day_are_told_apart() -> None:
    series = np.array([2**62, 2**62 + 1, 2**62], np.int64)
    days = total_by_day(series, np.array([1000, 3, 3], np.int64))
    assert days.series.tolist() == [2**62, 2**62, 2**62 + 1]
    assert days.days.tolist() == [3, 1000, 3]


def test_three_days_by_hand() -> None:
    found = rolled({0: 2, 1: 4, 3: 3}, 4)
    assert found.ewmas[0] == pytest.approx(2 * DECAY**4 + 4 * DECAY**3 + 3 * DECAY)
    assert found.means[0] == pytest.approx(3)
    assert found.m2s[0] == pytest.approx(2)
    assert found.variances[0] == pytest.approx(1)
    assert (found.elapsed_days[0], found.non_zero_days[0], found.days_since_last[0]) == (5, 3, 2)


def test_the_half_life_is_fifteen_days_and_not_seven() -> None:
    assert rolled({0: 1}, 15).ewmas[0] == pytest.approx(0.5, abs=0.002)
    assert rolled({0: 1}, 7).ewmas[0] > 0.7


@pytest.mark.parametrize(("today", "left"), [(59, 1), (60, 0)])
def test_an_edge_feature_is_dropped_after_sixty_days(today: int, left: int) -> None:
    assert len(rolled({0: 100}, today).series) == left


def test_what_comes_after_a_drop_begins_anew() -> None:
    found = rolled({0: 5, 61: 2}, 61)
    assert (found.elapsed_days[0], found.non_zero_days[0], found.means[0]) == (1, 1, 2)
    assert found.ewmas[0] == 2


def test_a_vertex_feature_needs_both_limits() -> None:
    assert len(rolled({0: 100}, 70).series) == 0
    assert len(rolled({0: 100}, 70, drop="both").series) == 1
    assert len(rolled({0: 1}, 70, drop="both").series) == 0


def test_vertices_decay_like_edges() -> None:
    totals = {0: 3.0, 4: 1.0}
    assert rolled(totals, 6, drop="both").ewmas[0] == rolled(totals, 6).ewmas[0]


def test_merging_keeps_the_order_of_series() -> None:
    one = roll_up(total_by_day(np.array([5, 1], np.int64), np.array([0, 0], np.int64)), 0)
    other = roll_up(total_by_day(np.array([3], np.int64), np.array([0], np.int64)), 0)
    assert merged(one, other).series.tolist() == [1, 3, 5]


@given(
    st.lists(
        st.dictionaries(st.integers(0, 150), st.sampled_from([0.01, 0.5, 1, 2, 7]), max_size=6),
        max_size=5,
    ),
    st.sampled_from([0.955, 0.8, 0.99]),
    st.sampled_from(["either", "both"]),
    st.integers(150, 200),
)
def test_the_rollup_is_what_daily_updates_come_to(
    all_totals: list[dict[int, float]], decay: float, drop: Drop, today: int
) -> None:
    rows = [(s, d, x) for s, totals in enumerate(all_totals) for d, x in totals.items()]
    series, days, amounts = (
        (np.array(column) for column in zip(*rows, strict=True))
        if rows
        else (
            np.empty(0, np.int64),
            np.empty(0, np.int64),
            np.empty(0),
        )
    )
    totals = total_by_day(series, days, amounts.astype(np.float32))
    found = roll_up(totals, today, decay=decay, drop=drop)
    # Amounts are kept in 32 bits.
    exact = [{d: float(np.float32(x)) for d, x in sorted(t.items())} for t in all_totals]
    expected = {
        s: slow
        for s, totals_of in enumerate(exact)
        if (slow := slow_roll_up(totals_of, today, decay, drop)) is not None
    }
    assert found.series.tolist() == sorted(expected)
    for i, s in enumerate(found.series.tolist()):
        slow = expected[s]
        assert found.ewmas[i] == pytest.approx(slow.ewma, rel=1e-9)
        assert found.means[i] == pytest.approx(slow.mean, rel=1e-9)
        assert found.m2s[i] == pytest.approx(slow.m2, rel=1e-6, abs=1e-12)
        assert found.elapsed_days[i] == slow.elapsed
        assert found.non_zero_days[i] == slow.non_zero
        assert found.days_since_last[i] == slow.since

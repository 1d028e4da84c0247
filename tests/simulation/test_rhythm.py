import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simulation.rhythm import DAY_MS, HOUR_MS, activity

MONDAY_MS = 1_704_067_200_000


def test_night_is_quiet_and_evening_busy() -> None:
    at_home = np.array([0])
    night = activity(MONDAY_MS + 3 * HOUR_MS, at_home)[0]
    evening = activity(MONDAY_MS + 21 * HOUR_MS, at_home)[0]
    assert evening > 10 * night


def test_weekday_averages_one_and_weekend_is_busier() -> None:
    hours = np.arange(24) * HOUR_MS
    monday = np.mean([activity(MONDAY_MS + h, np.array([0]))[0] for h in hours.tolist()])
    saturday_ms = MONDAY_MS + 5 * DAY_MS
    saturday = np.mean([activity(saturday_ms + h, np.array([0]))[0] for h in hours.tolist()])
    assert np.isclose(monday, 1.0)
    assert 1.05 < saturday < 1.3
    sunday_ms, friday_ms = saturday_ms + DAY_MS, saturday_ms - DAY_MS
    assert activity(sunday_ms, np.array([0])) == activity(saturday_ms, np.array([0]))
    assert activity(friday_ms, np.array([0])) == activity(MONDAY_MS, np.array([0]))


@given(st.integers(0, 24 * 365), st.integers(-11, 12))
def test_clock_ahead_is_the_same_as_later(hours: int, offset: int) -> None:
    now_ms = MONDAY_MS + hours * HOUR_MS
    ahead = activity(now_ms, np.array([offset]))
    later = activity(now_ms + offset * HOUR_MS, np.array([0]))
    assert ahead == later

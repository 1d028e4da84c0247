import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.decay import decay, growth, landmark_before

HOUR_MS = 3_600_000
HALF_LIFE_MS = 8 * HOUR_MS
NOW_MS = 1_700_000_000_000


@given(st.integers(-(10**9), 10**9), st.integers(0, 10**9), st.integers(-300, 300))
def test_a_sum_reads_the_same_from_any_landmark(late_ms: int, age_ms: int, halves: int) -> None:
    read = set()
    for landmark_ms in (0, halves * HALF_LIFE_MS):
        landmark_ms += landmark_before(NOW_MS, HALF_LIFE_MS)
        [grown] = growth(np.array([NOW_MS + late_ms]), landmark_ms, HALF_LIFE_MS)
        read.add(float(grown) * decay(NOW_MS + late_ms + age_ms, landmark_ms, HALF_LIFE_MS))
    [value] = read
    np.testing.assert_allclose(value, 2 ** (-age_ms / HALF_LIFE_MS), rtol=1e-12)


def test_it_halves_exactly() -> None:
    landmark_ms = landmark_before(NOW_MS, HALF_LIFE_MS)
    at = [decay(NOW_MS + k * HALF_LIFE_MS, landmark_ms, HALF_LIFE_MS) for k in range(3)]
    assert at[1] == at[0] / 2
    assert at[2] == at[0] / 4


def test_times_far_apart_neither_overflow_nor_warn() -> None:
    ages = np.array([-(10**14), 0])
    assert growth(ages, 0, HALF_LIFE_MS).tolist() == [0.0, 1.0]
    assert 0 <= decay(10**14, 0, HALF_LIFE_MS) < 1e-300
    assert np.isfinite(decay(-(10**14), 0, HALF_LIFE_MS))

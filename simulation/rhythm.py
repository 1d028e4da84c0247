"""When people are awake: activity by local hour and weekday."""

import numpy as np
import numpy.typing as npt

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

# Relative activity by local hour, from midnight: asleep at night, peaks at noon and evening.
_WEEKDAY = (
    *(0.55, 0.30, 0.16, 0.10, 0.10, 0.18, 0.45, 0.85, 1.05, 1.05, 1.05, 1.15),
    *(1.40, 1.25, 1.05, 1.05, 1.15, 1.30, 1.45, 1.65, 1.85, 1.90, 1.60, 1.05),
)
_WEEKEND = (
    *(0.85, 0.55, 0.32, 0.18, 0.12, 0.12, 0.22, 0.45, 0.80, 1.20, 1.45, 1.55),
    *(1.60, 1.50, 1.40, 1.40, 1.45, 1.50, 1.60, 1.75, 1.90, 1.95, 1.75, 1.35),
)
_CURVES = np.array([_WEEKDAY, _WEEKEND]) / np.mean(_WEEKDAY)


def activity(time_ms: int, utc_offsets_h: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """How active each user is at `time_ms`, where 1 is the mean of a weekday.

    `utc_offsets_h` is how many hours each user's clock is ahead of UTC.
    """
    local_hours = time_ms // HOUR_MS + utc_offsets_h
    # 1970-01-01 was a Thursday: days 2 and 3 after it were a Saturday and a Sunday.
    weekend = np.isin((local_hours // 24) % 7, (2, 3)).astype(np.int64)
    curve: npt.NDArray[np.float64] = _CURVES[weekend, local_hours % 24]
    return curve

"""Which video watches count, by a rule that a shard can apply without knowing the video.

A watch says how many milliseconds were seen; how long the video is, only its author's shard
knows, while half of the edges' readers live elsewhere. So an edge of the video graph carries
in its 4-bit kind how long the watch was, as one of 16 levels (2 s, 3 s, 4.5 s … 14.6 min,
each half as much again), and both shards derive it alike from the event. Which level half of
a video is in is told, and applied, where its length is known. The original takes in the
client's event of 50 % playback; here every watch of half a video counts, none of less than a
third does, and in between the video's length decides.
"""

import numpy as np
import numpy.typing as npt

N_LEVELS = 16
_FACTOR = 1.5
THRESHOLDS_MS = np.rint(2_000 * _FACTOR ** np.arange(N_LEVELS)).astype(np.int64)
"""The least watch of each level; a shorter one than the first leaves no edge."""


def levels_of(watched_ms: npt.NDArray[np.floating]) -> npt.NDArray[np.int8]:
    """The level of each watch, int8[n]; −1 for those too short to count for any video."""
    return (np.searchsorted(THRESHOLDS_MS, watched_ms, side="right") - 1).astype(np.int8)


def half_levels(durations_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """The level in which half of each video's length is, uint8[n].

    The first for a length that is not known (0); the last for videos of 29 minutes and more.
    """
    return np.maximum(levels_of(durations_ms / 2), 0).astype(np.uint8)

"""Who did what to whom and when: what Real Graph is made of."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids

Codes = npt.NDArray[np.int32]

NEVER_MS = 2**62


class Feature(IntEnum):
    """What users do to each other: Real Graph's names and numbers, those our events can give.

    The original's mentions, direct messages, photo tags, address book, e-mail and push have
    no events here; the last three are kinds that the original lacks.
    """

    NUM_RETWEETS = 1
    NUM_FAVORITES = 2
    NUM_TWEET_CLICKS = 5
    NUM_LINK_CLICKS = 6
    NUM_PROFILE_VIEWS = 7
    NUM_FOLLOWS = 8
    TOTAL_DWELL_TIME = 17
    NUM_INSPECTED_STATUSES = 18
    NUM_TWEET_QUOTES = 24
    NUM_NTAB_CLICKS = 26
    NUM_RT_FAVORITES = 27
    NUM_RT_REPLIES = 28
    NUM_RT_TWEET_QUOTES = 29
    NUM_RT_RETWEETS = 30
    NUM_RT_TWEET_CLICKS = 32
    NUM_RT_LINK_CLICKS = 33
    NUM_SHARES = 34
    NUM_REPLIES = 41
    NUM_CREATE_TWEETS = 129
    NUM_BOOKMARKS = 201
    NUM_VIDEO_WATCHES = 202
    NUM_PHOTO_EXPANDS = 203


@dataclass(frozen=True)
class Switches:
    """A relation between two users that is on or off, as it was switched; by time, (n,)."""

    sources: Codes
    others: Codes
    on: npt.NDArray[np.bool_]
    times_ms: Ids

    def at(self, at_ms: int, n_users: int) -> tuple[Ids, npt.NDArray[np.bool_], Ids]:
        """Every pair switched before an instant, ascending: key, state, and since when (ms)."""
        n = int(np.searchsorted(self.times_ms, at_ms))
        keys = keys_of(self.sources[:n], self.others[:n], n_users)
        # The last writing of a pair is the first from the end.
        pairs, from_end = np.unique(keys[::-1], return_index=True)
        last = n - 1 - from_end
        return pairs, self.on[last], self.times_ms[last]


@dataclass(frozen=True)
class Interactions:
    """Interactions of users with others; arrays of shape (n,), users as places in `user_ids`."""

    user_ids: Ids
    """Ascending."""
    sources: Codes
    destinations: Codes
    """The source itself for `NUM_CREATE_TWEETS`."""
    features: npt.NDArray[np.uint8]
    times_ms: Ids
    undone_ms: Ids
    """When it was taken back; `NEVER_MS` where it was not."""
    amounts: npt.NDArray[np.float32]
    """Milliseconds for dwelling, 1 for all else."""
    relations: dict[str, Switches]
    first_ms: int
    last_ms: int

    def __len__(self) -> int:
        return len(self.sources)


def keys_of(sources: Codes, destinations: Codes, n_users: int) -> Ids:
    """One integer for each pair of users, in order of (source, destination)."""
    return sources.astype(np.int64) * n_users + destinations

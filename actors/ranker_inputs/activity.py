"""What a viewer did lately, by author and by kind: the edges of the viewer's own shard, tallied.

An engagement counts though it was taken back later: it happened. (What stands is counted by
`actors.ties`.) Windows are those that every shard keeps, whatever else its segments hold.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.graph import FEEDBACK_CODES, PUBLIC_CODES, SIGNAL_CODES, VIEW_CODES, GraphKind
from actors.stores.kernels import kernel, writable
from cluster.events import ENGAGEMENTS, NEGATIVE_FEEDBACK, Kind
from cluster.ids import Ids
from cluster.settings import DAY_MS, HOUR_MS, Windows

Floats = npt.NDArray[np.float32]

KINDS = (*ENGAGEMENTS, *NEGATIVE_FEEDBACK, Kind.IMPRESSION)
"""What is tallied, in column order."""
RECENT = {
    "favourite": (Kind.FAVOURITE,),
    "repost": (Kind.REPOST, Kind.QUOTE),
    "reply": (Kind.REPLY,),
    "click": (Kind.CLICK, Kind.LINK_OPEN, Kind.PHOTO_EXPAND),
    "dwell": (Kind.DWELL, Kind.VIDEO_WATCH, Kind.NOTIFICATION_OPEN),
    "profile_click": (Kind.PROFILE_CLICK,),
}
"""Types of the real-time interaction graph: each of some kinds."""
RECENT_WINDOWS_MS = (HOUR_MS, DAY_MS)
STATISTICS = ("decayed", "count", "days", "days_since_last")
"""Of each kind: the count decayed by `HALF_LIFE_MS`, the plain one, on how many days, and how
long ago last."""
TOTALS = ("last_hour", "last_day", "last_week", "hours_since_last")
HALF_LIFE_MS = 7 * DAY_MS
NEVER_DAYS = 365.0
"""Stands for days since what never happened."""
MAX_EDGES = 4_000
"""Newest edges of each graph that are looked at."""
MAX_VIEWS = 20_000
"""Of views: what was served is among them, though it is not tallied."""


class Activity(NamedTuple):
    """A viewer's edges, arrays of shape (n,); those of one kind newest first."""

    author_ids: Ids
    kinds: npt.NDArray[np.int8]
    """Places in `KINDS`."""
    times_ms: Ids


def activity_of(graph: GraphKind, windows: Windows, viewer_id: int, now_ms: int) -> Activity:
    """What a viewer did up to `now_ms`, as the viewer's own shard knows it."""
    parts = []
    for store, places, window_ms, limit in (
        (graph.engagements, _PUBLIC, windows.affinity_ms, MAX_EDGES),
        (graph.signals, _SIGNALS, windows.affinity_ms, MAX_EDGES),
        (graph.feedback, _FEEDBACK, windows.negative_ms, MAX_EDGES),
        (graph.views, _VIEWS, windows.seen_ms, MAX_VIEWS),
    ):
        edges = store.user_edges(viewer_id, limit, max(now_ms - window_ms, 0))
        kinds = places[edges.kinds]
        kept = kinds >= 0
        parts.append((edges.author_ids[kept], kinds[kept], edges.times_ms[kept]))
    return Activity(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def by_author(activity: Activity, user_ids: Ids, now_ms: int) -> tuple[Floats, Floats]:
    """Statistics of each of some users (u,), sorted, as authors.

    Returns (u, kinds × STATISTICS) and (u, types of `RECENT` × RECENT_WINDOWS_MS).
    """
    statistics = np.zeros((len(user_ids), len(KINDS), len(STATISTICS)), np.float32)
    statistics[:, :, 3] = NEVER_DAYS
    recent = np.zeros((len(user_ids), len(RECENT), len(RECENT_WINDOWS_MS)), np.float32)
    if len(user_ids):
        _tally_authors(
            writable(user_ids, np.int64),
            *activity,
            now_ms,
            _TYPE_OF,
            np.array(RECENT_WINDOWS_MS),
            statistics,
            recent,
        )
    n = len(user_ids)
    return (
        statistics.reshape(n, len(KINDS) * len(STATISTICS)),
        recent.reshape(n, len(RECENT) * len(RECENT_WINDOWS_MS)),
    )


def by_kind(activity: Activity, now_ms: int) -> Floats:
    """What was done in all, (kinds × TOTALS,)."""
    age_ms = np.maximum(now_ms - activity.times_ms, 0)
    totals = np.empty((len(KINDS), len(TOTALS)), np.float32)
    for column, window_ms in enumerate((HOUR_MS, DAY_MS, 7 * DAY_MS)):
        recent = activity.kinds[age_ms < window_ms]
        totals[:, column] = np.bincount(recent, minlength=len(KINDS))
    last = np.full(len(KINDS), 24 * NEVER_DAYS * HOUR_MS)
    np.minimum.at(last, activity.kinds, age_ms)
    totals[:, 3] = last / HOUR_MS
    return totals.reshape(-1)


def _places(codes: dict[Kind, int]) -> npt.NDArray[np.int8]:
    table = np.full(16, -1, np.int8)
    for kind, code in codes.items():
        if kind in KINDS:
            table[code] = KINDS.index(kind)
    return table


_PUBLIC, _SIGNALS = _places(PUBLIC_CODES), _places(SIGNAL_CODES)
_FEEDBACK, _VIEWS = _places(FEEDBACK_CODES), _places(VIEW_CODES)
_TYPE_OF = np.full(len(KINDS), -1, np.int64)
for _type, _kinds in enumerate(RECENT.values()):
    for _kind in _kinds:
        _TYPE_OF[KINDS.index(_kind)] = _type


@kernel
def _tally_authors(
    user_ids: Ids,
    author_ids: Ids,
    kinds: npt.NDArray[np.int8],
    times_ms: Ids,
    now_ms: int,
    type_of: npt.NDArray[np.int64],
    windows_ms: npt.NDArray[np.int64],
    statistics: npt.NDArray[np.float32],
    recent: npt.NDArray[np.float32],
) -> None:
    last_day = np.full(statistics.shape[:2], -1, np.int64)
    for i in range(len(author_ids)):
        row = np.searchsorted(user_ids, author_ids[i])
        if row == len(user_ids) or user_ids[row] != author_ids[i]:
            continue
        kind = kinds[i]
        age_ms = max(now_ms - times_ms[i], 0)
        out = statistics[row, kind]
        out[0] += 2.0 ** (-age_ms / HALF_LIFE_MS)
        out[1] += 1
        day = times_ms[i] // DAY_MS
        if day != last_day[row, kind]:
            last_day[row, kind] = day
            out[2] += 1
        out[3] = min(out[3], age_ms / DAY_MS)
        if type_of[kind] >= 0:
            for w in range(len(windows_ms)):
                if age_ms < windows_ms[w]:
                    recent[row, type_of[kind], w] += 1

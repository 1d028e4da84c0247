"""What aggregates ask of a post: what it is, what is in it, how old it was."""

from collections.abc import Callable, Collection
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from actors.features.aggregate_records import Floats
from actors.features.text import STATISTICS
from cluster.ids import Ids

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
SHORT_TEXT_BYTES, LONG_TEXT_BYTES = 50, 200
SHOUTED_SHARE = 0.5
LONG_VIDEO_MS = 60_000

Values = npt.NDArray[Any]


class Posts(Protocol):
    """A table of posts by row."""

    def __getitem__(self, name: str) -> Values:
        """A column: links, media, `statistics`, `text_bytes`, `topic_id`, `created_ms`."""


def post_features(
    posts: Posts, rows: npt.NDArray[np.int32], times_ms: Ids, names: Collection[str]
) -> dict[str, Floats]:
    """Features (n,) of posts at given instants, by name, of those in `POST_FEATURES`.

    Of row −1, and of posts that were not there yet, all are 0.
    """
    known = np.flatnonzero(seen(posts, rows, times_ms))
    column = _Columns(posts, rows[known])
    ages_ms = times_ms[known] - column("created_ms")
    found: dict[str, Floats] = {}
    for name in names:
        values = np.zeros(len(rows), np.float32)
        values[known] = POST_FEATURES[name](column, ages_ms)
        found[name] = values
    return found


def seen(posts: Posts, rows: npt.NDArray[np.int32], times_ms: Ids) -> npt.NDArray[np.bool_]:
    """Whether each row (−1: none) is of a post that had been created before an instant.

    Not at it: of one millisecond nobody can tell what came first but by the order of the log,
    which a slice of rows applied at once has lost.
    """
    there: npt.NDArray[np.bool_] = rows >= 0
    created_ms = posts["created_ms"][rows[there]]
    there[there] = (created_ms > 0) & (created_ms < times_ms[there])
    return there


class _Columns:
    """Columns of some rows, looked up once each."""

    def __init__(self, posts: Posts, rows: npt.NDArray[np.int32]) -> None:
        self._posts, self._rows = posts, rows
        self._held: dict[str, Values] = {}

    def __call__(self, name: str) -> Values:
        if name not in self._held:
            self._held[name] = self._posts[name][self._rows]
        return self._held[name]

    def statistic(self, name: str) -> Values:
        values: Values = self("statistics")[:, STATISTICS.index(name)]
        return values


_Found = Callable[[_Columns, Ids], Values]


def _linked(name: str) -> _Found:
    return lambda of, _: of(name) > 0


def _at_least(name: str, least: int) -> _Found:
    return lambda of, _: of(name) >= least


def _told(name: str) -> _Found:
    return lambda of, _: of.statistic(name)


POST_FEATURES: dict[str, _Found] = {
    "is_original": lambda of, _: (
        (of("reply_to_id") == 0) & (of("quote_of_id") == 0) & (of("repost_of_id") == 0)
    ),
    "is_reply": _linked("reply_to_id"),
    "is_quote": _linked("quote_of_id"),
    "is_repost": _linked("repost_of_id"),
    "has_photo": _at_least("image_count", 1),
    "has_many_photos": _at_least("image_count", 2),
    "has_video": _at_least("video_duration_ms", 1),
    "has_long_video": _at_least("video_duration_ms", LONG_VIDEO_MS),
    "has_link": _at_least("link_count", 1),
    "is_sensitive": lambda of, _: of("sensitive"),
    "has_topic": _linked("topic_id"),
    "has_hashtag": lambda of, _: of.statistic("hashtags") > 0,
    "has_mention": lambda of, _: of.statistic("mentions") > 0,
    "is_short_text": lambda of, _: (of("text_bytes") > 0) & (of("text_bytes") < SHORT_TEXT_BYTES),
    "is_long_text": _at_least("text_bytes", LONG_TEXT_BYTES),
    "is_shouted": lambda of, _: of.statistic("capitals_share") >= SHOUTED_SHARE,
    "is_fresh": lambda of, ages_ms: ages_ms < HOUR_MS,
    "is_aged": lambda of, ages_ms: ages_ms > DAY_MS,
    "photo_count": lambda of, _: of("image_count"),
    "video_s": lambda of, _: of("video_duration_ms") / 1e3,
    "link_count": lambda of, _: of("link_count"),
    "text_length": _told("text_length"),
    "text_score": _told("text_score"),
    "hashtags": _told("hashtags"),
    "mentions": _told("mentions"),
    "capitals_share": _told("capitals_share"),
    "age_hours": lambda of, ages_ms: ages_ms / HOUR_MS,
}
"""By name in `FEATURES`: from columns of posts and their ages."""

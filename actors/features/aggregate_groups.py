"""Which aggregates there are: the original's groups, as far as our events can fill them.

Names, keys, labels, half-lives and metrics are the published ones (timelines aggregation
framework), with these differences:

- A record is one event, not an impression with everything that followed. So batch groups count
  `is_impressed` where the original has `any_label`.
- `is_shared` stands for the two labels of sharing by direct message; blocks and mutes name no
  post; whether half of a video was watched is known where its length is.
- What needs both sides, as a post by the viewer's country, is a batch group, without the
  half-life of 30 minutes. Viewer states, candidate sources and media annotations are not told
  by events. `original author` is the author of what a post reposts or quotes.
- The reciprocal labels are counted for the viewer who had replied.
"""

from dataclasses import replace
from typing import Any, Literal

from actors.features.aggregate_records import (
    DETAIL_TIERS,
    FEATURES,
    PROFILE_TIERS,
    VIDEO_TIERS,
)
from actors.features.aggregation import DAY_MS, FOREVER, HOUR_MS, MINUTE_MS, AggregateGroup, Home
from actors.features.inputs import Level

Selection = Literal["laptop", "twitter"]

HALF_HOUR, DAY = 30 * MINUTE_MS, DAY_MS
FIFTY_DAYS, FORTNIGHT = 50 * DAY_MS, 14 * DAY_MS

CORE = ("is_favorited", "is_replied", "is_reposted")
EIGHT = (
    *("is_favorited", "is_reposted", "is_clicked", "is_profile_clicked", "is_link_opened"),
    *("is_replied", "is_photo_expanded", "is_video_watched_half"),
)
"""The published set of the batch groups."""
SHOWN = (*EIGHT, "is_impressed")
_ON_POST = (
    *("is_clicked", "is_dwelled", "is_favorited", "is_link_opened", "is_photo_expanded"),
    *("is_profile_clicked", "is_quoted", "is_replied", "is_reposted"),
    *("is_reposted_without_quote", "is_video_viewed", "is_video_quality_viewed"),
)
RT_VIEWER = (*_ON_POST, "is_followed")
RT_AUTHOR = (*_ON_POST, "is_followed", "is_video_watched_half")
RT_POST = (*_ON_POST, "is_video_watched_half")
NEGATIVE_3 = ("is_reported", "is_blocked", "is_muted")
NEGATIVE_ON_POST = ("is_dont_like", "is_not_interested", "is_reported")
DONT_LIKE, SHARE, BOOKMARK = ("is_dont_like",), ("is_shared",), ("is_bookmarked",)
DWELLS = (*DETAIL_TIERS, *PROFILE_TIERS, *VIDEO_TIERS)
UNION = ("is_positive_implicit", "is_positive_explicit", "is_negative")
RECIPROCAL = (
    *("is_reply_impressed_by_author", "is_reply_replied_by_author"),
    "is_reply_favorited_by_author",
)
GOOD_CLICKS = ("is_good_clicked", "is_good_clicked_v2")
COUNTRY = (
    *("is_favorited", "is_replied", "is_reposted", "is_dwelled", "is_clicked"),
    *("is_link_opened", "is_photo_expanded", "is_profile_clicked", "is_video_watched_half"),
    *("is_video_quality_viewed", "is_impressed", "is_shared", *NEGATIVE_ON_POST),
)

TWEET_TYPES = ("is_original", "is_reply", "is_quote", "is_repost")
BINARY = tuple(n for n, f in FEATURES.items() if f.binary and f.known in ("post", "all"))
CONTENT = tuple(n for n, f in FEATURES.items() if not f.binary and f.known == "post")
HISTORY = tuple(n for n, f in FEATURES.items() if not f.binary and f.known == "all")
_PAIR_BINARY = (
    *(*TWEET_TYPES, "has_photo", "has_video", "has_link", "is_fresh"),
    *("is_popular", "is_in_network"),
)

_SHORT = (HALF_HOUR, DAY)
_LASTING = (HALF_HOUR, FOREVER)


_Kind = tuple[tuple[str, ...], Level, Home]
_POST: _Kind = (("post_id",), Level.POST, "author")
_VIEWER: _Kind = (("viewer_id",), Level.VIEWER, "viewer")
_AUTHOR: _Kind = (("author_id",), Level.AUTHOR, "author")
_PAIR: _Kind = (("viewer_id", "author_id"), Level.AUTHOR, "viewer")
_TOPIC: _Kind = (("topics",), Level.POST, "all")
_LIST: _Kind = (("lists",), Level.AUTHOR, "viewer")


def _rt(
    kind: _Kind,
    name: str,
    labels: tuple[str, ...],
    half_lives_ms: tuple[float, ...],
    **more: Any,
) -> AggregateGroup:
    keys, level, home = kind
    return AggregateGroup(f"real_time_{name}", keys, labels, half_lives_ms, level, home, **more)


def _batch(
    name: str,
    keys: tuple[str, ...],
    labels: tuple[str, ...],
    level: Level,
    half_lives_ms: tuple[float, ...] = (FIFTY_DAYS,),
    **more: Any,
) -> AggregateGroup:
    home: Home = "viewer" if "viewer_id" in keys else "author"
    return AggregateGroup(name, keys, labels, half_lives_ms, level, home, batch=True, **more)


REAL_TIME = (
    _rt(_POST, "tweet_aggregates_v1", (*RT_POST, *DONT_LIKE), _LASTING),
    _rt(_POST, "tweet_aggregates_v2", ("is_reported", "is_not_interested"), _LASTING),
    _rt(_POST, "tweet_impressed", ("is_impressed",), _LASTING),
    _rt(_POST, "tweet_share", SHARE, _SHORT),
    _rt(_POST, "tweet_bookmark", BOOKMARK, _SHORT),
    _rt(_POST, "tweet_bce_dwell", DWELLS, _SHORT),
    _rt(_VIEWER, "user_aggregates_v1", (*RT_VIEWER, *DONT_LIKE), (HALF_HOUR, 48 * HOUR_MS)),
    _rt(
        *(_VIEWER, "user_aggregates_v4", (*NEGATIVE_3, *DONT_LIKE, "is_not_interested")),
        (HALF_HOUR, 72 * HOUR_MS, FOREVER),
    ),
    _rt(_VIEWER, "user_impressed", ("is_impressed",), (HALF_HOUR, 48 * HOUR_MS)),
    _rt(_VIEWER, "user_share", SHARE, _SHORT),
    _rt(_VIEWER, "user_bookmark", BOOKMARK, _SHORT),
    _rt(_VIEWER, "user_bce_dwell", DWELLS, _SHORT),
    _rt(
        *(_VIEWER, "user_stay", ("is_clicked", "is_dwelled", "is_profile_clicked")),
        *(_SHORT,),
        features=("stay_s",),
        metrics=("sum", "sum_sq"),
        any_feature=False,
    ),
    _rt(
        *(_VIEWER, "user_longest_stay", ("is_clicked", "is_dwelled", "is_video_viewed")),
        *((FOREVER,),),
        features=("stay_s",),
        metrics=("max",),
        any_feature=False,
    ),
    _rt(
        *(_PAIR, "user_author_aggregates_v1"),
        (
            *("is_favorited", "is_replied", "is_reposted", "is_dwelled", "is_clicked"),
            *("is_profile_clicked", "is_photo_expanded", "is_video_viewed", "is_negative"),
        ),
        _SHORT,
    ),
    _rt(
        *(_PAIR, "new_user_author_aggregates_v1"),
        (*CORE, "is_dwelled", "is_clicked", "is_profile_clicked", "is_photo_expanded"),
        _LASTING,
        only="is_viewer_new",
    ),
    _rt(_PAIR, "user_author_share", SHARE, _SHORT),
    _rt(_PAIR, "user_author_bookmark", BOOKMARK, _SHORT),
    _rt(_AUTHOR, "author_aggregates_v1", (*RT_AUTHOR, *DONT_LIKE), _LASTING),
    _rt(_AUTHOR, "author_negative", (*NEGATIVE_3, "is_not_interested"), _LASTING),
    _rt(_AUTHOR, "author_share", SHARE, _SHORT),
    _rt(_AUTHOR, "author_bookmark", BOOKMARK, _SHORT),
    _rt(
        *(_AUTHOR, "author_content_preference", UNION, (DAY,)),
        features=(*TWEET_TYPES, "has_photo", "has_video", "has_link"),
    ),
    _rt(
        *(_TOPIC, "topic_aggregates_v1"),
        (*RT_POST, *NEGATIVE_ON_POST, "is_impressed"),
        (HALF_HOUR, DAY, FOREVER),
    ),
    _rt(_TOPIC, "topic_share", SHARE, _SHORT),
    _rt(
        *(_LIST, "list_aggregates_v1"),
        (*CORE, "is_dwelled", *NEGATIVE_ON_POST, "is_blocked", "is_muted"),
        _LASTING,
    ),
)
"""Of shards (published: 37 groups, all of counts)."""

BATCH = (
    _batch(
        *("user_aggregate_v2", ("viewer_id",), SHOWN, Level.VIEWER),
        features=(*BINARY, *CONTENT),
        metrics=("count", "sum"),
    ),
    _batch(
        *("user_aggregate_v5.continuous", ("viewer_id",), SHOWN, Level.VIEWER),
        features=(*HISTORY, "position"),
        metrics=("count", "sum", "sum_sq"),
        any_feature=False,
    ),
    _batch(
        "user_stay_aggregate",
        ("viewer_id",),
        ("is_clicked", "is_dwelled", "is_profile_clicked", "is_video_viewed"),
        Level.VIEWER,
        features=("stay_s",),
        metrics=("sum", "sum_sq"),
        any_feature=False,
    ),
    _batch("user_aggregate_v6", ("viewer_id",), RECIPROCAL, Level.VIEWER),
    _batch(
        *("user_negative_aggregate", ("viewer_id",), NEGATIVE_ON_POST, Level.VIEWER),
        features=(*BINARY, *CONTENT),
        metrics=("count", "sum"),
    ),
    _batch(
        *("user_good_click_aggregate", ("viewer_id",), GOOD_CLICKS, Level.VIEWER, (FORTNIGHT,)),
        features=(*BINARY, *CONTENT),
        metrics=("count", "sum"),
    ),
    _batch(
        "user_attention_aggregate",
        ("viewer_id",),
        (
            *("is_dwelled", "is_video_quality_viewed", "is_shared", "is_bookmarked"),
            *("is_quoted", "is_tweet_detail_dwelled_15_sec"),
        ),
        Level.VIEWER,
        features=(*BINARY, *CONTENT),
        metrics=("count", "sum"),
    ),
    _batch("user_request_context_aggregate.hour", ("viewer_id", "hour"), SHOWN, Level.VIEWER),
    _batch("user_request_context_aggregate.dow", ("viewer_id", "weekday"), SHOWN, Level.VIEWER),
    _batch(
        *("user_author_aggregate_v2", ("viewer_id", "author_id"), SHOWN, Level.AUTHOR),
        features=_PAIR_BINARY,
    ),
    _batch(
        *("user_author_aggregate_tweetsource_v1", ("viewer_id", "author_id"), SHOWN, Level.AUTHOR),
        features=("text_length", "video_s"),
        metrics=("sum",),
        any_feature=False,
    ),
    _batch(
        *("user_author_recency", ("viewer_id", "author_id"), SHOWN, Level.AUTHOR),
        metrics=("last_reset",),
    ),
    _batch("user_list_aggregate", ("viewer_id", "lists"), SHOWN, Level.AUTHOR),
    _batch(
        *("user_topic_aggregate_v2", ("viewer_id", "topics"), SHOWN, Level.POST),
        features=BINARY,
    ),
    _batch("user_language_aggregate", ("viewer_id", "language"), SHOWN, Level.POST),
    _batch(
        *("user_engager_aggregate", ("viewer_id", "engagers"), SHOWN, Level.POST),
        merges=("combine_counts", "pick_top_ctr", "wilson"),
    ),
    _batch("author_topic_aggregate", ("author_id", "topics"), SHOWN, Level.POST),
    _batch(
        *("user_original_author_aggregate_v1", ("viewer_id", "original_author_id")),
        *((*RECIPROCAL, *SHOWN), Level.POST),
    ),
    _batch(
        *("original_author_aggregate_v1", ("original_author_id",)),
        *((*RECIPROCAL, *NEGATIVE_ON_POST), Level.POST),
    ),
    _batch(
        *("tweet_country_aggregate_v1", ("post_id", "country"), COUNTRY, Level.POST),
        (72 * HOUR_MS, FOREVER),
        any_label=True,
    ),
    _batch(
        *("topic_country_aggregate_v1", ("topics", "country"), COUNTRY, Level.POST),
        (72 * HOUR_MS, FOREVER),
    ),
)
"""Of the archive (published: half-life 50 days except where said)."""

_FEW = ("is_favorited", "is_replied", "is_reposted", "is_clicked", "is_dwelled")
_FEW_SHOWN = ("is_favorited", "is_replied", "is_reposted", "is_clicked", "is_impressed")

LAPTOP: dict[str, dict[str, Any]] = {
    "real_time_tweet_aggregates_v1": {
        "labels": (*_FEW, "is_quoted", "is_video_viewed", "is_dont_like")
    },
    "real_time_tweet_impressed": {},
    "real_time_tweet_share": {"half_lives_ms": (DAY,)},
    "real_time_tweet_bookmark": {"half_lives_ms": (DAY,)},
    "real_time_user_aggregates_v1": {"labels": (*_FEW, "is_followed", "is_dont_like")},
    "real_time_user_impressed": {},
    "real_time_user_stay": {"labels": ("is_clicked", "is_dwelled"), "half_lives_ms": (DAY,)},
    "real_time_user_author_aggregates_v1": {"labels": (*_FEW, "is_negative")},
    "real_time_author_aggregates_v1": {"labels": (*_FEW, "is_followed", "is_dont_like")},
    "real_time_author_content_preference": {},
    "real_time_topic_aggregates_v1": {
        "labels": _FEW_SHOWN,
        "half_lives_ms": (DAY, FOREVER),
    },
    "real_time_list_aggregates_v1": {"labels": CORE, "half_lives_ms": (FOREVER,)},
    "user_aggregate_v2": {
        "labels": _FEW_SHOWN,
        "features": (*TWEET_TYPES, "has_photo", "has_video", "is_in_network"),
        "metrics": ("count",),
    },
    "user_aggregate_v6": {},
    "user_request_context_aggregate.hour": {"labels": ("is_favorited", "is_impressed")},
    "user_author_aggregate_v2": {"labels": _FEW_SHOWN, "features": ()},
    "user_author_recency": {"labels": ("is_favorited", "is_replied", "is_clicked")},
    "user_topic_aggregate_v2": {"labels": _FEW_SHOWN, "features": ()},
    "user_engager_aggregate": {"labels": ("is_favorited", "is_impressed")},
    "author_topic_aggregate": {"labels": ("is_favorited", "is_impressed")},
}
"""The groups of selection `laptop`, and what is cut from each."""


def real_time_groups(selection: Selection) -> tuple[AggregateGroup, ...]:
    """The groups that shards count, of either selection; those of `laptop` are among the other."""
    return _selected(REAL_TIME, selection)


def batch_groups(selection: Selection) -> tuple[AggregateGroup, ...]:
    """The groups that the job `aggregates` counts."""
    return _selected(BATCH, selection)


def _selected(
    groups: tuple[AggregateGroup, ...], selection: Selection
) -> tuple[AggregateGroup, ...]:
    if selection == "twitter":
        return groups
    return tuple(replace(group, **LAPTOP[group.name]) for group in groups if group.name in LAPTOP)

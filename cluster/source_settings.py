"""Settings of the candidate sources, a group for each; published values unless said."""

from typing import Literal

from pydantic import Field

from cluster.setting_group import Group

HOUR_MS = 3_600_000

SignalName = Literal[
    "tweet_favorite_90d",
    "retweet_90d",
    "reply_90d",
    "original_tweet_90d",
    "tweet_share",
    "good_tweet_click_2s",
    "video_playback_50_90d",
    "video_quality_view_90d",
    "notification_open",
    "account_follow",
    "repeated_profile_visit_14d",
    "good_profile_click_10s",
    "real_graph_oon",
]
"""Signals of the user-signal service that may seed candidates."""


class SourceSettings(Group):
    """What the candidate sources look for, and how much of it."""

    signals: tuple[SignalName, ...] = (
        *("tweet_favorite_90d", "account_follow", "repeated_profile_visit_14d"),
    )
    """Which of a viewer's signals seed candidates (cr-mixer's defaults)."""
    max_signals: int = Field(15, ge=0, le=100)
    """Of each type (`UnifiedMaxSourceKeyNum`)."""

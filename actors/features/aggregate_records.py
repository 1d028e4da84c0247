"""What aggregates are counted from: records, one for each event, with labels, keys and features.

An event is a record whose labels say what happened (a repost is `is_reposted` and
`is_reposted_without_quote`; a stay of 12 s in a conversation reaches the tiers of 0, 8 s), whose
keys say to whom and what it is counted, and whose features say what the post and the people
were like at that instant.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.events import Kind
from cluster.ids import Ids

Floats = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint64]

QUALITY_VIEW_S = 10.0
"""From here on a watch is of quality (chosen; the published label names no number)."""
LONG_CLICK_S = 120.0
"""A good click of the second sort: the published two minutes."""

_DETAIL_S, _PROFILE_S, _VIDEO_S = (0, 8, 15, 25, 30), (0, 10, 20, 30), (0, 5, 10, 20, 30)


def _tier(name: str, seconds: int) -> str:
    return f"is_{name}_dwelled" + (f"_{seconds}_sec" if seconds else "")


DETAIL_TIERS = tuple(_tier("tweet_detail", s) for s in _DETAIL_S)
PROFILE_TIERS = tuple(_tier("profile", s) for s in _PROFILE_S)
VIDEO_TIERS = tuple(_tier("fullscreen_video", s) for s in _VIDEO_S)

LABELS = (
    *("is_favorited", "is_reposted", "is_reposted_without_quote", "is_quoted", "is_replied"),
    *("is_clicked", "is_dwelled", "is_profile_clicked", "is_link_opened", "is_photo_expanded"),
    *("is_video_viewed", "is_video_quality_viewed", "is_video_watched_half"),
    *("is_shared", "is_bookmarked", "is_followed", "is_impressed"),
    *("is_reported", "is_blocked", "is_muted", "is_dont_like", "is_not_interested"),
    *(*DETAIL_TIERS, *PROFILE_TIERS, *VIDEO_TIERS),
    *("is_positive_implicit", "is_positive_explicit", "is_negative"),
    *("is_good_clicked", "is_good_clicked_v2"),
    *("is_reply_impressed_by_author", "is_reply_replied_by_author"),
    "is_reply_favorited_by_author",
)
"""Everything that can be said of a record; label i is bit i of its labels."""
BIT_OF = {name: bit for bit, name in enumerate(LABELS)}

NEGATIVE = ("is_reported", "is_blocked", "is_muted", "is_dont_like", "is_not_interested")
EXPLICIT = (
    *("is_favorited", "is_reposted", "is_quoted", "is_replied", "is_shared", "is_bookmarked"),
    "is_followed",
)
IMPLICIT = (
    *("is_clicked", "is_dwelled", "is_profile_clicked", "is_link_opened", "is_photo_expanded"),
    "is_video_viewed",
)


class Feature(NamedTuple):
    """One thing that a record may say of a post, a person or an event."""

    meaning: str
    binary: bool = True
    known: str = "post"
    """Where: in the `event` itself, with the `viewer`, with the `post` and its author, or in
    the archive, where `all` is joined."""


FEATURES: dict[str, Feature] = {
    "is_original": Feature("posts that neither reply, quote nor repost"),
    "is_reply": Feature("replies"),
    "is_quote": Feature("quotes"),
    "is_repost": Feature("reposts"),
    "has_photo": Feature("posts with photos"),
    "has_many_photos": Feature("posts with several photos"),
    "has_video": Feature("posts with a video"),
    "has_long_video": Feature("posts with a video of a minute or more"),
    "has_link": Feature("posts with a link"),
    "is_sensitive": Feature("posts marked as sensitive"),
    "has_topic": Feature("posts with a topic"),
    "has_hashtag": Feature("posts with a hashtag"),
    "has_mention": Feature("posts that mention somebody"),
    "is_short_text": Feature("posts of fewer than 50 bytes of text"),
    "is_long_text": Feature("posts of 200 bytes of text or more"),
    "is_shouted": Feature("posts whose letters are mostly capitals"),
    "is_author_verified": Feature("posts by verified authors"),
    "is_author_new": Feature("posts by accounts of less than 30 days"),
    "is_fresh": Feature("posts of less than an hour"),
    "is_aged": Feature("posts older than a day"),
    "is_popular": Feature("posts favoured ten times before", known="all"),
    "is_discussed": Feature("posts replied to five times before", known="all"),
    "is_in_network": Feature("posts by followed authors", known="all"),
    "is_mutual": Feature("posts by authors who follow the viewer", known="all"),
    "is_stranger": Feature("posts by authors never engaged with before", known="all"),
    "is_same_language": Feature("posts in the viewer's language", known="all"),
    "is_same_country": Feature("posts by authors of the viewer's country", known="all"),
    "is_viewer_new": Feature("viewers whose accounts are younger than 30 days", known="viewer"),
    "is_viewer_verified": Feature("verified viewers", known="viewer"),
    "photo_count": Feature("photos", binary=False),
    "video_s": Feature("seconds of video", binary=False),
    "link_count": Feature("links", binary=False),
    "text_length": Feature("bytes of text", binary=False),
    "text_score": Feature("Earlybird's text score", binary=False),
    "hashtags": Feature("hashtags", binary=False),
    "mentions": Feature("mentions", binary=False),
    "capitals_share": Feature("the share of capitals", binary=False),
    "age_hours": Feature("the post's age in hours", binary=False),
    "author_followers": Feature("the author's followers", binary=False),
    "post_favorites": Feature("favourites of the post before", False, "all"),
    "post_reposts": Feature("reposts of the post before", False, "all"),
    "post_replies": Feature("replies to the post before", False, "all"),
    "post_quotes": Feature("quotes of the post before", False, "all"),
    "post_clicks": Feature("clicks on the post before", False, "all"),
    "post_impressions": Feature("impressions of the post before", False, "all"),
    "minutes_since_engaged": Feature("minutes since anybody engaged with the post", False, "all"),
    "pair_favorites": Feature("the viewer's favourites of the author before", False, "all"),
    "pair_reposts": Feature("the viewer's reposts of the author before", False, "all"),
    "pair_replies": Feature("the viewer's replies to the author before", False, "all"),
    "pair_quotes": Feature("the viewer's quotes of the author before", False, "all"),
    "pair_clicks": Feature("the viewer's clicks on the author's posts before", False, "all"),
    "pair_impressions": Feature("impressions of the author's posts before", False, "all"),
    "days_since_pair_engaged": Feature("days since the viewer engaged with them", False, "all"),
    "stay_s": Feature("seconds stayed", False, "event"),
    "position": Feature("the place in the timeline", False, "event"),
}
"""Columns of a record. A continuous one that is 0, and a binary one that is not so, is absent."""


class Ragged(NamedTuple):
    """For each of n records some ids: those of record i are `ids[offsets[i] : offsets[i + 1]]`."""

    offsets: Ids
    ids: Ids


@dataclass(frozen=True)
class Records:
    """Events as aggregates see them; arrays of shape (n,)."""

    times_ms: Ids
    labels: Bits
    """Bit i is label i of `LABELS`."""
    keys: Mapping[str, Ids | Ragged]
    """By name: `viewer_id`, `author_id`, `post_id`, `original_author_id`, `hour`, `weekday`,
    `country`, `language`, and, as `Ragged`, `topics`, `engagers`, `lists`. 0 is unknown."""
    features: Mapping[str, Floats]
    """By name in `FEATURES`; NaN or 0 is absent."""

    def __len__(self) -> int:
        return len(self.times_ms)


def hours_of(times_ms: Ids) -> Ids:
    """The hour (UTC) of each time as a key, 1 … 24."""
    return times_ms // 3_600_000 % 24 + 1


def weekdays_of(times_ms: Ids) -> Ids:
    """The weekday (UTC) of each time as a key, 1 (Monday) … 7."""
    return (times_ms // 86_400_000 + 3) % 7 + 1


def code_key(code: str) -> int:
    """A language or country code as a key: the bytes of its first seven letters."""
    return int.from_bytes(code.lower().encode()[:7], "big")


def labels_of(kinds: npt.NDArray[np.uint8], values: Floats) -> Bits:
    """What events of these kinds, with these values, say: bits (n,); 0 for no record.

    A value is milliseconds stayed: of a click in the conversation, of a profile click in the
    profile, of a video watch watched.
    """
    bits = _BITS_OF_KIND[kinds]
    stays_s = values / 1e3
    for kind, tiers, thresholds in (
        (Kind.CLICK, DETAIL_TIERS, _DETAIL_S),
        (Kind.PROFILE_CLICK, PROFILE_TIERS, _PROFILE_S),
        (Kind.VIDEO_WATCH, VIDEO_TIERS, _VIDEO_S),
    ):
        rows = np.flatnonzero((kinds == kind) & (values > 0))
        for name, seconds in zip(tiers, thresholds, strict=True):
            bits[rows[stays_s[rows] >= seconds]] |= _bits(name)
    quality = (kinds == Kind.VIDEO_WATCH) & (stays_s >= QUALITY_VIEW_S)
    bits[quality] |= _bits("is_video_quality_viewed")
    bits[(kinds == Kind.CLICK) & (stays_s >= LONG_CLICK_S)] |= _bits("is_good_clicked_v2")
    return bits


def _bits(*names: str) -> np.uint64:
    return np.uint64(sum(1 << BIT_OF[name] for name in names))


_LABELS_OF_KIND: dict[Kind, tuple[str, ...]] = {
    Kind.FAVOURITE: ("is_favorited",),
    Kind.REPOST: ("is_reposted", "is_reposted_without_quote"),
    # The original counts a quote as a retweet too.
    Kind.QUOTE: ("is_reposted", "is_quoted"),
    Kind.REPLY: ("is_replied",),
    Kind.CLICK: ("is_clicked",),
    Kind.DWELL: ("is_dwelled",),
    Kind.PROFILE_CLICK: ("is_profile_clicked",),
    Kind.LINK_OPEN: ("is_link_opened",),
    Kind.PHOTO_EXPAND: ("is_photo_expanded",),
    Kind.VIDEO_WATCH: ("is_video_viewed",),
    Kind.SHARE: ("is_shared",),
    Kind.BOOKMARK: ("is_bookmarked",),
    Kind.FOLLOW: ("is_followed",),
    Kind.IMPRESSION: ("is_impressed",),
    Kind.REPORT: ("is_reported",),
    Kind.BLOCK: ("is_blocked",),
    Kind.MUTE: ("is_muted",),
    Kind.SHOW_LESS: ("is_dont_like",),
    Kind.NOT_INTERESTED: ("is_not_interested",),
}
_BITS_OF_KIND: Bits = np.zeros(256, np.uint64)
for _kind, _names in _LABELS_OF_KIND.items():
    _union = (
        *(("is_positive_explicit",) if set(_names) & set(EXPLICIT) else ()),
        *(("is_positive_implicit",) if set(_names) & set(IMPLICIT) else ()),
        *(("is_negative",) if set(_names) & set(NEGATIVE) else ()),
    )
    _BITS_OF_KIND[_kind] = _bits(*_names, *_union)

ON_USERS = (Kind.FOLLOW, Kind.BLOCK, Kind.MUTE)
"""Kinds that are about a user, who stands in the author's place, and about no post."""

"""The catalogue of the user-signal service: every signal type, as data.

Ids and limits are the published ones. What the original declares without a fetcher, and what
has no event here (promoted posts), is there too and always empty.
"""

from dataclasses import dataclass
from enum import IntEnum

from cluster.events import Kind

DAY_MS = 86_400_000
_DECLARED_MS = 540 * DAY_MS
_QUARTER_MS = 90 * DAY_MS


class SignalType(IntEnum):
    """What a signal says of a user; the numbers are the original's."""

    TWEET_FAVORITE = 0
    RETWEET = 1
    TRAFFIC_ATTRIBUTION = 2
    ORIGINAL_TWEET = 3
    REPLY = 4
    TWEET_SHARE = 5
    TWEET_FAVORITE_90D = 6
    RETWEET_90D = 7
    ORIGINAL_TWEET_90D = 8
    REPLY_90D = 9
    GOOD_TWEET_CLICK_2S = 10
    VIDEO_QUALITY_VIEW_90D = 11
    VIDEO_PLAYBACK_50_90D = 12
    ACCOUNT_FOLLOW = 100
    REPEATED_PROFILE_VISIT_14D = 101
    REPEATED_PROFILE_VISIT_90D = 102
    REAL_GRAPH_OON = 104
    TRAFFIC_ATTRIBUTION_PROFILE_30D = 105
    TRAFFIC_ATTRIBUTION_PROFILE_30D_B = 106
    TRAFFIC_ATTRIBUTION_PROFILE_30D_C = 107
    TRAFFIC_ATTRIBUTION_PROFILE_30D_D = 108
    REPEATED_PROFILE_VISIT_180D = 109
    REPEATED_PROFILE_VISIT_14D_NO_NEGATIVE = 110
    REPEATED_PROFILE_VISIT_90D_NO_NEGATIVE = 111
    REPEATED_PROFILE_VISIT_180D_NO_NEGATIVE = 112
    GOOD_PROFILE_CLICK_10S = 120
    AD_FAVORITE = 121
    ACCOUNT_FOLLOW_WITH_DELAY = 122
    NOTIFICATION_OPEN = 200
    NEGATIVE_TWEET = 901
    NEGATIVE_USER = 902
    ACCOUNT_BLOCK = 903
    ACCOUNT_MUTE = 904
    TWEET_DONT_LIKE = 907
    TWEET_SEE_FEWER = 908
    TWEET_REPORT = 909
    GOOD_TWEET_CLICK_5S = 1001
    GOOD_TWEET_CLICK_10S = 1002
    GOOD_TWEET_CLICK_30S = 1003
    GOOD_PROFILE_CLICK_20S = 1004
    GOOD_PROFILE_CLICK_30S = 1005
    GOOD_PROFILE_CLICK_10S_FILTERED = 1006
    GOOD_PROFILE_CLICK_20S_FILTERED = 1007
    GOOD_PROFILE_CLICK_30S_FILTERED = 1008
    TWEET_UNIFORM = 1300
    TWEET_BY_ENGAGEMENT = 1301
    TWEET_BY_QUALITY = 1302
    PRODUCER_UNIFORM = 1303
    PRODUCER_BY_ENGAGEMENT = 1304
    PRODUCER_BY_QUALITY = 1305


S = SignalType


@dataclass(frozen=True)
class Engaged:
    """Posts with an engagement that stands, newest first."""

    kinds: tuple[Kind, ...]
    window_ms: int
    min_favourites: int = 0
    """Of the post, by everyone."""
    without: tuple[Kind, ...] = ()
    """Feedback by the user that takes a post out."""


@dataclass(frozen=True)
class Written:
    """The user's own posts that are no reply, quote or repost."""

    window_ms: int


@dataclass(frozen=True)
class Clicked:
    """Posts opened for long enough in all, without negatively engaged ones."""

    min_ms: int


@dataclass(frozen=True)
class Watched:
    """Videos of 10 s or more of which enough was watched at once."""

    min_share: float
    or_ms: int | None
    """So many milliseconds suffice, whatever the share."""
    window_ms: int = _QUARTER_MS


@dataclass(frozen=True)
class Tied:
    """Accounts related to, newest first, at most 200."""

    relation: str
    delay_ms: int = 0
    window_ms: int = _QUARTER_MS


@dataclass(frozen=True)
class Visited:
    """Accounts visited often, not followed and not of adult content, most visits first."""

    window_ms: int
    min_visits: int
    no_negative: bool = False
    """Without muted and blocked accounts."""


@dataclass(frozen=True)
class ProfileClicked:
    """Profiles stayed on for long enough in all, without negatively engaged accounts."""

    min_ms: int
    filtered: bool = False
    """Without muted and blocked ones too."""


@dataclass(frozen=True)
class Negative:
    """Posts with negative feedback that stands, or their authors, newest first."""

    kinds: tuple[Kind, ...]
    authors: bool = False
    window_ms: int = _QUARTER_MS


@dataclass(frozen=True)
class Scored:
    """Accounts not followed, by real-graph score, without negatively engaged ones."""


@dataclass(frozen=True)
class Unified:
    """Several lists as one, by target: the sum of the weights, and the latest time."""

    weights: tuple[tuple[SignalType, float], ...]


Rule = (
    Engaged
    | Written
    | Clicked
    | Watched
    | Tied
    | Visited
    | ProfileClicked
    | Negative
    | Scored
    | Unified
    | None
)

REPOSTS = (Kind.REPOST, Kind.QUOTE)
FEEDBACK = (Kind.NOT_INTERESTED, Kind.SHOW_LESS, Kind.REPORT)

RULES: dict[SignalType, Rule] = {
    **dict.fromkeys(SignalType, None),
    S.TWEET_FAVORITE: Engaged((Kind.FAVOURITE,), _DECLARED_MS, min_favourites=10),
    S.RETWEET: Engaged(REPOSTS, _DECLARED_MS, min_favourites=10),
    S.ORIGINAL_TWEET: Written(_DECLARED_MS),
    S.REPLY: Engaged((Kind.REPLY,), _DECLARED_MS),
    S.TWEET_SHARE: Engaged((Kind.SHARE,), 14 * DAY_MS),
    # The original empties the whole list where the first engagement is over 90 days old, and
    # else keeps all: here each engagement stands the test.
    S.TWEET_FAVORITE_90D: Engaged((Kind.FAVOURITE,), _QUARTER_MS),
    S.RETWEET_90D: Engaged(REPOSTS, _QUARTER_MS),
    S.ORIGINAL_TWEET_90D: Written(_QUARTER_MS),
    S.REPLY_90D: Engaged((Kind.REPLY,), _QUARTER_MS),
    S.GOOD_TWEET_CLICK_2S: Clicked(2_000),
    S.GOOD_TWEET_CLICK_5S: Clicked(5_000),
    S.GOOD_TWEET_CLICK_10S: Clicked(10_000),
    S.GOOD_TWEET_CLICK_30S: Clicked(30_000),
    S.VIDEO_QUALITY_VIEW_90D: Watched(0.95, 10_000),
    S.VIDEO_PLAYBACK_50_90D: Watched(0.5, None),
    S.ACCOUNT_FOLLOW: Tied("follows"),
    # The original's cache shows a follow up to five minutes late.
    S.ACCOUNT_FOLLOW_WITH_DELAY: Tied("follows", delay_ms=300_000),
    S.ACCOUNT_BLOCK: Tied("blocks"),
    S.ACCOUNT_MUTE: Tied("mutes"),
    S.REPEATED_PROFILE_VISIT_14D: Visited(14 * DAY_MS, 2),
    S.REPEATED_PROFILE_VISIT_90D: Visited(90 * DAY_MS, 6),
    S.REPEATED_PROFILE_VISIT_180D: Visited(180 * DAY_MS, 6),
    S.REPEATED_PROFILE_VISIT_14D_NO_NEGATIVE: Visited(14 * DAY_MS, 2, no_negative=True),
    S.REPEATED_PROFILE_VISIT_90D_NO_NEGATIVE: Visited(90 * DAY_MS, 6, no_negative=True),
    S.REPEATED_PROFILE_VISIT_180D_NO_NEGATIVE: Visited(180 * DAY_MS, 6, no_negative=True),
    S.GOOD_PROFILE_CLICK_10S: ProfileClicked(10_000),
    S.GOOD_PROFILE_CLICK_20S: ProfileClicked(20_000),
    S.GOOD_PROFILE_CLICK_30S: ProfileClicked(30_000),
    S.GOOD_PROFILE_CLICK_10S_FILTERED: ProfileClicked(10_000, filtered=True),
    S.GOOD_PROFILE_CLICK_20S_FILTERED: ProfileClicked(20_000, filtered=True),
    S.GOOD_PROFILE_CLICK_30S_FILTERED: ProfileClicked(30_000, filtered=True),
    S.NOTIFICATION_OPEN: Engaged(
        (Kind.NOTIFICATION_OPEN,), _QUARTER_MS, without=(Kind.NOT_INTERESTED, Kind.REPORT)
    ),
    S.NEGATIVE_TWEET: Negative(FEEDBACK),
    S.NEGATIVE_USER: Negative(FEEDBACK, authors=True),
    S.TWEET_DONT_LIKE: Negative((Kind.NOT_INTERESTED,)),
    S.TWEET_SEE_FEWER: Negative((Kind.SHOW_LESS,)),
    S.TWEET_REPORT: Negative((Kind.REPORT,)),
    S.REAL_GRAPH_OON: Scored(),
    # The weights were not published; these are the specification's proposal.
    S.TWEET_BY_ENGAGEMENT: Unified(
        (
            (S.TWEET_FAVORITE, 1.0),
            (S.RETWEET, 2.0),
            (S.REPLY, 2.0),
            (S.ORIGINAL_TWEET, 1.0),
            (S.TWEET_SHARE, 2.0),
            (S.VIDEO_QUALITY_VIEW_90D, 0.5),
        )
    ),
    S.PRODUCER_BY_ENGAGEMENT: Unified(
        ((S.ACCOUNT_FOLLOW, 2.0), (S.REPEATED_PROFILE_VISIT_90D, 1.0))
    ),
}
"""How each type is made; None where nothing ever makes it."""

VISITS = frozenset(kind for kind, rule in RULES.items() if isinstance(rule, Visited))
"""Of accounts that the user visits again and again."""

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
    "video_quality_view_90d",
    "notification_open",
    "account_follow",
    "repeated_profile_visit_14d",
    "good_profile_click_10s",
    "real_graph_oon",
]
"""Signals of the user-signal service that may seed candidates."""

SourceName = Literal[
    "cached",
    "in_network",
    "user_tweet_entity_graph",
    "cr_mixer",
    "follow_recommendations",
    "lists",
    "popular_videos",
    "backfill",
    "popular",
]
"""The candidate sources of For You."""


class SimClustersAnnSettings(Group):
    """The search by communities (`SANN`)."""

    max_results: int = Field(200, ge=1, le=1_000)
    """Posts of each source."""
    max_posts_per_community: int = Field(200, ge=1)
    """Scanned by each shard (published: callers ask for 800, of which the service's own limit
    leaves 200)."""
    max_communities: int = Field(50, ge=1)
    """Of a source that are scanned."""
    max_age_ms: int = Field(24 * HOUR_MS, ge=1)
    """Of posts found (published: 48 hours in other presets of the service)."""
    min_interested_in: float = Field(0.072, ge=0, le=1)
    """Cosines must be greater: of posts and what the viewer is interested in,"""
    min_tweet: float = Field(0.5, ge=0, le=1)
    """of posts and a post,"""
    min_producer: float = Field(0.7, ge=0, le=1)
    """of posts and an author."""


class TwhinAnnSettings(Group):
    """The search by TwHIN's vectors; its index keeps the published 800 candidates (`ef`)."""

    max_results: int = Field(200, ge=1, le=1_000)
    """Posts of each source."""
    max_age_ms: int = Field(48 * HOUR_MS, ge=1)
    """Of posts found. Not published: cr-mixer's own limit of 720 hours is more than any post
    keeps its vector for."""


TweetEngine = Literal["simclusters_ann", "user_video_graph", "user_tweet_graph", "twhin_ann"]
ProducerEngine = Literal["simclusters_ann", "user_tweet_graph"]
ViewerEngine = Literal["interested_in", "consumer_twhin"]
Blender = Literal["round_robin", "count_weighted", "back_fill", "similarity"]


class CrMixerSettings(Group):
    """Which engines answer which signals, and how their answers become one list."""

    tweet_engines: tuple[TweetEngine, ...] = ("simclusters_ann", "user_tweet_graph")
    """Of a post the viewer engaged with. Whatever their order here, they take turns in the
    published one."""
    producer_engines: tuple[ProducerEngine, ...] = ("simclusters_ann",)
    """Of an account the viewer follows or visits."""
    viewer_engines: tuple[ViewerEngine, ...] = ("interested_in", "consumer_twhin")
    """Of the viewer (published: `consumer_twhin` off; nothing else here asks for it)."""
    user_tweet_graph_first: bool = True
    """Of an account, the user-tweet graph's posts come before the others (published)."""
    results_per_signal: int = Field(200, ge=1)
    depth: float = Field(6.0, ge=1)
    """How many times its even share of the candidates and of what the viewer has seen a list is
    asked for, where lists take equal turns: these hardly reach deeper. Not published."""
    max_age_ms: int = Field(720 * HOUR_MS, ge=1)
    """Of candidates; from 720 hours on nothing is left out (published)."""
    max_blended: int = Field(2_000, ge=1)
    """Candidates that are ranked (`MaxCandidatesToRank`)."""
    max_results: int = Field(400, ge=1)
    """Candidates that the home timeline asks for."""
    blender: Blender = "round_robin"
    back_fill: tuple[SignalName, ...] = ("repeated_profile_visit_14d",)
    """Signals whose posts the blender `back_fill` puts last."""
    evenness: float = Field(1.0, ge=0, le=1)
    """Of the blender `count_weighted`: 1 for equal turns, 0 for turns by a list's length."""


class CoEngagementSettings(Group):
    """Posts engaged with by the same users: which count, which pass, and how many of them."""

    max_results: int = Field(200, ge=1, le=1_000)
    """Posts related to each key."""
    max_candidates: int = Field(200, ge=0, le=1_000)
    """Of the source of the same name, from all keys together; not published."""
    max_age_ms: int = Field(48 * HOUR_MS, ge=1)
    """Of engagements, and of posts found."""
    max_engagers: int = Field(100, ge=1, le=1_000)
    """Users drawn of those who engaged with a post."""
    max_consumers: int = Field(100, ge=1, le=1_000)
    """Users of a list that count."""
    max_followers: int = Field(500, ge=1, le=5_000)
    """Newest followers of an account that count."""
    below_user_degree: int = Field(100, ge=1, le=2_000)
    """Users with so many engagements or more do not count: they tell little."""
    below_follower_degree: int = Field(100, ge=1, le=2_000)
    """The same of followers, who also need two at least."""
    min_query_degree: int = Field(2, ge=0)
    """Engagements of a post that is a key (published: 10, which a small world seldom has)."""
    min_result_degree: int = Field(2, ge=0)
    """A post found has more engagements than that (published: 50)."""
    min_cooccurrence_posts: int = Field(3, ge=1)
    """Users who share a post found, of those who engaged with a post,"""
    min_cooccurrence_consumers: int = Field(3, ge=1)
    """of a list,"""
    min_cooccurrence_producers: int = Field(4, ge=1)
    """of those who follow an account."""
    min_score_posts: float = Field(0.5, ge=0)
    """Scores are greater, of posts by posts,"""
    min_score_consumers: float = Field(0.0, ge=0)
    """by a list (cr-mixer: 4, where it takes the engagers of a thin post for a list),"""
    min_score_producers: float = Field(3.0, ge=0)
    """by an account (cr-mixer's)."""


class UserTweetGraphSettings(CoEngagementSettings):
    """The user-tweet graph: favourites and reposts."""


class UserVideoGraphSettings(CoEngagementSettings):
    """The user-video graph: watches of half a video."""

    max_consumers: int = Field(200, ge=1, le=1_000)
    below_follower_degree: int = Field(500, ge=1, le=2_000)
    min_cooccurrence_posts: int = Field(3, ge=1)
    """Published for cr-mixer: 5, which a small world seldom has."""
    min_score_posts: float = Field(0.0, ge=0)


class MinProofSettings(Group):
    """How many of those whom the viewer follows prove a post by each engagement; 0: it proves
    nothing, and is not told as a reason. Any one of them suffices."""

    favourite: int = Field(1, ge=0)
    repost: int = Field(1, ge=0)
    """Published for Home, as of the two below: 0, for favourites alone; with fewer posts in the
    world the others are worth having."""
    reply: int = Field(1, ge=0)
    quote: int = Field(1, ge=0)


class UserTweetEntityGraphSettings(Group):
    """Social proof and walks; how many posts with proofs are returned is in `for_you`."""

    min_proofs: MinProofSettings = MinProofSettings()
    """Which proofs count; all of a post's engagements make its score, whichever prove it."""
    popular_first: bool = True
    """Of posts with proofs of the same weight the most favoured come first. Not published: nearly
    all of the original's have several proofs."""
    walks: int = Field(3_000, ge=1, le=100_000)
    """Random walks that set out from the viewer and the seeds (GraphJet's default: 1,000)."""
    walk_results: int = Field(0, ge=0, le=1_000)
    """Posts found by walks alone; 0 for no walks, as published."""


class FollowRecommendationsSettings(Group):
    """Which accounts are recommended, and posts of them (the follow-recommendations service)."""

    max_seeds: int = Field(100, ge=0, le=500)
    """Accounts whose posts are looked for (`MaxConsumerSeedsNum`)."""
    max_per_author: int = Field(100, ge=1, le=100)
    max_posts: int = Field(100, ge=0, le=500)
    window_ms: int = Field(24 * HOUR_MS, ge=0)
    """Doubled for light users."""
    page_size: int = Field(12, ge=1, le=500)
    """Accounts that are checked at once before they are told (`BatchSize`)."""
    first_n: int = Field(100, ge=1, le=1_000)
    """Accounts that go on after ranking."""
    engagement_window_ms: int = Field(14 * 24 * HOUR_MS, ge=0)
    engagement_half_life_ms: int = Field(24 * HOUR_MS, ge=1)
    max_engaged: int = Field(50, ge=0, le=200)
    min_profile_visits: int = Field(3, ge=1)
    walk_follows: int = Field(100, ge=0, le=500)
    """Newest follows from which the two-hop walk sets out, and ..."""
    walk_followees: int = Field(100, ge=0, le=500)
    """... newest follows of each at which it ends. (The original reads finished walks.)"""
    walk_results: int = Field(200, ge=0, le=1_000)
    recent_follows: int = Field(5, ge=0, le=100)
    recent_followees: int = Field(20, ge=0, le=500)
    loops: int = Field(100, ge=0, le=1_000)
    max_first_degree: int = Field(200, ge=0, le=500)
    """Users over whom strong ties are predicted."""
    mutuals_of_each: int = Field(50, ge=0, le=200)
    max_mutuals: int = Field(100, ge=0, le=500)
    strong_ties: int = Field(200, ge=0, le=1_000)
    low_reputation: float = Field(40.0, ge=0, le=100)
    """Follows with less lead to strong ties too; the original's bound was not published."""
    similar_seeds: int = Field(10, ge=0, le=100)
    similar_of_each: int = Field(40, ge=0, le=400)
    similar_results: int = Field(200, ge=0, le=1_000)
    similar_aggregate: Literal["sum", "max", "multi_decay"] = "sum"
    salsa_neighbours: int = Field(400, ge=0, le=2_000)
    """Published: 2,000, of lists made beforehand."""
    salsa_connectors: int = Field(2, ge=1)
    real_graph_first: int = Field(50, ge=0, le=200)
    real_graph_second: int = Field(40, ge=0, le=200)
    real_graph_oon_score: float = Field(0.26, ge=0, le=1)
    real_graph_oon_results: int = Field(200, ge=0, le=1_000)
    graph_seeds: int = Field(100, ge=0, le=500)
    """Newest follows that set out in the user-user graph."""
    graph_window_ms: int = Field(7 * 24 * HOUR_MS, ge=0)
    graph_min_proofs: int = Field(2, ge=1)
    graph_results: int = Field(50, ge=0, le=500)
    popular_window_ms: int = Field(30 * 24 * HOUR_MS, ge=60_000)
    """Follows that make popular."""
    popular_results: int = Field(40, ge=0, le=500)
    ppmi_results: int = Field(100, ge=0, le=500)
    ppmi_min_follows: int = Field(3, ge=1)
    """From the locale: a rarer account says nothing of it."""
    topic_window_ms: int = Field(7 * 24 * HOUR_MS, ge=0)
    inactive_ms: int = Field(60 * 24 * HOUR_MS, ge=0)
    """Who posted nothing for so long is not recommended."""
    hidden_labels: tuple[str, ...] = ("nsfw", "spam", "abuse")
    """Accounts with any of these safety labels are not recommended."""


class ListsSettings(Group):
    """Posts of the members of the viewer's own lists."""

    max_lists: int = Field(20, ge=0, le=100)
    """The newest are looked at (published)."""
    posts_per_list: int = Field(20, ge=1, le=1_000)
    """Published."""
    members_per_list: int = Field(500, ge=1)
    """Those added last. Not published: bounds what travels."""


class PopularVideosSettings(Group):
    """Popular videos of people whom the viewer does not follow."""

    results: int = Field(40, ge=1)
    """Published."""
    per_author: int = Field(2, ge=1)
    """Not published."""


class BackfillSettings(Group):
    """Posts of the Following timeline, for viewers who were away."""

    fetched: int = Field(200, ge=1)
    """Published."""
    max_shown: int = Field(50, ge=0)
    """In one answer (published)."""
    away_ms: int = Field(24 * HOUR_MS, ge=0)
    """Only for those whose last request is longer ago, or unknown (published: 24 hours)."""


class CachedPostsSettings(Group):
    """Posts scored for a viewer a moment ago, which need no model."""

    ttl_ms: int = Field(180_000, ge=0, le=3_600_000)
    """Since they were first scored (published: 3 minutes); 0 for no cache."""
    max_posts: int = Field(1_000, ge=1)
    """Of one viewer, the best (published)."""
    max_bytes: int = Field(256 * 2**20, ge=0)
    """Held by one shard; beyond it the viewers who wait longest are forgotten. Not published."""
    enough: int = Field(30, ge=1, le=1_000)
    """A source with so many unseen cached posts is not asked (published)."""


class QualityFactorSettings(Group):
    """How much of each source's fetch is left when it is slow (all published)."""

    least: float = Field(0.1, gt=0, le=1)
    most: float = Field(1.0, gt=0, le=1)
    start: float = Field(0.95, gt=0, le=1)
    percentile: float = Field(95.0, ge=50, lt=100)
    """Of requests that shall be within the target."""
    step: float = Field(0.00125, gt=0, le=1)
    """Added by one within the target; one that misses takes p / (100 − p) times as much."""
    warm_up_s: float = Field(60.0, ge=0)
    """After the start, in which nothing counts."""
    fetch_target_ms: float = Field(300.0, gt=0)
    """Of fetching a source's candidates, and"""
    score_target_ms: float = Field(700.0, gt=0)
    """of the heavy ranker with its inputs (published, both)."""


class AgeDecaySettings(Group):
    """base + (1 − base)/(1 + e^{slope·(age − half-life)}); Earlybird's default values."""

    slope_per_minute: float = Field(0.003, gt=0)
    half_life_minutes: float = Field(360.0, ge=0)
    base: float = Field(0.6, ge=0, lt=1)


class InNetworkSettings(Group):
    """The search among posts of followed authors; its sizes are in `for_you`."""

    over_fetch: float = Field(2.0, ge=1, le=10)
    """How many times the results that are returned are looked for, so that enough are left
    when some may not be shown (published)."""
    max_excluded: int = Field(1_500, ge=0)
    """Seen posts that are not looked for (published)."""
    max_repost_copies: int = Field(5, ge=1)
    """Of one post (published)."""
    extended_replies: bool = True
    """Take replies to strangers where these began the conversation (published)."""
    age_decay: AgeDecaySettings | None = None
    """A factor on what the light ranker says; none, as Home asks for. A trained light ranker
    has weighed the age already, so this is for one that has not."""


class SourceSettings(Group):
    """What the candidate sources look for, and how much of it."""

    off: tuple[SourceName, ...] = ()
    """Sources that are not asked."""
    signals: tuple[SignalName, ...] = (
        *("tweet_favorite_90d", "account_follow", "repeated_profile_visit_14d"),
    )
    """Which of a viewer's signals seed candidates (cr-mixer's defaults)."""
    max_signals: int = Field(15, ge=0, le=100)
    """Of each type (`UnifiedMaxSourceKeyNum`)."""
    in_network: InNetworkSettings = InNetworkSettings()
    lists: ListsSettings = ListsSettings()
    popular_videos: PopularVideosSettings = PopularVideosSettings()
    backfill: BackfillSettings = BackfillSettings()
    cached: CachedPostsSettings = CachedPostsSettings()
    quality_factor: QualityFactorSettings = QualityFactorSettings()
    simclusters_ann: SimClustersAnnSettings = SimClustersAnnSettings()
    twhin_ann: TwhinAnnSettings = TwhinAnnSettings()
    cr_mixer: CrMixerSettings = CrMixerSettings()
    user_tweet_graph: UserTweetGraphSettings = UserTweetGraphSettings()
    user_video_graph: UserVideoGraphSettings = UserVideoGraphSettings()
    user_tweet_entity_graph: UserTweetEntityGraphSettings = UserTweetEntityGraphSettings()
    follow_recommendations: FollowRecommendationsSettings = FollowRecommendationsSettings()

    @property
    def caches(self) -> bool:
        """Whether posts are cached: not where the source of cached posts is off."""
        return self.cached.ttl_ms > 0 and "cached" not in self.off

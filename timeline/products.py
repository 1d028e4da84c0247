"""The products: For You and Following, each read from top to bottom."""

from functools import partial

from actors.models import HEAVY_RANKER, LIGHT_RANKER, Models
from actors.ranker import NO_RANKER, Ranker
from timeline import filters, mixing
from timeline.heavy_ranker import best_by_light_ranker, heavy_ranker
from timeline.hydration import complete, fetch_viewer
from timeline.pipeline import (
    Extend,
    Filter,
    Pipeline,
    Prepare,
    Rescore,
    Retrieve,
    Score,
    Select,
    Source,
)
from timeline.scoring import author_diversity, light_ranker
from timeline.sources.backfill import Backfill
from timeline.sources.cached import Cached
from timeline.sources.cr_mixer import CrMixer
from timeline.sources.follow_recommendations import FollowRecommendations
from timeline.sources.following import Following
from timeline.sources.in_network import InNetwork
from timeline.sources.lists import Lists
from timeline.sources.popular import Popular
from timeline.sources.popular_videos import PopularVideos
from timeline.sources.user_tweet_entity_graph import UserTweetEntityGraph


def for_you_sources() -> list[Source]:
    """The candidate sources in the order of their merging: a post counts under the first."""
    found: list[Source] = [
        InNetwork(),
        UserTweetEntityGraph(),
        CrMixer(),
        FollowRecommendations(),
        Lists(),
        PopularVideos(),
        Backfill(),
        Popular(),
    ]
    names = [Cached.name, *(source.name for source in found)]
    return [Cached(names), *found]


_WINDOWED = ("in_network", "user_tweet_entity_graph", "popular", "cached")
"""Sources that do not know how old a post is, or leave the windows to the filter; what is
cached passed it before."""


def for_you(models: Models, ranker: Ranker = NO_RANKER) -> Pipeline:
    """Candidates of all sources, ranked, filtered and mixed."""
    sources = for_you_sources()
    names = [source.name for source in sources]
    windowed = sum(1 << names.index(name) for name in _WINDOWED)
    mixed = sum(1 << names.index(name) for name in ("cr_mixer", "cached"))
    backfill = names.index("backfill")
    return Pipeline(
        "for_you",
        [
            Prepare("viewer_context", partial(fetch_viewer, ranker=ranker)),
            Retrieve("candidates", sources),
            Extend("hydration", complete),
            Filter("unknown_or_deleted", filters.known),
            Filter("protected", filters.not_protected),
            Filter("window", partial(filters.recent, windowed)),
            Filter("mixer_replies", partial(filters.no_replies, mixed)),
            Filter("own_posts", filters.not_own),
            Filter("blocked", filters.not_blocked),
            Filter("muted", filters.not_muted),
            Filter("repost_duplicates", filters.one_per_repost),
            Filter("seen", filters.not_seen),
            Filter("served", filters.not_served),
            Filter("negative_feedback", filters.not_disliked),
            Score(LIGHT_RANKER, partial(light_ranker, models)),
            Select("best_by_light_ranker", best_by_light_ranker),
            Score(HEAVY_RANKER, partial(heavy_ranker, ranker)),
            Rescore("author_diversity", author_diversity),
            Select("best_per_author", mixing.best_per_author_out_of_network),
            Select("few_of_backfill", partial(mixing.few_of_backfill, backfill)),
            Select("page", mixing.page),
        ],
    )


def following() -> Pipeline:
    """Every post of those the viewer follows, newest first; nothing is ranked."""
    return Pipeline(
        "following",
        [
            Prepare("viewer_context", partial(fetch_viewer, with_tastes=False)),
            Retrieve("candidates", [Following()]),
            Extend("hydration", complete),
            Filter("unknown_or_deleted", filters.known),
            Filter("served", filters.after_cursor),
            Filter("blocked", filters.not_blocked),
            Filter("muted", filters.not_muted),
            Filter("own_posts", filters.not_own),
            Select("page", mixing.newest_first),
        ],
    )

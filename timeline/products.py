"""The products: For You, Following and lists, each read from top to bottom."""

from collections.abc import Sequence
from functools import partial

from actors.models import HEAVY_RANKER, LIGHT_RANKER, Models
from actors.ranker import NO_RANKER, Ranker
from cluster.settings import DAY_MS
from cluster.switches import Switches
from timeline import balance, filters, mixing, walks
from timeline.edits import newest_versions
from timeline.heavy_ranker import best_by_light_ranker, heavy_ranker
from timeline.hydration import complete, fetch_viewer
from timeline.late_filters import late_filters, not_muted_topic, subscribed
from timeline.page_facts import (
    OF_A_PAGE,
    explained,
    factors,
    page_facts,
    page_facts_of_all,
    visible,
)
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
from timeline.query import Query
from timeline.scoring import light_ranker
from timeline.sources.backfill import Backfill
from timeline.sources.cached import Cached
from timeline.sources.cr_mixer import CrMixer
from timeline.sources.follow_recommendations import FollowRecommendations
from timeline.sources.following import Following
from timeline.sources.in_network import InNetwork
from timeline.sources.list_posts import ListPosts
from timeline.sources.lists import Lists
from timeline.sources.popular import Popular
from timeline.sources.popular_videos import PopularVideos
from timeline.sources.user_tweet_entity_graph import UserTweetEntityGraph
from timeline.top_posts import top_posts
from timeline.visibility import all_at, for_you_levels
from timeline.visibility_actions import Level

FOR_YOU, FOLLOWING, LISTS, TOP_POSTS = "for_you", "following", "lists", "top_posts"
ORDERED = (FOLLOWING, LISTS)
"""Products ordered by time."""


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


def all_products(models: Models, ranker: Ranker, switches: Switches) -> list[Pipeline]:
    """Every product, in the order by which cursors number them."""
    return [
        for_you(models, ranker, switches),
        following(switches),
        lists(switches),
        top_posts(models, ranker),
    ]


def for_you(
    models: Models, ranker: Ranker = NO_RANKER, switches: Switches | None = None
) -> Pipeline:
    """Candidates of all sources, ranked, filtered and mixed."""
    sources = for_you_sources()
    names = [source.name for source in sources]
    windowed = sum(1 << names.index(name) for name in _WINDOWED)
    mixed = sum(1 << names.index(name) for name in ("cr_mixer", "cached"))
    social_context = Filter("social_context", partial(explained, tuple(names)))
    return Pipeline(
        FOR_YOU,
        [
            Prepare("viewer_context", partial(fetch_viewer, ranker=ranker)),
            Prepare("experiments", partial(choose_arms, switches)),
            Retrieve("candidates", sources),
            Extend("hydration", complete),
            Filter("unknown_or_deleted", filters.known, safety=True),
            Filter("replaced_by_edit", newest_versions),
            Filter("protected", filters.not_protected, safety=True),
            Filter("window", partial(filters.recent, windowed)),
            Filter("mixer_replies", partial(filters.no_replies, mixed)),
            Filter("own_posts", filters.not_own),
            Filter("blocked", filters.not_blocked, safety=True),
            Filter("muted", filters.not_muted, safety=True),
            Filter("visibility", partial(visible, for_you_levels), safety=True),
            Filter("repost_duplicates", filters.one_per_repost),
            Filter("seen", filters.not_seen),
            Filter("served", filters.not_served),
            Filter("negative_feedback", filters.not_disliked),
            *(Filter(one.name, one.keep) for one in late_filters() if one.name not in OF_A_PAGE),
            Score(LIGHT_RANKER, partial(light_ranker, models)),
            Select("best_by_light_ranker", best_by_light_ranker),
            Score(HEAVY_RANKER, partial(heavy_ranker, ranker)),
            Rescore("heuristics", factors),
            Select("best_per_author", mixing.best_per_author_out_of_network),
            page_facts(for_you_levels, [social_context]),
            Select("page", partial(balance.page, names.index("backfill"))),
        ],
    )


def following(switches: Switches | None = None) -> Pipeline:
    """Every post of those the viewer follows, newest first; nothing is ranked."""
    own = Filter("own_posts", filters.not_own)
    return _newest_first(FOLLOWING, Following(), Level.FOLLOWING, switches, [own])


def lists(switches: Switches | None = None) -> Pipeline:
    """Every post of the members of a list of the viewer's own, newest first."""
    return _newest_first(LISTS, ListPosts(), Level.LISTS, switches)


def _newest_first(
    name: str,
    source: Source,
    level: Level,
    switches: Switches | None,
    more: Sequence[Filter] = (),
) -> Pipeline:
    levels = partial(all_at, level)
    return Pipeline(
        name,
        [
            Prepare("viewer_context", partial(fetch_viewer, with_tastes=False)),
            Prepare("experiments", partial(choose_arms, switches)),
            Retrieve("candidates", [source]),
            Extend("hydration", complete),
            Filter("unknown_or_deleted", filters.known, safety=True),
            Filter("replaced_by_edit", newest_versions),
            Filter("served", walks.within),
            Filter("protected", filters.not_protected, safety=True),
            Filter("blocked", filters.not_blocked, safety=True),
            Filter("muted", filters.not_muted, safety=True),
            Filter("visibility", partial(visible, levels), safety=True),
            Filter("negative_feedback", filters.not_disliked),
            Filter("subscription", subscribed),
            Filter("muted_topics", not_muted_topic),
            *more,
            page_facts_of_all(levels),
            Select("page", walks.newest_first),
        ],
    )


def choose_arms(switches: Switches | None, query: Query) -> bool:
    """A `Prepare` stage: the settings of the experiments that the viewer is part of."""
    if switches is None or not query.own_settings:
        return True
    state = query.state
    age_days = (query.now_ms - state.created_ms) / DAY_MS if state.created_ms else None
    chosen = switches.for_viewer(
        query.viewer_id,
        country=state.country,
        language=query.viewer.language,
        account_age_days=age_days,
    )
    query.settings, query.arms = chosen.settings, chosen.arms
    return True

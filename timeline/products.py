"""The products: For You, Following, lists and popular posts, each read from top to bottom."""

from collections.abc import Sequence
from functools import partial

from actors.models import HEAVY_RANKER, LIGHT_RANKER, Models
from actors.ranker import NO_RANKER, Ranker
from cluster.switches import Switches
from timeline import balance, filters, mixing, threads, walks
from timeline.edits import newest_versions
from timeline.experiments import choose_arms
from timeline.heavy_ranker import best_by_light_ranker, heavy_ranker
from timeline.hydration import complete, fetch_viewer
from timeline.late_filters import (
    in_chosen_language,
    in_languages_only,
    late_filters,
    not_muted_topic,
    subscribed,
)
from timeline.modules import ahead_of_modules
from timeline.page_facts import (
    OF_A_PAGE,
    explained,
    factors,
    page_facts,
    page_facts_of_all,
    reposts_in,
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
from timeline.scoring import light_ranker
from timeline.sources.backfill import Backfill
from timeline.sources.cached import Cached
from timeline.sources.cr_mixer import CrMixer
from timeline.sources.follow_recommendations import FollowRecommendations
from timeline.sources.following import Following, own_where_wanted
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
POPULAR = "popular"
ORDERED = (FOLLOWING, LISTS)
"""Products ordered by time."""
OF_ONE_PAGE = (TOP_POSTS, POPULAR)
"""Products without cursors."""
FALLBACKS = {FOR_YOU: (FOLLOWING, POPULAR)}
"""Product → what takes its place where it fails, in order."""


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
        top_posts(models, ranker, switches),
        popular(switches),
    ]


def for_you(
    models: Models, ranker: Ranker = NO_RANKER, switches: Switches | None = None
) -> Pipeline:
    """Candidates of all sources, ranked, filtered and mixed."""
    sources = for_you_sources()
    names = [source.name for source in sources]
    windowed = sum(1 << names.index(name) for name in _WINDOWED)
    mixed = sum(1 << names.index(name) for name in ("cr_mixer", "cached"))
    viewer = partial(fetch_viewer, ranker=ranker)
    of_page = [
        Filter("social_context", partial(explained, tuple(names))),
        Filter("repost_languages", partial(reposts_in, in_chosen_language)),
    ]
    return Pipeline(
        FOR_YOU,
        [
            Prepare("viewer_context", viewer),
            Prepare("experiments", partial(choose_arms, switches, viewer)),
            Retrieve("candidates", sources, beside=partial(ahead_of_modules, FOR_YOU)),
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
            page_facts(for_you_levels, of_page),
            Select("page", partial(balance.page, names.index("backfill"))),
        ],
    )


def following(switches: Switches | None = None) -> Pipeline:
    """Every post of the viewer and those they follow, newest first; nothing is ranked."""
    own = Filter("own_posts", own_where_wanted)
    return _newest_first(FOLLOWING, Following(), Level.FOLLOWING, switches, [own])


def lists(switches: Switches | None = None) -> Pipeline:
    """Every post of the members of a list of the viewer's own, newest first."""
    return _newest_first(LISTS, ListPosts(), Level.LISTS, switches)


def popular(switches: Switches | None = None) -> Pipeline:
    """What everybody engages with, most popular first: the last resort, which needs no model and
    nobody to follow."""
    viewer = partial(fetch_viewer, with_tastes=False)
    of_page = [Filter("repost_languages", partial(reposts_in, in_chosen_language))]
    return Pipeline(
        POPULAR,
        [
            Prepare("viewer_context", viewer),
            Prepare("experiments", partial(choose_arms, switches, viewer)),
            Retrieve("candidates", [Popular(for_everybody=True)]),
            Extend("hydration", complete),
            Filter("unknown_or_deleted", filters.known, safety=True),
            Filter("replaced_by_edit", newest_versions),
            Filter("protected", filters.not_protected, safety=True),
            Filter("own_posts", filters.not_own),
            Filter("blocked", filters.not_blocked, safety=True),
            Filter("muted", filters.not_muted, safety=True),
            Filter("visibility", partial(visible, for_you_levels), safety=True),
            Filter("repost_duplicates", filters.one_per_repost),
            Filter("seen", filters.not_seen),
            Filter("negative_feedback", filters.not_disliked),
            *(Filter(one.name, one.keep) for one in late_filters() if one.name not in OF_A_PAGE),
            page_facts(for_you_levels, of_page),
            Select("page", mixing.page),
        ],
    )


def _newest_first(
    name: str,
    source: Source,
    level: Level,
    switches: Switches | None,
    more: Sequence[Filter] = (),
) -> Pipeline:
    levels = partial(all_at, level)
    repost_languages = Filter("repost_languages", partial(reposts_in, in_languages_only))
    viewer = partial(fetch_viewer, with_tastes=False)
    return Pipeline(
        name,
        [
            Prepare("viewer_context", viewer),
            Prepare("experiments", partial(choose_arms, switches, viewer)),
            Retrieve("candidates", [source], beside=partial(ahead_of_modules, name)),
            Extend("hydration", complete),
            Filter("unknown_or_deleted", filters.known, safety=True),
            Filter("replaced_by_edit", newest_versions),
            Filter("served", walks.unshown),
            Filter("protected", filters.not_protected, safety=True),
            Filter("blocked", filters.not_blocked, safety=True),
            Filter("muted", filters.not_muted, safety=True),
            Filter("visibility", partial(visible, levels), safety=True),
            Filter("negative_feedback", filters.not_disliked),
            Filter("subscription", subscribed),
            Filter("muted_topics", not_muted_topic),
            Filter("languages", in_languages_only),
            *more,
            page_facts_of_all(levels, [repost_languages]),
            Select("page", threads.newest_entries),
        ],
    )

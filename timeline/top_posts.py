"""Top posts since you left: the best of what the viewer's network brought in the meantime.

A short ranked page in the manner of a notification. It has no cursor, and it is no visit:
nothing is recorded of it.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from actors.models import HEAVY_RANKER, LIGHT_RANKER, Models
from actors.ranker import NO_RANKER, Ranker
from actors.stores.newest_between import Place
from cluster.ids import MAX_ID
from cluster.settings import Settings
from cluster.switches import Switches
from timeline import filters, mixing, walks
from timeline.edits import newest_versions
from timeline.experiments import choose_arms
from timeline.heavy_ranker import best_by_light_ranker, heavy_ranker
from timeline.hydration import complete, fetch_viewer
from timeline.late_filters import in_chosen_language, late_filters
from timeline.page_facts import OF_A_PAGE, factors, page_facts, reposts_in, visible
from timeline.pipeline import Extend, Filter, Pipeline, Prepare, Rescore, Retrieve, Score, Select
from timeline.query import Query
from timeline.scoring import light_ranker
from timeline.sources.in_network import InNetwork
from timeline.sources.user_tweet_entity_graph import UserTweetEntityGraph
from timeline.visibility import all_at
from timeline.visibility_actions import Level

_LEVELS = partial(all_at, Level.TOP_POSTS)


def top_posts(
    models: Models, ranker: Ranker = NO_RANKER, switches: Switches | None = None
) -> Pipeline:
    """Unseen posts of those the viewer follows, and those that they engaged with, best first."""
    viewer = partial(fetch_viewer, with_cached=False, ranker=ranker)
    return Pipeline(
        "top_posts",
        [
            Prepare("viewer_context", viewer),
            Prepare("experiments", partial(choose_arms, switches, viewer)),
            Prepare("last_visit", since_last_visit),
            Retrieve("candidates", [InNetwork(), UserTweetEntityGraph()]),
            Extend("hydration", complete),
            Filter("unknown_or_deleted", filters.known, safety=True),
            Filter("replaced_by_edit", newest_versions),
            Filter("protected", filters.not_protected, safety=True),
            Filter("since_last_visit", walks.within),
            Filter("own_posts", filters.not_own),
            Filter("blocked", filters.not_blocked, safety=True),
            Filter("muted", filters.not_muted, safety=True),
            Filter("visibility", partial(visible, _LEVELS), safety=True),
            Filter("repost_duplicates", filters.one_per_repost),
            Filter("seen", filters.not_seen),
            Filter("negative_feedback", filters.not_disliked),
            *(Filter(one.name, one.keep) for one in late_filters() if one.name not in OF_A_PAGE),
            Score(LIGHT_RANKER, partial(light_ranker, models)),
            Select("best_by_light_ranker", best_by_light_ranker),
            Score(HEAVY_RANKER, partial(heavy_ranker, ranker)),
            Rescore("heuristics", factors),
            page_facts(
                _LEVELS, [Filter("repost_languages", partial(reposts_in, in_chosen_language))]
            ),
            Select("page", mixing.page),
        ],
    )


def since_last_visit(query: Query) -> bool:
    """A `Prepare` stage: have the sources look exactly as far back as the viewer was away.

    `query.walk.after`, where the request gave it, says since when; else the last visit does.
    """
    settings, asked = query.settings.products.top_posts, query.walk.after
    if asked is not None:
        left_ms: int | None = asked.created_ms
    else:
        left_ms = when_left_ms(query.state.visits_ms, query.now_ms, settings.visit_gap_ms)
    if left_ms is None:
        left_ms = query.now_ms - settings.unknown_ms
    since_ms = max(left_ms, query.now_ms - settings.window_ms)
    query.walk = replace(query.walk, after=Place(since_ms, MAX_ID))
    query.settings = _reaching_back(query.settings, max(query.now_ms - since_ms, 0))
    return True


def when_left_ms(visits_ms: Sequence[int], now_ms: int, gap_ms: int) -> int | None:
    """When the viewer was last here before the present visit; None where that is not known.

    `visits_ms` are the times of requests, newest first; those no more than `gap_ms` apart, or
    before `now_ms`, are one visit.
    """
    later_ms = now_ms
    for visit_ms in visits_ms:
        if later_ms - visit_ms > gap_ms:
            return visit_ms
        later_ms = visit_ms
    return None


def _reaching_back(settings: Settings, window_ms: int) -> Settings:
    names = ("in_network_ms", "in_network_light_ms", "out_of_network_ms")
    windows = settings.windows.model_copy(update=dict.fromkeys(names, window_ms))
    return settings.model_copy(update={"windows": windows})

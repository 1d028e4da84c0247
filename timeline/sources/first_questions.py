"""What sources ask the viewer's own shard before anything else.

None of it depends on what is known of the viewer, so it travels beside the viewer's context
(`timeline.hydration`); the source that asks it then has its answer at once.
"""

from collections.abc import Callable, Mapping

from actors.follow_ties import AskFollowTies
from actors.state import Question
from actors.viewer_questions import AskCountry, AskEngaged, AskLastServed, AskLists
from cluster.source_settings import SourceName
from timeline.query import Query

MAX_ENGAGED = 1_000
"""Of the viewer's own engagements whose posts are not found again."""


def of_ties(query: Query) -> AskFollowTies:
    """Of account recommendations: the viewer's ties."""
    settings = query.settings.sources.follow_recommendations
    return AskFollowTies(
        query.viewer_id,
        query.now_ms,
        max_follows=query.settings.for_you.max_follows,
        window_ms=settings.engagement_window_ms,
        half_life_ms=settings.engagement_half_life_ms,
        low_reputation=settings.low_reputation,
    )


def of_engaged(query: Query) -> AskEngaged:
    """Of the user-tweet-entity graph: which posts it is not to find again."""
    return AskEngaged(query.viewer_id, MAX_ENGAGED)


def of_lists(query: Query) -> AskLists:
    """Of lists: which the viewer has, and their members."""
    settings = query.settings.sources.lists
    return AskLists(query.viewer_id, settings.max_lists, settings.members_per_list)


def of_country(query: Query) -> AskCountry:
    """Of popular videos: where the viewer is."""
    return AskCountry(query.viewer_id)


def of_last_served(query: Query) -> AskLastServed:
    """Of backfill: whether the viewer was away."""
    return AskLastServed(query.viewer_id, query.now_ms - query.settings.sources.backfill.away_ms)


OF_SOURCES: Mapping[SourceName, Callable[[Query], Question]] = {
    "user_tweet_entity_graph": of_engaged,
    "follow_recommendations": of_ties,
    "lists": of_lists,
    "popular_videos": of_country,
    "backfill": of_last_served,
}


def of_sources(query: Query) -> list[Question]:
    """All of them, of sources that are not off."""
    off = query.settings.sources.off
    return [first(query) for name, first in OF_SOURCES.items() if name not in off]

"""UVG: videos that the same users watched half of (GraphJet's user-video graph).

As the user-tweet graph, over watches instead of favourites and reposts: see
`actors.watch_levels` for which of them count.
"""

from actors.co_engagement import GraphName
from actors.signal_types import SignalType
from cluster.ids import Ids
from cluster.source_settings import CoEngagementSettings
from timeline.findings import Finding
from timeline.query import Query
from timeline.sources.co_engagement import Related
from timeline.sources.user_tweet_graph import (
    UserTweetGraph,
    by_consumers,
    by_posts,
    by_producers,
)

_GRAPH: GraphName = "videos"


def related_by_posts(query: Query, post_ids: Ids, author_ids: Ids) -> Finding[Related]:
    """What those who watched each video (k,) also watched; three waves at most.

    One key a video, in the order given; nothing for posts without one.
    """
    chosen = query.settings.sources.user_video_graph
    return by_posts(query, _GRAPH, chosen, post_ids, author_ids)


def related_by_consumers(query: Query, user_ids: Ids) -> Finding[Related]:
    """What several of some users watched, as one key; two waves.

    Of more users than `max_consumers` the first count: give the best first.
    """
    return by_consumers(query, _GRAPH, query.settings.sources.user_video_graph, user_ids)


def related_by_producers(query: Query, account_ids: Ids) -> Finding[Related]:
    """What the newest followers of each account (k,) watched; three waves at most."""
    return by_producers(query, _GRAPH, query.settings.sources.user_video_graph, account_ids)


class UserVideoGraph(UserTweetGraph):
    """What users watched who watched what the viewer watched, or liked, lately."""

    name = "user_video_graph"
    _graph: GraphName = _GRAPH
    _signals: tuple[SignalType, ...] = (
        SignalType.VIDEO_QUALITY_VIEW_90D,
        SignalType.TWEET_FAVORITE_90D,
    )

    def _settings(self, query: Query) -> CoEngagementSettings:
        return query.settings.sources.user_video_graph

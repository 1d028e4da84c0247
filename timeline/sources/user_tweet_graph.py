"""UTG: posts that the same users favourited or reposted (GraphJet's user-tweet graph).

Three ways to what is related: to posts, by who engaged with them; to a list of users; and to
an account, by who follows it. All see what stands and is no older than the window.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from actors.co_engagement import GraphName, Normalisation
from actors.signal_lists import SignalList, joined
from actors.signal_types import SignalType
from cluster.ids import Ids
from cluster.source_settings import CoEngagementSettings
from timeline.candidates import ENGINES, NONE, Candidates, Mask, unhydrated
from timeline.findings import Finding
from timeline.query import Query
from timeline.sources.co_engagement import (
    Gates,
    Keys,
    Related,
    engagers_of,
    followers_of,
    one_list,
    related,
    similar,
)

_GRAPH: GraphName = "engagements"


def related_by_posts(query: Query, post_ids: Ids, author_ids: Ids) -> Finding[Related]:
    """What those who engaged with each post (k,) also engaged with; three waves at most.

    One key a post, in the order given. The post itself is not among what is related to it.
    """
    chosen = query.settings.sources.user_tweet_graph
    return by_posts(query, _GRAPH, chosen, post_ids, author_ids)


def related_by_consumers(query: Query, user_ids: Ids) -> Finding[Related]:
    """What several of some users engaged with, as one key; two waves.

    Of more users than `max_consumers` the first count: give the best first.
    """
    return by_consumers(query, _GRAPH, query.settings.sources.user_tweet_graph, user_ids)


def related_by_producers(query: Query, account_ids: Ids) -> Finding[Related]:
    """What the newest followers of each account (k,) engaged with; three waves at most."""
    return by_producers(query, _GRAPH, query.settings.sources.user_tweet_graph, account_ids)


def similar_by_engagers(
    query: Query,
    post_ids: Ids,
    author_ids: Ids,
    normalisation: Normalisation,
    *,
    min_score: float = 0.0,
) -> Finding[Related]:
    """Posts by how many of the users of each post they share (GraphJet's intersection
    similarity, or its log-cosine kin); otherwise as `related_by_posts`."""
    chosen = query.settings.sources.user_tweet_graph
    since_ms = _since_ms(query, chosen)
    if not len(post_ids):
        return _none(0)
    users = yield from engagers_of(
        query, _GRAPH, post_ids, author_ids, since_ms, chosen.max_engagers
    )
    keys = Keys(users, post_ids, replace(_of_posts(chosen), min_score=min_score))
    (found,) = yield from similar(query, _GRAPH, since_ms, [keys], normalisation)
    return found


def by_posts(
    query: Query,
    graph: GraphName,
    chosen: CoEngagementSettings,
    post_ids: Ids,
    author_ids: Ids,
) -> Finding[Related]:
    """`related_by_posts` of either graph."""
    since_ms = _since_ms(query, chosen)
    if not len(post_ids):
        return _none(0)
    users = yield from engagers_of(
        query, graph, post_ids, author_ids, since_ms, chosen.max_engagers
    )
    (found,) = yield from related(
        query, graph, since_ms, [Keys(users, post_ids, _of_posts(chosen))]
    )
    return found


def by_consumers(
    query: Query, graph: GraphName, chosen: CoEngagementSettings, user_ids: Ids
) -> Finding[Related]:
    """`related_by_consumers` of either graph."""
    if not len(user_ids):
        return _none(1)
    keys = _consumers(chosen, user_ids)
    (found,) = yield from related(query, graph, _since_ms(query, chosen), [keys])
    return found


def by_producers(
    query: Query, graph: GraphName, chosen: CoEngagementSettings, account_ids: Ids
) -> Finding[Related]:
    """`related_by_producers` of either graph."""
    if not len(account_ids):
        return _none(0)
    users = yield from followers_of(query, account_ids, chosen.max_followers)
    gates = Gates(
        min_cooccurrence=chosen.min_cooccurrence_producers,
        min_score=chosen.min_score_producers,
        min_result_degree=chosen.min_result_degree,
        min_query_degree=0,
        min_user_degree=2,
        below_user_degree=chosen.below_follower_degree,
        max_results=chosen.max_results,
    )
    keys = Keys(users, np.zeros(len(account_ids), np.int64), gates)
    (found,) = yield from related(query, graph, _since_ms(query, chosen), [keys])
    return found


class UserTweetGraph:
    """What users liked who liked what the viewer liked lately.

    The tweet-based form for each of the viewer's recent favourites, and the consumers-based
    one for those who share most of them. Their scores are of different scales, so the lists
    take turns: first of all the best of each, and a candidate's score is 1 / its turn.
    """

    name = "user_tweet_graph"
    gated = True
    _graph: GraphName = _GRAPH
    _signals: tuple[SignalType, ...] = (SignalType.TWEET_FAVORITE_90D,)

    def find(self, query: Query) -> Finding[Candidates]:
        """Ask who liked the posts, what else those liked, and how liked that is."""
        chosen = self._settings(query)
        liked, signals = self._liked(query)
        if not len(liked.target_ids) or not chosen.max_candidates:
            return NONE
        since_ms = _since_ms(query, chosen)
        users = yield from engagers_of(
            *(query, self._graph, liked.target_ids, liked.author_ids),
            *(since_ms, chosen.max_engagers),
        )
        # Those who share most of the viewer's favourites come first.
        sharing, n_shared = np.unique(
            users.user_ids[users.user_ids != query.viewer_id], return_counts=True
        )
        alike = sharing[np.lexsort((sharing, -n_shared))]
        asked = [
            Keys(users, liked.target_ids, _of_posts(chosen)),
            _consumers(chosen, alike),
        ]
        of_posts, of_consumers = yield from related(query, self._graph, since_ms, asked)
        n_keys = len(of_posts)
        keys = np.concatenate(
            [
                np.repeat(np.arange(n_keys), np.diff(of_posts.offsets)),
                np.full(len(of_consumers.post_ids), n_keys),
            ]
        )
        turns = np.concatenate(
            [
                np.arange(len(of_posts.post_ids)) - np.repeat(
                    of_posts.offsets[:-1], np.diff(of_posts.offsets)
                ),
                np.arange(len(of_consumers.post_ids)),
            ]
        )  # fmt: skip
        post_ids, author_ids = (
            np.concatenate([getattr(part, name) for part in (of_posts, of_consumers)])
            for name in ("post_ids", "author_ids")
        )
        shown = may_be_shown(query, author_ids) & ~np.isin(post_ids, liked.target_ids)
        order = np.flatnonzero(shown)
        order = order[np.lexsort((keys[order], turns[order]))]
        _, first = np.unique(post_ids[order], return_index=True)
        order = order[np.sort(first)][: chosen.max_candidates]
        found = unhydrated(post_ids[order], author_ids[order], 1 / (1 + turns[order]))
        from_keys = keys[order]
        return replace(
            found,
            engines=np.full(len(order), 1 << ENGINES.index(self.name), np.uint32),
            signals=np.append(signals, np.int16(-1))[from_keys],
            signal_ids=np.append(liked.target_ids, 0)[from_keys],
        )

    def _liked(self, query: Query) -> tuple[SignalList, npt.NDArray[np.int16]]:
        """Posts of known authors that the viewer engaged with, each with its signal's type."""
        most = query.settings.sources.max_signals
        lists = [query.tastes.of(kind).take(slice(most)) for kind in self._signals]
        kinds = np.repeat(np.array(self._signals, np.int16), [len(x.target_ids) for x in lists])
        every = joined(lists)
        _, first = np.unique(every.target_ids, return_index=True)
        first = np.sort(first)
        first = first[every.author_ids[first] > 0]
        return every.take(first), kinds[first]

    def _settings(self, query: Query) -> CoEngagementSettings:
        return query.settings.sources.user_tweet_graph


def may_be_shown(query: Query, author_ids: Ids) -> Mask:
    """Whether posts of these authors may be shown to the viewer at all."""
    shown: Mask = ~np.isin(author_ids, np.append(query.viewer.hidden_ids, query.viewer_id))
    return shown


def _since_ms(query: Query, chosen: CoEngagementSettings) -> int:
    return max(query.now_ms - chosen.max_age_ms, 0)


def _of_posts(chosen: CoEngagementSettings) -> Gates:
    return Gates(
        min_cooccurrence=chosen.min_cooccurrence_posts,
        min_score=chosen.min_score_posts,
        min_result_degree=chosen.min_result_degree,
        min_query_degree=chosen.min_query_degree,
        min_user_degree=0,
        below_user_degree=chosen.below_user_degree,
        max_results=chosen.max_results,
    )


def _consumers(chosen: CoEngagementSettings, user_ids: Ids) -> Keys:
    gates = Gates(
        min_cooccurrence=chosen.min_cooccurrence_consumers,
        min_score=chosen.min_score_consumers,
        min_result_degree=chosen.min_result_degree,
        min_query_degree=0,
        min_user_degree=0,
        below_user_degree=chosen.below_user_degree,
        max_results=chosen.max_results,
    )
    users = np.unique(user_ids[: chosen.max_consumers])
    return Keys(one_list(users), np.zeros(1, np.int64), gates)


def _none(n_keys: int) -> Related:
    ids = np.empty(0, np.int64)
    return Related(np.zeros(n_keys + 1, np.int64), ids, ids, np.empty(0, np.float32))

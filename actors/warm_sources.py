"""Compiles the kernels behind the questions of candidate sources; see `actors.warm`."""

import numpy as np

from actors.co_engagement import GraphName, Normalisation
from actors.co_engagement_questions import (
    AskCoCounts,
    AskDegrees,
    AskEngagers,
    AskFollowers,
)
from actors.follow_questions import (
    AskFollowees,
    AskMutuals,
    AskNewestOriginals,
    AskTopicAuthors,
)
from actors.follow_ties import AskFollowTies
from actors.locale_follows import AskLocaleFollows
from actors.newest_questions import AskNewestOfGroups
from actors.page_questions import AskListMembers, AskNewestBetween
from actors.popular import AskPopularVideos
from actors.retrieval_questions import AskNearMany, AskSimilarMany
from actors.shown_questions import AskEdited, AskMutedWords, AskServedLately
from actors.signal_types import SignalType
from actors.similar_accounts import AskAlike, AskNearFollowers
from actors.state import Question
from actors.stores.cluster_search import ANY_AGE_MS
from actors.stores.cluster_search_many import ManySearches
from actors.stores.newest_between import Place, Replies
from actors.stores.sparse_embeddings import SparseEmbeddings
from actors.tastes import AskTastes
from actors.user_user_graph import AskUserEdges, UserEdge
from actors.viewer_questions import AskLastServed, AskLists, AskScored
from actors.walk_questions import AskWalks
from cluster.ids import Ids

_DAY_MS = 86_400_000


def questions_of_sources(
    user_id: int, author_ids: Ids, post_ids: Ids, now_ms: int
) -> list[Question]:
    """What sources ask of a shard, whatever models it serves."""
    since_ms, n = now_ms - _DAY_MS, len(author_ids)
    places = np.arange(n, dtype=np.int32)
    bounds = np.array([0, n], np.int64)
    return [
        AskTastes(user_id, tuple(SignalType), 15, now_ms),
        AskFollowTies(user_id, now_ms),
        AskLists(user_id, 5, 5),
        AskLastServed(user_id, since_ms),
        AskScored(user_id, now_ms),
        *_co_engagement("engagements", author_ids, post_ids, since_ms),
        *_co_engagement("videos", author_ids, post_ids, since_ms),
        AskFollowers(author_ids, 5),
        AskUserEdges(author_ids, places, tuple(UserEdge), since_ms, 50),
        AskWalks(user_id, author_ids, np.ones(n), 10, 5, 0.3, 5, (0, 0)),
        AskNewestOfGroups(author_ids, bounds, since_ms, now_ms, 5),
        AskNewestOriginals(author_ids, since_ms, now_ms, 5, 5, "en", now_ms, user_id),
        AskPopularVideos("en", "", np.empty(0, np.int64), since_ms, now_ms, 2, 5),
        AskNewestBetween(
            *(author_ids, author_ids > 0, Place(now_ms, 0), Place(since_ms, 0), 5),
            *(Replies.TO_GIVEN, author_ids, author_ids, "en", now_ms),
        ),
        AskListMembers(user_id, 1, 5),
        AskServedLately(user_id, _DAY_MS, 5),
        AskEdited(post_ids, since_ms, "en", now_ms),
        AskMutedWords(post_ids, ("word",)),
        AskFollowees(author_ids, 5),
        AskMutuals(author_ids, 5),
        AskTopicAuthors(np.ones(1, np.int64), since_ms, now_ms, 5),
        AskLocaleFollows("", "en", _DAY_MS, now_ms),
    ]


def _co_engagement(
    graph: GraphName, author_ids: Ids, post_ids: Ids, since_ms: int
) -> list[Question]:
    n = len(author_ids)
    bounds, places = np.array([0, n], np.int64), np.arange(n, dtype=np.int32)
    one, many = np.ones(1, np.int64), np.full(1, 100)
    return [
        AskEngagers(graph, post_ids, since_ms, 5, 0),
        *(
            AskCoCounts(graph, author_ids, bounds, places, since_ms, one, many, how)
            for how in (None, Normalisation.SCALED)
        ),
        AskDegrees(graph, post_ids, since_ms),
    ]


def questions_of_vector_sources(
    version: str, dimension: int, user_ids: Ids, post_ids: Ids, now_ms: int
) -> list[Question]:
    """What sources ask of a shard that serves trained models."""
    offsets = np.arange(0, 2 * len(post_ids) + 1, 2)
    communities = np.tile(np.arange(2, dtype=np.int32), len(post_ids))
    weights = np.ones(len(communities), np.float32)
    sources = SparseEmbeddings(post_ids, offsets, communities, weights)
    vectors = np.ones((len(post_ids), dimension), np.float32)
    return [
        *(
            AskSimilarMany(version, sources, np.ones(1, np.int64), searches, now_ms)
            for searches in (
                ManySearches(np.zeros(n), np.full(n, age_ms), np.zeros(n, np.int64), 5, 2, 5)
                for n in (len(post_ids) + 1,)
                for age_ms in (_DAY_MS, ANY_AGE_MS)
            )
        ),
        AskNearMany(version, vectors, 5, now_ms, _DAY_MS, post_ids),
        AskAlike(version, user_ids, 5),
        AskNearFollowers(version, int(user_ids[0]), 5),
    ]

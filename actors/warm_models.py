"""Compiles the kernels that only run where models are trained; see `actors.warm`."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.features.pair_scores import sparse_pair_scores
from actors.features.real_graph import RealGraphScores
from actors.features.reputation import Reputations
from actors.features.safety import ANY_LANGUAGE, NgramModel, SafetyModel
from actors.graph_questions import (
    AskLeft,
    AskNsfwAccounts,
    AskPostFacts,
    AskSignals,
    AskTwoHop,
)
from actors.retrieval_questions import AskSimilarMany
from actors.signal_types import SignalType
from actors.state import Question, ShardState
from actors.stores.cluster_search import ClusterSearch, Similarity, floors_of, merge_found
from actors.stores.cluster_search_many import ManySearches
from actors.stores.ranked_lists import RankedLists, merge_lists
from actors.stores.sparse_embeddings import SparseEmbeddings
from actors.topic_questions import AskTopics
from actors.topic_social_proof import TopicTastes
from actors.two_hop import HOME_PAIRS, LeftLists
from actors.vector_models import DenseVectors, VectorModels, contributions_of
from actors.vector_questions import (
    AskCommunityHeads,
    AskEmbeddings,
    AskInterests,
    AskNear,
    AskPairScores,
    AskSimilar,
    AskSimilarToUser,
    AskUserVectors,
    AskVectors,
)
from cluster.ids import Ids

_DIMENSION = 4
_BUCKETS = 256


def tiny_models(version: str, user_ids: Sequence[int], post_ids: Sequence[int]) -> VectorModels:
    """Models in which all users like the same things, and half of the posts are trained."""
    users, posts = np.unique(user_ids), np.unique(post_ids)[::2]
    rng = np.random.default_rng(0)
    interests = SparseEmbeddings.from_entries(
        np.repeat(users, 2),
        np.tile(np.arange(2, dtype=np.int32), len(users)),
        np.full(2 * len(users), 0.5, np.float32),
        {name: np.full(2 * len(users), 0.5, np.float32) for name in ("fav_score", _WEIGHT)},
    )

    def vectors(ids: Ids) -> DenseVectors:
        return DenseVectors(ids, rng.normal(size=(len(ids), _DIMENSION)).astype(np.float32))

    return VectorModels(
        version,
        interests,
        contributions_of(interests),
        sparse={"producers": interests, "known_for": interests},
        user_engagement=vectors(users),
        dense={"user_follow": vectors(users), "posts": vectors(posts)},
    )


_WEIGHT = "log_fav_normalized"


def serve_tiny_models(
    state: ShardState, user_ids: Sequence[int], post_ids: Sequence[int], now_ms: int
) -> str:
    """Have a state serve tiny models, so that what it applies runs through them."""
    models = tiny_models("tiny", user_ids, post_ids)
    state.vectors.prepare(models, now_ms)
    state.vectors.activate(models.version)
    return models.version


def questions_of_models(
    version: str, user_id: int, author_ids: Ids, post_ids: Ids, now_ms: int
) -> list[Question]:
    """All that is asked of a shard that serves trained models, for a user whom it knows."""
    communities, weights = np.arange(2, dtype=np.int32), np.ones(2, np.float32)
    sources = SparseEmbeddings(
        np.array([user_id], np.int64), np.array([0, 2], np.int64), communities, weights
    )
    floors = floors_of([[np.ones(1)] * 2], 1)
    searches = [ClusterSearch(similarity) for similarity in Similarity]
    n = len(author_ids) + 1
    many = ManySearches(np.zeros(n), np.full(n, 86_400_000), np.zeros(n, np.int64))
    known = (np.sort(author_ids), np.ones(len(author_ids)))
    types = tuple(dict.fromkeys(left for left, _ in HOME_PAIRS))
    return [
        AskInterests(version, user_id),
        *(AskSimilarToUser(version, user_id, search, now_ms) for search in searches),
        *(
            AskSimilar(version, communities, weights, search, now_ms, given)
            for search in searches
            for given in (None, floors)
        ),
        AskSimilarMany(version, sources, author_ids, many, now_ms),
        AskCommunityHeads(version, communities, 2, now_ms),
        AskEmbeddings(version, post_ids, now_ms),
        AskPairScores(version, sources, post_ids, now_ms),
        AskVectors(version, post_ids, now_ms),
        AskUserVectors(version, "user_engagement", author_ids),
        AskUserVectors(version, "user_follow", author_ids),
        AskNear(version, np.ones(_DIMENSION, np.float32), 5, now_ms, 86_400_000),
        AskLeft(user_id, types, now_ms),
        AskSignals(user_id, tuple(SignalType), now_ms),
        AskSignals(user_id, tuple(SignalType), now_ms, known),
        AskPostFacts(post_ids),
        AskTopics(post_ids, version, TopicTastes(), now_ms),
        AskNsfwAccounts(author_ids),
    ]


def question_of_lists(left: LeftLists, author_ids: Ids) -> Question:
    """What is asked next, of the shards of other users."""
    return AskTwoHop(left, author_ids, HOME_PAIRS, 2)


def warm_tables(author_ids: Ids) -> None:
    """Look something up in tables of scores, merge what shards find, and judge a text."""
    n = len(author_ids)
    pairs = {"viewer_id": np.ones(n, np.int64), "author_id": author_ids}
    scores = RealGraphScores(pa.table({**pairs, "score": np.ones(n, np.float32)}))
    scores.of(1)
    scores.pairs(np.ones(n, np.int64), author_ids)
    users = {"user_id": np.sort(author_ids), "reputation": np.ones(n, np.float32)}
    Reputations(pa.table(users)).of(author_ids)
    models = tiny_models("tiny", author_ids.tolist(), [])
    rows = np.zeros(1, np.int64)
    sparse_pair_scores(models.interested_in, rows, models.interested_in, rows)
    merge_found([], 5)
    ids = author_ids.astype(np.int64)
    lists = RankedLists(np.array([0, n]), ids, ids, ids, np.ones(n, np.float32))
    merge_lists([lists, lists], 1, 5)
    for width in (1, 3):
        _safety_model(width).scores(["A text to be judged", ""])


def _safety_model(width: int) -> SafetyModel:
    def of(*shape: int) -> npt.NDArray[np.float32]:
        return np.ones(shape, np.float32)

    head = {"head": of(width, 1), "head_bias": of(1)} if width > 1 else {}
    model = NgramModel(of(_BUCKETS), of(_BUCKETS, width), of(width), **head)
    return SafetyModel(
        ("toxicity",), model, of(1), of(1), precisions=(0.9,), thresholds={ANY_LANGUAGE: of(1, 1)}
    )

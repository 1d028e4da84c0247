"""What shards are asked of the topics of their posts: which may be named to a viewer."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.likeness import matrix_of
from actors.state import ShardState
from actors.stores.sparse_embeddings import TOPIC_MATRICES, SparseEmbeddings, topic_in_language
from actors.topic_social_proof import (
    HOME_TOPICS,
    Listing,
    PostTopics,
    TopicTastes,
    topic_social_proof,
)
from actors.vector_models import VectorModels
from cluster.ids import Ids

_NOBODY = TopicTastes()
_LANGUAGES = 1 << 15
"""More than there are codes of languages (`PostTable.languages`)."""


@dataclass(frozen=True)
class AskTopics:
    """The topics of posts that may be named to a viewer, with their scores; for the posts'
    shards."""

    post_ids: Ids
    version: str
    tastes: TopicTastes
    now_ms: int
    listing: Listing = Listing.FOLLOWABLE
    max_topics: int = HOME_TOPICS

    def answer(self, state: ShardState) -> PostTopics:
        """The topics of each post, none of one that is unknown here.

        Raises `LookupError` for a version that is not held.
        """
        models = state.vectors.models(self.version)
        table = state.posts.table
        rows, post_ids = table.newest_versions(table.rows_of(self.post_ids)), self.post_ids.copy()
        post_ids[rows >= 0] = table["post_ids"][rows[rows >= 0]]
        embedded = state.vectors.embeddings(self.version, post_ids, self.now_ms)
        return topics_of(
            *(state, models, rows, embedded, self.tastes, self.listing), max_topics=self.max_topics
        )


def topics_of(
    state: ShardState,
    models: VectorModels,
    rows: npt.NDArray[np.int64],
    embedded: SparseEmbeddings,
    tastes: TopicTastes = _NOBODY,
    listing: Listing = Listing.ALL,
    *,
    max_topics: int = HOME_TOPICS,
) -> PostTopics:
    """Of the topics that posts name, the best that may be named to a viewer.

    `rows` (n,) are those of the shard's table, −1 unknown, and `embedded` the posts' communities.
    The white list is what the models have an embedding of in the post's language.
    """
    table = state.posts.table
    known = rows >= 0
    offsets = np.zeros(len(rows) + 1, np.int64)
    some, topic_ids = table.topics(rows[known])
    offsets[1:][known] = np.diff(some)
    np.cumsum(offsets, out=offsets)
    languages = np.zeros(len(rows), np.int64)
    languages[known] = table["language"][rows[known]]
    keys = _keys_of(state, topic_ids, np.repeat(languages, np.diff(offsets)))
    matrices = [matrix_of(models, name) for name in TOPIC_MATRICES]
    topic_rows = [np.where(keys > 0, matrix.rows_of(keys), -1) for matrix in matrices]
    listed = topic_ids[np.logical_or.reduce([of_one >= 0 for of_one in topic_rows])]
    return topic_social_proof(
        offsets,
        topic_ids,
        posts=embedded,
        topics=matrices,
        topic_rows=topic_rows,
        has_language=languages > 0,
        allowed=tastes.allows(topic_ids, listed, listing),
        max_topics=max_topics,
    )


def _keys_of(state: ShardState, topic_ids: Ids, codes: npt.NDArray[np.int64]) -> Ids:
    """Under which id each topic is embedded in a post's language, (m,); 0 without a language."""
    topics, of_topic = np.unique(topic_ids, return_inverse=True)
    # A topic and a language as one number: rows are several times slower to tell apart.
    pairs, at = np.unique(of_topic * _LANGUAGES + codes, return_inverse=True)
    word = state.posts.table.languages.word
    topic_places, words = np.divmod(pairs, _LANGUAGES)
    named = zip(topics[topic_places].tolist(), words.tolist(), strict=True)
    keys = [topic_in_language(topic, word(code) or "") if code else 0 for topic, code in named]
    return np.array(keys, np.int64)[at]

"""What a timeline asks of the kind `vectors`; each question is answered where the posts live.

Every question names the version of the models it was begun with; a shard that no longer, or
not yet, holds it fails the question and mixes nothing.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.state import ShardState
from actors.stores.cluster_search import ClusterSearch, FoundByCommunity
from actors.stores.hnsw import Neighbours
from actors.stores.sparse_embeddings import Communities, Scores, SparseEmbeddings
from actors.vector_models import Float32s
from cluster.ids import Ids


@dataclass(frozen=True)
class AskInterests:
    """A user's communities; for any shard."""

    version: str
    user_id: int

    def answer(self, state: ShardState) -> tuple[Communities, Scores]:
        """See `VectorsKind.interests`."""
        return state.vectors.interests(self.version, self.user_id)


@dataclass(frozen=True)
class AskSimilar:
    """Posts with communities like a source's; for every shard."""

    version: str
    communities: Communities
    weights: Scores
    search: ClusterSearch
    now_ms: int
    floors: npt.NDArray[np.float64] | None = None

    def answer(self, state: ShardState) -> FoundByCommunity:
        """See `VectorsKind.similar`."""
        return state.vectors.similar(
            self.version, self.communities, self.weights, self.search, self.now_ms, self.floors
        )


@dataclass(frozen=True)
class AskSimilarToUser:
    """Posts with communities like a user's interests; for every shard."""

    version: str
    user_id: int
    search: ClusterSearch
    now_ms: int
    min_interest: float = 0.0

    def answer(self, state: ShardState) -> FoundByCommunity:
        """See `VectorsKind.similar`; every shard knows every user's interests."""
        communities, scores = state.vectors.interests(self.version, self.user_id)
        n = int((scores >= self.min_interest).sum())
        return state.vectors.similar(
            self.version, communities[:n], scores[:n], self.search, self.now_ms
        )


@dataclass(frozen=True)
class AskCommunityHeads:
    """The best scores of communities; for every shard, where floors are to be exact."""

    version: str
    communities: Communities
    limit: int
    now_ms: int

    def answer(self, state: ShardState) -> list[npt.NDArray[np.float64]]:
        """See `VectorsKind.community_heads`."""
        return state.vectors.community_heads(
            self.version, self.communities, self.limit, self.now_ms
        )


@dataclass(frozen=True)
class AskEmbeddings:
    """Sparse embeddings of posts; for their authors' shards."""

    version: str
    post_ids: Ids
    now_ms: int

    def answer(self, state: ShardState) -> SparseEmbeddings:
        """See `VectorsKind.embeddings`."""
        return state.vectors.embeddings(self.version, self.post_ids, self.now_ms)


@dataclass(frozen=True)
class AskPairScores:
    """How alike sources and posts are; for the posts' authors' shards."""

    version: str
    sources: SparseEmbeddings
    post_ids: Ids
    now_ms: int

    def answer(self, state: ShardState) -> Float32s:
        """See `VectorsKind.pair_scores`."""
        return state.vectors.pair_scores(self.version, self.sources, self.post_ids, self.now_ms)


@dataclass(frozen=True)
class AskVectors:
    """Dense vectors of posts; for their authors' shards."""

    version: str
    post_ids: Ids
    now_ms: int

    def answer(self, state: ShardState) -> tuple[Float32s, npt.NDArray[np.bool_]]:
        """See `VectorsKind.vectors`."""
        return state.vectors.vectors(self.version, self.post_ids, self.now_ms)


@dataclass(frozen=True)
class AskUserVectors:
    """Users' vectors of one trained table (`user_engagement`, `user_follow` …); for any shard."""

    version: str
    table: str
    user_ids: Ids

    def answer(self, state: ShardState) -> tuple[Float32s, npt.NDArray[np.bool_]]:
        """Vectors (n, D), zero where there is none, and which there are."""
        models = state.vectors.models(self.version)
        if self.table == "user_engagement":
            return models.user_engagement.of(self.user_ids)
        return models.dense[self.table].of(self.user_ids)


@dataclass(frozen=True)
class AskNear:
    """Posts whose dense vectors are nearest to one; for every shard."""

    version: str
    vector: Float32s
    limit: int
    now_ms: int
    max_age_ms: int
    min_age_ms: int = 0
    excluded_post_id: int = 0

    def answer(self, state: ShardState) -> Neighbours:
        """See `VectorsKind.near`."""
        return state.vectors.near(
            *(self.version, self.vector, self.limit, self.now_ms),
            *(self.max_age_ms, self.min_age_ms, self.excluded_post_id),
        )


@dataclass(frozen=True)
class AskNearTrained:
    """The trained `authors`, `users` or `posts` nearest to a vector; for any one shard."""

    version: str
    base: str
    vector: Float32s
    limit: int

    def answer(self, state: ShardState) -> Neighbours:
        """Neighbours by cosine; none where the base was not trained."""
        return state.vectors.near_trained(self.version, self.base, self.vector, self.limit)

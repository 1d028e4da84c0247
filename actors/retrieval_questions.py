"""What candidate sources ask of the kind `vectors`: many sources in one question.

As with `vector_questions`, each names the version that the request keeps to.
"""

from dataclasses import dataclass

import numpy as np

from actors.state import ShardState
from actors.stores.cluster_search_many import ManySearches
from actors.stores.ranked_lists import RankedLists
from actors.stores.sparse_embeddings import SparseEmbeddings
from actors.vector_models import Float32s
from cluster.ids import Ids


@dataclass(frozen=True)
class AskSimilarMany:
    """For each of n sources the posts with communities like its own; for every shard."""

    version: str
    sources: SparseEmbeddings
    """Row by row, best community first; an empty row finds nothing."""
    producer_ids: Ids
    """Users whose producer embeddings, which every shard has, are further sources after these."""
    searches: ManySearches
    """Of sources and producers."""
    now_ms: int

    def answer(self, state: ShardState) -> RankedLists:
        """See `VectorsKind.similar_to_many`."""
        sources = self.sources
        if len(self.producer_ids):
            producers = state.vectors.models(self.version).sparse.get("producers")
            rows = no_rows(len(self.producer_ids))
            if producers is not None:
                rows = producers.take(producers.rows_of(self.producer_ids))
            sources = one_below_the_other(sources, rows)
        return state.vectors.similar_to_many(self.version, sources, self.searches, self.now_ms)


@dataclass(frozen=True)
class AskNearMany:
    """For each of n vectors the posts whose dense vectors are nearest; for every shard."""

    version: str
    vectors: Float32s
    """(n, D), none of them zero."""
    limit: int
    """Of each."""
    now_ms: int
    max_age_ms: int
    excluded_post_ids: Ids
    """(n,); 0 for none."""

    def answer(self, state: ShardState) -> RankedLists:
        """See `VectorsKind.near_many`."""
        return state.vectors.near_many(
            *(self.version, self.vectors, self.limit, self.now_ms, self.max_age_ms),
            self.excluded_post_ids,
        )


def one_below_the_other(above: SparseEmbeddings, below: SparseEmbeddings) -> SparseEmbeddings:
    """The rows of two matrices as one; further columns are left out."""
    return SparseEmbeddings(
        np.concatenate([above.ids, below.ids]),
        np.concatenate([above.offsets, above.offsets[-1] + below.offsets[1:]]),
        np.concatenate([above.communities, below.communities]),
        np.concatenate([above.scores, below.scores]),
    )


def no_rows(n: int) -> SparseEmbeddings:
    """`n` rows without entries."""
    return SparseEmbeddings(
        np.zeros(n, np.int64),
        np.zeros(n + 1, np.int64),
        np.empty(0, np.int32),
        np.empty(0, np.float32),
    )

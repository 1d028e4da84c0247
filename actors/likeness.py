"""Who is like whom by the trained representations, which every shard holds in full."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.features.pair_scores import PAIR_SCORES, dense_pair_scores, sparse_pair_scores
from actors.stores.nearest import NearestIndex
from actors.stores.sparse_embeddings import Communities, Scores, SparseEmbeddings
from actors.vector_models import DenseVectors, Float32s, VectorModels
from cluster.ids import Ids

MATRICES = ("producers", "interested_in")
"""SimClusters matrices by which users are compared: who follows them, and whom they follow."""
TABLES = ("author_follow", "user_follow")
"""TwHIN tables by which users are compared: as the followed, and as followers."""
ALL_MATRICES = (*MATRICES, "known_for")
ALL_TABLES = (*TABLES, "user_engagement")
MAX_SCANNED = 200_000
"""A table without an index of its own is compared vector by vector up to this length."""

_BASES = {"author_follow": "authors", "user_follow": "users"}
_COSINE = PAIR_SCORES.index("cosine")
_ENTRIES_AT_ONCE = 4_000_000
_NO_IDS = np.empty(0, np.int64)
_NO_ENTRIES = SparseEmbeddings(
    _NO_IDS, np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
)


@dataclass(frozen=True)
class Representations:
    """What the models of one version say of n users, row by row as they were asked for."""

    sparse: Mapping[str, SparseEmbeddings]
    """By matrix; a row is empty where there is none."""
    dense: Mapping[str, tuple[Float32s, npt.NDArray[np.bool_]]]
    """By table: vectors (n, D), and which there are."""

    @property
    def any(self) -> bool:
        """Whether there is any."""
        entries = any(len(rows.communities) for rows in self.sparse.values())
        return entries or any(bool(known.any()) for _, known in self.dense.values())


@dataclass(frozen=True)
class UsersLike:
    """Users like one, ascending by id, and how like each is."""

    version: str
    user_ids: Ids
    cosines: Mapping[str, Float32s]
    """By matrix or table of `MATRICES` and `TABLES`, (n,); NaN where either has nothing there."""
    source: Mapping[str, SparseEmbeddings]
    """By matrix: the one row of the user they are like."""
    sparse: Mapping[str, SparseEmbeddings]
    """By matrix: their rows."""


def matrix_of(models: VectorModels, name: str) -> SparseEmbeddings:
    """A SimClusters matrix; empty where it was not trained."""
    return models.interested_in if name == "interested_in" else models.sparse.get(name, _NO_ENTRIES)


def table_of(models: VectorModels, name: str) -> DenseVectors:
    """A TwHIN table; empty where it was not trained."""
    if name == "user_engagement":
        return models.user_engagement
    return models.dense.get(name) or DenseVectors.empty(models.dimension)


def representations_of(models: VectorModels, user_ids: Ids) -> Representations:
    """All representations of users."""
    matrices = {name: matrix_of(models, name) for name in ALL_MATRICES}
    return Representations(
        {name: matrix.take(matrix.rows_of(user_ids)) for name, matrix in matrices.items()},
        {name: table_of(models, name).of(user_ids) for name in ALL_TABLES},
    )


def users_like(
    models: VectorModels,
    user_id: int,
    limit: int,
    hides: Callable[[Ids], npt.NDArray[np.bool_]] | None = None,
) -> UsersLike:
    """The `limit` users nearest to one in each matrix and table, and their cosines in all.

    Without those of them whom it `hides`.
    """
    one = np.array([user_id], np.int64)
    mine = representations_of(models, one)
    found = []
    for name in MATRICES:
        rows = nearest_rows(matrix_of(models, name), *mine.sparse[name].of(user_id), limit + 1)
        found.append(matrix_of(models, name).ids[rows])
    for name in TABLES:
        vectors, known = mine.dense[name]
        if known[0] and np.any(vectors[0]):
            found.append(_nearest_ids(models, name, vectors[0], limit + 1))
    user_ids = np.setdiff1d(np.concatenate([_NO_IDS, *found]), one)
    if hides is not None:
        user_ids = user_ids[~hides(user_ids)]
    theirs = representations_of(models, user_ids)
    cosines = {name: _sparse_cosines(mine.sparse[name], theirs.sparse[name]) for name in MATRICES}
    for name in TABLES:
        (vectors, known), (others, have) = mine.dense[name], theirs.dense[name]
        values = dense_pair_scores(vectors, others)[:, 1]
        cosines[name] = np.where(known & have, values, np.float32(np.nan))
    return UsersLike(
        models.version,
        user_ids,
        cosines,
        {name: mine.sparse[name] for name in MATRICES},
        {name: theirs.sparse[name] for name in MATRICES},
    )


def nearest_rows(
    matrix: SparseEmbeddings, communities: Communities, weights: Scores, limit: int
) -> Ids:
    """The `limit` rows of a matrix nearest to an embedding by cosine, of equals the lesser id.

    Exact: the rows that share a community are found in one pass over all entries.
    """
    if not len(communities) or not len(matrix):
        return _NO_IDS
    wanted = np.zeros(int(communities.max()) + 2, bool)
    wanted[communities] = True
    shared = [
        begin + np.flatnonzero(wanted[np.minimum(part, len(wanted) - 1)])
        for begin in range(0, len(matrix.communities), _ENTRIES_AT_ONCE)
        for part in [matrix.communities[begin : begin + _ENTRIES_AT_ONCE]]
    ]
    entries = np.concatenate([_NO_IDS, *shared])
    rows = np.unique(np.searchsorted(matrix.offsets, entries, side="right") - 1)
    source = SparseEmbeddings(
        np.zeros(1, np.int64), np.array([0, len(communities)]), communities, weights
    )
    cosines = sparse_pair_scores(source, np.zeros(len(rows), np.int64), matrix, rows)[:, _COSINE]
    return rows[np.lexsort((matrix.ids[rows], -cosines))[:limit]]


def _nearest_ids(models: VectorModels, name: str, vector: Float32s, limit: int) -> Ids:
    base, table = models.bases.get(_BASES[name]), table_of(models, name)
    if base is not None:
        return NearestIndex(base).search(vector, limit).ids
    if len(table) > MAX_SCANNED:
        return _NO_IDS
    # The source's own length does not change the order.
    norms = np.sqrt(np.einsum("ij,ij->i", table.vectors, table.vectors))
    nearness = table.vectors @ vector / np.maximum(norms, np.finfo(np.float32).tiny)
    return table.ids[np.lexsort((table.ids, -nearness))[:limit]]


def _sparse_cosines(source: SparseEmbeddings, others: SparseEmbeddings) -> Float32s:
    n = len(others)
    cosines = sparse_pair_scores(source, np.zeros(n, np.int64), others, np.arange(n))[:, _COSINE]
    both = (np.diff(others.offsets) > 0) & (len(source.communities) > 0)
    return np.where(both, cosines, np.float32(np.nan))

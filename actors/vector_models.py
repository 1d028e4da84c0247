"""The trained representations that the kind `vectors` works with: one pinned set, never mixed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.stores.hnsw import HnswBase
from actors.stores.sparse_embeddings import (
    SIMCLUSTERS,
    SIMCLUSTERS_SCHEMA,
    TOPIC_MATRICES,
    SparseEmbeddings,
)
from cluster.artifacts import Artifact, ArtifactStore
from cluster.events import KIND_OF_LABEL
from cluster.ids import Ids

TWHIN = "twhin"
TWHIN_SCHEMA = 1
_SPARSE = ("known_for", "interested_in", "producers", *TOPIC_MATRICES)
"""The matrices of SimClusters that shards read."""

MIN_FAV_SCORE = 0.3
"""A user's favourites count for a community only where the user's fav_score in it reaches this
(the original's model of 2020; drops about four fifths of the entries)."""

Float32s = npt.NDArray[np.float32]

_NO_ENTRIES = SparseEmbeddings(
    np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
)


@dataclass(frozen=True)
class DenseVectors:
    """Vectors of n ids; nothing is ever written to the arrays, so they may lie in a mapped file."""

    ids: Ids
    """int64 (n,), strictly ascending."""
    vectors: Float32s
    """float32 (n, D)."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return int(self.vectors.shape[1])

    def of(self, ids: Ids) -> tuple[Float32s, npt.NDArray[np.bool_]]:
        """Vectors of ids (k, D), zero where there is none, and where there is one."""
        found = np.zeros((len(ids), self.dimension), np.float32)
        if not len(self.ids):
            return found, np.zeros(len(ids), bool)
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        known = self.ids[rows] == ids
        found[known] = self.vectors[rows[known]]
        return found, known

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Whether each id has a vector."""
        if not len(self.ids):
            return np.zeros(len(ids), bool)
        held: npt.NDArray[np.bool_] = (
            self.ids[np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)] == ids
        )
        return held

    @classmethod
    def empty(cls, dimension: int = 1) -> "DenseVectors":
        """No vectors."""
        return cls(np.empty(0, np.int64), np.empty((0, dimension), np.float32))

    @classmethod
    def from_table(cls, table: pa.Table) -> "DenseVectors":
        """Of a table with columns `id` and `vector`; a single chunk is not copied.

        Raises `ValueError` where ids do not ascend.
        """
        ids = _chunk(table, "id").to_numpy()
        lists = _chunk(table, "vector")
        if len(ids) and (ids[1:] <= ids[:-1]).any():
            raise ValueError("vectors: the ids do not strictly ascend")
        return cls(ids, lists.flatten().to_numpy().reshape(-1, lists.type.list_size))


@dataclass(frozen=True)
class VectorModels:
    """One version of everything; parts that were not trained are empty."""

    version: str
    interested_in: SparseEmbeddings = _NO_ENTRIES
    """What communities a user is interested in; the source of searches."""
    contributions: SparseEmbeddings = _NO_ENTRIES
    """What a favourite of each user adds to the sums of its post."""
    sparse: Mapping[str, SparseEmbeddings] = field(default_factory=dict)
    """`producers`, `topics`, `known_for` …, by the name of the table."""
    user_engagement: DenseVectors = field(default_factory=DenseVectors.empty)
    dense: Mapping[str, DenseVectors] = field(default_factory=dict)
    """`user_follow`, `author_follow`, `posts` …, by the name of the table."""
    bases: Mapping[str, HnswBase] = field(default_factory=dict)
    """`posts`, `authors`, `users`: everything trained, the same in every shard."""
    engager_centres: Float32s | None = None
    """(256, D): by engagement kind the mean vector of those who engage so. What an engager says
    of a post is how the own vector differs from that: training pulls a post from there to its
    engagers."""

    @property
    def dimension(self) -> int:
        """Dimension of the dense vectors."""
        return self.user_engagement.dimension


def contributions_of(
    interested_in: SparseEmbeddings, min_fav_score: float = MIN_FAV_SCORE
) -> SparseEmbeddings:
    """What a favourite adds: `log_fav_normalized` where `fav_score` reaches a minimum.

    That of a user who has favoured no community's producers adds `follow_normalized`.
    """
    gate = interested_in.columns["fav_score"] >= min_fav_score
    weights = np.where(gate, interested_in.columns["log_fav_normalized"], 0)
    return _by_follows_where_none(interested_in, weights, {})


def interests_of(interested_in: SparseEmbeddings) -> SparseEmbeddings:
    """What users are interested in: by `fav_score`, or by `follow_normalized` who favoured none.

    The same matrix, which may lie in a mapped file, where there are no such users.
    """
    if not _without_favourites(interested_in).any():
        return interested_in
    columns = interested_in.columns
    found = _by_follows_where_none(interested_in, interested_in.scores, columns)
    return replace(found, columns={name: found.columns[name] for name in columns})


def _by_follows_where_none(
    interested_in: SparseEmbeddings,
    weights: npt.NDArray[np.floating],
    columns: Mapping[str, npt.NDArray[Any]],
) -> SparseEmbeddings:
    """Scored by weights (m,), and the rows of users without favourites by their follows.

    Has `columns` (m,) and the column `weight`.

    Who follows a community's producers is of it, whether or not they were ever favoured. (The
    original gives such users nothing: hardly anybody there has not favoured.)
    """
    scores = weights.astype(np.float32)
    without = _without_favourites(interested_in)
    if without.any():
        entries = np.flatnonzero(np.repeat(without, np.diff(interested_in.offsets)))
        scores[entries] = interested_in.columns["follow_normalized"][entries]
    return SparseEmbeddings(
        interested_in.ids,
        interested_in.offsets,
        interested_in.communities,
        interested_in.scores,
        {**columns, "weight": scores},
    ).scored_by("weight")


def _without_favourites(interested_in: SparseEmbeddings) -> npt.NDArray[np.bool_]:
    """Rows with entries, and no `fav_score` above 0 among them; (n,)."""
    counts = np.diff(interested_in.offsets)
    rows = np.repeat(np.arange(len(interested_in)), counts)
    favoured = interested_in.columns["fav_score"] > 0
    found: npt.NDArray[np.bool_] = counts > 0
    found &= np.bincount(rows[favoured], minlength=len(interested_in)) == 0
    return found


def read_vector_models(
    artifacts: ArtifactStore,
    simclusters: str | None,
    twhin: str | None,
    bases: Collection[str] = ("authors",),
) -> VectorModels:
    """The models of one version of each artifact; None where there is none yet.

    Of `authors`, `users` and `posts` only the `bases` named are read: unlike tables they are
    not mapped, so each process holds its own. The shards' own posts need none.

    Raises what `ArtifactStore.open` raises, and `ValueError` for files that do not fit.
    """
    parts: dict[str, object] = {}
    if simclusters:
        artifact = artifacts.open(SIMCLUSTERS, simclusters, schema_version=SIMCLUSTERS_SCHEMA)
        sparse = {
            name: SparseEmbeddings.from_tables(
                artifact.table(f"{name}_rows.arrow"), artifact.table(f"{name}.arrow")
            )
            for name in _SPARSE
            if f"{name}_rows.arrow" in artifact.manifest.files
        }
        interested_in = sparse.pop("interested_in")
        parts["interested_in"] = interests_of(interested_in)
        parts["contributions"] = contributions_of(interested_in)
        parts["sparse"] = sparse
    if twhin:
        artifact = artifacts.open(TWHIN, twhin, schema_version=TWHIN_SCHEMA)
        dense = {
            name: DenseVectors.from_table(artifact.table(f"{name}.arrow"))
            for name in ("user_follow", "user_engagement", "author_follow", "posts")
            if f"{name}.arrow" in artifact.manifest.files
        }
        parts["bases"] = _bases(artifact, dense, bases)
        parts["engager_centres"] = _centres(artifact)
        dimension = dense["user_engagement"].dimension
        for name, vectors in dense.items():
            if vectors.dimension != dimension:
                raise ValueError(
                    f"{TWHIN} {twhin}: {name} has dimension {vectors.dimension}, "
                    f"user_engagement {dimension}"
                )
        parts["user_engagement"] = dense.pop("user_engagement")
        parts["dense"] = dense
    return VectorModels(version_of(simclusters, twhin), **parts)  # type: ignore[arg-type]


def version_of(simclusters: str | None, twhin: str | None) -> str:
    """The name of a pinned set of artifacts."""
    return f"{simclusters or 'none'}+{twhin or 'none'}"


def _bases(
    artifact: Artifact, dense: Mapping[str, DenseVectors], wanted: Collection[str]
) -> dict[str, HnswBase]:
    bases = {}
    for name, vectors in (
        ("posts", "posts"),
        ("authors", "author_follow"),
        ("users", "user_engagement"),
    ):
        if name in wanted and f"{name}.hnsw" in artifact.manifest.files and len(dense[vectors]):
            path = artifact.file(f"{name}.hnsw")
            bases[name] = HnswBase.load(path, dense[vectors].ids, dense[vectors].dimension)
    return bases


def _centres(artifact: Artifact) -> Float32s | None:
    if "relations.safetensors" not in artifact.manifest.files:
        return None
    of_relations = artifact.tensors("relations.safetensors")["engager_centres"]
    centres = np.zeros((256, of_relations.shape[1]), np.float32)
    for relation, centre in zip(artifact.json("relations.json"), of_relations, strict=True):
        if relation["name"] in KIND_OF_LABEL:
            centres[KIND_OF_LABEL[relation["name"]]] = centre
    return centres


def _chunk(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

"""Sparse embeddings: for each id a short row of (community, score), as one CSR matrix.

The form of all SimClusters representations: of users, producers, topics and posts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.stores.columns import Array
from cluster.artifacts import Artifact, Draft
from cluster.ids import Ids, id_of_string

Communities = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]

SIMCLUSTERS = "simclusters"
"""The artifact that holds the matrices `known_for`, `interested_in`, `producers`,
`producers_by_follows`, `producers_aggregatable`, `topics`, `topics_by_language` and
`topics_by_producers`."""
SIMCLUSTERS_SCHEMA = 1
TOPIC_MATRICES = ("topics_by_language", "topics_by_producers")
"""What a topic is embedded by in a language, under the ids of `topic_in_language`: the favourites
of its followers (the original's FavTfgTopic), and the producers who are known for it (its
LogFavBasedKgoApeTopic)."""

_NONE = (np.empty(0, np.int32), np.empty(0, np.float32))
_NAMED = ("community", "score")


@dataclass(frozen=True)
class SparseEmbeddings:
    """Rows of n ids with m entries in all; each row by score (descending), then community.

    Nothing is ever written to the arrays, so they may lie in a mapped file.
    """

    ids: Ids
    """int64 (n,), strictly ascending (but see `take`)."""
    offsets: Ids
    """int64 (n + 1,): row i is entries `offsets[i]` to `offsets[i + 1]`."""
    communities: Communities
    """int32 (m,), from 0; each at most once in a row."""
    scores: Scores
    """float32 (m,)."""
    columns: Mapping[str, Array] = field(default_factory=dict)
    """Further columns of the entries, (m,) each, by name."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_communities(self) -> int:
        """One more than the greatest community that has an entry."""
        return int(self.communities.max()) + 1 if len(self.communities) else 0

    @property
    def memory_bytes(self) -> int:
        """Bytes of all arrays, mapped ones included."""
        arrays: list[Array] = [self.ids, self.offsets, self.communities, self.scores]
        return sum(array.nbytes for array in [*arrays, *self.columns.values()])

    def rows_of(self, ids: Ids) -> Ids:
        """Rows of ids, int64 (k,); −1 where an id has none."""
        if not len(self.ids):
            return np.full(len(ids), -1, np.int64)
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[rows] == ids, rows, -1)

    def of(self, id_: int) -> tuple[Communities, Scores]:
        """Communities and scores of one id, best first; both empty where it has no row."""
        row = int(np.searchsorted(self.ids, id_))
        if row == len(self.ids) or self.ids[row] != id_:
            return _NONE
        entries = slice(self.offsets[row], self.offsets[row + 1])
        return self.communities[entries], self.scores[entries]

    def take(self, rows: Ids) -> "SparseEmbeddings":
        """The given rows in the given order, copied; −1 gives an empty row with id 0.

        `rows_of` and `of` of the outcome hold only where its ids ascend.
        """
        real = rows >= 0
        begins = np.where(real, self.offsets[rows], 0)
        counts = np.where(real, self.offsets[rows + 1] - begins, 0)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        chosen = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], counts)
        ids = np.zeros(len(rows), np.int64)
        ids[real] = self.ids[rows[real]]
        return self._chosen(ids, offsets, chosen)

    def scored_by(self, name: str) -> "SparseEmbeddings":
        """The same with column `name` as score: sorted anew, without scores of 0 or less.

        One matrix of interests so serves the original's several embedding types. Raises
        `KeyError` for a column that the entries do not have.
        """
        scores = self.columns[name]
        at = np.repeat(np.arange(len(self.ids)), np.diff(self.offsets))
        kept = np.flatnonzero(scores > 0)
        order = kept[np.lexsort((self.communities[kept], -scores[kept], at[kept]))]
        counts = np.bincount(at[order], minlength=len(self.ids))
        rows = np.flatnonzero(counts)
        offsets = np.concatenate([[0], np.cumsum(counts[rows])])
        found = self._chosen(self.ids[rows], offsets, order)
        return SparseEmbeddings(
            found.ids,
            found.offsets,
            found.communities,
            found.columns[name].astype(np.float32),
            found.columns,
        )

    def to_tables(self) -> tuple[pa.Table, pa.Table]:
        """Tables of rows (id, start, count) and of entries (community, score, further columns)."""
        rows = pa.table(
            {
                "id": self.ids,
                "start": self.offsets[:-1],
                "count": np.diff(self.offsets).astype(np.int32),
            }
        )
        entries = {"community": self.communities, "score": self.scores, **self.columns}
        return rows, pa.table(entries)

    @classmethod
    def from_tables(cls, rows: pa.Table, entries: pa.Table) -> "SparseEmbeddings":
        """What `to_tables` gave; entries of single-chunk tables are not copied.

        Raises `ValueError` where ids do not ascend, rows do not tile the entries, or a row is
        not in its order.
        """
        ids, starts, counts = (_array(rows, name) for name in ("id", "start", "count"))
        offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        if len(ids) and (ids[1:] <= ids[:-1]).any():
            raise ValueError("sparse embeddings: the ids of the rows do not strictly ascend")
        if (counts < 0).any() or (starts != offsets[:-1]).any() or offsets[-1] != len(entries):
            raise ValueError(
                f"sparse embeddings: the rows do not cover the {len(entries):,} entries one after "
                "the other"
            )
        columns = {name: _array(entries, name) for name in entries.schema.names}
        communities, scores = (columns.pop(name) for name in _NAMED)
        if not _in_order(offsets, communities, scores):
            raise ValueError(
                "sparse embeddings: a row is not by score (descending), then community, or names "
                "a negative community"
            )
        return cls(ids, offsets, communities, scores, columns)

    def write(self, draft: Draft, name: str) -> None:
        """Write the matrix into an artifact, as NAME_rows.arrow and NAME.arrow."""
        rows, entries = self.to_tables()
        draft.write_table(f"{name}_rows.arrow", rows)
        draft.write_table(f"{name}.arrow", entries)

    @classmethod
    def read(cls, artifact: Artifact, name: str) -> "SparseEmbeddings":
        """What `write` wrote, mapped; raises `ArtifactNotFound`, else like `from_tables`."""
        rows, entries = artifact.table(f"{name}_rows.arrow"), artifact.table(f"{name}.arrow")
        return cls.from_tables(rows, entries)

    @classmethod
    def from_entries(
        cls,
        entry_ids: Ids,
        communities: Communities,
        scores: Scores,
        columns: Mapping[str, Array] | None = None,
    ) -> "SparseEmbeddings":
        """A matrix of entries in any order, arrays of shape (m,), each pair given once."""
        order = np.lexsort((communities, -scores, entry_ids))
        ids, counts = np.unique(entry_ids, return_counts=True)
        offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        unordered = cls(ids, offsets, communities, scores, columns or {})
        return unordered._chosen(ids.astype(np.int64), offsets, order)

    def _chosen(self, ids: Ids, offsets: Ids, entries: Ids) -> "SparseEmbeddings":
        """Rows made of the given entries of this matrix."""
        return SparseEmbeddings(
            ids,
            offsets.astype(np.int64),
            self.communities[entries],
            self.scores[entries],
            {name: column[entries] for name, column in self.columns.items()},
        )


def _array(table: pa.Table, name: str) -> Array:
    column = table.column(name)
    array: Array = column.chunk(0).to_numpy() if column.num_chunks == 1 else column.to_numpy()
    return array


def _in_order(offsets: Ids, communities: Communities, scores: Scores) -> bool:
    if not len(communities):
        return True
    falls = (scores[1:] < scores[:-1]) | (
        (scores[1:] == scores[:-1]) & (communities[1:] > communities[:-1])
    )
    begins = offsets[(offsets > 0) & (offsets < len(communities))]
    falls[begins - 1] = True
    return bool(falls.all() and communities.min() >= 0)


@lru_cache(1 << 16)
def topic_in_language(topic_id: int, language: str) -> int:
    """The id under which a topic is embedded in one language: `en-GB` and `EN` are `en`."""
    return id_of_string(f"topic {topic_id} in {language.partition('-')[0].lower()}")

"""Accounts like given accounts, by the trained representations; a list for each, fast.

The role of the original's stores of similar users. SimClusters compares by who follows an
account (the producers' embeddings), through an index of each version by community, made once
in a process; TwHIN by the nearest authors. Every shard holds the whole models.
"""

import threading
import weakref
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from actors.likeness import matrix_of, table_of
from actors.state import ShardState
from actors.stores.kernels import kernel, writable
from actors.stores.nearest import NearestIndex
from actors.stores.raw_memory import Int
from actors.stores.sparse_embeddings import SparseEmbeddings
from actors.vector_models import Float32s, VectorModels
from cluster.ids import Ids

Store = Literal["simclusters", "twhin"]
MAX_SCANNED = 50_000
"""Authors without an index of their own are compared one by one up to this number."""


@dataclass(frozen=True)
class Alike:
    """Pairs of a seed and an account like it; arrays of shape (m,)."""

    places: Ids
    """Which seed."""
    user_ids: Ids
    """Of each seed by score, of equals the lesser id first."""
    scores: Float32s
    """Above 0: cosines, or products of scores."""


@dataclass(frozen=True)
class AskAlike:
    """Accounts like each of some seeds; for any one shard."""

    version: str
    seed_ids: Ids
    limit: int
    """Of each seed."""
    stores: tuple[Store, ...] = ("simclusters", "twhin")
    """For each seed the first one counts that knows it."""

    def answer(self, state: ShardState) -> Alike:
        """Raises `LookupError` for a version that is not held."""
        return alike(state.vectors.models(self.version), self.seed_ids, self.limit, self.stores)


@dataclass(frozen=True)
class AskNearFollowers:
    """Accounts whose followers are near a user in TwHIN's space of follows; for any one shard."""

    version: str
    user_id: int
    limit: int

    def answer(self, state: ShardState) -> Alike:
        """Raises `LookupError` for a version that is not held."""
        models = state.vectors.models(self.version)
        vectors, known = table_of(models, "user_follow").of(np.array([self.user_id], np.int64))
        return _nearest(models, np.zeros(int(known.sum()), np.int64), vectors[known], self.limit)


@dataclass(frozen=True)
class AskCloseTo:
    """Real Graph's closest accounts of each of some users; for any one shard."""

    version: str
    user_ids: Ids
    limit: int
    """Of each user."""

    def answer(self, state: ShardState) -> Alike:
        """The pairs and their scores."""
        model = state.models.real_graph(self.version)
        places, ids, scores = [], [], []
        for place, user in enumerate(self.user_ids.tolist()):
            theirs, of_theirs = model.of(user)
            best = np.lexsort((theirs, -of_theirs))[: self.limit]
            places.append(np.full(len(best), place, np.int64))
            ids.append(theirs[best])
            scores.append(of_theirs[best])
        return _joined(places, ids, scores)


def alike(models: VectorModels, seed_ids: Ids, limit: int, stores: tuple[Store, ...]) -> Alike:
    """The `limit` accounts most like each seed, none of them the seed itself."""
    open_places = np.arange(len(seed_ids))
    parts: list[Alike] = []
    for store in stores:
        seeds = seed_ids[open_places]
        if store == "simclusters":
            found, known = _by_communities(matrix_of(models, "producers"), seeds, limit)
        else:
            vectors, known = table_of(models, "author_follow").of(seeds)
            near = _nearest(models, np.flatnonzero(known), vectors[known], limit + 1)
            others = near.user_ids != seeds[near.places]
            found = _first(
                Alike(near.places[others], near.user_ids[others], near.scores[others]), limit
            )
        parts.append(Alike(open_places[found.places], found.user_ids, found.scores))
        open_places = open_places[~known]
    return _joined(*([getattr(p, n) for p in parts] for n in ("places", "user_ids", "scores")))


def _joined(places: list[Ids], user_ids: list[Ids], scores: list[Float32s]) -> Alike:
    return Alike(
        np.concatenate([np.empty(0, np.int64), *places]),
        np.concatenate([np.empty(0, np.int64), *user_ids]),
        np.concatenate([np.empty(0, np.float32), *scores]),
    )


def _first(found: Alike, limit: int) -> Alike:
    starts = np.searchsorted(found.places, found.places)
    kept = np.arange(len(found.places)) - starts < limit
    return Alike(found.places[kept], found.user_ids[kept], found.scores[kept])


def _nearest(models: VectorModels, places: Ids, vectors: Float32s, limit: int) -> Alike:
    base, table = models.bases.get("authors"), table_of(models, "author_follow")
    lists: list[tuple[Ids, Float32s]] = []
    for vector in vectors:
        if not vector.any():
            lists.append((np.empty(0, np.int64), np.empty(0, np.float32)))
        elif base is not None:
            near = NearestIndex(base).search(vector, limit)
            lists.append((near.ids, near.scores))
        else:
            lists.append(
                _scanned(table.ids[:MAX_SCANNED], table.vectors[:MAX_SCANNED], vector, limit)
            )
    kept = [(p, ids[s > 0], s[s > 0]) for p, (ids, s) in zip(places.tolist(), lists, strict=True)]
    return _joined(
        [np.full(len(ids), p, np.int64) for p, ids, _ in kept],
        [ids for _, ids, _ in kept],
        [scores for _, _, scores in kept],
    )


def _scanned(ids: Ids, vectors: Float32s, vector: Float32s, limit: int) -> tuple[Ids, Float32s]:
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors) * (vector @ vector))
    cosines = (vectors @ vector / np.maximum(norms, np.finfo(np.float32).tiny)).astype(np.float32)
    best = np.lexsort((ids, -cosines))[:limit]
    return ids[best], cosines[best]


def _by_communities(
    matrix: SparseEmbeddings, seed_ids: Ids, limit: int
) -> tuple[Alike, npt.NDArray[np.bool_]]:
    """By cosine of rows, and which seeds have a row."""
    rows = matrix.rows_of(seed_ids)
    known = rows >= 0
    if not known.any():
        return _joined([], [], []), known
    index = index_of(matrix)
    places, found, scores = _most_alike(
        rows,
        writable(matrix.offsets, np.int64),
        writable(matrix.communities, np.int32),
        index.starts,
        index.rows,
        index.units,
        writable(matrix.ids, np.int64),
        index.unit_entries,
        limit,
    )
    return Alike(places, matrix.ids[found], scores), known


@dataclass(frozen=True, eq=False)
class CommunityIndex:
    """A matrix by community: which rows have it, and their scores over the rows' lengths."""

    starts: Ids
    """int64 (communities + 1,)."""
    rows: npt.NDArray[np.int32]
    units: Float32s
    unit_entries: Float32s
    """The same scores in the matrix's own order."""


def index_of(matrix: SparseEmbeddings) -> CommunityIndex:
    """The index of a matrix, made on first use; call it early to spare the first request."""
    with _LOCK:
        kept = _KEPT.get(id(matrix))
    if kept is not None and kept[0]() is matrix:
        return kept[1]
    of_entry = np.repeat(np.arange(len(matrix), dtype=np.int32), np.diff(matrix.offsets))
    norms = np.sqrt(np.bincount(of_entry, np.square(matrix.scores.astype(np.float64)), len(matrix)))
    units = (matrix.scores / np.maximum(norms, np.finfo(np.float32).tiny)[of_entry]).astype(
        np.float32
    )
    order = np.argsort(matrix.communities, kind="stable")
    counts = np.bincount(matrix.communities, minlength=matrix.n_communities)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    made = CommunityIndex(starts, of_entry[order], units[order], units)
    key = id(matrix)
    with _LOCK:
        _KEPT[key] = (weakref.ref(matrix, lambda _: _KEPT.pop(key, None)), made)
    return made


_KEPT: dict[int, tuple[weakref.ref[SparseEmbeddings], CommunityIndex]] = {}
_LOCK = threading.Lock()


@kernel
def _most_alike(
    seeds: Ids,
    offsets: Ids,
    communities: npt.NDArray[np.int32],
    starts: Ids,
    rows: npt.NDArray[np.int32],
    units: Float32s,
    ids: Ids,
    unit_entries: Float32s,
    limit: Int,
) -> tuple[Ids, Ids, Float32s]:
    """(place of the seed, row, cosine) of the best `limit` rows of each seed (row, or −1)."""
    sums = np.zeros(len(ids), np.float32)
    touched = np.empty(len(ids), np.int64)
    out_places = np.empty(len(seeds) * limit, np.int64)
    out_rows = np.empty(len(seeds) * limit, np.int64)
    out_scores = np.empty(len(seeds) * limit, np.float32)
    count = 0
    for i in range(len(seeds)):
        if seeds[i] < 0:
            continue
        n = 0
        for entry in range(offsets[seeds[i]], offsets[seeds[i] + 1]):
            mine = unit_entries[entry]
            for at in range(starts[communities[entry]], starts[communities[entry] + 1]):
                row = rows[at]
                if sums[row] == 0:
                    touched[n] = row
                    n += 1
                sums[row] += mine * units[at]
        begin = count
        for t in range(n):
            row, score = touched[t], sums[touched[t]]
            sums[row] = 0
            if row == seeds[i] or score <= 0:
                continue
            if count == begin + limit and (
                out_scores[count - 1] > score
                or (out_scores[count - 1] == score and ids[out_rows[count - 1]] < ids[row])
            ):
                continue
            # An insertion into the list so far: only what is good enough comes here.
            at = count if count < begin + limit else count - 1
            while at > begin and (
                out_scores[at - 1] < score
                or (out_scores[at - 1] == score and ids[out_rows[at - 1]] > ids[row])
            ):
                out_scores[at], out_rows[at] = out_scores[at - 1], out_rows[at - 1]
                at -= 1
            out_scores[at], out_rows[at] = score, row
            if count < begin + limit:
                out_places[count] = i
                count += 1
    return out_places[:count].copy(), out_rows[:count].copy(), out_scores[:count].copy()

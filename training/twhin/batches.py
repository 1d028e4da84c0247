"""A worker's batches: its share of one stream of edges, laid out for lookup, with negatives.

The stream is the same whatever the number of workers: a step takes the next `workers × batch`
edges of it, and each worker its part of those. So a place in the stream says where training
stands, and another number of workers can go on from there.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel, writable
from cluster.ids import Ids
from cluster.training_settings import TwhinSettings
from training.twhin.edges import EdgeColumns, Edges, concatenated
from training.twhin.relations import RELATIONS, TABLES

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """How far the stream has been read; the edges of an epoch count from 0."""

    epoch: int = 0
    edge: int = 0


@dataclass(frozen=True)
class Part:
    """A relation's edges of a batch: edge i joins rows `lhs + i` and `rhs + i` of the lookups."""

    relation: int
    lhs: int
    rhs: int
    """Where the relation's lookups begin in those of its left and right table."""
    n: int
    lhs_negatives: Ids
    rhs_negatives: Ids
    """Edges whose left or right node is a negative for all edges of the part."""
    lhs_log_q: Floats | None
    rhs_log_q: Floats | None
    """Log of how much likelier than uniform each of those negatives was to be drawn."""


@dataclass(frozen=True)
class Batch:
    """What to look up in each table, and how edges and negatives lie in what was looked up."""

    values: Ids
    """All rows to look up, table after table."""
    rows: dict[str, Ids]
    """Table → its part of them: rows of edges, then `n_global` drawn uniformly."""
    parts: tuple[Part, ...]
    n_global: int
    stride: int
    """Rows of the table with most of them, in the batch of whichever worker has most.

    Row-wise sharding gathers over gloo, which takes the same number from every worker.
    """

    @property
    def n_edges(self) -> int:
        """Positive edges."""
        return sum(part.n for part in self.parts)


@dataclass(frozen=True)
class Sampler:
    """What batches are drawn from beside the edges themselves."""

    rows: dict[str, int]
    """Table → number of rows; tables without rows take no part."""
    in_batch: int
    n_global: int
    log_q: dict[tuple[int, str], Floats] | None

    @classmethod
    def of(cls, edges: Edges, settings: TwhinSettings) -> "Sampler":
        """As the settings say."""
        return cls(
            {table: edges.rows[table] for table in TABLES if edges.rows[table]},
            settings.in_batch_negatives,
            settings.global_negatives,
            _log_q(edges) if settings.log_q else None,
        )

    def batch(
        self, edges: EdgeColumns, rng: np.random.Generator, most_rows: int | None = None
    ) -> Batch:
        """Lay out edges relation by relation and draw their negatives.

        `most_rows` of any table over the edges of all workers; None: of these.
        """
        rel = writable(edges.rel, np.uint8)
        counts = _counts(rel, 1)
        if most_rows is None:
            most_rows = _most_rows(counts)
        used = (counts[0] @ _USES).tolist()
        begins, end = {}, 0
        for table, n in zip(TABLES, used, strict=True):
            if table in self.rows:
                begins[table], end = end, end + n + self.n_global
        values = np.empty(end, np.int64)
        rows = {
            table: values[begins[table] : begins[table] + used[k] + self.n_global]
            for k, table in enumerate(TABLES)
            if table in self.rows
        }
        taken = dict.fromkeys(self.rows, 0)
        places = []
        to = np.zeros((2, len(RELATIONS)), np.int64)
        for i, n in enumerate(counts[0].tolist()):
            if n:
                relation = RELATIONS[i]
                lhs, rhs = taken[relation.lhs], taken[relation.rhs]
                to[:, i] = begins[relation.lhs] + lhs, begins[relation.rhs] + rhs
                places.append((i, lhs, rhs, n, self._places(n, rng), self._places(n, rng)))
                taken[relation.lhs] += n
                taken[relation.rhs] += n
        lhs_rows, rhs_rows = writable(edges.lhs, np.int32), writable(edges.rhs, np.int32)
        _lay_out(lhs_rows, rel, rhs_rows, to, values)
        if self.n_global:
            for table, n_rows in self.rows.items():
                rows[table][-self.n_global :] = rng.integers(0, n_rows, self.n_global, np.int32)
        parts = tuple(
            Part(
                i,
                lhs,
                rhs,
                n,
                lhs_at,
                rhs_at,
                self._correction(i, "lhs", rows[RELATIONS[i].lhs][lhs : lhs + n], lhs_at),
                self._correction(i, "rhs", rows[RELATIONS[i].rhs][rhs : rhs + n], rhs_at),
            )
            for i, lhs, rhs, n, lhs_at, rhs_at in places
        )
        return Batch(values, rows, parts, self.n_global, most_rows + self.n_global)

    def _places(self, n: int, rng: np.random.Generator) -> Ids:
        if n < self.in_batch:
            return np.resize(rng.permutation(n), self.in_batch)
        return rng.choice(n, self.in_batch, replace=False, shuffle=False)

    def _correction(self, relation: int, side: str, rows: Ids, at: Ids) -> Floats | None:
        return None if self.log_q is None else self.log_q[relation, side][rows[at]]


def stream(
    edges: Edges, settings: TwhinSettings, seed: int, worker: int, n_workers: int, start: Place
) -> Iterator[tuple[Place, Batch]]:
    """One worker's batches from a place on, each with the place after it.

    Every epoch goes over all shards in an order of its own, and through each of them in a new
    one. All workers get the same number of batches and of edges: at the end of an epoch up to
    `n_workers − 1` edges are left out.
    """
    sampler = Sampler.of(edges, settings)
    for epoch in range(start.epoch, settings.epochs):
        begin = start.edge if epoch == start.epoch else 0
        for chunk in _chunks(edges, seed, epoch, begin, settings.batch * n_workers):
            share = len(chunk) // n_workers
            mine = chunk.take(slice(worker * share, (worker + 1) * share))
            if share:
                rng = np.random.default_rng((seed, 2, epoch, begin, worker))
                batch = sampler.batch(mine, rng, _most_rows(_counts(chunk.rel, n_workers)))
                begin += len(chunk)
                last = begin >= edges.n_edges
                yield Place(epoch + 1) if last else Place(epoch, begin), batch


def _chunks(edges: Edges, seed: int, epoch: int, begin: int, size: int) -> Iterator[EdgeColumns]:
    """An epoch's edges from one of them on, `size` at a time, across the shards' borders."""
    rng = np.random.default_rng((seed, 1, epoch))
    kept = concatenated([])
    for i in rng.permutation(len(edges.shards)).tolist():
        name, n = edges.shards[i]
        if begin >= n:
            begin -= n
            continue
        order = np.random.default_rng((seed, 1, epoch, i)).permutation(n)[begin:]
        begin = 0
        more = edges.shard(name).take(order)
        kept = concatenated([kept, more]) if len(kept) else more
        whole = len(kept) // size * size
        for at in range(0, whole, size):
            yield kept.take(slice(at, at + size))
        kept = kept.take(slice(whole, None))
    if len(kept):
        yield kept


_USES = np.array([[table in (r.lhs, r.rhs) for table in TABLES] for r in RELATIONS], np.int64)
"""Whether a relation (row) joins a table (column)."""


def _counts(rel: npt.NDArray[np.uint8], n_workers: int) -> Ids:
    """Edges of each worker's share (row) of each relation (column)."""
    counts = np.zeros((n_workers, len(RELATIONS)), np.int64)
    _count(rel, len(rel) // n_workers, counts)
    return counts


def _most_rows(counts: Ids) -> int:
    """Most rows of a table that any worker looks up for its share."""
    return int((counts @ _USES).max())


@kernel
def _count(rel: npt.NDArray[np.uint8], share: int, counts: Ids) -> None:
    for worker in range(len(counts)):
        for i in range(worker * share, (worker + 1) * share):
            counts[worker, rel[i]] += 1


@kernel
def _lay_out(
    lhs: npt.NDArray[np.int32],
    rel: npt.NDArray[np.uint8],
    rhs: npt.NDArray[np.int32],
    to: Ids,
    values: Ids,
) -> None:
    """Write both rows of each edge where its relation's begin: `to`, of shape (2, relations)."""
    for i in range(len(rel)):
        relation = rel[i]
        values[to[0, relation]] = lhs[i]
        values[to[1, relation]] = rhs[i]
        to[0, relation] += 1
        to[1, relation] += 1


def _log_q(edges: Edges) -> dict[tuple[int, str], Floats]:
    """By relation and side, log of each row's frequency over the mean frequency of its table."""
    found = {}
    for i, relation in enumerate(RELATIONS):
        for side in ("lhs", "rhs"):
            counts = edges.frequencies(relation.name, side)
            # A row that this relation never draws needs no correction.
            mean = max(counts.sum() / max(len(counts), 1), 1e-9)
            found[i, side] = np.log(np.maximum(counts, 1) / mean).astype(np.float32)
    return found

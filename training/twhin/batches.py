"""A worker's batches: its share of one stream of edges, laid out for lookup, with negatives.

The stream is the same whatever the number of workers: a step takes the next `workers × batch`
edges of it, and each worker its part of those. So a place in the stream says where training
stands, and another number of workers can go on from there.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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

    rows: dict[str, npt.NDArray[np.int64]]
    """Table → rows: those of edges, then `n_global` drawn uniformly."""
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
        if most_rows is None:
            most_rows = _most_rows(edges.rel, 1)
        order = np.argsort(edges.rel, kind="stable")
        lhs, rhs = edges.lhs[order], edges.rhs[order]
        ends = np.cumsum(np.bincount(edges.rel, minlength=len(RELATIONS))).tolist()
        columns: dict[str, list[npt.NDArray[np.int32]]] = {table: [] for table in self.rows}
        taken = dict.fromkeys(self.rows, 0)
        parts = []
        for i, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            n = end - begin
            if not n:
                continue
            relation = RELATIONS[i]
            lhs_at, rhs_at = self._places(n, rng), self._places(n, rng)
            parts.append(
                Part(
                    i,
                    taken[relation.lhs],
                    taken[relation.rhs],
                    n,
                    lhs_at,
                    rhs_at,
                    self._correction(i, "lhs", lhs[begin:end], lhs_at),
                    self._correction(i, "rhs", rhs[begin:end], rhs_at),
                )
            )
            for table, side in ((relation.lhs, lhs), (relation.rhs, rhs)):
                columns[table].append(side[begin:end])
                taken[table] += n
        for table, n_rows in self.rows.items():
            columns[table].append(rng.integers(0, n_rows, self.n_global, np.int32))
        rows = {table: np.concatenate(some).astype(np.int64) for table, some in columns.items()}
        return Batch(rows, tuple(parts), self.n_global, most_rows + self.n_global)

    def _places(self, n: int, rng: np.random.Generator) -> Ids:
        if n < self.in_batch:
            return np.resize(rng.permutation(n), self.in_batch)
        return rng.choice(n, self.in_batch, replace=False, shuffle=False)

    def _correction(
        self, relation: int, side: str, rows: npt.NDArray[np.int32], at: Ids
    ) -> Floats | None:
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
                batch = sampler.batch(mine, rng, _most_rows(chunk.rel, n_workers))
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


def _most_rows(rel: npt.NDArray[np.uint8], n_workers: int) -> int:
    """Most rows of a table that any worker looks up for its share of a chunk's edges."""
    share = len(rel) // n_workers
    worker = np.repeat(np.arange(n_workers), share)
    n = len(RELATIONS)
    counts = np.bincount(worker * n + rel[: len(worker)], minlength=n_workers * n)
    return int((counts.reshape(n_workers, n) @ _USES).max())


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

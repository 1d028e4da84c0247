"""Archive → shuffled edges on disk: streamed, so that only the vocabularies must fit in memory.

Events of edges are spilled into buckets by the hash of their pair. A bucket is then a random
part of all edges that holds the whole history of each of its pairs, which settles undos and
copies, bucket by bucket. Buckets, shuffled again and put together, become the shards.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from actors.stores.id_map import IdMap
from cluster.archive import Archive
from cluster.ids import Ids, mix64
from cluster.settings import DAY_MS
from cluster.training_settings import TwhinSettings
from training.job import TrainingError
from training.twhin.edge_events import EdgeEvents, Events
from training.twhin.edges import EdgeColumns, Edges, EdgeWriter, Rows, concatenated
from training.twhin.relations import RELATIONS, TABLES

MIN_EDGES = 500
"""Fewer edges to learn from than this say nothing about anybody."""
LATER_EDGES = 5_000
"""Held-out edges kept for evaluation, of each relation; a random part where there are more."""
_EDGE = np.dtype([("lhs", "<i8"), ("rhs", "<i8"), ("rel", "u1"), ("later", "?")])


def prepare(
    archive: Archive,
    folder: Path,
    settings: TwhinSettings,
    seed: int,
    until_ms: int | None = None,
) -> Edges:
    """Write the edges of everything archived before `until_ms` into a folder of their own.

    An edge is alive unless its last event undid it, or its post, a user or the post's author
    was deleted. Live edges made within the latest `holdout_share` of edge events, but at most
    the latest day, are held out. A table's rows are the nodes with `min_degree` of the other
    edges or more; edges of rarer nodes are left out, and so is a node whose edges all were.

    Rows are in the order of their ids' hashes, not of their frequencies: blocks of rows, which
    row-wise sharding gives to workers, then carry the same load. Raises `TrainingError` where
    fewer than `MIN_EDGES` edges are left.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    events = EdgeEvents.spill(archive, folder / "buckets", until_ms)
    cut_ms = max(events.time_of_share(1 - settings.holdout_share), events.last_ms + 1 - DAY_MS)
    rng = np.random.default_rng(seed)
    nodes = {table: _Nodes() for table in TABLES}
    for path in events.buckets:
        edges = _settle(events.read(path), cut_ms)
        edges = edges[rng.permutation(len(edges))]
        edges.tofile(path)
        for table, ids in _ends(edges[~edges["later"]]):
            nodes[table].count(ids)
    for table in TABLES:
        nodes[table].keep(settings.min_degree)
    for path in events.buckets:
        _mark_reached(np.fromfile(path, _EDGE), nodes)
    vocabularies = {table: nodes[table].number() for table in TABLES}
    writer = EdgeWriter(folder, {table: len(ids) for table, ids in vocabularies.items()})
    shards = _Shards(writer, settings.shard_edges, rng)
    for path in events.buckets:
        shards.add(np.fromfile(path, _EDGE), nodes)
    shutil.rmtree(folder / "buckets")
    later, later_counts = shards.finish()
    if shards.n_edges < MIN_EDGES:
        raise TrainingError(
            f"{shards.n_edges:,} edges between nodes of at least {settings.min_degree} edges each "
            f"(of {events.n_rows:,} follows, engagements and posts); at least {MIN_EDGES} are "
            "needed: bring in more events, or lower training.twhin.min_degree"
        )
    data_range_ms = events.first_ms, events.last_ms + 1
    return writer.finish(vocabularies, later, later_counts, cut_ms, data_range_ms)


class _Nodes:
    """The nodes of one table: how often each occurs, and the row it gets."""

    def __init__(self) -> None:
        self._map = IdMap()
        self._counts = np.zeros(0, np.int64)
        self._reached = np.zeros(0, bool)
        self._rows = np.zeros(0, np.int32)

    def count(self, ids: Ids) -> None:
        places = self._map.get_or_insert(ids)
        grown = np.bincount(places, minlength=len(self._map))
        grown[: len(self._counts)] += self._counts
        self._counts = grown

    def keep(self, min_degree: int) -> None:
        self._rows = np.where(self._counts >= min_degree, 0, -1).astype(np.int32)
        self._reached = np.zeros(len(self._rows), bool)

    def reach(self, ids: Ids) -> None:
        self._reached[self._map.get(ids)] = True

    def number(self) -> Ids:
        """Number the nodes that are kept and reached; gives the id of each row."""
        kept = np.flatnonzero(self._reached)
        kept = kept[np.argsort(mix64(self._map.keys[kept]))]
        self._rows = np.full(len(self._map), -1, np.int32)
        self._rows[kept] = np.arange(len(kept), dtype=np.int32)
        ids: Ids = self._map.keys[kept]
        return ids

    def rows(self, ids: Ids) -> Rows:
        """Row of each id, −1 where it has none."""
        places = self._map.get(ids)
        if not len(self._rows):
            return places
        found: Rows = np.where(places >= 0, self._rows[places], np.int32(-1))
        return found


class _Shards:
    """Edges of ids in, shards of rows out, and the held-out edges apart."""

    def __init__(self, writer: EdgeWriter, shard_edges: int, rng: np.random.Generator) -> None:
        self._writer, self._shard_edges, self._rng = writer, shard_edges, rng
        self._pending: list[EdgeColumns] = []
        self._later: list[EdgeColumns] = []
        self._n_later = np.zeros(len(RELATIONS), np.int64)
        self.n_edges = 0

    def add(self, edges: npt.NDArray[np.void], nodes: dict[str, _Nodes]) -> None:
        known, later = _numbered(edges, nodes)
        self._pending.append(known.take(~later))
        if sum(map(len, self._pending)) >= 2 * self._shard_edges:
            self._write(at_least_kept=self._shard_edges)
        held = known.take(later)
        for i in range(len(RELATIONS)):
            room = max(0, LATER_EDGES - int(self._n_later[i]))
            some = np.flatnonzero(held.rel == i)
            self._later.append(held.take(some[:room]))
            self._n_later[i] += len(some)

    def finish(self) -> tuple[EdgeColumns, dict[str, int]]:
        """Held-out edges, and by relation how many there were."""
        self._write(at_least_kept=0)
        counts = dict(zip((r.name for r in RELATIONS), self._n_later.tolist(), strict=True))
        return concatenated(self._later), counts

    def _write(self, at_least_kept: int) -> None:
        """Write shards, all about as large; what is kept joins those that come."""
        edges = concatenated(self._pending)
        edges = edges.take(self._rng.permutation(len(edges)))
        n_written = len(edges)
        if at_least_kept:
            n_written = (n_written - at_least_kept) // self._shard_edges * self._shard_edges
        self._pending = [edges.take(slice(n_written, None))]
        n_shards = max(1, round(n_written / self._shard_edges))
        for part in np.array_split(np.arange(n_written), n_shards):
            if len(part):
                self._writer.shard(edges.take(part))
        self.n_edges += n_written


def _settle(events: Events, cut_ms: int) -> npt.NDArray[np.void]:
    """What is left of each pair's history: live edges, and whether they began after the cut."""
    order = np.lexsort((events["time_ms"], events["rhs"], events["lhs"], events["rel"]))
    events = events[order]
    pair = np.stack([events["rel"].astype(np.int64), events["lhs"], events["rhs"]])
    starts = np.ones(len(events), bool)
    starts[1:] = np.any(pair[:, 1:] != pair[:, :-1], axis=0)
    first = np.flatnonzero(starts)
    if not len(first):
        return np.empty(0, _EDGE)
    last = np.append(first[1:], len(events)) - 1
    early = events["time_ms"] < cut_ms
    at = np.where(early, np.arange(len(events)), -1)
    last_early = np.maximum.reduceat(at, first)
    made_early = np.maximum.reduceat(early & ~events["undone"], first)
    live = ~events["undone"][last]
    live_early = (last_early >= 0) & ~events["undone"][last_early]
    chosen = live & (live_early | ~made_early)
    edges = np.empty(int(chosen.sum()), _EDGE)
    for name in ("lhs", "rhs", "rel"):
        edges[name] = events[name][last[chosen]]
    edges["later"] = ~live_early[chosen]
    return edges


def _ends(edges: npt.NDArray[np.void]) -> Iterator[tuple[str, Ids]]:
    """Table and ids of both ends of the edges, relation by relation."""
    for i, relation in enumerate(RELATIONS):
        some = edges[edges["rel"] == i]
        yield relation.lhs, np.ascontiguousarray(some["lhs"])
        yield relation.rhs, np.ascontiguousarray(some["rhs"])


def _numbered(
    edges: npt.NDArray[np.void], nodes: dict[str, _Nodes]
) -> tuple[EdgeColumns, npt.NDArray[np.bool_]]:
    """Edges both of whose nodes have rows, and which of them are held out."""
    lhs, rhs = (np.full(len(edges), -1, np.int32) for _ in range(2))
    for i, relation in enumerate(RELATIONS):
        some = np.flatnonzero(edges["rel"] == i)
        lhs[some] = nodes[relation.lhs].rows(np.ascontiguousarray(edges["lhs"][some]))
        rhs[some] = nodes[relation.rhs].rows(np.ascontiguousarray(edges["rhs"][some]))
    known = (lhs >= 0) & (rhs >= 0)
    return EdgeColumns(lhs[known], edges["rel"][known], rhs[known]), edges["later"][known]


def _mark_reached(edges: npt.NDArray[np.void], nodes: dict[str, _Nodes]) -> None:
    edges = edges[~edges["later"]]
    for i, relation in enumerate(RELATIONS):
        some = edges[edges["rel"] == i]
        lhs, rhs = np.ascontiguousarray(some["lhs"]), np.ascontiguousarray(some["rhs"])
        kept = (nodes[relation.lhs].rows(lhs) >= 0) & (nodes[relation.rhs].rows(rhs) >= 0)
        nodes[relation.lhs].reach(lhs[kept])
        nodes[relation.rhs].reach(rhs[kept])

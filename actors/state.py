"""The state of one shard, without Ray: events in, answers out."""

import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.aggregates import AggregatesKind
from actors.features.binned import UNTRAINED_VERSION
from actors.graph import GraphKind, write_relation
from actors.locks import ReadWriteLock
from actors.models import ACTIVATED, OF_VECTORS, PROBLEMS, Models
from actors.posts import USER_KINDS, PostsKind
from actors.rows import Engagements, Rows
from actors.scored_posts import ScoredCache
from actors.stores.imported_records import ImportedRecords
from actors.stores.recent_ids import RecentIds, keys_of
from actors.stores.relations import Relations
from actors.stores.users import UserTable
from actors.stores.versions import versions_of
from actors.vector_models import VectorModels
from actors.vectors import VectorLimits, VectorsKind
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.ids import lanes_of_shard, owners_of, partition_range
from cluster.routing import PARTITION
from cluster.settings import Settings

K = TypeVar("K")
_LOG = logging.getLogger(__name__)

ALL_ROWS = 2**31 - 1
"""In the place of how many rows of a record were applied: every one."""

_TRAVEL_MS = 600_000
"""By how much an event may be older than when it was checked, once it is applied: the log was
slow to take it, or the clocks of two machines differ."""

RETIRED_MS = 60_000
"""How long a version is held after another took its place: requests keep to what they began
with."""


class Question(Protocol):
    """What a router may ask a shard: a picklable object that reads the state."""

    def answer(self, state: "ShardState") -> Any:
        """The answer; called while nothing is being written."""


@dataclass(frozen=True)
class Failed:
    """In the place of an answer: why there is none."""

    reason: str


@dataclass(frozen=True)
class Activation:
    """Which version of an artifact serves, and since when by the log."""

    version: str
    time_ms: int


class ShardState:
    """Everything one shard knows, as a pure function of the log rows of its partitions."""

    def __init__(
        self, settings: Settings, models: Models, shard: int = 0, n_shards: int = 1
    ) -> None:
        self.settings = settings
        self.models = models
        self.first_partition, self.end_partition = partition_range(shard, n_shards)
        self.lanes = lanes_of_shard(shard, n_shards, settings.log.lanes)
        self.lock = ReadWriteLock()
        self.users = UserTable()
        self.followers = Relations()
        """Follows by whom they are of, which more than one kind reads."""
        kinds, shared = settings.shards.kinds, (self.users, self.followers)
        limits = VectorLimits.of(settings.vectors)
        self._graph = GraphKind(settings, *shared) if "graph" in kinds else None
        self._posts = PostsKind(*shared, settings.analytics) if "posts" in kinds else None
        self._vectors = VectorsKind(limits) if "vectors" in kinds else None
        self._aggregates = (
            AggregatesKind(
                *(settings.aggregates, settings.heavy_ranker.features, self.users),
                self._posts.table if self._posts else None,
                self._graph.lists if self._graph else None,
            )
            if "aggregates" in kinds
            else None
        )
        dedup_ms = settings.windows.dedup_ms + _TRAVEL_MS
        self.recent = {lane: RecentIds(dedup_ms) for lane in self.lanes}
        self.imported = {lane: ImportedRecords() for lane in self.lanes}
        self.active: dict[str, Activation] = {}
        self._retired: dict[str, int] = {}
        """Versions of `vectors` that served before, and until when."""
        self.skip_until = np.zeros(1024, np.int64)
        """By partition: the offset up to which a restored snapshot already holds its rows."""
        self.applied: dict[int, tuple[int, int]] = {}
        """By lane: the offset of the last record of which rows were applied, and how many were.
        Kept with the rows, so that a replay can make an answer's features again."""
        self.counters: Counter[str] = Counter()
        self.traces = Traces()
        self.scored = ScoredCache(settings.sources.cached)

    @property
    def graph(self) -> GraphKind:
        """The kind `graph`; raises `LookupError` where this shard does not host it."""
        return _hosted(self._graph, "graph")

    @property
    def posts(self) -> PostsKind:
        """The kind `posts`; raises `LookupError` where this shard does not host it."""
        return _hosted(self._posts, "posts")

    @property
    def vectors(self) -> VectorsKind:
        """The kind `vectors`; raises `LookupError` where this shard does not host it."""
        return _hosted(self._vectors, "vectors")

    @property
    def aggregates(self) -> AggregatesKind:
        """The kind `aggregates`; raises `LookupError` where this shard does not host it."""
        return _hosted(self._aggregates, "aggregates")

    def start_vectors(self, models: VectorModels | None) -> None:
        """Begin the kind `vectors` anew, empty, under some models; for a restore."""
        self._vectors = VectorsKind(VectorLimits.of(self.settings.vectors), models)

    @property
    def memory_bytes(self) -> int:
        """Memory held by all stores."""
        kinds = sum(kind.memory_bytes for kind in self._kinds)
        recent = sum(ids.memory_bytes for ids in self.recent.values())
        recent += sum(records.memory_bytes for records in self.imported.values())
        return kinds + recent + self.users.memory_bytes + self.followers.memory_bytes

    @property
    def _kinds(self) -> list[GraphKind | PostsKind | VectorsKind | AggregatesKind]:
        # The aggregates are counted by the posts and lists as the same rows leave them.
        kinds = (self._graph, self._posts, self._vectors, self._aggregates)
        return [kind for kind in kinds if kind is not None]

    def sizes(self) -> dict[str, int]:
        """How much of what this shard holds."""
        sizes = {}
        if self._graph:
            sizes["follows"] = len(self._graph.follows)
            sizes["interactions"] = self._graph.engagements.n_edges
        if self._posts:
            sizes["posts"] = len(self._posts.table)
        if self._vectors:
            sizes |= self._vectors.sizes()
        if self._aggregates is not None:
            sizes["aggregates"] = len(self._aggregates)
        return sizes

    def active_version(self, name: str) -> str:
        """The version of an artifact that this shard serves."""
        active = self.active.get(name)
        return active.version if active else UNTRAINED_VERSION

    def activate_as_of(self, artifacts: ArtifactStore, until_ms: int) -> None:
        """Make the newest artifacts whose data ends by a past instant the active ones."""
        for name in ACTIVATED:
            version = artifacts.latest(name, data_until_ms=until_ms, accepted=True)
            if version:
                self.activate(name, version, until_ms)

    def activate(self, name: str, version: str, time_ms: int) -> None:
        """Serve a version from now on, prepared before or not.

        What cannot be read never becomes active: the old version serves on.
        """
        current = self.active.get(name)
        if current and current.time_ms >= time_ms:
            return
        try:
            if name not in OF_VECTORS:
                if name in ACTIVATED:
                    self.models.load(name, version)
            elif self._vectors:
                models = self.models.vectors(self.active_versions() | {name: version})
                self._vectors.prepare(models, time_ms)
                self._retired[self._vectors.version] = time_ms
                self._vectors.activate(models.version)
        except PROBLEMS as error:
            _LOG.error("%s %s is not activated: %s", name, version, error)
            self.counters["refused_activations"] += 1
        else:
            self.active[name] = Activation(version, time_ms)

    def active_versions(self) -> dict[str, str]:
        """Artifact → the version of it that this shard serves."""
        return {name: active.version for name, active in self.active.items()}

    def apply(
        self,
        batch: pa.RecordBatch,
        offsets: npt.NDArray[np.int64],
        imported: bool | npt.NDArray[np.bool_],
    ) -> int:
        """Apply rows of any lanes, in slices between queries; returns how many were new.

        `offsets` (n,) says where in the log each row stands, ascending in each lane; the rows
        of a record come together. `imported` says which are of imported history. Rows of other
        shards' partitions, rows a snapshot already holds and events applied before are passed
        over.
        """
        rows = Rows(batch)
        partitions = rows[PARTITION]
        mine = (partitions >= self.first_partition) & (partitions < self.end_partition)
        activations = rows["kind"] == Kind.ARTIFACT_ACTIVATE
        mine &= (self.skip_until[partitions] < offsets) & ~activations
        admitted = self._admit(rows, offsets, mine, np.broadcast_to(imported, len(rows)))
        if activations.any():
            self._activate(rows.where(activations))
        rows = rows.where(admitted)
        applied = _Applied(rows[PARTITION], offsets[admitted], self.settings.log.lanes)
        step = self.settings.shards.slice_rows
        for start in range(0, len(rows), step):
            part = (
                rows
                if len(rows) <= step
                else rows.take(np.arange(start, min(start + step, len(rows))))
            )
            engagements = Engagements.of(part)
            with self.lock.write():
                self._apply(part, engagements)
                applied.tell(self.applied, min(start + step, len(rows)))
            if self._graph:
                self._graph.close_segments()
        self.counters["applied"] += len(rows)
        return len(rows)

    def ask(self, questions: Sequence[Question]) -> list[Any]:
        """Answer several questions about one and the same state.

        A question that cannot be answered gets a `Failed`; the others are not lost.
        """
        with self.lock.read():
            return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Any:
        try:
            return question.answer(self)
        except Exception as error:
            _LOG.exception("a question was not answered: %s", type(question).__name__)
            self.counters["failed_questions"] += 1
            return Failed(f"{type(error).__name__}: {error}")

    def expire(self, now_ms: int) -> None:
        """Forget what no window reaches any more, all at once."""
        for _ in self.expiring(now_ms):
            pass

    def expiring(self, now_ms: int) -> Iterator[None]:
        """`expire` in slices, between which the thread may apply what else came."""
        if self._graph:
            with self.lock.write():
                self._graph.expire(now_ms)
            yield
        if self._vectors:
            for version, until_ms in list(self._retired.items()):
                if now_ms - until_ms >= RETIRED_MS:
                    del self._retired[version]
                    if version in self._vectors.versions and version != self._vectors.version:
                        self._vectors.drop(version)
            yield from self._vectors.expiring(now_ms)
        if self._aggregates is not None:
            for table in self._aggregates.tables.values():
                with self.lock.write():
                    table.expire(now_ms)
                yield

    def _admit(
        self,
        rows: Rows,
        offsets: npt.NDArray[np.int64],
        mine: npt.NDArray[np.bool_],
        imported: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.bool_]:
        """Which of my rows were not applied before."""
        admitted = np.zeros(len(rows), bool)
        lanes = owners_of(rows[PARTITION], self.settings.log.lanes)
        for lane, recent in self.recent.items():
            of_lane = np.flatnonzero(lanes == lane)
            n_mine = int(np.count_nonzero(mine[of_lane]))
            history = of_lane[imported[of_lane]]
            if len(history):
                keys = keys_of(rows["event_id"][history], rows[PARTITION][history])
                mine[history] &= ~self.imported[lane].copies(keys, offsets[history])
            admitted[of_lane], n_late = recent.admit(
                *(rows["event_id"][of_lane], rows[PARTITION][of_lane], rows["time_ms"][of_lane]),
                *(mine[of_lane], imported[of_lane]),
            )
            self.counters["late"] += n_late
            n_admitted = int(np.count_nonzero(admitted[of_lane]))
            self.counters["repeated"] += n_mine - n_admitted - n_late
        return admitted

    def _apply(self, rows: Rows, engagements: Engagements) -> None:
        users = rows.of(*USER_KINDS)
        users = users.where(users.concern("actor_id"))
        if len(users):
            self.users.write(users.batch, versions_of(users["time_ms"], users["event_id"]))
        follows = rows.of(Kind.FOLLOW, Kind.UNFOLLOW)
        if len(follows):
            write_relation(follows, Kind.FOLLOW, "target_id", "actor_id", self.followers)
        for kind in self._kinds:
            kind.apply(rows, engagements)

    def _activate(self, rows: Rows) -> None:
        names = rows.batch.column("name").to_pylist()
        versions = rows.batch.column("model_version").to_pylist()
        for name, version, time_ms in zip(names, versions, rows["time_ms"], strict=True):
            self.activate(name, version, int(time_ms))


class _Applied:
    """How far a batch of rows was applied, lane by lane."""

    def __init__(
        self, partitions: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], n_lanes: int
    ) -> None:
        self._lanes = owners_of(partitions, n_lanes)
        self._offsets = offsets
        self._told = 0

    def tell(self, applied: dict[int, tuple[int, int]], end: int) -> None:
        """Add the rows before `end` that were not told of yet."""
        lanes, offsets = self._lanes[self._told : end], self._offsets[self._told : end]
        self._told = end
        for lane in np.unique(lanes).tolist():
            of_lane = offsets[lanes == lane]
            last = int(of_lane[-1])
            before, n_before = applied.get(lane, (-1, 0))
            n_rows = int(np.count_nonzero(of_lane == last))
            applied[lane] = (last, n_rows + (n_before if before == last else 0))


class Traces:
    """What the last requests of each viewer did, kept beside the viewer's state.

    Not part of the log: a trace lost with its process is only a lost explanation.
    """

    PER_VIEWER = 20
    MAX_BYTES = 256 * 2**20

    def __init__(self) -> None:
        self._by_viewer: OrderedDict[int, OrderedDict[str, tuple[int, bytes]]] = OrderedDict()
        self._bytes = 0
        # Traces are put while other queries read, so the shard's lock does not guard them.
        self._lock = threading.Lock()

    def put(self, viewer_id: int, request_id: str, now_ms: int, trace: bytes) -> None:
        """Keep one trace, and forget the oldest beyond the limits."""
        with self._lock:
            mine = self._by_viewer.setdefault(viewer_id, OrderedDict())
            self._by_viewer.move_to_end(viewer_id)
            mine[request_id] = (now_ms, trace)
            self._bytes += len(trace)
            while len(mine) > self.PER_VIEWER:
                self._bytes -= len(mine.popitem(last=False)[1][1])
            while self._bytes > self.MAX_BYTES:
                _, oldest = self._by_viewer.popitem(last=False)
                self._bytes -= sum(len(kept) for _, kept in oldest.values())

    def get(self, viewer_id: int, request_id: str, since_ms: int) -> bytes | None:
        """A trace made since `since_ms`, or None."""
        with self._lock:
            mine = self._by_viewer.get(viewer_id, OrderedDict())
            made_ms, trace = mine.get(request_id, (0, None))
        return trace if made_ms >= since_ms else None


def _hosted(kind: K | None, name: str) -> K:
    if kind is None:
        raise LookupError(f"this shard does not host the kind {name!r}")
    return kind

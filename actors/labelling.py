"""The actor that labels posts as they arrive: log to safety model to log."""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from actors.features.safety import TRUST_AND_SAFETY
from actors.labeller import Labeller
from actors.models import PROBLEMS, Models
from actors.ray_router import KEEPER, connect_log
from actors.rows import Rows
from cluster.artifacts import ArtifactStore
from cluster.durable import replace_file
from cluster.events import Kind
from cluster.ingest import Appender, Ingest
from cluster.log import CorruptRecord, EventLog, Record
from cluster.logs import open_reader
from cluster.routing import UnreadableBatch, decode
from cluster.settings import Settings

_LOG = logging.getLogger(__name__)
_READ_BYTES = 2**20
_POLL_S = 0.2
_RETRY_S = 5.0
_FLUSH_TIMEOUT_S = 600.0


class Labelling:
    """A thread over the log that gives new and edited posts the labels their texts and media earn.

    Which records it has read, and under which version of the model, is kept in a small file,
    written after the labels of those records were acknowledged. After a crash some records are
    labelled again, by events with the ids they had before, which appliers know as repeats.

    Nothing waits for it: where posts come faster than it reads them, it lags. Without
    `appender` and `flush_archive` it uses those of the running system.
    """

    def __init__(
        self,
        settings: Settings,
        appender: Appender | None = None,
        flush_archive: Callable[[], None] | None = None,
    ) -> None:
        self._settings = settings
        self._path = place(settings)
        self._place = read_place(settings, range(settings.log.lanes))
        self._models = Models(ArtifactStore(settings.data_dir / "artifacts"))
        self._ingest = Ingest(
            settings, appender or connect_log(settings), flush_archive or _flusher(settings)
        )
        self._stop = threading.Event()
        self._labeller: Labeller | None = None
        self._counters = {"posts": 0, "labels": 0, "unlabelled": 0, "refused_labels": 0}
        self._caught_up_ms = 0
        self._refused: str | None = None
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="labelling", daemon=True)
        self._thread.start()

    def status(self) -> dict[str, Any]:
        """The version, how far behind the log it is, what it did, and what went wrong last.

        `unlabelled` posts passed by before there was a model; `refused` is the last version
        that could not be read. `lag_ms` is null until the first records have been read.
        """
        now_ms = _now_ms()
        return {
            "version": self._place.version,
            "refused": self._refused,
            "lag_ms": max(now_ms - self._caught_up_ms, 0) if self._caught_up_ms else None,
            "offset": max(self._place.positions.values(), default=0),
            **self._counters,
            "failure": self.failure,
        }

    def stop(self) -> None:
        """End the thread after the records it is labelling."""
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        if self._place.version:
            self._labeller = self._labeller_of(self._place.version)
        while not self._stop.is_set():
            try:
                with open_reader(self._settings) as log:
                    while not self._stop.is_set():
                        self._step(log)
                        self.failure = None
            except Exception as error:
                # Labels fall behind; the same records are read again.
                self.failure = f"{type(error).__name__}: {error}"
                _LOG.exception("labelling failed, trying again")
                self._stop.wait(_RETRY_S)

    def _step(self, log: EventLog) -> None:
        asked_ms = _now_ms()
        positions = dict(self._place.positions)
        try:
            records = log.read(positions, _READ_BYTES, timeout_s=_POLL_S)
        except CorruptRecord as error:
            _LOG.error("the log is damaged, its record is passed over: %s", error)
            positions[error.lane] = error.offset
            self._keep(replace(self._place, positions=positions))
            return
        if records:
            batches = [batch for record in records if (batch := _decoded(record)) is not None]
            now = self._activated(batches)
            self._label(batches)
            positions |= {record.lane: record.offset for record in records}
            self._keep(replace(now, positions=positions))
        if sum(len(record.payload) for record in records) < _READ_BYTES // 2:
            self._caught_up_ms = asked_ms
        else:
            self._caught_up_ms = max(self._caught_up_ms, records[-1].appended_ms)

    def _keep(self, new: "_Place") -> None:
        replace_file(self._path, json.dumps(vars(new)).encode())
        self._place = new

    def _activated(self, batches: list[pa.RecordBatch]) -> "_Place":
        """The newest version activated in records, where it can be read; else as it was."""
        now = self._place
        for batch in batches:
            rows = Rows(batch).of(Kind.ARTIFACT_ACTIVATE)
            if not len(rows):
                continue
            names = rows.batch.column("name").to_pylist()
            versions = rows.batch.column("model_version").to_pylist()
            for name, version, time_ms in zip(
                names, versions, rows["time_ms"].tolist(), strict=True
            ):
                if name == TRUST_AND_SAFETY and time_ms > now.activated_ms:
                    labeller = self._labeller_of(version)
                    if labeller:
                        self._labeller = labeller
                        now = replace(now, version=version, activated_ms=time_ms)
        return now

    def _labeller_of(self, version: str) -> Labeller | None:
        try:
            model = self._models.safety(version)
        except PROBLEMS as error:
            self._refused = f"{version}: {error}"
            _LOG.error("%s %s is not used: %s", TRUST_AND_SAFETY, version, error)
            return None
        self._refused = None
        return Labeller(model, self._append)

    def _label(self, batches: list[pa.RecordBatch]) -> None:
        for batch in batches:
            rows = Rows(batch).of(Kind.POST_CREATE, Kind.POST_EDIT)
            rows = rows.where(rows.concern("author_id"))
            read = {"text", "media_embedding"}.intersection(batch.schema.names)
            if not len(rows) or not read:
                continue
            if self._labeller is None:
                self._counters["unlabelled"] += len(rows)
                continue
            self._counters["posts"] += len(rows)
            self._counters["labels"] += self._labeller.label(rows.batch)

    def _append(self, events: pa.RecordBatch) -> None:
        """Append labels, those of old posts as history: an old event is refused otherwise.

        Half of the window is left for a lag between this and the shards.
        """
        now_ms = _now_ms()
        old = events.column("time_ms").to_numpy() < now_ms - self._settings.windows.dedup_ms // 2
        for history in (False, True):
            part = events.filter(pa.array(old == history))
            if part.num_rows:
                found = self._ingest.batch(part, now_ms=now_ms, history=history)
                self._counters["refused_labels"] += len(found.problems)
                if found.problems:
                    _LOG.error("%d labels are refused: %s", len(found.problems), found.problems[0])


@dataclass(frozen=True)
class _Place:
    """How far the log has been labelled, and what serves."""

    positions: dict[int, int] = field(default_factory=dict)
    version: str = ""
    activated_ms: int = 0


def place(settings: Settings) -> Path:
    """The file that says how far the log has been labelled."""
    return settings.data_dir / "labelling.json"


def labelled_positions(settings: Settings) -> dict[int, int]:
    """Offset by lane up to which posts are labelled; empty where that never began."""
    return read_place(settings, ()).positions


def read_place(settings: Settings, lanes: range | tuple[int, ...]) -> _Place:
    """What the file says; from the beginning of `lanes` where it says nothing of them."""
    path = place(settings)
    told: Mapping[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    positions = {int(lane): int(offset) for lane, offset in told.get("positions", {}).items()}
    return _Place(
        dict.fromkeys(lanes, 0) | positions,
        str(told.get("version", "")),
        int(told.get("activated_ms", 0)),
    )


def _decoded(record: Record) -> pa.RecordBatch | None:
    try:
        return decode(record.payload)
    except UnreadableBatch as error:
        _LOG.error("lane %d offset %d is passed over: %s", record.lane, record.offset, error)
        return None


def _flusher(settings: Settings) -> Callable[[], None]:
    def flush() -> None:
        keeper = ray.get_actor(KEEPER, settings.namespace)
        ray.get(keeper.flush.remote(), timeout=_FLUSH_TIMEOUT_S)

    return flush


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

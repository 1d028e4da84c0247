"""Events in: validated, routed to their lanes, and durable before they are acknowledged."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from cluster.archive import Archive
from cluster.events import Kind
from cluster.routing import encode, route
from cluster.settings import Settings
from cluster.validation import Checked, Problem, check_batch, check_objects

_IDS_BETWEEN_FLUSHES = 500_000
"""Old events remembered here until the archive is asked to take them in."""


class Appender(Protocol):
    """Anything that appends to the log: the log itself, or the actor that owns it."""

    def append(self, lane_payloads: Mapping[int, bytes]) -> int:
        """One atomic append; returns its offset once it is durable."""


@dataclass(frozen=True)
class Ingested:
    """What became of a batch."""

    accepted: int
    offset: int
    """Where in the log the batch ends; 0 where nothing was appended."""
    repeated: int = 0
    """Old events that the archive already held."""
    clamped: int = 0
    """Events from the future, taken as of now."""
    problems: list[Problem] = field(default_factory=list)


class Ingest:
    """The one way into the log; the good events of a batch are never lost to the bad ones.

    Events older than the deduplication window may have been applied and forgotten. They are
    refused, unless they are said to be `history`: then those the archive holds are left out.
    `flush_archive` is called so that the archive knows what the log has acknowledged.
    """

    def __init__(
        self,
        settings: Settings,
        appender: Appender,
        flush_archive: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._appender = appender
        self._flush_archive = flush_archive
        self._archive: Archive | None = None
        self._since_flush: set[int] = set()
        self._history = threading.Lock()

    def objects(
        self,
        objects: Sequence[Any],
        *,
        now_ms: int,
        history: bool = False,
        own: Collection[int] | None = None,
    ) -> Ingested:
        """Ingest decoded JSON objects; `own` is `check_batch`'s."""
        oldest_ms = None if history else self._oldest_ms(now_ms)
        checked = check_objects(objects, now_ms=now_ms, oldest_ms=oldest_ms, own=own)
        return self._append(checked, history)

    def batch(
        self,
        batch: pa.RecordBatch | pa.Table,
        *,
        now_ms: int,
        history: bool = False,
        own: Collection[int] | None = None,
    ) -> Ingested:
        """Ingest columns. Raises `ValueError` where they are not event columns at all."""
        oldest_ms = None if history else self._oldest_ms(now_ms)
        checked = check_batch(batch, now_ms=now_ms, oldest_ms=oldest_ms, own=own)
        return self._append(checked, history)

    def activate(self, name: str, version: str, *, now_ms: int) -> Ingested:
        """Make a version of an artifact the active one, in every lane at once."""
        kind = Kind.ARTIFACT_ACTIVATE.label
        event = {"kind": kind, "name": name, "model_version": version, "time_ms": now_ms}
        return self.objects([event], now_ms=now_ms)

    def _oldest_ms(self, now_ms: int) -> int:
        return now_ms - self._settings.windows.dedup_ms

    def _append(self, checked: Checked, history: bool) -> Ingested:
        batch, repeated = checked.batch, 0
        if history and batch.num_rows:
            with self._history:
                batch, repeated = self._without_archived(batch)
        offset = 0
        if batch.num_rows:
            lanes = route(batch, self._settings.log.lanes)
            payloads = {lane: encode(part, imported=history) for lane, part in lanes.items()}
            try:
                offset = self._appender.append(payloads)
            except BaseException:
                # Not acknowledged, so these events may be in the log or not: only an archive
                # that has taken in all of the log can tell which are repeated when sent again.
                if history:
                    with self._history:
                        self._since_flush.difference_update(batch.column("event_id").to_pylist())
                        self._archive = None
                raise
        return Ingested(batch.num_rows, offset, repeated, checked.clamped, checked.problems)

    def _without_archived(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
        """The events that neither the archive nor this process has seen, and how many had."""
        event_ids = batch.column("event_id").to_numpy()
        if self._archive is None or len(self._since_flush) > _IDS_BETWEEN_FLUSHES:
            self._flush_archive()
            self._archive = Archive(self._settings.archive_root)
            self._since_flush.clear()
        held = self._archive.contains(event_ids, batch.column("time_ms").to_numpy())
        since = self._since_flush
        first = np.zeros(len(event_ids), bool)
        first[np.unique(event_ids, return_index=True)[1]] = True
        held |= np.fromiter((i in since for i in event_ids.tolist()), bool, len(held)) | ~first
        since.update(event_ids[~held].tolist())
        if not held.any():
            return batch, 0
        return batch.filter(pa.array(~held)), int(held.sum())

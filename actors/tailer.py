"""Keeps a shard's state up with the log: restore, tail, expire, snapshot."""

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from actors import snapshot
from actors.beginning import LogTrimmed, begin, check_reached
from actors.state import ShardState
from cluster.ids import N_PARTITIONS
from cluster.log import CorruptRecord, EventLog, LogError, Record
from cluster.routing import UnreadableBatch, decode, is_imported

_LOG = logging.getLogger(__name__)
_READ_BYTES = 4 * 2**20
_EXPIRE_EVERY_S = 60.0
_RETRY_S = 0.2
_WRITER_YIELDS = 10
_LOOK_EVERY_S = 0.5


class Tailer:
    """One thread that applies the log to a state, for as long as it runs.

    `until_ms` stops it at a past instant: events after it are left out, and it never
    takes snapshots.
    """

    def __init__(
        self,
        state: ShardState,
        open_log: Callable[[], EventLog],
        snapshots: Path,
        *,
        until_ms: int | None = None,
    ) -> None:
        self._state = state
        self._open_log = open_log
        self._snapshots = snapshots
        self._until_ms = until_ms
        self._stop = threading.Event()
        self._snapshot_wanted = threading.Event()
        self._snapshot_writer: threading.Thread | None = None
        self._work: deque[tuple[Iterator[None], threading.Event]] = deque()
        self.positions: dict[int, int] = {}
        self.restored = threading.Event()
        self.caught_up_ms = 0
        """Wall clock, in ms, at which everything acknowledged before had been applied."""
        self.failure: str | None = None
        self.last_snapshot: str | None = None
        self._thread = threading.Thread(target=self._run, name="tailer", daemon=True)

    def start(self) -> None:
        """Begin to restore and to tail, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the record it is applying."""
        self._stop.set()
        self._thread.join(10)
        if self._snapshot_writer:
            self._snapshot_writer.join(60)

    @property
    def ended(self) -> bool:
        """Whether it has given up, for the reason in `failure`."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def lag_ms(self, now_ms: int) -> int:
        """How long ago the state held everything that was acknowledged."""
        return max(now_ms - self.caught_up_ms, 0)

    def run_between(self, work: Iterator[None]) -> threading.Event:
        """Have the thread that applies run something, a slice between two readings of the log.

        The event is set when it is done, or has failed, which is logged.
        """
        done = threading.Event()
        self._work.append((work, done))
        return done

    def request_snapshot(self) -> None:
        """Take a snapshot as soon as the record being applied is done."""
        self._snapshot_wanted.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._open_log() as log:
                    firsts = log.first_offsets()
                    if not self.restored.is_set():
                        self.positions = begin(self._state, self._snapshots, firsts, self._until_ms)
                        self.restored.set()
                    check_reached(self.positions, firsts, self._state.settings.archive_root)
                    self._tail(log)
            except LogError as error:
                self.failure = str(error)
                _LOG.warning("shard cannot read the log, trying again: %s", error)
                self._stop.wait(_RETRY_S)
            except LogTrimmed as error:
                self.failure = str(error)
                _LOG.error("shard cannot be restored: %s", error)
                return
            except Exception as error:
                # A shard that cannot apply an event must not go on as if it had.
                self.failure = f"{type(error).__name__}: {error}"
                _LOG.exception("shard stopped applying events")
                raise

    def _tail(self, log: EventLog) -> None:
        settings = self._state.settings.shards
        poll_s = settings.poll_ms / 1000
        next_expiry = time.monotonic() + _EXPIRE_EVERY_S
        expired = threading.Event()
        expired.set()
        # Shards that started together take their snapshots in turn.
        turn = self._state.end_partition / N_PARTITIONS
        next_snapshot = time.monotonic() + settings.snapshot_every_s * turn
        while not self._stop.is_set():
            asked_ms = time.time_ns() // 1_000_000
            try:
                wait_s = 0.0 if self._work else poll_s
                records = log.read(self.positions, _READ_BYTES, timeout_s=wait_s)
            except CorruptRecord as error:
                self.failure = str(error)
                _LOG.error("the log is damaged, its record is passed over: %s", error)
                self.positions[error.lane] = error.offset
                continue
            self._apply(records)
            self._work_on()
            read_bytes = sum(len(record.payload) for record in records)
            if read_bytes < _READ_BYTES // 2:
                self.caught_up_ms = asked_ms
            elif records:
                self.caught_up_ms = max(self.caught_up_ms, records[-1].appended_ms)
            self.failure = None
            now = time.monotonic()
            if now >= next_expiry and self._until_ms is None and expired.is_set():
                expired = self.run_between(self._state.expiring(asked_ms))
                next_expiry = now + _EXPIRE_EVERY_S
            due = now >= next_snapshot or self._snapshot_wanted.is_set()
            due = due and self._until_ms is None and not self._writing_snapshot()
            if due and snapshot.is_even(self._state, self.positions):
                self._snapshot_wanted.clear()
                next_snapshot = now + settings.snapshot_every_s
                self._take_snapshot(log)

    def _work_on(self) -> None:
        """One slice of what was asked for first."""
        if not self._work:
            return
        work, done = self._work[0]
        try:
            next(work)
            return
        except StopIteration:
            pass
        except Exception:
            _LOG.exception("what was to be done between records failed")
        self._work.popleft()
        done.set()

    def _apply(self, records: list[Record]) -> None:
        """Apply records together: a hundred small ones cost little more than one."""
        batches, offsets, imported = [], [], []
        for record in records:
            batch = self._decoded(record)
            if batch is not None and batch.num_rows:
                batches.append(pa.table(batch.replace_schema_metadata(None)))
                offsets.append(np.full(batch.num_rows, record.offset))
                imported.append(np.full(batch.num_rows, is_imported(batch)))
        if batches:
            together = pa.concat_tables(batches, promote_options="default").combine_chunks()
            (rows,) = together.to_batches()
            self._state.apply(rows, np.concatenate(offsets), np.concatenate(imported))
        for record in records:
            self.positions[record.lane] = record.offset

    def _decoded(self, record: Record) -> pa.RecordBatch | None:
        try:
            batch = decode(record.payload)
        except UnreadableBatch as error:
            _LOG.error("lane %d offset %d is passed over: %s", record.lane, record.offset, error)
            self._state.counters["unreadable_records"] += 1
            return None
        if self._until_ms is not None:
            batch = batch.filter(pc.less_equal(batch.column("time_ms"), self._until_ms))
        return batch

    def _writing_snapshot(self) -> bool:
        return self._snapshot_writer is not None and self._snapshot_writer.is_alive()

    def _take_snapshot(self, log: EventLog) -> None:
        captured = threading.Event()

        def write() -> None:
            try:
                # In the place of applying events, which wait for it.
                copy = snapshot.capture(self._state, self.positions)
                captured.set()
                os.nice(_WRITER_YIELDS)  # Of this thread alone: questions go first.
                folder = snapshot.write(copy, self._snapshots)
                self.last_snapshot = folder.name
                snapshot.prune(self._snapshots, self._state.settings.shards.snapshots_kept)
            except OSError as error:
                _LOG.error("snapshot failed, the older ones stay: %s", error)
            finally:
                captured.set()

        self._snapshot_writer = threading.Thread(target=write, name="snapshot", daemon=True)
        self._snapshot_writer.start()
        # A large state is copied for seconds; while nothing comes, nothing is missed.
        while not captured.wait(_LOOK_EVERY_S):
            with contextlib.suppress(LogError):
                self._look(log)

    def _look(self, log: EventLog) -> None:
        """Note that the state holds everything, where it does."""
        asked_ms = time.time_ns() // 1_000_000
        heads = log.heads()
        if all(heads[lane] <= at for lane, at in self.positions.items()):
            self.caught_up_ms = asked_ms

"""The event log in one SQLite file: the embedded default, no server to run.

One process owns the file for writing; any number of processes on the same node read it. A writer
thread drains a bounded queue and commits what it finds there as one transaction, so concurrent
appends share one fsync (WAL, `synchronous=FULL`).
"""

from __future__ import annotations

import contextlib
import heapq
import operator
import os
import queue
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cluster.log import (
    DEFAULT_LANES,
    DEFAULT_MAX_PAYLOAD_BYTES,
    DEFAULT_READ_BYTES,
    AppendUnknown,
    Clock,
    LogBusy,
    LogClosed,
    LogError,
    LogFull,
    LogReadOnly,
    LogUnavailable,
    Record,
    check_append,
    check_lanes,
    check_n_lanes,
    encode_append,
    group_appends,
    take_appends,
    wall_clock_ms,
)
from cluster.sqlite_file import PAGE_BYTES, open_reader, open_writer, own, storage_errors

_GROUP_APPENDS = 256
_GROUP_BYTES = 16 * 1024 * 1024
_TRIM_ROWS = 2000  # per transaction: appends go between them
_POLL_S = 0.002
_READ_POLL_S = 0.025
"""Between two looks for news. A look after a sleep costs 0.2 ms, most of it the waking."""


class SqliteLogReader:
    """The reading half of the `EventLog` in the file `path`; for any process of the node.

    Raises `LogUnavailable` when there is no log at `path` yet, `LogVersionError` for a newer
    schema, `CorruptLog` for a damaged file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_lock = threading.Lock()
        self._seen_version = -1
        self._lanes: dict[int, tuple[int, int]] = {}
        self._reader: sqlite3.Connection | None = open_reader(path)
        self.n_lanes = len(self.heads())

    @property
    def max_payload_bytes(self) -> int:
        """As in `EventLog`."""
        return DEFAULT_MAX_PAYLOAD_BYTES

    def append(self, lane_payloads: Mapping[int, bytes], *, deadline_s: float | None = None) -> int:
        """Raises `LogReadOnly`."""
        raise LogReadOnly("this handle only reads; appends go through the log's owner")

    def append_async(
        self, lane_payloads: Mapping[int, bytes], *, deadline_s: float | None = None
    ) -> Future[int]:
        """Raises `LogReadOnly`."""
        raise LogReadOnly("this handle only reads; appends go through the log's owner")

    def read(
        self,
        positions: Mapping[int, int],
        max_bytes: int = DEFAULT_READ_BYTES,
        *,
        timeout_s: float = 0.0,
    ) -> list[Record]:
        """As in `EventLog`."""
        check_lanes(positions, self.n_lanes)
        until = time.monotonic() + timeout_s
        while True:
            with self._fresh() as reader:
                behind = any(self._lanes[lane][0] > at for lane, at in positions.items())
                records = _read_behind(reader, positions, max_bytes) if behind else []
            if records or time.monotonic() >= until:
                return records
            time.sleep(min(_READ_POLL_S, max(until - time.monotonic(), 0)))

    def heads(self) -> dict[int, int]:
        """As in `EventLog`."""
        with self._fresh():
            return {lane: head for lane, (head, _) in self._lanes.items()}

    def first_offsets(self) -> dict[int, int]:
        """As in `EventLog`."""
        with self._fresh():
            return {lane: trimmed + 1 for lane, (_, trimmed) in self._lanes.items()}

    def trim(self, offsets: Mapping[int, int]) -> None:
        """Raises `LogReadOnly`."""
        raise LogReadOnly("this handle only reads; retention goes through the log's owner")

    def close(self) -> None:
        """As in `EventLog`."""
        with self._read_lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _fresh(self) -> Iterator[sqlite3.Connection]:
        """The connection, under the lock, with `_lanes` (head, trimmed) as of now."""
        with self._read_lock, storage_errors(self._path):
            if self._reader is None:
                raise LogClosed("the log was closed")
            # data_version costs some 10 µs, and changes when another connection has committed. It
            # is taken before the rows: at worst the next poll reads them once more than needed.
            (version,) = self._reader.execute("PRAGMA data_version").fetchone()
            if version != self._seen_version:
                rows = self._reader.execute("SELECT lane, head, trimmed FROM lanes")
                self._lanes = {lane: (head, trimmed) for lane, head, trimmed in rows}
                self._seen_version = version
            yield self._reader


@dataclass(slots=True)
class _Job:
    """One append, or (with `trim`) one step of retention, waiting for the writer thread."""

    frames: list[tuple[int, bytes]]
    n_bytes: int = 0
    trim: tuple[int, int] | None = None
    done: Future[int] = field(default_factory=Future)


class SqliteLog(SqliteLogReader):
    """The `EventLog` in the file `path`, owned for writing by this handle.

    `max_file_bytes` bounds the file and `min_free_bytes` the room left on its disk; past either,
    appends raise `LogFull`. `max_pending` appends may wait for the writer before `LogBusy`.

    Raises `LogOwned` when another writer has the file, `LogVersionError` for a newer schema or
    another number of lanes, `CorruptLog` for a file that SQLite cannot read. A torn tail is cut
    to the last whole append, with a warning that says what went.
    """

    def __init__(
        self,
        path: Path,
        *,
        n_lanes: int = DEFAULT_LANES,
        max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
        max_pending: int = 1024,
        max_file_bytes: int | None = None,
        min_free_bytes: int = 32 * 1024 * 1024,
        deadline_s: float = 10.0,
        clock: Clock = wall_clock_ms,
    ) -> None:
        check_n_lanes(n_lanes)
        self._max_payload_bytes = max_payload_bytes
        self._min_free_bytes = min_free_bytes
        self._deadline_s = deadline_s
        self._clock = clock
        self._dir = path.resolve().parent
        self._dir.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as undo:
            self._lock_file = own(path)
            undo.callback(os.close, self._lock_file)
            self._writer = open_writer(path, n_lanes)
            undo.callback(self._writer.close)
            with storage_errors(path):
                if max_file_bytes is not None:
                    pages = max_file_bytes // PAGE_BYTES
                    self._writer.execute(f"PRAGMA max_page_count = {pages}")
                row = self._writer.execute("SELECT next_offset FROM next_offset").fetchone()
            self._next_offset: int = row[0]
            super().__init__(path)
            undo.pop_all()
        self._jobs: queue.Queue[_Job | None] = queue.Queue(max_pending)
        self._submit_lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._write_forever, name="log-writer", daemon=True)
        self._thread.start()

    @staticmethod
    def open_reader(path: Path) -> SqliteLogReader:
        """A handle that only reads, while this or another process owns the file."""
        return SqliteLogReader(path)

    @property
    def max_payload_bytes(self) -> int:
        """As in `EventLog`."""
        return self._max_payload_bytes

    def append(self, lane_payloads: Mapping[int, bytes], *, deadline_s: float | None = None) -> int:
        """As in `EventLog`."""
        done = self.append_async(lane_payloads)
        within_s = self._deadline_s if deadline_s is None else deadline_s
        try:
            return done.result(within_s)
        except TimeoutError:
            if done.cancel():
                raise LogUnavailable(f"the writer did not get to it in {within_s} s") from None
            if done.done():
                return done.result()
            raise AppendUnknown(f"no acknowledgement within {within_s} s") from None

    def append_async(
        self, lane_payloads: Mapping[int, bytes], *, deadline_s: float | None = None
    ) -> Future[int]:
        """As in `EventLog`; a local disk needs no deadline, so `deadline_s` is not used here.

        Cancelling the future takes the append back while it still waits for the writer.
        """
        check_append(lane_payloads, self.n_lanes, self._max_payload_bytes)
        frames = encode_append(lane_payloads, self._clock())
        job = _Job(frames, sum(len(frame) for _, frame in frames))
        self._submit(job, wait=False)
        return job.done

    def trim(self, offsets: Mapping[int, int]) -> None:
        """As in `EventLog`; in steps, so that appends go between them."""
        check_lanes(offsets, self.n_lanes)
        for lane, offset in offsets.items():
            n_dropped = _TRIM_ROWS
            while n_dropped >= _TRIM_ROWS:
                step = _Job([], trim=(lane, offset))
                self._submit(step, wait=True)
                n_dropped = step.done.result()

    def close(self) -> None:
        """As in `EventLog`."""
        with self._submit_lock:
            if self._closed:
                return
            self._closed = True
        self._jobs.put(None)
        self._thread.join()
        super().close()
        self._writer.close()
        os.close(self._lock_file)

    def _submit(self, job: _Job, *, wait: bool) -> None:
        while True:
            # Under the lock, so that nothing is put behind the end mark that `close` puts.
            with self._submit_lock:
                if self._closed:
                    raise LogClosed("the log was closed")
                try:
                    self._jobs.put_nowait(job)
                    return
                except queue.Full:
                    if not wait:
                        raise LogBusy(f"{self._jobs.maxsize} appends wait for the disk") from None
            time.sleep(_POLL_S)

    def _write_forever(self) -> None:
        last = False
        while not last:
            jobs, last = self._next_group()
            live = [job for job in jobs if job.done.set_running_or_notify_cancel()]
            if live:
                self._commit_or_split(live)

    def _next_group(self) -> tuple[list[_Job], bool]:
        """What is waiting now, up to a bound; True with the last group before closing."""
        jobs: list[_Job] = []
        n_bytes = 0
        while len(jobs) < _GROUP_APPENDS and n_bytes < _GROUP_BYTES:
            try:
                job = self._jobs.get(block=not jobs)
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
            n_bytes += job.n_bytes
        return jobs, False

    def _commit_or_split(self, jobs: list[_Job]) -> None:
        try:
            results = self._commit(jobs)
        except (sqlite3.Error, OSError, LogError) as error:
            if len(jobs) > 1:
                # One append too large for the room left must not fail the others.
                for job in jobs:
                    self._commit_or_split([job])
            else:
                jobs[0].done.set_exception(_as_log_error(error))
            return
        for job, result in zip(jobs, results, strict=True):
            job.done.set_result(result)

    def _commit(self, jobs: list[_Job]) -> list[int]:
        """Applies the jobs in one transaction; returns last offsets, or rows dropped for a trim."""
        if any(job.frames for job in jobs):
            free_bytes = shutil.disk_usage(self._dir).free
            if free_bytes < self._min_free_bytes:
                raise LogFull(f"{free_bytes} bytes free, {self._min_free_bytes} must stay free")
        results = []
        offset = self._next_offset
        heads: dict[int, int] = {}
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            for job in jobs:
                if job.trim is not None:
                    results.append(_trim_step(self._writer, *job.trim))
                    continue
                rows = [(offset + k, lane, frame) for k, (lane, frame) in enumerate(job.frames)]
                self._writer.executemany("INSERT INTO records VALUES (?, ?, ?)", rows)
                heads.update((lane, at) for at, lane, _ in rows)
                offset += len(rows)
                results.append(offset - 1)
            self._writer.executemany(
                "UPDATE lanes SET head = ? WHERE lane = ?",
                [(head, lane) for lane, head in heads.items()],
            )
            self._writer.execute("UPDATE next_offset SET next_offset = ?", (offset,))
            self._writer.execute("COMMIT")
        except BaseException:
            # A full disk may have rolled the transaction back already.
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        self._next_offset = offset
        return results


def _read_behind(
    reader: sqlite3.Connection, positions: Mapping[int, int], max_bytes: int
) -> list[Record]:
    """As `EventLog.read`; heads and rows in one transaction, so that all are of one commit."""
    with contextlib.ExitStack() as cursors:
        reader.execute("BEGIN")
        cursors.callback(reader.execute, "COMMIT")
        lanes = []
        for lane, head in reader.execute("SELECT lane, head FROM lanes").fetchall():
            if positions.get(lane, head) < head:
                rows = reader.execute(
                    "SELECT offset, lane, frame FROM records"
                    " WHERE lane = ? AND offset > ? ORDER BY offset",
                    (lane, positions[lane]),
                )
                lanes.append(cursors.enter_context(contextlib.closing(rows)))
        merged = heapq.merge(*lanes, key=operator.itemgetter(0))
        return take_appends(group_appends(merged), max_bytes)


def _trim_step(writer: sqlite3.Connection, lane: int, offset: int) -> int:
    """Drops the oldest rows of a lane up to `offset`, at most `_TRIM_ROWS`; returns how many."""
    dropped = writer.execute(
        "DELETE FROM records WHERE offset IN (SELECT offset FROM records"
        " WHERE lane = ? AND offset <= ? ORDER BY offset LIMIT ?)",
        (lane, offset, _TRIM_ROWS),
    )
    writer.execute(
        "UPDATE lanes SET trimmed = max(trimmed, min(?, head)) WHERE lane = ?", (offset, lane)
    )
    return dropped.rowcount


def _as_log_error(error: Exception) -> LogError:
    if isinstance(error, LogError):
        return error
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return LogFull(f"the log's file or its disk is full: {error}")
    return LogError(f"the log could not write: {type(error).__name__}: {error}")

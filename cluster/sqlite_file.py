"""The file under the SQLite log: its schema, its one writer, and its repair when it is opened.

Damage is never passed over in silence: a torn tail is cut to the last whole append with a
warning, anything else raises `CorruptLog`. Offsets of what was cut are never given again, since
readers may have seen them.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import os
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cluster.log import (
    SCHEMA_VERSION,
    BadFrame,
    CorruptLog,
    LogOwned,
    LogUnavailable,
    LogVersionError,
    decode_frame,
)

logger = logging.getLogger(__name__)

PAGE_BYTES = 8192
_APPLICATION_ID = 0x4D4C4F47  # "MLOG", so that another SQLite file is refused
_CHECKPOINT_PAGES = 2000
_BUSY_S = 5.0

# `lanes.head` is the last acknowledged offset, `trimmed` the last one dropped by retention.
_TABLES = """
CREATE TABLE records (offset INTEGER PRIMARY KEY, lane INTEGER NOT NULL, frame BLOB NOT NULL);
CREATE INDEX records_by_lane ON records (lane, offset);
CREATE TABLE lanes (lane INTEGER PRIMARY KEY, head INTEGER NOT NULL, trimmed INTEGER NOT NULL);
CREATE TABLE next_offset (next_offset INTEGER NOT NULL);
"""


def own(path: Path) -> int:
    """Takes the advisory lock of the file's one writer; close the descriptor to give it up.

    Raises `LogOwned` with the owner's process id.
    """
    handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(handle)
        raise LogOwned(f"{path} is written by process {owner}; a log has one writer") from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode("ascii"), 0)
    return handle


def open_writer(path: Path, n_lanes: int) -> sqlite3.Connection:
    """Opens or creates the log for its owner, repaired. Raises as `SqliteLog` says."""
    with storage_errors(path):
        lost_bytes = _torn_wal_bytes(path)
        try:
            return _open_cut(path, n_lanes, lost_bytes)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            missing_bytes = _missing_bytes(path)
            if not missing_bytes:
                raise
            _salvage(path, n_lanes)
            return _open_cut(path, n_lanes, lost_bytes + missing_bytes)


def open_reader(path: Path) -> sqlite3.Connection:
    """Opens an existing log read-only. Raises as `SqliteLogReader` says."""
    if not path.exists():
        raise LogUnavailable(f"no log at {path}")
    with storage_errors(path), _closed_on_error(_connect(path, "ro")) as connection:
        _check_version(connection, path)
        return connection


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Names SQLite's errors in the log's words: `LogUnavailable`, `CorruptLog`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise LogUnavailable(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise CorruptLog(f"{path}: {error}") from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=_BUSY_S,
    )


@contextlib.contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    try:
        yield connection
    except BaseException:
        connection.close()
        raise


def _open_cut(path: Path, n_lanes: int, lost_bytes: int) -> sqlite3.Connection:
    with _closed_on_error(_connect(path, "rwc")) as connection:
        (n_tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if n_tables == 0:
            _create(connection, n_lanes)
        _check_version(connection, path)
        (stored,) = connection.execute("SELECT count(*) FROM lanes").fetchone()
        if stored != n_lanes:
            raise LogVersionError(f"{path} has {stored} lanes, {n_lanes} were asked for")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        _cut_torn_tail(connection, path, lost_bytes)
        return connection


def _create(connection: sqlite3.Connection, n_lanes: int) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # One transaction: a reader finds no log, or all of it.
    connection.executescript(
        f"BEGIN;{_TABLES}"
        f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
        "INSERT INTO next_offset VALUES (1);"
        + "".join(f"INSERT INTO lanes VALUES ({lane}, 0, 0);" for lane in range(n_lanes))
        + "COMMIT;"
    )


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id == 0 and version == 0:
        raise LogUnavailable(f"{path} holds no log yet")
    if application_id != _APPLICATION_ID:
        raise LogVersionError(f"{path} is not an event log (application id {application_id})")
    if version > SCHEMA_VERSION:
        raise LogVersionError(
            f"{path} has log schema version {version}, this program reads up to {SCHEMA_VERSION}"
        )


def _cut_torn_tail(connection: sqlite3.Connection, path: Path, lost_bytes: int) -> None:
    """Drops the last appends while they are not whole, and moves the next offset past them.

    `lost_bytes`: what is already known to be gone from the tail. A byte cannot have held more
    than one record, so that many offsets may have been given.
    """
    n_cut = 0
    connection.execute("BEGIN IMMEDIATE")
    while (bad := _torn_last_append(connection)) is not None:
        n_cut += connection.execute("DELETE FROM records WHERE offset >= ?", (bad,)).rowcount
    if n_cut:
        (last,) = connection.execute("SELECT coalesce(max(offset), 0) FROM records").fetchone()
        logger.warning("%s: cut %d torn records after offset %d", path, n_cut, last)
        _lower_heads(connection)
    if lost_bytes:
        connection.execute("UPDATE next_offset SET next_offset = next_offset + ?", (lost_bytes,))
    connection.execute("COMMIT")


def _torn_last_append(connection: sqlite3.Connection) -> int | None:
    """First offset of the last append if that is not whole, else None."""
    row = connection.execute(
        "SELECT offset, lane, frame FROM records ORDER BY offset DESC LIMIT 1"
    ).fetchone()
    if row is None:
        return None
    offset, _, data = row
    try:
        frame = decode_frame(data)
    except BadFrame:
        return int(offset)
    first = int(offset) - frame.place
    trimmed = dict(connection.execute("SELECT lane, trimmed FROM lanes").fetchall())
    missing = {
        (first + place, lane)
        for place, lane in enumerate(frame.lanes)
        if first + place > trimmed[lane]
    }
    rows = connection.execute("SELECT offset, lane, frame FROM records WHERE offset >= ?", (first,))
    for part_offset, part_lane, part in rows.fetchall():
        with contextlib.suppress(BadFrame):
            if decode_frame(part).lanes == frame.lanes:
                missing.discard((part_offset, part_lane))
    return first if missing else None


def _lower_heads(connection: sqlite3.Connection) -> None:
    connection.execute(
        "UPDATE lanes SET head = max(trimmed, (SELECT coalesce(max(offset), 0) FROM records"
        " WHERE records.lane = lanes.lane))"
    )


def _torn_wal_bytes(path: Path) -> int:
    """Bytes of the write-ahead log that damage hides, after the last whole commit.

    SQLite drops them in silence; this log says so.
    """
    wal = Path(f"{path}-wal")
    data = wal.read_bytes() if wal.exists() else b""
    torn_from = _torn_from(data) if data else None
    if torn_from is None:
        return 0
    n_bytes = len(data) - torn_from
    logger.warning("%s: cut a torn tail of %d bytes after the last whole commit", wal, n_bytes)
    return n_bytes


def _torn_from(data: bytes) -> int | None:
    """Where in a write-ahead log damage hides what follows the last commit; None if nowhere.

    The format is SQLite's "WAL file format": a 32-byte header, then frames of 24 bytes and a
    page, each with a checksum that runs on from the one before. Frames with other salts are left
    from an earlier use of the file: no damage.
    """
    if len(data) < 32:
        return 0
    magic, _, page_bytes, _ = struct.unpack_from(">4I", data)
    words = np.dtype(">u4" if magic & 1 else "<u4")
    sums = _wal_checksum(data[:24], words, (0, 0))
    if sums != struct.unpack_from(">2I", data, 24):
        return 0
    committed = at = 32
    while data[at + 8 : at + 16] == data[16:24]:
        end = at + 24 + page_bytes
        if end > len(data):
            return committed
        covered = data[at : at + 8] + data[at + 24 : end]
        sums = _wal_checksum(covered, words, sums)
        if sums != struct.unpack_from(">2I", data, at + 16):
            return committed
        at = end
        (pages_after_commit,) = struct.unpack_from(">I", covered, 4)
        if pages_after_commit:
            committed = end
    return committed if 0 < len(data) - at < 24 else None


def _wal_checksum(
    data: bytes, words: np.dtype[np.uint32], sums: tuple[int, int]
) -> tuple[int, int]:
    """SQLite's running sum over pairs of 32-bit words: s0 += x + s1, then s1 += y + s0.

    One step is (s0, s1) -> M (s0, s1) + B (x, y), so n steps are a dot product with powers of M.
    """
    pairs = np.frombuffer(data, dtype=words).astype(np.uint64).reshape(-1, 2)
    weights, power = _wal_weights(len(pairs))
    added = np.einsum("nij,nj->i", weights, pairs)
    total = (added + power @ np.array(sums, dtype=np.uint64)) & np.uint64(0xFFFFFFFF)
    return int(total[0]), int(total[1])


@functools.cache
def _wal_weights(n_pairs: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """(n_pairs, 2, 2) weights M^(n-1-i) B of every pair, and M^n; modulo 2^32."""
    step = np.array([[1, 1], [1, 2]], dtype=np.uint64)
    entry = np.array([[1, 0], [1, 1]], dtype=np.uint64)
    power = np.eye(2, dtype=np.uint64)
    weights = np.empty((n_pairs, 2, 2), dtype=np.uint64)
    for i in reversed(range(n_pairs)):
        weights[i] = (power @ entry) & np.uint64(0xFFFFFFFF)
        power = (power @ step) & np.uint64(0xFFFFFFFF)
    return weights, power


def _missing_bytes(path: Path) -> int:
    """How much shorter the file is than its own header says (SQLite's "database header")."""
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100:
        return 0
    (page_bytes,) = struct.unpack_from(">H", header, 16)
    (n_pages,) = struct.unpack_from(">I", header, 28)
    whole_bytes = int(n_pages) * (65536 if page_bytes == 1 else int(page_bytes))
    return max(0, whole_bytes - path.stat().st_size)


def _salvage(path: Path, n_lanes: int) -> None:
    """Rewrites a truncated file from the records before the first unreadable one.

    The damaged file stays beside it as `<name>.damaged`.
    """
    rescued = path.with_name(f"{path.name}.rescued")
    rescued.unlink(missing_ok=True)
    with (
        contextlib.closing(_connect(path, "rw")) as damaged,
        contextlib.closing(_connect(rescued, "rwc")) as whole,
    ):
        damaged.execute("PRAGMA writable_schema = ON")  # opens a file shorter than its header says
        _create(whole, n_lanes)
        whole.execute("BEGIN")
        whole.execute("DELETE FROM lanes")
        lanes = damaged.execute("SELECT lane, head, trimmed FROM lanes").fetchall()
        whole.executemany("INSERT INTO lanes VALUES (?, ?, ?)", lanes)
        next_offset = damaged.execute("SELECT next_offset FROM next_offset").fetchone()
        whole.execute("UPDATE next_offset SET next_offset = ?", next_offset)
        n_rescued = 0
        try:
            for row in damaged.execute("SELECT offset, lane, frame FROM records ORDER BY offset"):
                whole.execute("INSERT INTO records VALUES (?, ?, ?)", row)
                n_rescued += 1
        except sqlite3.DatabaseError as error:
            logger.warning("%s: truncated (%s), kept the first %d records", path, error, n_rescued)
        _lower_heads(whole)
        whole.execute("COMMIT")
    # The write-ahead log goes first: beside the new file it would be replayed into it. A crash
    # in between finds the damaged file still in place and starts over.
    damaged_path = Path(f"{path}.damaged")
    damaged_path.unlink(missing_ok=True)
    os.link(path, damaged_path)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    rescued.replace(path)

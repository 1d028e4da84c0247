"""The SQLite log's file: one writer, readers beside it, and what is done about damage."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.log import CorruptLog, LogOwned, LogReadOnly, LogUnavailable
from cluster.sqlite_log import SqliteLog
from tests.cluster.log_backends import ALL, SqliteBackend, parts, read_all

ROOT = Path(__file__).parents[2]
_IMPORT = "from pathlib import Path; from cluster.sqlite_log import SqliteLog"


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with SqliteLog(path) as log:
        with pytest.raises(LogOwned, match=f"process {os.getpid()}"):
            SqliteLog(path)
        other = subprocess.run(
            [sys.executable, "-c", f"{_IMPORT}; SqliteLog(Path({str(path)!r}))"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "LogOwned" in other.stderr
        log.append({0: b"still mine"})
    SqliteLog(path).close()


def test_a_reader_only_reads(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with pytest.raises(LogUnavailable, match=r"log\.db"):
        SqliteLog.open_reader(path)
    with SqliteLog(path), SqliteLog.open_reader(path) as reader:
        with pytest.raises(LogReadOnly):
            reader.append({0: b"x"})
        with pytest.raises(LogReadOnly):
            reader.trim({0: 1})


def test_a_reader_follows_a_writer_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    SqliteLog(path).close()
    with SqliteLog.open_reader(path) as reader:
        assert reader.read(ALL) == []
        subprocess.run(
            [
                sys.executable,
                "-c",
                f"{_IMPORT}; SqliteLog(Path({str(path)!r})).append({{3: b'hello'}})",
            ],
            cwd=ROOT,
            check=True,
        )
        assert parts(reader.read(ALL, timeout_s=5)) == [(3, b"hello")]


def test_a_stranger_file_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as file:
        file.execute("CREATE TABLE t (x)")
    file.close()
    with pytest.raises(LogUnavailable, match="no log"):
        SqliteLog(tmp_path / "other.db")
    (tmp_path / "noise.db").write_bytes(os.urandom(5000))
    with pytest.raises(CorruptLog, match=r"noise\.db"):
        SqliteLog(tmp_path / "noise.db")


def test_a_torn_last_append_is_cut_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend = SqliteBackend(tmp_path / "log.db")
    with backend.open() as log:
        kept = log.append({0: b"kept", 1: b"kept"})
        torn = log.append({0: b"torn", 1: b"torn", 2: b"torn"})
    backend.corrupt(1, torn - 1)
    with caplog.at_level(logging.WARNING):
        log = backend.open()
    assert "cut 3 torn records after offset 2" in caplog.text
    assert parts(read_all(log)) == [(0, b"kept"), (1, b"kept")]
    assert log.heads()[2] == 0
    assert log.heads()[1] == kept
    assert log.append({0: b"next"}) > torn, "readers may have seen the offsets that were cut"
    backend.close_all()


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_torn_write_ahead_log_is_cut_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    # The files as a crash leaves them: copied while the writer still has them open.
    path, crashed = tmp_path / "log.db", tmp_path / "crashed.db"
    with SqliteLog(path) as log:
        offsets = [log.append({0: b"%d" % i, 1: os.urandom(3000)}) for i in range(5)]
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{crashed}{suffix}")
    wal = Path(f"{crashed}-wal")
    data = bytearray(wal.read_bytes())
    if damage == "truncated":
        del data[-1000:]
    else:
        data[-1000] ^= 1
    wal.write_bytes(data)
    with caplog.at_level(logging.WARNING), SqliteLog(crashed) as log:
        assert "torn tail" in caplog.text
        assert [p for _, p in parts(read_all(log, {0: 0}))] == [b"0", b"1", b"2", b"3"]
        assert log.append({0: b"next"}) > offsets[-1]


def test_an_untouched_write_ahead_log_is_not_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, crashed = tmp_path / "log.db", tmp_path / "crashed.db"
    with SqliteLog(path) as log:
        for _ in range(5):
            log.append({0: os.urandom(3000)})
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{crashed}{suffix}")
    with caplog.at_level(logging.WARNING), SqliteLog(crashed) as log:
        assert len(read_all(log)) == 5
    assert caplog.text == ""


def test_a_truncated_file_keeps_what_comes_before_the_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.db"
    with SqliteLog(path) as log:
        offsets = [log.append({0: b"%d" % i, 1: os.urandom(9000)}) for i in range(50)]
    os.truncate(path, path.stat().st_size * 2 // 3)
    with caplog.at_level(logging.WARNING), SqliteLog(path) as log:
        kept = [int(p) for _, p in parts(read_all(log, {0: 0}))]
        assert kept == list(range(len(kept)))
        assert 5 < len(kept) < 50
        assert len(read_all(log, {1: 0})) == len(kept), "no half append"
        assert log.append({0: b"next"}) > offsets[-1]
    assert "truncated" in caplog.text
    assert (tmp_path / "log.db.damaged").exists()

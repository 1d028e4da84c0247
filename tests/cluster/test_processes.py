"""Processes are found by what /proc says of them, with no other program's help."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster import ray_environment
from cluster.processes import command_lines
from cluster.ray_environment import (
    fast_environment,
    runs_here,
    scratch_folder,
    write_haproxy,
)
from cluster.ray_head import disconnect_and_stop
from cluster.settings import load


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([*arguments])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_this_process_is_among_them() -> None:
    assert (
        dict(command_lines())[os.getpid()][0]
        == Path("/proc/self/cmdline").read_bytes().split(b"\0")[0]
    )


def test_what_has_ended_or_has_no_arguments_is_passed_over(tmp_path: Path) -> None:
    for name, line in (("7", b"ray\0start\0"), ("8", b""), ("9", None), ("self", b"x\0")):
        (tmp_path / name).mkdir()
        if line is not None:
            (tmp_path / name / "cmdline").write_bytes(line)
    assert list(command_lines(tmp_path)) == [(7, [b"ray", b"start"])]


def test_a_ray_is_found_where_there_is_no_pgrep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    lines = [(7, [b"vi", b"/ray/gcs/gcs_server"])]
    monkeypatch.setattr(ray_environment, "command_lines", lambda: iter(lines))
    assert not runs_here()
    lines.append((8, [b"/venv/ray/core/src/ray/gcs/gcs_server", b"--log_dir=x"]))
    assert runs_here()
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    lines.clear()
    assert runs_here()


def test_only_our_own_haproxy_is_ended(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path / "data")
    program = tmp_path / "haproxy"
    program.symlink_to(sys.executable)
    wait = (str(program), "-c", "import time; time.sleep(60)", "-f")
    # Ray puts a folder of its own between the one it is told and the file.
    ours = str(scratch_folder(settings) / "090ac7e7" / "haproxy.cfg")
    with running(*wait, ours) as mine, running(*wait, "/etc/haproxy.cfg") as other:
        disconnect_and_stop(settings)
        assert mine.wait(5)
        assert other.poll() is None


def test_only_who_starts_ray_leaves_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    settings = load(data_dir=tmp_path / "data")
    environment = fast_environment(settings)
    assert not scratch_folder(settings).exists()
    write_haproxy(settings)
    program = environment["RAY_SERVE_HAPROXY_BINARY_PATH"]
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stdout
    assert "HAProxy version" in said

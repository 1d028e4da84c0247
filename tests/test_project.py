"""The project's own files agree with each other: pyproject, lock, Makefile, the rooms' arrows."""

import ast
import os
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
# torch and what its build brings of its own are installed before the lock.
TORCH_LINE = (ROOT / "requirements-torch.txt").read_text()
LOCK = (ROOT / "requirements.lock").read_text()
# torchrec asks for the CUDA distribution by name; this one provides the same module.
STANDS_IN_FOR = {"fbgemm-gpu": "fbgemm-gpu-cpu"}


def _pins(text: str) -> dict[str, Version]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {line.split("==")[0]: Version(line.split("==")[1]) for line in lines}


def _asked_for() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    dev = project["optional-dependencies"]["dev"]
    return [Requirement(line) for line in [*project["dependencies"], *dev]]


def _requirements_of(asked: Requirement) -> list[Requirement]:
    """What the installed distribution of that name requires here, with the extras asked for."""
    # torch's own came with it, before the lock; fbgemm is one of two distributions, alike in this.
    if canonicalize_name(asked.name) in {"torch", *STANDS_IN_FOR, *STANDS_IN_FOR.values()}:
        return []
    required = [Requirement(line) for line in metadata.requires(asked.name) or []]
    extras = asked.extras | {""}
    return [
        needed
        for needed in required
        if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras)
    ]


def _make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # A make that runs this test must not hand its own flags down.
    inherited = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL"}}
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env=inherited | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("text", [LOCK, TORCH_LINE], ids=["lock", "torch"])
def test_every_line_is_one_exact_pin(text: str) -> None:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    names = [line.partition("==")[0] for line in lines]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []
    assert names == sorted({str(canonicalize_name(name)) for name in names})


def test_the_lock_leaves_out_what_comes_before_it() -> None:
    assert _pins(LOCK).keys().isdisjoint({"torch", "pip", "setuptools", "murmuration"})


def test_the_lock_pins_everything_pyproject_asks_for() -> None:
    pins = _pins(TORCH_LINE) | _pins(LOCK)
    missing = [
        str(asked)
        for asked in _asked_for()
        if (name := str(canonicalize_name(asked.name))) not in pins
        or not asked.specifier.contains(pins[name], prereleases=True)
    ]
    assert missing == []


def test_the_lock_is_closed_under_requirements() -> None:
    """With --no-deps nothing else brings a missing package, so each one has to stand there."""
    pins = _pins(TORCH_LINE) | _pins(LOCK)
    waiting = _asked_for()
    seen = {str(asked) for asked in waiting}
    missing = set()
    while waiting:
        asked = waiting.pop()
        for needed in _requirements_of(asked):
            name = str(canonicalize_name(needed.name))
            pin = pins.get(STANDS_IN_FOR.get(name, name))
            if pin is None or not needed.specifier.contains(pin, prereleases=True):
                missing.add(f"{asked.name} needs {needed}")
            elif str(needed) not in seen:
                seen.add(str(needed))
                waiting.append(needed)
    assert missing == set()


def test_torch_torchrec_and_fbgemm_are_the_checked_triple() -> None:
    pins = _pins(TORCH_LINE) | _pins(LOCK)
    names = ("torch", "torchrec", "fbgemm-gpu-cpu")
    assert [str(pins[name]) for name in names] == ["2.13.0", "1.8.0", "1.8.0"]
    # A GPU machine's fbgemm is a swap of this one line, by this pattern of the Makefile.
    assert "s/^fbgemm-gpu-cpu==/$(FBGEMM)==/" in (ROOT / "Makefile").read_text()


def test_a_missing_python_is_named_before_anything_is_made(tmp_path: Path) -> None:
    run = _make("install", f"VENV={tmp_path}/venv", "PYTHON=no-such-python")
    assert run.returncode != 0
    assert "'no-such-python' not found. Murmuration needs Python 3.11" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_compiler_is_named_before_anything_is_made(tmp_path: Path) -> None:
    run = _make("install", f"VENV={tmp_path}/venv", CXX="no-such-compiler")
    assert run.returncode != 0
    assert "the C++ compiler 'no-such-compiler' was not found" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_fbgemm_is_refused() -> None:
    run = _make("help", "FBGEMM=fbgemm")
    assert run.returncode != 0
    assert "FBGEMM=fbgemm is not known" in run.stderr


def test_serve_app_imports_only_the_rooms_it_may() -> None:
    """The arrow import-linter cannot check, since it takes packages only."""
    imported = set()
    for node in ast.walk(ast.parse((ROOT / "serve_app.py").read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    rooms = {"training", "simulation", "benchmarks", "tests"}
    ours = {name for name in imported if name.partition(".")[0] in rooms}
    assert {name for name in ours if not name.startswith("training.heavy_ranker")} == set()
    assert imported.isdisjoint({"cluster.cli", "cluster.launch"})
    assert not any(name.startswith("cluster.commands") for name in imported)

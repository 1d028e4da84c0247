"""How numeric kernels are compiled: without the GIL, and cached on disk."""

import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

F = TypeVar("F", bound=Callable[..., object])

_ROOT = Path(__file__).parents[2]
_IMPORT = re.compile(r"^from ((?:actors|cluster|training)\.[\w.]+) import", re.MULTILINE)


def kernel(function: F) -> F:
    """Compile `function` with Numba, keeping its Python type for the checker.

    Kernels release the GIL, so queries run in parallel threads of one shard, and are
    cached on disk, so a shard that restarts does not compile again.
    """
    numba.config.CACHE_DIR = str(_cache_folder(function.__module__))  # type: ignore[attr-defined]
    return cast(F, numba.njit(nogil=True, cache=True)(function))


def writable(values: npt.ArrayLike, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The array as the one form for which kernels are compiled: contiguous and writable.

    Arrays that come from Arrow or through Ray are read-only, a type of its own to Numba:
    without this a shard would compile every kernel again on its first such query.
    """
    if isinstance(values, np.ndarray) and values.flags.carray and values.dtype == dtype:
        return values  # most are, and `require` takes ten times as long to see it
    return np.require(values, dtype, ("C", "W"))


@cache
def _cache_folder(module: str) -> Path:
    """Where the kernels of a module are kept, as compiled from exactly today's sources.

    Numba asks only whether a kernel's own file changed, not those of the kernels that it
    inlined; a folder named by the module with all it imports never serves a stale one.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(_sources(module, set())):
        digest.update(source.read_bytes())
    folder = Path(__file__).parent / "__pycache__" / "kernels"
    return folder / f"{module}-{digest.hexdigest()[:16]}"


def _sources(module: str, known: set[Path]) -> set[Path]:
    """The files of a module and of those that it imports, whatever the depth."""
    source = _ROOT.joinpath(*module.split(".")).with_suffix(".py")
    if source not in known and source.is_file():
        known.add(source)
        for imported in _IMPORT.findall(source.read_text()):
            _sources(imported, known)
    return known

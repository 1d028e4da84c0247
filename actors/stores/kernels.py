"""How numeric kernels are compiled: without the GIL, and cached on disk."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

F = TypeVar("F", bound=Callable[..., object])


def _cache_folder() -> Path:
    """Where kernels compiled from exactly these sources are kept.

    Numba asks only whether a kernel's own file changed, not those of the kernels that it
    inlined; a folder named by all sources together never serves a stale one.
    """
    rooms = Path(__file__).parent.parent
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted([*rooms.glob("stores/*.py"), *rooms.glob("features/*.py")]):
        digest.update(source.read_bytes())
    return Path(__file__).parent / "__pycache__" / f"kernels-{digest.hexdigest()[:16]}"


numba.config.CACHE_DIR = str(_cache_folder())  # type: ignore[attr-defined]


def kernel(function: F) -> F:
    """Compile `function` with Numba, keeping its Python type for the checker.

    Kernels release the GIL, so queries run in parallel threads of one shard, and are
    cached beside their source, so a shard that restarts does not compile again.
    """
    return cast(F, numba.njit(nogil=True, cache=True)(function))


def writable(values: npt.ArrayLike, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The array as the one form for which kernels are compiled: contiguous and writable.

    Arrays that come from Arrow or through Ray are read-only, a type of its own to Numba:
    without this a shard would compile every kernel again on its first such query.
    """
    return np.require(values, dtype, ("C", "W"))

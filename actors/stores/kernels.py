"""How numeric kernels are compiled: without the GIL, and cached on disk."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile `function` with Numba, keeping its Python type for the checker.

    Kernels release the GIL, so queries run in parallel threads of one shard, and are
    cached beside their source, so a shard that restarts does not compile again.
    """
    return cast(F, njit(nogil=True, cache=True)(function))


def writable(values: npt.ArrayLike, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The array as the one form for which kernels are compiled: contiguous and writable.

    Arrays that come from Arrow or through Ray are read-only, a type of its own to Numba:
    without this a shard would compile every kernel again on its first such query.
    """
    return np.require(values, dtype, ("C", "W"))

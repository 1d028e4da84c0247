"""How numeric kernels are compiled: without the GIL, and cached on disk."""

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile `function` with Numba, keeping its Python type for the checker.

    Kernels release the GIL, so queries run in parallel threads of one shard, and are
    cached beside their source, so a shard that restarts does not compile again.
    """
    return cast(F, njit(nogil=True, cache=True)(function))

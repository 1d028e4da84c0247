"""What kernels need below NumPy: arrays at an address, prefetches, huge pages, store order."""

import math
import mmap
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import carray, types  # type: ignore[attr-defined]
from numba.core import cgutils
from numba.extending import intrinsic

from actors.stores.kernels import kernel

# An integer in a kernel: Python's from outside, NumPy's from an array, one machine word either
# way. The checker knows no type for both.
Int = Any

_CACHE_LINE_BYTES = 64
_MAP_NORESERVE = 0x4000
"""Linux's, which Python names from 3.13 on."""


def carve(*shapes: tuple[Sequence[int] | int, npt.DTypeLike]) -> list[npt.NDArray[Any]]:
    """Uninitialised arrays of these (shape, dtype) out of one allocation.

    NumPy asks for huge pages from 4 MiB on. Random reads in many smaller arrays would else
    miss the TLB at nearly every step.
    """
    ends, sizes = [0], []
    for shape, dtype in shapes:
        length = math.prod(shape) if isinstance(shape, Sequence) else int(shape)
        sizes.append(length * np.dtype(dtype).itemsize)
        ends.append(ends[-1] + -(-sizes[-1] // _CACHE_LINE_BYTES) * _CACHE_LINE_BYTES)
    buffer = np.empty(ends[-1] + _CACHE_LINE_BYTES, np.uint8)
    begin = -buffer.ctypes.data % _CACHE_LINE_BYTES
    carved: list[npt.NDArray[Any]] = []
    for (shape, dtype), at, size in zip(shapes, ends, sizes, strict=False):
        piece = buffer[begin + at : begin + at + size]
        carved.append(piece.view(dtype).reshape(shape))
    return carved


def reserve(n_bytes: int) -> mmap.mmap | None:
    """Zeroed memory that the system gives when it is written, until then addresses alone.

    None where the system refuses that many. Asks for huge pages, as NumPy does.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    try:
        reserved = mmap.mmap(-1, n_bytes, flags)
    except OSError:
        return None
    with suppress(OSError):  # A kernel without huge pages: slower, and as good.
        reserved.madvise(mmap.MADV_HUGEPAGE)
    return reserved


def _pointer(typing, address):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


def _prefetch(typing, address):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        number = ir.IntType(32)
        hint = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [cgutils.voidptr_t],
            ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number]),
        )
        place = builder.inttoptr(arguments[0], cgutils.voidptr_t)
        # For reading, into all caches, data.
        builder.call(hint, [place, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.none(address), generate


def _release_fence(typing):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.fence("release")
        return context.get_dummy_value()

    return types.none(), generate


def _acquire_fence(typing):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.fence("acquire")
        return context.get_dummy_value()

    return types.none(), generate


def _lowest_bit(typing, bits):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


_to_pointer: Any = intrinsic(_pointer)
# Ask for the cache line at an address before it is needed. Block by block, that lets the
# misses of many random reads overlap; any address is harmless.
prefetch: Any = intrinsic(_prefetch)
# Other threads see the stores before it no later than the stores after it.
release_fence: Any = intrinsic(_release_fence)
# The place of the lowest bit that is set in a uint64; 64 if none is.
lowest_bit: Any = intrinsic(_lowest_bit)
# Loads before it happen no later than loads after it.
acquire_fence: Any = intrinsic(_acquire_fence)


@kernel
def int64s(address: Int, length: Int) -> npt.NDArray[np.int64]:
    """The array of int64 at an address; nothing keeps its memory alive or checks bounds."""
    return carray(_to_pointer(address), (length,), np.int64)


@kernel
def int64_rows(address: Int, length: Int, width: Int) -> npt.NDArray[np.int64]:
    """The array of int64[length, width] at an address."""
    return carray(_to_pointer(address), (length, width), np.int64)


@kernel
def uint32s(address: Int, length: Int) -> npt.NDArray[np.uint32]:
    """The array of uint32 at an address."""
    return carray(_to_pointer(address), (length,), np.uint32)


@kernel
def uint16s(address: Int, length: Int) -> npt.NDArray[np.uint16]:
    """The array of uint16 at an address."""
    return carray(_to_pointer(address), (length,), np.uint16)

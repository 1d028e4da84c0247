"""Rows in chunks that fit the cache, each computed by one thread of a small pool."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

_ALIGNED = 16


class RowChunks:
    """Runs a function over slices of rows, `threads` of them at once.

    Within a chunk torch uses one thread: chunks need no barrier after every operation, and an
    operation's shape, and so its rounding, does not depend on the number of threads. May be
    called from several threads, which then share the pool.
    """

    def __init__(self, threads: int, most_rows: int) -> None:
        """`most_rows` of a chunk."""
        if threads < 1 or most_rows < 1:
            raise ValueError(f"{threads} threads, {most_rows} rows: expected at least 1")
        self.threads = threads
        self._most_rows = most_rows
        before = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(threads, "rows", initializer=_use_one_thread)
        together = threading.Barrier(threads)
        list(self._pool.map(lambda _: together.wait(), range(threads)))
        # Setting it in a thread also sets what threads take that have not used torch yet.
        torch.set_num_threads(before)

    def map(self, compute: Callable[[slice], T], n: int) -> list[T]:
        """`compute` of slices that make up range(n), in their order; raises what it raises."""
        count = -(-n // self._most_rows)
        if n >= _ALIGNED * self.threads:
            count = -(-count // self.threads) * self.threads
        size = -(-n // (max(count, 1) * _ALIGNED)) * _ALIGNED
        slices = [slice(begin, min(begin + size, n)) for begin in range(0, n, max(size, 1))]
        return list(self._pool.map(_without_gradients(compute), slices))


def _without_gradients(compute: Callable[[slice], T]) -> Callable[[slice], T]:
    def run(rows: slice) -> T:
        with torch.inference_mode():
            return compute(rows)

    return run


def _use_one_thread() -> None:
    # A thread takes the common number on its first use of torch, which must not come later.
    torch.get_num_threads()
    torch.set_num_threads(1)

"""Threads for the work of requests, which wait for one no longer than an answer would be worth."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from cluster.problems import try_later

T = TypeVar("T")


class RequestThreads:
    """A few threads, and a line before them; whoever stands in it too long is refused.

    Under load a line only moves the waiting: what is begun when its time is nearly over costs as
    much as an answer and is none. `patience_s` is the longest wait before the work begins.
    """

    def __init__(self, n_threads: int, name: str, patience_s: float) -> None:
        self._pool = ThreadPoolExecutor(n_threads, name)
        self._patience_s = patience_s

    async def run(self, work: Callable[[], T]) -> T:
        """What the work returns. Raises what it raises, and `ProblemError` where it never began."""
        future = self._pool.submit(work)
        # Does nothing to work that has begun.
        timer = asyncio.get_running_loop().call_later(self._patience_s, future.cancel)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            detail = f"nobody was free within {self._patience_s * 1000:.0f} ms"
            raise try_later("overloaded", detail) from None
        finally:
            timer.cancel()

    def close(self) -> None:
        """Give up what waits, and wait for what was begun."""
        self._pool.shutdown(cancel_futures=True)

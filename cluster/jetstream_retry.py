"""The pause between two tries, which ends a task whose cancellation was lost on the way.

`asyncio.wait_for` of Python 3.11 returns its result, and forgets that its task was cancelled,
where both happen in the same turn of the loop. A loop that tries on would then try for ever.
"""

from __future__ import annotations

import asyncio

_RETRY_S = 0.02


async def pause() -> None:
    """Waits before the next try; raises `CancelledError` if this task is to end."""
    end_if_cancelled()
    await asyncio.sleep(_RETRY_S)


def end_if_cancelled() -> None:
    """Raises `CancelledError` if this task was told to end and went on."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError

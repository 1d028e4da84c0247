"""A loop that tries on ends when it is told to, even where `wait_for` loses the word."""

from __future__ import annotations

import asyncio

import pytest

from cluster.jetstream_retry import pause


def test_a_cancellation_that_wait_for_lost_ends_the_next_pause() -> None:
    async def try_on(answers: list[asyncio.Future[None]], tried: list[int]) -> None:
        for number, answer in enumerate(answers):
            await asyncio.wait_for(answer, 30)
            tried.append(number)
            await pause()

    async def main() -> list[int]:
        tried: list[int] = []
        answers = [asyncio.get_running_loop().create_future() for _ in range(2)]
        task = asyncio.ensure_future(try_on(answers, tried))
        await asyncio.sleep(0)
        answers[0].set_result(None)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        return tried

    assert asyncio.run(main()) == [0], "the first try's answer came with the cancellation"

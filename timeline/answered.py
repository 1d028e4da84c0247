"""A request's work, done away from the event loop, and its answer as JSON."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from fastapi import Response

T = TypeVar("T")


class Run(Protocol):
    """Does work of a request away from the event loop, and gives what it returns."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Raises what the work raises."""


async def answered(run: Run, make: Callable[[], bytes]) -> Response:
    """The answer whose JSON `make` gives."""
    return Response(await run(make), media_type="application/json")

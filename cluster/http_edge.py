"""What every HTTP request passes: limits, a request id, and an answer whatever happens inside."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from cluster.problems import MEDIA_TYPE, FieldError, ProblemError, slug_of_status, try_later

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Observe = Callable[[str, str, int, float], None]
"""Told of every answer: route, method, status, seconds."""

MAX_HEADER_BYTES = 32 * 1024
"""Of the request line and all headers; a cursor at its longest is 6 KB."""
BODY_TIMEOUT_S = 30.0
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{8,64}")
_METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")
_ALWAYS_ANSWERED = ("/healthz", "/readyz")
_LOG = logging.getLogger(__name__)


class Edge:
    """ASGI middleware around the whole application.

    Refuses what is more than `max_ongoing` requests at once before any work is done for
    it; health is answered still. A request keeps the id it comes with in X-Request-Id; the
    answer names it, unless the server around us does so (`names_requests` False).
    """

    def __init__(
        self, app: App, max_ongoing: int, observe: Observe, names_requests: bool = True
    ) -> None:
        self._app = app
        self._max_ongoing = max_ongoing
        self._observe = observe
        self._names_requests = names_requests
        self._ongoing = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = list(message.get("headers", ()))
                headers.append((b"cache-control", b"no-store"))
                if self._names_requests:
                    headers.append((b"x-request-id", request_id.encode()))
            await send(message)

        started = time.perf_counter()
        self._ongoing += 1
        try:
            refused = self._refusal(scope)
            if refused:
                await send_problem(refused, request_id, send_on)
            else:
                await self._app(scope, receive, send_on)
        except Exception:
            _LOG.exception("request %s failed", request_id)
            if status:
                raise
            await send_problem(ProblemError("internal"), request_id, send_on)
        finally:
            self._ongoing -= 1
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._observe(route, method, status, time.perf_counter() - started)

    def _refusal(self, scope: Scope) -> ProblemError | None:
        n_bytes = len(scope.get("raw_path") or b"") + len(scope.get("query_string", b""))
        n_bytes += sum(len(name) + len(value) for name, value in scope["headers"])
        if n_bytes > MAX_HEADER_BYTES:
            return ProblemError("headers-too-large", f"at most {MAX_HEADER_BYTES} bytes are read")
        if self._ongoing > self._max_ongoing and scope["path"] not in _ALWAYS_ANSWERED:
            return try_later("overloaded", f"{self._max_ongoing} requests are being answered")
        return None


class BodyReader:
    """Reads bodies, each up to `max_bytes` and all at once up to twice as much."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0

    @asynccontextmanager
    async def body(self, receive: Receive, content_length: str | None) -> AsyncIterator[bytes]:
        """The body, which counts as held until the context ends.

        Raises `ProblemError` for a body that is too large (before reading it, where its
        length is given), that comes too slowly, or that there is no room for now.
        """
        self._check_declared(content_length)
        body, held = bytearray(), 0
        try:
            try:
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    more = True
                    while more:
                        message = await receive()
                        if message["type"] == "http.disconnect":
                            raise ProblemError("malformed-body", "the body ended early")
                        body += message.get("body", b"")
                        more = message.get("more_body", False)
                        held += self._hold(len(body), len(body) - held)
            except TimeoutError:
                raise ProblemError(
                    "body-timeout", f"the body took longer than {BODY_TIMEOUT_S:.0f} s"
                ) from None
            yield bytes(body)
        finally:
            self._held_bytes -= held

    def _check_declared(self, content_length: str | None) -> None:
        if content_length is None:
            return
        if not (content_length.isascii() and content_length.isdecimal()):
            raise ProblemError("malformed-body", "Content-Length is not a number")
        if len(content_length) > 18 or int(content_length) > self._max_bytes:
            raise self._too_large()

    def _hold(self, body_bytes: int, n_bytes: int) -> int:
        if body_bytes > self._max_bytes:
            raise self._too_large()
        if self._held_bytes + n_bytes > 2 * self._max_bytes:
            raise try_later("overloaded", "too much is being read at once")
        self._held_bytes += n_bytes
        return n_bytes

    def _too_large(self) -> ProblemError:
        return ProblemError("too-large", f"at most {self._max_bytes} bytes are taken")


def _request_id(scope: Scope) -> str:
    """The id that the request came with, where it looks like one; else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return uuid.uuid4().hex


async def send_problem(problem: ProblemError, request_id: str, send: Send) -> None:
    """Answer with a problem document."""
    body = problem.document(request_id)
    headers = {
        "content-type": MEDIA_TYPE,
        "content-length": str(len(body)),
        **{name.lower(): value for name, value in problem.headers.items()},
    }
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


def answer_problems(app: FastAPI, outages: Sequence[type[Exception]]) -> None:
    """Have every error that is not a fault of ours leave as a problem document.

    `outages` are errors that say that another part of the system does not answer.
    """

    async def problem(request: Request, error: Exception) -> Response:
        found = error if isinstance(error, ProblemError) else _as_problem(error)
        return Response(
            found.document(request.state.request_id),
            found.status,
            media_type=MEDIA_TYPE,
            headers=dict(found.headers),
        )

    for kind in (ProblemError, RequestValidationError, HTTPException, *outages):
        app.add_exception_handler(kind, problem)


def _as_problem(error: Exception) -> ProblemError:
    match error:
        case RequestValidationError():
            errors = [
                FieldError(str(e["loc"][-1]), e["msg"].removeprefix("Value error, "))
                for e in error.errors()
            ]
            detail = "; ".join(f"{e.field}: {e.message}" for e in errors)
            return ProblemError("invalid-request", detail, errors)
        case HTTPException():
            headers = error.headers or {}
            return ProblemError(slug_of_status(error.status_code), headers=headers)
    return try_later("unavailable")

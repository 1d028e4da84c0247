"""Sends appends to a JetStream stream as atomic batches, until each is acknowledged or late.

A few senders work side by side; the appends that wait while all are busy share the next batch,
which the server stores all or nothing. A lost acknowledgement is answered by sending again.

Protocol: NATS ADR-50 (atomic batch publish): every message names its batch and its number in it,
the last one commits.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from cluster.jetstream_fetch import StreamReader
from cluster.jetstream_retry import end_if_cancelled, pause
from cluster.log import (
    AppendUnknown,
    BadFrame,
    LogError,
    LogFull,
    LogUnavailable,
    decode_frame,
)

logger = logging.getLogger(__name__)

_SENDERS = 4
_BATCH_MESSAGES = 1000  # the server's default limit of one atomic batch
_BATCH_BYTES = 2 * 1024 * 1024
_NEVER = 1 << 63

_INCOMPLETE_BATCH = 10176
_TOO_MANY_REQUESTS = 429
_FULL_WORDS = ("maximum bytes", "no space", "insufficient", "resources exceeded")


@dataclass(slots=True)
class Sending:
    """One append on its way: its (lane, frame)s, and `until` when (monotonic s) it may take.

    `sent` says that some attempt may have been stored.
    """

    frames: list[tuple[int, bytes]]
    until: float
    sent: bool = False
    done: Future[int] = field(default_factory=Future)

    @property
    def n_bytes(self) -> int:
        """Bytes of all frames."""
        return sum(len(frame) for _, frame in self.frames)

    @property
    def lanes(self) -> tuple[int, ...]:
        """The lanes of its records, in the order of their offsets."""
        return tuple(lane for lane, _ in self.frames)


class _NotStored(Exception):
    """The server refused the batch for now: nothing of it was stored."""


class BatchSender:
    """Appends to the subjects `<prefix>.<lane>`; `on_acked(first offset, lanes)` after each.

    All methods run on the connection's event loop.
    """

    def __init__(
        self,
        client: Client,
        reader: StreamReader,
        stream: str,
        prefix: str,
        *,
        attempt_s: float,
        on_acked: Callable[[int, tuple[int, ...]], None],
    ) -> None:
        self._client = client
        self._reader = reader
        self._stream = stream
        self._prefix = prefix
        self._attempt_s = attempt_s
        self._on_acked = on_acked
        self._waiting: deque[Sending] = deque()
        self._arrived = asyncio.Event()
        self._lost = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._single_server = False
        self._oldest_own = _NEVER

    def start(self, *, replicas: int) -> None:
        """Begins to send; `replicas` of the stream."""
        self._single_server = replicas == 1
        self._tasks = [asyncio.create_task(self._send_forever()) for _ in range(_SENDERS)]

    def put(self, append: Sending) -> None:
        """Accepts one append; its future is always resolved, by its `until` at the latest."""
        self._waiting.append(append)
        self._arrived.set()

    def disconnected(self) -> None:
        """No acknowledgement can come any more: whoever waits for one tries again."""
        self._lost.set()
        self._lost = asyncio.Event()

    def reconnected(self) -> None:
        """The server may have been restarted: look again for what a crash left behind."""
        self._oldest_own = _NEVER

    async def stop(self) -> None:
        """Ends the senders; what was not acknowledged is given up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail(list(self._waiting), "the log was closed")
        self._waiting.clear()

    async def _send_forever(self) -> None:
        while True:
            end_if_cancelled()
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            group = self._next_group()
            try:
                await self._commit(group)
            except asyncio.CancelledError:
                self._fail(group, "the log was closed")
                raise
            except Exception as error:
                # A sender outlives any one append; the caller learns that something is wrong.
                logger.exception("append failed")
                self._fail(group, repr(error))

    def _next_group(self) -> list[Sending]:
        group = [self._waiting.popleft()]
        n_messages, n_bytes = len(group[0].frames), group[0].n_bytes
        while self._waiting:
            n_messages += len(self._waiting[0].frames)
            n_bytes += self._waiting[0].n_bytes
            if n_messages > _BATCH_MESSAGES or n_bytes > _BATCH_BYTES:
                break
            group.append(self._waiting.popleft())
        return group

    async def _commit(self, group: list[Sending]) -> None:
        why = "not tried"
        while True:
            now = time.monotonic()
            self._fail([append for append in group if append.until <= now], why)
            group = [append for append in group if append.until > now]
            if not group:
                return
            timeout_s = min(self._attempt_s, min(append.until for append in group) - now)
            before = [append.sent for append in group]
            for append in group:
                append.sent = True
            try:
                # Of sending too: a connection that takes no more bytes holds the sender back.
                async with asyncio.timeout(timeout_s):
                    last = await self._publish(
                        [f for append in group for f in append.frames], timeout_s
                    )
                break
            except _NotStored as error:
                why = str(error)
                for append, sent in zip(group, before, strict=True):
                    append.sent = sent
            except LogError as error:
                for append in group:
                    append.done.set_exception(error)
                return
            except (TimeoutError, NatsError, OSError) as error:
                why = f"{type(error).__name__}: {error}"
            await pause()
        first = last + 1 - sum(len(append.frames) for append in group)
        await self._remove_torn_before(first)
        for append in group:
            self._on_acked(first, append.lanes)
            first += len(append.frames)
            append.done.set_result(first - 1)

    async def _publish(self, frames: list[tuple[int, bytes]], timeout_s: float) -> int:
        """One attempt; returns the offset of the last record."""
        if not self._client.is_connected:
            raise _NotStored("not connected")
        batch_id = uuid4().hex
        for number, (lane, frame) in enumerate(frames[:-1], 1):
            headers = {"Nats-Batch-Id": batch_id, "Nats-Batch-Sequence": str(number)}
            await self._client.publish(f"{self._prefix}.{lane}", frame, headers=headers)
        lane, frame = frames[-1]
        headers = {
            "Nats-Batch-Id": batch_id,
            "Nats-Batch-Sequence": str(len(frames)),
            "Nats-Batch-Commit": "1",
        }
        commit = self._client.request(
            f"{self._prefix}.{lane}",
            frame,
            timeout=timeout_s,
            headers=headers if len(frames) > 1 else None,
        )
        reply = await self._unless_lost(commit)
        answer = json.loads(reply.data)
        if "error" in answer:
            raise _refusal(answer["error"])
        if len(frames) > 1 and answer.get("count") != len(frames):
            raise LogError(f"stored {answer.get('count')} of {len(frames)} records of a batch")
        return int(answer["seq"])

    async def _unless_lost(self, request: Coroutine[Any, Any, Msg]) -> Msg:
        """The answer, or `ConnectionError` at once when the connection that asked breaks."""
        asked = asyncio.ensure_future(request)
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait({asked, lost}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                return asked.result()
            raise ConnectionError("the connection broke before the acknowledgement")
        finally:
            asked.cancel()
            lost.cancel()

    def _fail(self, appends: list[Sending], why: str) -> None:
        for append in appends:
            if append.done.done():
                continue
            if append.sent:
                error: LogError = AppendUnknown(f"no acknowledgement by the deadline ({why})")
            else:
                error = LogUnavailable(f"not appended by the deadline ({why})")
            append.done.set_exception(error)

    async def _remove_torn_before(self, first: int) -> None:
        """Deletes what a crash of a single server left of an unacknowledged append before `first`.

        Whoever appends first after the crash has it just before the own records, and since these
        are stored, that append cannot be one still being stored.
        """
        if not self._single_server or first >= self._oldest_own:
            return
        self._oldest_own = first
        data = await self._reader.frame_at(first - 1, self._attempt_s) if first > 1 else None
        if data is None:
            return
        try:
            frame = decode_frame(data)
        except BadFrame:
            return  # a reader will name it
        if frame.place == len(frame.lanes) - 1:
            return
        torn = range(first - 1 - frame.place, first)
        logger.warning(
            "stream %s: removing %d of %d records of an append that a crash cut, from offset %d",
            self._stream,
            len(torn),
            len(frame.lanes),
            torn.start,
        )
        for offset in torn:
            await self._client.request(
                f"$JS.API.STREAM.MSG.DELETE.{self._stream}",
                json.dumps({"seq": offset, "no_erase": True}).encode(),
                timeout=self._attempt_s,
            )


def _refusal(error: dict[str, object]) -> Exception:
    """What the server's error answer means: nothing was stored, for now or for good."""
    text = str(error.get("description", "")).lower()
    code = error.get("code", 0)
    if any(words in text for words in _FULL_WORDS):
        return LogFull(f"the stream or its servers' disk is full: {text}")
    passing = code == _TOO_MANY_REQUESTS or (isinstance(code, int) and code >= 500)
    if passing or error.get("err_code") == _INCOMPLETE_BATCH:
        return _NotStored(text)
    return LogError(f"the stream refused the append: {text}")

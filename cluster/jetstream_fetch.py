"""Reads lanes of a JetStream stream without consumers: batched direct gets, all lanes at once.

A direct get is answered by any replica from its own store, so it needs no state on a server that
could die with it; the answer may lag behind the newest append, but it is always a prefix of the
lane in order. One request per lane, all sent together; a batch ends with a status message.

Protocol: NATS ADR-31 (direct get with `batch` and `max_bytes`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

_BATCH_MESSAGES = 8192
_END_OF_BATCH = "204"
_NOT_FOUND = "404"
_PENDING_BYTES = 1024 * 1024 * 1024


@dataclass(slots=True)
class LanePage:
    """What one replica had of a lane after `position`: rows of (offset, lane, frame), in order.

    `more` says that the lane goes on beyond the last row; `answered`, that a server replied.
    """

    lane: int
    position: int = 0
    rows: list[tuple[int, int, bytes]] = field(default_factory=list)
    more: bool = False
    answered: bool = False
    pending: int = 0
    _done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def reached(self) -> int:
        """The offset up to which the page holds every record of its lane."""
        return self.rows[-1][0] if self.rows else self.position

    @property
    def complete(self) -> bool:
        """The server said that this is all it has, or all it may send at once."""
        return self._done.is_set()

    def take(self, msg: Msg) -> None:
        """Adds one message of the answer."""
        headers = msg.headers or {}
        status = headers.get("Status")
        self.pending = int(headers.get("Nats-Num-Pending", "0"))
        if status is not None:
            self.answered = status in (_END_OF_BATCH, _NOT_FOUND)
            self.more = self.more or self.pending > 0
            self._done.set()
            return
        previous = self.rows[-1][0] if self.rows else 0
        if int(headers["Nats-Last-Sequence"]) != previous:
            # A message of the batch was lost on the way: what follows it must be asked again.
            self.more = True
            self._done.set()
        if not self.complete:
            self.answered = True
            self.rows.append((int(headers["Nats-Sequence"]), self.lane, msg.data))

    async def wait(self) -> None:
        """Returns when the answer is complete."""
        await self._done.wait()


class StreamReader:
    """Direct gets on the stream `stream`, whose lane `i` is the subject `<prefix>.<i>`."""

    def __init__(self, client: Client, stream: str, prefix: str) -> None:
        self._client = client
        self._subject = f"$JS.API.DIRECT.GET.{stream}"
        self._prefix = prefix
        self._inbox = client.new_inbox()
        self._pages: dict[str, LanePage] = {}
        self._n_asked = 0
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Subscribes to the inbox that all answers come to."""
        self._subscription = await self._client.subscribe(
            f"{self._inbox}.*",
            cb=self._on_message,
            pending_msgs_limit=-1,
            pending_bytes_limit=_PENDING_BYTES,
        )

    async def lanes(
        self, positions: Mapping[int, int], max_bytes: int, timeout_s: float
    ) -> dict[int, LanePage]:
        """For each lane, what comes after its position; at least one record, if there is one.

        The lanes share `max_bytes`. Lanes unanswered by `timeout_s` hold what came until then.
        """
        budget_bytes = max(1, max_bytes // max(1, len(positions)))
        asked = [
            (
                LanePage(lane, position),
                {
                    "seq": position + 1,
                    "next_by_subj": f"{self._prefix}.{lane}",
                    "batch": _BATCH_MESSAGES,
                    "max_bytes": budget_bytes,
                },
            )
            for lane, position in positions.items()
        ]
        await self._ask(asked, timeout_s)
        return {page.lane: page for page, _ in asked}

    async def after(self, offset: int, timeout_s: float) -> tuple[int, int] | None:
        """(offset of the first record of any lane after `offset`, number of those behind it)."""
        request = {"seq": offset + 1, "next_by_subj": f"{self._prefix}.*", "batch": 1}
        page = LanePage(0)
        await self._ask([(page, request)], timeout_s)
        return (page.rows[0][0], page.pending) if page.rows else None

    async def last_per_lane(self, timeout_s: float) -> dict[int, int] | None:
        """Offset of the last record of each lane that has one; None without an answer in time."""
        request: dict[str, object] = {"multi_last": [f"{self._prefix}.*"]}
        page = _LastOffsets(0)
        await self._ask([(page, request)], timeout_s)
        return page.offsets if page.complete and page.answered else None

    async def frame_at(self, offset: int, timeout_s: float) -> bytes | None:
        """The frame stored at `offset`, of whatever lane; None if there is none (yet)."""
        request = json.dumps({"seq": offset}).encode()
        msg = await self._client.request(self._subject, request, timeout=timeout_s)
        return None if (msg.headers or {}).get("Status") is not None else msg.data

    async def _ask(
        self, asked: Sequence[tuple[LanePage, Mapping[str, object]]], timeout_s: float
    ) -> None:
        tokens = []
        try:
            for page, request in asked:
                self._n_asked += 1
                token = str(self._n_asked)
                tokens.append(token)
                self._pages[token] = page
                await self._client.publish(
                    self._subject, json.dumps(request).encode(), reply=f"{self._inbox}.{token}"
                )
            async with asyncio.timeout(timeout_s):
                for page, _ in asked:
                    await page.wait()
        except TimeoutError:
            for page, _ in asked:
                page.more = page.more or not page.complete
        finally:
            for token in tokens:
                del self._pages[token]

    async def _on_message(self, msg: Msg) -> None:
        page = self._pages.get(msg.subject.rsplit(".", 1)[1])
        if page is not None:  # else the answer to a request that has timed out
            page.take(msg)


class _LastOffsets(LanePage):
    """The answer to "the last message of every lane": keeps the offsets, drops the payloads."""

    __slots__ = ("offsets",)

    def __init__(self, lane: int) -> None:
        super().__init__(lane)
        self.offsets: dict[int, int] = {}

    def take(self, msg: Msg) -> None:
        headers = msg.headers or {}
        if headers.get("Status") is not None:
            super().take(msg)
            return
        lane = int(headers["Nats-Subject"].rsplit(".", 1)[1])
        self.offsets[lane] = int(headers["Nats-Sequence"])

"""The event log on NATS JetStream: replicated by RAFT, the cluster's default.

One stream, one subject per lane; an append is one atomic batch publish (NATS ADR-50, server 2.12
or newer), and appends that wait together share a batch. Run the servers with `sync_interval:
always` (as `cluster.nats_server` does): an acknowledgement then means synced on a quorum.

- An append whose acknowledgement is lost is sent again until its deadline, so its events may
  stand in the log twice; with no acknowledgement by then it raises `AppendUnknown`.
- Reading keeps no state on the servers. A writer tells readers of each append with a small
  message; a reader that missed one finds out by itself within `probe_s`.
- A single server (`replicas=1`) killed inside a commit may keep a part of an append that was
  never acknowledged. Readers hold it back, and the next append removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import json
import logging
import operator
import struct
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, Self, TypeVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from cluster.jetstream_append import BatchSender, Sending
from cluster.jetstream_fetch import LanePage, StreamReader
from cluster.jetstream_news import LaneNews
from cluster.jetstream_retry import pause
from cluster.log import (
    DEFAULT_LANES,
    DEFAULT_READ_BYTES,
    SCHEMA_VERSION,
    BadFrame,
    Clock,
    CorruptRecord,
    LogBusy,
    LogClosed,
    LogError,
    LogUnavailable,
    LogVersionError,
    Record,
    StoredAppend,
    check_append,
    check_lanes,
    check_n_lanes,
    decode_frame,
    encode_append,
    group_appends,
    wall_clock_ms,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

_MIN_SERVER = (2, 12)
_PENDING_BYTES = 256 * 1024 * 1024
_ENVELOPE_BYTES = 1024  # subject, headers and frame, around a payload
_LAG_POLL_S = 0.002
_READ_ATTEMPT_S = 1.0  # a replica that died is not waited for; what came until then is kept
_STREAM_NOT_FOUND = 10059
# A server of the cluster that answers late is taken for offline, and soon for alive again.
_NO_PEERS_FOR_STREAM = 10005


class JetStreamLog:
    """The `EventLog` in the stream `stream` of the servers at `servers` (nats:// URLs).

    Creates the stream if it is not there (`replicas`, and `max_bytes` as the bound after which
    appends raise `LogFull`). `deadline_s` bounds every call that names none; one attempt at an
    append waits `attempt_s`. `connect_options` go to `nats.connect` (credentials, TLS).

    Raises `LogUnavailable` when no server answers, `LogVersionError` for an older server, a
    newer schema, or a stream with another number of lanes.
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        stream: str = "murmuration",
        n_lanes: int = DEFAULT_LANES,
        replicas: int = 3,
        max_bytes: int | None = None,
        max_pending: int = 1024,
        deadline_s: float = 20.0,
        attempt_s: float = 3.0,
        probe_s: float = 0.1,
        clock: Clock = wall_clock_ms,
        connect_options: Mapping[str, Any] | None = None,
    ) -> None:
        check_n_lanes(n_lanes)
        self.n_lanes = n_lanes
        self._stream = stream
        self._prefix = f"{stream}.lane"
        self._hints = f"{stream}.appended"
        self._deadline_s = deadline_s
        self._attempt_s = attempt_s
        self._probe_s = probe_s
        self._max_pending = max_pending
        self._clock = clock
        self._closed = False
        self._pending = 0
        self._pending_bytes = 0
        self._room = threading.Condition()
        self._news = LaneNews()
        self._probed_at = 0.0
        self._trimmed: dict[int, int] = {}
        self._trimmed_at = 0.0
        self._refusal = ""  # what the servers last said about the stream instead of an answer
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="log-nats", daemon=True)
        self._thread.start()
        self._client = Client()
        self._reader = StreamReader(self._client, stream, self._prefix)
        self._sender = BatchSender(
            self._client,
            self._reader,
            stream,
            self._prefix,
            attempt_s=attempt_s,
            on_acked=self._on_acked,
        )
        try:
            self._call(
                self._open(list(servers), replicas, max_bytes, dict(connect_options or {})),
                deadline_s,
            )
        except BaseException:
            self.close()
            raise
        self.max_payload_bytes: int = self._client.max_payload - _ENVELOPE_BYTES - 2 * n_lanes

    def append(self, lane_payloads: Mapping[int, bytes], *, deadline_s: float | None = None) -> int:
        """As in `EventLog`."""
        return self.append_async(lane_payloads, deadline_s=deadline_s).result()

    def append_async(
        self, lane_payloads: Mapping[int, bytes], *, deadline_s: float | None = None
    ) -> Future[int]:
        """As in `EventLog`."""
        check_append(lane_payloads, self.n_lanes, self.max_payload_bytes)
        frames = encode_append(lane_payloads, self._clock())
        until = time.monotonic() + (self._deadline_s if deadline_s is None else deadline_s)
        append = Sending(frames, until)
        n_bytes = append.n_bytes
        with self._room:
            if self._closed:
                raise LogClosed("the log was closed")
            if self._pending >= self._max_pending or self._pending_bytes > _PENDING_BYTES:
                raise LogBusy(f"{self._pending} appends ({self._pending_bytes} bytes) wait")
            self._pending += 1
            self._pending_bytes += n_bytes
        append.done.set_running_or_notify_cancel()  # on its way: it cannot be taken back
        append.done.add_done_callback(lambda _: self._settled(n_bytes))
        self._loop.call_soon_threadsafe(self._sender.put, append)
        return append.done

    def read(
        self,
        positions: Mapping[int, int],
        max_bytes: int = DEFAULT_READ_BYTES,
        *,
        timeout_s: float = 0.0,
    ) -> list[Record]:
        """As in `EventLog`."""
        check_lanes(positions, self.n_lanes)
        until = time.monotonic() + timeout_s
        while True:
            due = self._news.due(positions)
            if due:
                records = self._call(
                    self._read_due(due, positions, max_bytes), self._deadline_s + timeout_s
                )
                if records:
                    return records
            elif time.monotonic() - self._probed_at > self._probe_s and self._call(
                self._probe(), self._deadline_s
            ):
                continue
            left_s = until - time.monotonic()
            if left_s <= 0:
                return []
            if due:
                # A hint may come before the replica that is asked has the record.
                time.sleep(min(left_s, _LAG_POLL_S))
            else:
                self._news.wait(positions, min(left_s, self._probe_s))

    def heads(self) -> dict[int, int]:
        """As in `EventLog`."""
        stored = self._call(self._load_heads(), self._deadline_s)
        return {
            lane: max(stored.get(lane, 0), self._news.head(lane), self._trimmed.get(lane, 0))
            for lane in range(self.n_lanes)
        }

    def first_offsets(self) -> dict[int, int]:
        """As in `EventLog`."""
        trimmed = self._call(self._load_trimmed(), self._deadline_s)
        return {lane: trimmed.get(lane, 0) + 1 for lane in range(self.n_lanes)}

    def trim(self, offsets: Mapping[int, int]) -> None:
        """As in `EventLog`. One process at a time may trim."""
        check_lanes(offsets, self.n_lanes)
        heads = self.heads()
        to = {lane: min(offset, heads[lane]) for lane, offset in offsets.items()}
        self._call(self._trim(to), self._deadline_s)

    def leader(self) -> str:
        """Name of the server that leads the stream now; empty while there is none."""
        info = self._call(self._stream_info(), self._deadline_s)
        return str(info.get("cluster", {}).get("leader", ""))

    def connected_to(self) -> str:
        """URL of the server that this handle is connected to; empty while it is to none."""
        url = self._client.connected_url
        return "" if url is None else url.geturl()

    def close(self) -> None:
        """As in `EventLog`."""
        with self._room:
            if self._closed:
                return
            self._closed = True
            self._room.wait_for(lambda: self._pending == 0, self._deadline_s)
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _call(self, work: Coroutine[Any, Any, T], deadline_s: float) -> T:
        """Runs `work` on the connection's thread; its failures in the log's words."""
        if self._closed:
            work.close()
            raise LogClosed("the log was closed")
        done = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, deadline_s), self._loop)
        try:
            return done.result()
        except CancelledError:
            raise LogClosed("the log was closed") from None
        except (TimeoutError, NatsError, OSError) as error:
            reason = f"{type(error).__name__}: {error}" if str(error) else self._refusal
            raise LogUnavailable(
                f"stream {self._stream!r}: no answer within {deadline_s} s"
                f" ({reason or type(error).__name__})"
            ) from error

    # Opening and closing: on the connection's thread, as everything async below.

    async def _open(
        self,
        servers: list[str],
        replicas: int,
        max_bytes: int | None,
        options: dict[str, Any],
    ) -> None:
        await self._client.connect(
            servers,
            **{
                "name": f"log {self._stream}",
                "max_reconnect_attempts": -1,
                "reconnect_time_wait": 0.1,
                "connect_timeout": 2,
                "ping_interval": 5,
                "error_cb": self._on_error,
                "disconnected_cb": self._on_disconnect,
                "reconnected_cb": self._on_reconnect,
                **options,
            },
        )
        version = self._client.connected_server_version
        if (version.major, version.minor) < _MIN_SERVER:
            raise LogVersionError(f"nats-server {version} is too old: atomic batches need 2.12")
        config = {
            "name": self._stream,
            "subjects": [f"{self._prefix}.*"],
            "storage": "file",
            "retention": "limits",
            "discard": "new",  # a full log refuses; it never drops what it acknowledged
            "max_bytes": -1 if max_bytes is None else max_bytes,
            "num_replicas": replicas,
            "allow_atomic": True,
            "allow_direct": True,
            "metadata": {
                "murmuration.schema": str(SCHEMA_VERSION),
                "murmuration.lanes": str(self.n_lanes),
                "murmuration.trimmed": "{}",
            },
        }
        info = await self._stream_info(create=config)
        self._check_stream(info["config"])
        await self._load_trimmed()
        await self._reader.start()
        await self._client.subscribe(self._hints, cb=self._on_hint)
        await self._client.flush()
        self._sender.start(replicas=int(info["config"]["num_replicas"]))

    async def _stream_info(self, create: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The stream's configuration and state; made first if `create` is given. Tries on."""
        while True:
            # A cluster that has just started refuses for a moment.
            answer = await self._api("STREAM.INFO", {})
            error = answer.get("error")
            if error and error.get("err_code") == _STREAM_NOT_FOUND and create is not None:
                answer = await self._api("STREAM.CREATE", create)
                error = answer.get("error")
            if not error:
                return answer
            refusal = str(error.get("description"))
            if error.get("code", 0) < 500 and error.get("err_code") != _NO_PEERS_FOR_STREAM:
                raise LogError(f"stream {self._stream!r}: {refusal}")
            self._refusal = refusal
            await pause()

    async def _api(self, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        subject = f"$JS.API.{operation}.{self._stream}"
        while True:
            with contextlib.suppress(nats.errors.NoRespondersError, TimeoutError):
                reply = await self._client.request(
                    subject, json.dumps(body).encode(), timeout=self._attempt_s
                )
                answer: dict[str, Any] = json.loads(reply.data)
                return answer
            await pause()

    def _check_stream(self, config: Mapping[str, Any]) -> None:
        metadata = config.get("metadata", {})
        schema = metadata.get("murmuration.schema")
        lanes = metadata.get("murmuration.lanes")
        if schema is None or lanes is None:
            raise LogVersionError(f"stream {self._stream!r} is not an event log")
        if int(schema) > SCHEMA_VERSION:
            raise LogVersionError(
                f"stream {self._stream!r} has log schema version {schema},"
                f" this program reads up to {SCHEMA_VERSION}"
            )
        if int(lanes) != self.n_lanes:
            raise LogVersionError(
                f"stream {self._stream!r} has {lanes} lanes, {self.n_lanes} were asked for"
            )

    async def _shut(self) -> None:
        await self._sender.stop()
        try:
            await asyncio.wait_for(self._client.close(), self._deadline_s)
        except (OSError, TimeoutError, NatsError) as error:
            # The server takes no more, and the client has no public way to leave bytes unsent.
            await self._on_error(error)
            connection: Any = self._client._transport
            connection._io_writer.transport.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _on_error(self, error: Exception) -> None:
        logger.info("log connection: %s: %s", type(error).__name__, error)

    async def _on_disconnect(self) -> None:
        self._sender.disconnected()
        if not self._closed:
            logger.warning("log connection lost, reconnecting")

    async def _on_reconnect(self) -> None:
        logger.warning("log connection is back, on %s", self.connected_to())
        self._sender.reconnected()
        self._news.forget_all()

    # Appending.

    def _settled(self, n_bytes: int) -> None:
        with self._room:
            self._pending -= 1
            self._pending_bytes -= n_bytes
            self._room.notify_all()

    def _on_acked(self, first: int, lanes: tuple[int, ...]) -> None:
        self._news.learn_append(first, lanes)
        hint = struct.pack(f"<Q{len(lanes)}H", first, *lanes)
        task = asyncio.ensure_future(self._client.publish(self._hints, hint))
        # A lost hint only costs readers a probe.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _on_hint(self, msg: Msg) -> None:
        n_lanes = (len(msg.data) - 8) // 2
        first, *lanes = struct.unpack(f"<Q{n_lanes}H", msg.data)
        self._news.learn_append(first, tuple(lanes))

    # Reading.

    async def _probe(self) -> bool:
        """Looks for an append that no hint told of; True if there is one."""
        self._probed_at = time.monotonic()
        found = await self._reader.after(self._news.contiguous, self._attempt_s)
        if found is None:
            return False
        offset, n_behind = found
        self._news.learn_probe(offset + n_behind)
        return True

    async def _read_due(
        self, due: Mapping[int, int], positions: Mapping[int, int], max_bytes: int
    ) -> list[Record]:
        until = time.monotonic() + self._deadline_s
        while True:
            pages = await self._reader.lanes(due, max_bytes, _READ_ATTEMPT_S)
            if any(page.answered for page in pages.values()):
                break
            if time.monotonic() > until:
                raise TimeoutError("no replica answered")
            await pause()
        lacking = self._news.learn_pages(pages)
        if lacking and time.monotonic() - self._trimmed_at > self._probe_s:
            trimmed = await self._load_trimmed()
            for lane in lacking:
                self._news.forget(lane, trimmed.get(lane, 0))
        rows = heapq.merge(*(page.rows for page in pages.values()), key=operator.itemgetter(0))
        # Behind a page that goes on, a lane may have records before those of other lanes.
        bound = min((page.reached for page in pages.values() if page.more), default=None)
        records: list[Record] = []
        n_bytes = 0
        try:
            for append in group_appends(rows):
                if bound is not None and append.first > bound:
                    break
                whole = await self._is_whole(append, positions, pages)
                if whole is None:
                    break
                if not whole:
                    continue
                n_bytes += sum(len(record.payload) for record in append.records)
                if records and n_bytes > max_bytes:
                    break
                records.extend(append.records)
        except CorruptRecord:
            if not records:
                raise
        return records

    async def _is_whole(
        self,
        append: StoredAppend,
        positions: Mapping[int, int],
        pages: Mapping[int, LanePage],
    ) -> bool | None:
        """Whether all parts of an append that are asked for are there; None if not yet.

        False: the rest will never come, since a server died before it acknowledged the append.
        """
        found = {record.offset for record in append.records}
        missing = {
            lane: offset
            for offset, lane in enumerate(append.lanes, append.first)
            if lane in positions and offset > positions[lane] and offset not in found
        }
        if missing and any(offset > self._trimmed.get(lane, 0) for lane, offset in missing.items()):
            await self._load_trimmed()
        missing = {
            lane: offset for lane, offset in missing.items() if offset > self._trimmed.get(lane, 0)
        }
        if any(lane in pages and pages[lane].reached > at for lane, at in missing.items()):
            return False
        if missing:
            for lane, offset in missing.items():
                self._news.learn_record(lane, offset)
            return None
        if append.last in found or self._news.is_acknowledged(append.last):
            return True
        # No writer has told of it: it counts only if its last record is there.
        data = await self._reader.frame_at(append.last, self._attempt_s)
        if data is None:
            return None
        try:
            last = decode_frame(data)
        except BadFrame:
            return True
        return last.lanes == append.lanes and last.place == len(last.lanes) - 1

    # Heads and retention.

    async def _load_heads(self) -> dict[int, int]:
        while True:
            heads = await self._reader.last_per_lane(self._attempt_s)
            if heads is not None:
                return heads
            await pause()

    async def _load_trimmed(self) -> dict[int, int]:
        config = (await self._stream_info())["config"]
        stored = json.loads(config["metadata"].get("murmuration.trimmed", "{}"))
        self._trimmed_at = time.monotonic()
        self._trimmed = {int(lane): offset for lane, offset in stored.items()}
        return self._trimmed

    async def _trim(self, to: Mapping[int, int]) -> None:
        # What is dropped is written down first: a reader may then miss only what it knows of.
        config = (await self._stream_info())["config"]
        trimmed = await self._load_trimmed()
        merged = {lane: max(to.get(lane, 0), trimmed.get(lane, 0)) for lane in {*to, *trimmed}}
        config["metadata"]["murmuration.trimmed"] = json.dumps(merged)
        answer = await self._api("STREAM.UPDATE", config)
        if "error" in answer:
            raise LogError(f"stream {self._stream!r}: {answer['error'].get('description')}")
        self._trimmed = merged
        for lane, offset in to.items():
            body = {"filter": f"{self._prefix}.{lane}", "seq": offset + 1}
            answer = await self._api("STREAM.PURGE", body)
            if "error" in answer:
                raise LogError(f"lane {lane}: {answer['error'].get('description')}")

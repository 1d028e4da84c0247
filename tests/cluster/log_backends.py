"""Empty logs of every kind for the contract, how to damage them, and how to read one out."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats

from cluster.jetstream_log import JetStreamLog
from cluster.log import EventLog, Record, encode_append
from cluster.sqlite_log import SqliteLog

N_LANES = 16
ALL = dict.fromkeys(range(N_LANES), 0)


class Backend:
    """One empty log, and the ways to open it."""

    handles: list[EventLog]

    def __init__(self) -> None:
        self.handles = []

    def open(self, *, max_bytes: int | None = None, **options: Any) -> EventLog:
        raise NotImplementedError

    def reader(self) -> EventLog:
        raise NotImplementedError

    def corrupt(self, lane: int, offset: int) -> None:
        """Damages one stored record, with all handles closed."""
        raise NotImplementedError

    def make_newer(self) -> None:
        """Stores a schema version that does not exist yet."""
        raise NotImplementedError

    def close_all(self) -> None:
        for handle in self.handles:
            handle.close()


class SqliteBackend(Backend):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def open(self, *, max_bytes: int | None = None, **options: Any) -> EventLog:
        self.handles.append(SqliteLog(self.path, max_file_bytes=max_bytes, **options))
        return self.handles[-1]

    def reader(self) -> EventLog:
        self.handles.append(SqliteLog.open_reader(self.path))
        return self.handles[-1]

    def corrupt(self, lane: int, offset: int) -> None:
        with sqlite3.connect(self.path) as file:
            (frame,) = file.execute(
                "SELECT frame FROM records WHERE lane = ? AND offset = ?", (lane, offset)
            ).fetchone()
            flipped = bytearray(frame)
            flipped[-3] ^= 0x10
            file.execute("UPDATE records SET frame = ? WHERE offset = ?", (bytes(flipped), offset))
        file.close()

    def make_newer(self) -> None:
        with sqlite3.connect(self.path) as file:
            file.execute("PRAGMA user_version = 99")
        file.close()


class JetStreamBackend(Backend):
    def __init__(self, urls: list[str], replicas: int) -> None:
        super().__init__()
        self.urls = urls
        self.replicas = replicas
        self.stream = f"t{uuid4().hex[:12]}"

    def open(self, **options: Any) -> EventLog:
        self.handles.append(
            JetStreamLog(self.urls, stream=self.stream, replicas=self.replicas, **options)
        )
        return self.handles[-1]

    def reader(self) -> EventLog:
        return self.open()

    def corrupt(self, lane: int, offset: int) -> None:
        # A server checks what it stores itself, so the damage is put in as a message: the last
        # record of the lane is replaced by one whose checksum is wrong.
        self._request(f"$JS.API.STREAM.MSG.DELETE.{self.stream}", {"seq": offset})
        [(_, frame)] = encode_append({lane: b"never seen"}, 0)
        flipped = bytearray(frame)
        flipped[-3] ^= 0x10
        self._publish(f"{self.stream}.lane.{lane}", bytes(flipped))

    def make_newer(self) -> None:
        config = self._request(f"$JS.API.STREAM.INFO.{self.stream}", {})["config"]
        config["metadata"]["murmuration.schema"] = "99"
        self._request(f"$JS.API.STREAM.UPDATE.{self.stream}", config)

    def store_half_an_append(self, lanes: list[int], n_stored: int) -> None:
        """What a single server killed while it stores a batch may keep."""
        for lane, frame in encode_append(dict.fromkeys(lanes, b"half"), 0)[:n_stored]:
            self._publish(f"{self.stream}.lane.{lane}", frame)

    def _publish(self, subject: str, data: bytes) -> None:
        asyncio.run(_ask(self.urls, subject, data))

    def _request(self, subject: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            asyncio.run(_ask(self.urls, subject, json.dumps(body).encode()))
        )
        assert "error" not in answer, answer
        return answer


async def _ask(urls: list[str], subject: str, data: bytes) -> bytes:
    client = await nats.connect(urls)
    try:
        return (await client.request(subject, data, timeout=5)).data
    finally:
        await client.close()


def read_all(log: EventLog, positions: Mapping[int, int] = ALL) -> list[Record]:
    """Everything after `positions`, and what an append that was just acknowledged put there."""
    at = dict(positions)
    records: list[Record] = []
    while new := log.read(at, timeout_s=0.0 if records_reach(log, at) else 5.0):
        records.extend(new)
        at.update((record.lane, record.offset) for record in new)
    return records


def records_reach(log: EventLog, positions: Mapping[int, int]) -> bool:
    heads, firsts = log.heads(), log.first_offsets()
    return all(heads[lane] <= max(at, firsts[lane] - 1) for lane, at in positions.items())


def parts(records: list[Record]) -> list[tuple[int, bytes]]:
    return [(record.lane, record.payload) for record in records]

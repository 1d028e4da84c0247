"""The event log: durable, in lanes, one append atomic across lanes.

The log knows nothing of events: a payload is opaque bytes (an Arrow IPC stream made elsewhere).
`EventLog` is the contract that `cluster.sqlite_log` and `cluster.jetstream_log` both keep; here
are also the record, the errors and the framing that both store.

Guarantees:

- An append is acknowledged only when durable, and is then never lost.
- A reader sees the parts of one append, for the lanes it asks, together or not at all.
- Offsets grow through the whole log and are never given twice; a lane's records come in order.
- At least once: an append whose acknowledgement was lost may stand in the log twice. Appliers are
  idempotent by event id.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self

SCHEMA_VERSION = 1
DEFAULT_LANES = 16
MAX_LANES = 512
DEFAULT_MAX_PAYLOAD_BYTES = 8 * 1024 * 1024 - 64 * 1024
DEFAULT_READ_BYTES = 8 * 1024 * 1024


class Record(NamedTuple):
    """One lane's part of one append. `appended_ms` is the writer's clock, ms UTC."""

    lane: int
    offset: int
    payload: bytes
    appended_ms: int


class EventLog(Protocol):
    """A durable log of `n_lanes` lanes. Thread-safe; blocking calls take their deadline."""

    @property
    def n_lanes(self) -> int:
        """Lanes are numbered 0 … n_lanes-1."""
        ...

    @property
    def max_payload_bytes(self) -> int:
        """Largest payload of one lane in one append."""
        ...

    def append(self, lane_payloads: Mapping[int, bytes], *, deadline_s: float | None = None) -> int:
        """Appends one payload to each lane given, atomically; returns once durable.

        Returns the offset of the append's last record; the record of the k-th of `n` lanes (in
        ascending order) stands at `offset - n + 1 + k`. The order of two appends is only defined
        when the second is made after the first returned.

        Raises `EmptyAppend`, `UnknownLane`, `PayloadTooLarge`, `LogBusy`, `LogFull`,
        `LogReadOnly`, `LogClosed`, `LogUnavailable` (nothing was appended), or `AppendUnknown`
        (it may have been).
        """
        ...

    def append_async(
        self, lane_payloads: Mapping[int, bytes], *, deadline_s: float | None = None
    ) -> Future[int]:
        """`append` without the wait. A refusal known at once (bad input, `LogBusy`) is raised."""
        ...

    def read(
        self,
        positions: Mapping[int, int],
        max_bytes: int = DEFAULT_READ_BYTES,
        *,
        timeout_s: float = 0.0,
    ) -> list[Record]:
        """Records with offset > `positions[lane]` of the lanes given, in offset order.

        Returns whole appends only: stops before the append that would pass `max_bytes` of
        payload, unless it is the first. With nothing new, waits up to `timeout_s`, then returns
        an empty list; a poll that finds nothing costs microseconds.

        Raises `CorruptRecord` when the next record to return fails its checksum (go past it by
        setting `positions[lane]` to its offset), `UnknownLane`, `LogUnavailable`, `LogClosed`.
        """
        ...

    def heads(self) -> dict[int, int]:
        """Offset of the last acknowledged record of every lane; 0 for a lane never written."""
        ...

    def first_offsets(self) -> dict[int, int]:
        """For every lane, the smallest offset not trimmed away.

        A reader whose position is below `first - 1` has missed records for good.
        """
        ...

    def trim(self, offsets: Mapping[int, int]) -> None:
        """Drops the records with offset ≤ `offsets[lane]`, and no others. Offsets stay used."""
        ...

    def close(self) -> None:
        """Finishes what was accepted, then releases everything. Idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class LogError(Exception):
    """Anything the log refuses or cannot do."""


class EmptyAppend(LogError, ValueError):
    """An append names no lane, or gives a lane an empty payload."""


class UnknownLane(LogError, ValueError):
    """A lane outside 0 … n_lanes-1."""

    def __init__(self, lane: int, n_lanes: int) -> None:
        super().__init__(f"unknown lane {lane}: this log has lanes 0 to {n_lanes - 1}")
        self.lane = lane
        self.n_lanes = n_lanes

    def __reduce__(self) -> tuple[type[Self], tuple[int, int]]:
        return type(self), (self.lane, self.n_lanes)


class PayloadTooLarge(LogError, ValueError):
    """A payload above the log's limit. It is refused, never split: a record is one message."""

    def __init__(self, lane: int, n_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"payload of {n_bytes} bytes for lane {lane}: the limit is {limit_bytes}")
        self.lane = lane
        self.n_bytes = n_bytes
        self.limit_bytes = limit_bytes

    def __reduce__(self) -> tuple[type[Self], tuple[int, int, int]]:
        return type(self), (self.lane, self.n_bytes, self.limit_bytes)


class LogBusy(LogError):
    """More appends wait than the log's bound; nothing was appended, try again later."""


class LogFull(LogError):
    """No room to write; nothing was appended. Reads go on, and appends do once there is room."""


class LogReadOnly(LogError):
    """An append or trim through a handle opened for reading."""


class LogClosed(LogError):
    """The handle was closed."""


class LogOwned(LogError):
    """Another process owns the log file for writing."""


class LogUnavailable(LogError):
    """The log did not answer by the deadline, or is not there; an append was not made."""


class AppendUnknown(LogError):
    """No acknowledgement by the deadline: the append may or may not be in the log.

    Repeating it is safe for idempotent appliers.
    """


class LogVersionError(LogError):
    """The stored log has another schema version or shape than this program reads."""


class CorruptLog(LogError):
    """The log's storage is damaged beyond one record; the message names what and where."""


class CorruptRecord(LogError):
    """A record fails its checksum, or is not the record that its place says."""

    def __init__(self, lane: int, offset: int, reason: str) -> None:
        super().__init__(f"corrupt record in lane {lane} at offset {offset}: {reason}")
        self.lane = lane
        self.offset = offset
        self.reason = reason

    def __reduce__(self) -> tuple[type[Self], tuple[int, int, str]]:
        return type(self), (self.lane, self.offset, self.reason)


class BadFrame(ValueError):
    """Bytes that are not a whole frame; `CorruptRecord` says where they were found."""


class Frame(NamedTuple):
    """A stored record without its offset: its append's lanes, and its place among them."""

    lanes: tuple[int, ...]
    place: int
    appended_ms: int
    payload: bytes

    @property
    def lane(self) -> int:
        """The lane it was written for."""
        return self.lanes[self.place]


# magic, format version, CRC-32 of all that follows, appended_ms, place, number of lanes; then the
# lanes (u16 each) and the payload. Little-endian. Every record names its append's lanes, so that
# a reader can tell a whole append from half of one.
_MAGIC = b"MLG"
_PREFIX = struct.Struct("<3sBI")
_BODY = struct.Struct("<qHH")


def encode_append(lane_payloads: Mapping[int, bytes], appended_ms: int) -> list[tuple[int, bytes]]:
    """(lane, frame) for each lane in ascending order: the records of one append."""
    lanes = sorted(lane_payloads)
    packed_lanes = struct.pack(f"<{len(lanes)}H", *lanes)
    frames = []
    for place, lane in enumerate(lanes):
        head = _BODY.pack(appended_ms, place, len(lanes)) + packed_lanes
        payload = lane_payloads[lane]
        crc = zlib.crc32(payload, zlib.crc32(head))
        frames.append((lane, b"".join((_PREFIX.pack(_MAGIC, SCHEMA_VERSION, crc), head, payload))))
    return frames


def decode_frame(data: bytes) -> Frame:
    """Reads back one record. Raises `BadFrame` on any flipped or missing bit."""
    if len(data) < _PREFIX.size + _BODY.size:
        raise BadFrame(f"{len(data)} bytes are too short for a record")
    magic, version, crc = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        raise BadFrame(f"starts with {magic!r}, not {_MAGIC!r}")
    if version != SCHEMA_VERSION:
        raise BadFrame(f"has format version {version}, this program reads {SCHEMA_VERSION}")
    found = zlib.crc32(memoryview(data)[_PREFIX.size :])
    if found != crc:
        raise BadFrame(f"checksum {found:#010x} instead of {crc:#010x}")
    appended_ms, place, n_lanes = _BODY.unpack_from(data, _PREFIX.size)
    lanes_at = _PREFIX.size + _BODY.size
    lanes = struct.unpack_from(f"<{n_lanes}H", data, lanes_at)
    return Frame(lanes, place, appended_ms, data[lanes_at + 2 * n_lanes :])


@dataclass(slots=True)
class StoredAppend:
    """The records of one append that a read found; the append covers offsets `first`…`last`."""

    first: int
    lanes: tuple[int, ...]
    records: list[Record] = field(default_factory=list)

    @property
    def last(self) -> int:
        """Offset of its last record."""
        return self.first + len(self.lanes) - 1


def group_appends(rows: Iterable[tuple[int, int, bytes]]) -> Iterator[StoredAppend]:
    """Decodes (offset, lane, frame) rows, in offset order, into the appends they belong to.

    Raises `CorruptRecord` at a bad row, after yielding the appends that end before it.
    """
    current: StoredAppend | None = None
    for offset, lane, data in rows:
        try:
            frame = decode_frame(data)
            if frame.lane != lane:
                raise BadFrame(f"is a record of lane {frame.lane}")
        except BadFrame as error:
            if current is not None and current.last < offset:
                yield current
            raise CorruptRecord(lane, offset, str(error)) from error
        first = offset - frame.place
        if current is None or current.first != first:
            if current is not None:
                yield current
            current = StoredAppend(first, frame.lanes)
        current.records.append(Record(lane, offset, frame.payload, frame.appended_ms))
    if current is not None:
        yield current


def take_appends(appends: Iterable[StoredAppend], max_bytes: int) -> list[Record]:
    """The records of as many whole appends as fit `max_bytes` of payload, at least one.

    A corrupt record ends the list; it is raised only when nothing comes before it.
    """
    records: list[Record] = []
    n_bytes = 0
    try:
        for append in appends:
            n_bytes += sum(len(record.payload) for record in append.records)
            if records and n_bytes > max_bytes:
                break
            records.extend(append.records)
    except CorruptRecord:
        if not records:
            raise
    return records


def check_append(lane_payloads: Mapping[int, bytes], n_lanes: int, max_payload_bytes: int) -> None:
    """Refuses what no log takes: `EmptyAppend`, `UnknownLane`, `PayloadTooLarge`."""
    if not lane_payloads:
        raise EmptyAppend("an append needs a payload for at least one lane")
    check_lanes(lane_payloads, n_lanes)
    for lane, payload in lane_payloads.items():
        if not payload:
            raise EmptyAppend(f"empty payload for lane {lane}")
        if len(payload) > max_payload_bytes:
            raise PayloadTooLarge(lane, len(payload), max_payload_bytes)


def check_lanes(lanes: Iterable[int], n_lanes: int) -> None:
    """Raises `UnknownLane` for a lane outside 0 … n_lanes-1."""
    for lane in lanes:
        if not 0 <= lane < n_lanes:
            raise UnknownLane(lane, n_lanes)


def check_n_lanes(n_lanes: int) -> None:
    """Raises `ValueError` for a number of lanes that no log can have."""
    if not 1 <= n_lanes <= MAX_LANES:
        raise ValueError(f"n_lanes is {n_lanes}, expected 1 to {MAX_LANES}")


def wall_clock_ms() -> int:
    """Now, ms UTC: the default clock of a log's writer."""
    return time.time_ns() // 1_000_000


Clock = Callable[[], int]

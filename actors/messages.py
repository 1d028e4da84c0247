"""Messages on a connection: pickled, large arrays beside the pickle so that nobody copies them.

A message is its total length, the number of its parts, the length of each, and the parts: the
pickle, then the memory of large arrays. Every part begins at a multiple of `_ALIGNED` bytes, so
that the whole can be received into one piece of memory in which the arrays stay.
"""

import pickle
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

_HEAD = struct.Struct(">QI")
_LENGTH = struct.Struct(">Q")
_ALIGNED = 64
_BESIDE_BYTES = 4_096
"""Arrays of less are copied into the pickle: that costs less than a part of their own."""
_LARGEST_BYTES = 1 << 32
_MOST_PARTS = 1 << 16
_BEGUN_BYTES = 1 << 16
"""Received at once: of most messages that is all. Each receiving lets other threads have the
interpreter first."""
_PARTS_AT_ONCE = 1_000
"""Fewer than a system takes in one call."""

Parts = Sequence[bytes | memoryview]


class NoMessage(ConnectionError):
    """What came is no message."""


def pack(message: Any) -> Parts:
    """What to send of a message; its large arrays must not change before that is done."""
    beside: list[memoryview] = []

    def in_the_pickle(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _BESIDE_BYTES or len(beside) + 1 >= _MOST_PARTS:
            return True
        beside.append(raw)
        return False

    pickled = pickle.dumps(message, pickle.HIGHEST_PROTOCOL, buffer_callback=in_the_pickle)
    lengths = [len(pickled), *(raw.nbytes for raw in beside)]
    total = sum(map(_padded, lengths))
    head = [_HEAD.pack(total, len(lengths)), *map(_LENGTH.pack, lengths), pickled]
    parts: list[bytes | memoryview] = [b"".join([*head, _padding(len(pickled))])]
    for raw in beside:
        parts.append(raw)
        if padding := _padding(raw.nbytes):
            parts.append(padding)
    return parts


def send(connection: socket.socket, parts: Parts) -> None:
    """Send what `pack` gave; raises `OSError`."""
    # Mostly one call takes it all, and each lets other threads have the interpreter first.
    sent = connection.sendmsg(parts[:_PARTS_AT_ONCE])
    for part in parts:
        if sent < len(part):
            connection.sendall(memoryview(part)[sent:])
        sent = max(sent - len(part), 0)


def receive(connection: socket.socket, until_s: float | None) -> Any:
    """A message, where the other side sends no other before it has an answer.

    Arrays in it share one piece of memory. Raises `OSError` (`TimeoutError` after `until_s` of the
    monotonic clock), `EOFError` where the connection was closed, `NoMessage` for what is none, and
    what unpickling raises.
    """
    begun = bytearray(_BEGUN_BYTES)
    have = _at_least(connection, begun, _HEAD.size, 0, until_s)
    total, n_parts = _HEAD.unpack_from(begun)
    if total > _LARGEST_BYTES or not 0 < n_parts <= _MOST_PARTS:
        raise NoMessage(f"{n_parts} parts of {total} bytes are no message")
    begin = _HEAD.size + n_parts * _LENGTH.size
    begun.extend(bytes(max(begin - len(begun), 0)))
    have = _at_least(connection, begun, begin, have, until_s)
    lengths = [length for (length,) in _LENGTH.iter_unpack(begun[_HEAD.size : begin])]
    if sum(map(_padded, lengths)) != total:
        raise NoMessage(f"{n_parts} parts do not make up {total} bytes")
    if have - begin > total:
        raise NoMessage(f"more came than a message of {total} bytes")
    whole = bytearray(total)
    whole[: have - begin] = begun[begin:have]
    _at_least(connection, whole, total, have - begin, until_s)
    views, begin = [], 0
    for length in lengths:
        views.append(memoryview(whole)[begin : begin + length])
        begin += _padded(length)
    return pickle.loads(views[0], buffers=views[1:])


def exactly(connection: socket.socket, length: int, until_s: float | None) -> bytearray:
    """As many bytes; with a deadline, however slowly they come. Raises `EOFError` at the end."""
    found = bytearray(length)
    _at_least(connection, found, length, 0, until_s)
    return found


def _at_least(
    connection: socket.socket, found: bytearray, least: int, have: int, until_s: float | None
) -> int:
    """Receive into what is found until it has `least` bytes; returns how many it has."""
    view = memoryview(found)
    while have < least:
        if until_s is not None:
            connection.settimeout(left_s(until_s))
        n_bytes = connection.recv_into(view[have:])
        if not n_bytes:
            raise EOFError("the connection was closed")
        have += n_bytes
    return have


def left_s(until_s: float) -> float:
    """Seconds until an instant of the monotonic clock; raises `TimeoutError` where none are."""
    seconds = until_s - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("no time is left")
    return seconds


def _padded(length: int) -> int:
    return -(-length // _ALIGNED) * _ALIGNED


def _padding(length: int) -> bytes:
    return bytes(_padded(length) - length)

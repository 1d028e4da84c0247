"""Messages come as they were sent: arrays of any size, and nothing that is no message."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.messages import NoMessage, pack, receive, send

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def passed(pair: Pair, message: Any) -> Any:
    sending = threading.Thread(target=send, args=(pair[0], pack(message)))
    sending.start()
    received = receive(pair[1], time.monotonic() + 30)
    sending.join()
    return received


def array_of(length: int, kind: str, step: int) -> npt.NDArray[Any]:
    return np.arange(length * step).astype(kind)[::step]


arrays = st.builds(
    array_of,
    st.sampled_from([0, 1, 511, 512, 513, 4_095, 4_096, 4_097, 40_000]),
    st.sampled_from(["i8", "f4", "u1", "?"]),
    st.sampled_from([1, 2]),
)


@settings(deadline=None)
@given(given_arrays=st.lists(arrays, max_size=6), text=st.text(max_size=20))
def test_arrays_come_as_they_were(
    pair: Pair, given_arrays: list[npt.NDArray[Any]], text: str
) -> None:
    found_text, found = passed(pair, (text, given_arrays))
    assert found_text == text
    assert len(found) == len(given_arrays)
    for one, other in zip(given_arrays, found, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
        assert other.flags.aligned
        assert other.flags.writeable


def test_shapes_orders_and_what_may_not_be_written_stay(pair: Pair) -> None:
    grid = np.arange(6_000.0).reshape(60, 100)
    kept = np.arange(6_000)
    kept.flags.writeable = False
    rows, columns, fixed = passed(pair, (grid, np.asfortranarray(grid), kept))
    assert np.array_equal(rows, grid)
    assert np.array_equal(columns, grid)
    assert columns.flags.f_contiguous
    assert np.array_equal(fixed, kept)
    assert not fixed.flags.writeable


def test_more_arrays_than_are_sent_or_begun_at_once(pair: Pair) -> None:
    many = [np.full(513, number) for number in range(9_000)]
    found = passed(pair, many)
    assert [int(one[0]) for one in found] == list(range(9_000))
    assert all(len(one) == 513 for one in found)


def test_a_message_that_comes_bit_by_bit(pair: Pair) -> None:
    whole = b"".join(pack(("slow", np.arange(600))))

    def dribble() -> None:
        for at in range(0, len(whole), 7):
            pair[0].sendall(whole[at : at + 7])

    sending = threading.Thread(target=dribble)
    sending.start()
    said, found = receive(pair[1], time.monotonic() + 30)
    sending.join()
    assert (said, found.tolist()) == ("slow", list(range(600)))


def test_large_arrays_are_not_copied_into_the_pickle() -> None:
    large = np.arange(100_000)
    parts = pack({"large": large, "small": np.arange(10)})
    assert any(isinstance(part, memoryview) and part.nbytes == large.nbytes for part in parts)
    assert len(parts[0]) < 2_000


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (struct.pack(">QI", 1 << 33, 1), "no message"),
        (struct.pack(">QI", 64, 0), "no message"),
        (struct.pack(">QI", 64, 1 << 20), "no message"),
        (struct.pack(">QIQ", 64, 1, 65), "do not make up"),
        (struct.pack(">QIQQ", 128, 2, 64, 65), "do not make up"),
        (struct.pack(">QIQ", 64, 1, 10) + bytes(65), "more came"),
    ],
)
def test_what_is_no_message_is_refused(sent: bytes, says: str) -> None:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(sent)
        with pytest.raises(NoMessage, match=says):
            receive(other, time.monotonic() + 5)


def test_a_connection_that_ends_or_stalls_in_a_message() -> None:
    whole = b"".join(pack(np.arange(10_000)))
    for end, error in ((True, EOFError), (False, TimeoutError)):
        one, other = socket.socketpair()
        with one, other:
            one.sendall(whole[:5_000])
            if end:
                one.close()
            with pytest.raises(error):
                receive(other, time.monotonic() + 0.2)

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

import numpy as np
import pytest

from actors.calls import Address, Answering, Asking, CallFailed

LONG_S = 20.0


def doing(message: Any) -> Any:
    """Says the message back, or does what it names."""
    match message:
        case "fail", why:
            raise ValueError(why)
        case "unpicklable", _:
            return threading.Lock()
        case "sleep", seconds:
            time.sleep(seconds)
    return message


def found(address: Address) -> "Future[Address]":
    future: Future[Address] = Future()
    future.set_result(address)
    return future


def in_s(seconds: float) -> float:
    return time.monotonic() + seconds


def ask(asking: Asking, message: Any, seconds: float = LONG_S) -> Any:
    return asking.begin(message, in_s(seconds)).answer()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes at the end what it was given."""
    with ExitStack() as stack:
        yield stack


def answers(opened: ExitStack, work: Callable[[Any], Any] = doing, at_once: int = 4) -> Answering:
    return opened.enter_context(closing(Answering(work, "127.0.0.1", at_once)))


def asks(opened: ExitStack, *addresses: "Address | Future[Address]") -> Asking:
    """Finds one address after the other, and the last for ever."""
    futures = [found(one) if isinstance(one, Address) else one for one in addresses]
    finding = chain(futures, repeat(futures[-1]))
    return opened.enter_context(closing(Asking(lambda: next(finding))))


@pytest.fixture
def answering(opened: ExitStack) -> Answering:
    return answers(opened)


@pytest.fixture
def asking(opened: ExitStack, answering: Answering) -> Asking:
    return asks(opened, answering.address)


def test_messages_of_any_size_come_back(asking: Asking) -> None:
    for n in (0, 1, 10, 1_000_000):
        assert np.array_equal(ask(asking, np.arange(n)), np.arange(n))


def test_connections_are_used_again(asking: Asking, answering: Answering) -> None:
    for number in range(50):
        assert ask(asking, number) == number
    assert len(answering._connections) == 1


def test_calls_side_by_side_get_their_own_answers(asking: Asking, answering: Answering) -> None:
    with ThreadPoolExecutor(16) as pool:
        numbers = list(range(400))
        assert list(pool.map(lambda number: ask(asking, number), numbers)) == numbers
    assert len(answering._connections) <= 16


def test_no_more_at_once_than_said(opened: ExitStack) -> None:
    now, most, lock = 0, 0, threading.Lock()

    def work(message: Any) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        return message

    answering = answers(opened, work, at_once=2)
    asking = asks(opened, answering.address)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ask(asking, number), range(40)))
    assert most == 2


@pytest.mark.parametrize(
    ("message", "said"), [("fail", "ValueError: as was asked"), ("unpicklable", "TypeError")]
)
def test_what_was_raised_is_told(asking: Asking, message: str, said: str) -> None:
    with pytest.raises(CallFailed, match=said):
        ask(asking, (message, "as was asked"))
    assert ask(asking, "then") == "then"


def test_a_late_answer_answers_nobody_else(asking: Asking) -> None:
    with pytest.raises(TimeoutError):
        ask(asking, ("sleep", 0.3), seconds=0.05)
    assert ask(asking, "next") == "next"


def test_an_answer_that_came_is_read_though_the_time_is_over(asking: Asking) -> None:
    call = asking.begin("here", in_s(0.2))
    time.sleep(0.25)
    assert call.answer() == "here"


def test_whoever_gave_up_is_not_worked_for(opened: ExitStack) -> None:
    seen, free = [], threading.Event()

    def work(message: Any) -> Any:
        seen.append(message)
        free.wait(LONG_S)
        return message

    answering = answers(opened, work, at_once=1)
    asking = asks(opened, answering.address)
    first = asking.begin("first", in_s(LONG_S))
    with pytest.raises(TimeoutError):
        ask(asking, "given up", seconds=0.1)
    free.set()
    assert first.answer() == "first"
    assert ask(asking, "last") == "last"
    assert seen == ["first", "last"]


def test_whoever_closed_the_connection_is_not_worked_for(opened: ExitStack) -> None:
    seen, begun, free = [], threading.Event(), threading.Event()

    def work(message: Any) -> Any:
        seen.append(message)
        begun.set()
        free.wait(LONG_S)
        return message

    answering = answers(opened, work, at_once=1)
    asking = asks(opened, answering.address)
    first = asking.begin("first", in_s(LONG_S))
    assert begun.wait(LONG_S)
    asking.begin("gone", in_s(LONG_S)).connection.close()
    free.set()
    assert first.answer() == "first"
    assert ask(asking, "last") == "last"
    assert seen == ["first", "last"]


def test_no_time_is_no_call(asking: Asking) -> None:
    with pytest.raises(TimeoutError):
        asking.begin("too late", in_s(-1.0))


def test_a_stranger_gets_no_answer(opened: ExitStack, answering: Answering) -> None:
    wrong = replace(answering.address, secret=bytes(32))
    with pytest.raises(CallFailed, match="somebody else answers"):
        ask(asks(opened, wrong), "hello")


def test_a_stranger_is_not_unpickled(answering: Answering) -> None:
    where = (answering.address.host, answering.address.port)
    with socket.create_connection(where, timeout=LONG_S) as stranger:
        stranger.sendall(b"n" * 32)
        assert len(stranger.recv(64, socket.MSG_WAITALL)) == 64
        stranger.sendall(b"m" * 32)
        assert stranger.recv(1) == b""


def test_the_secret_is_not_printed(answering: Answering) -> None:
    assert repr(answering.address.secret) not in repr(answering.address)


def test_strangers_who_say_nothing_hold_nobody_up(answering: Answering, asking: Asking) -> None:
    where = (answering.address.host, answering.address.port)
    strangers = [socket.create_connection(where, timeout=LONG_S) for _ in range(20)]
    assert ask(asking, "hello") == "hello"
    for stranger in strangers:
        stranger.close()


_OTHER_PROCESS = """
import sys
from actors.calls import Answering
answering = Answering(lambda message: message, "127.0.0.1", 2)
address = answering.address
print(address.host, address.port, address.secret.hex(), flush=True)
sys.stdin.read()
"""


class Process:
    """A process that answers, until it is killed."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", _OTHER_PROCESS]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        host, port, secret = self._process.stdout.readline().split()
        self.address = Address(host, int(port), bytes.fromhex(secret))

    def stop(self) -> None:
        """Hold it still; it stays so until it goes on or is killed."""
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started = [Process(), Process()]
    yield started
    for one in started:
        one.end()


def test_a_killed_process_fails_at_once_and_its_successor_is_found(
    opened: ExitStack, processes: list[Process]
) -> None:
    successor: Future[Address] = Future()
    asking = asks(opened, processes[0].address, successor)
    assert ask(asking, "first") == "first"
    processes[0].end()
    started = time.monotonic()
    with pytest.raises(CallFailed):
        ask(asking, "dead")
    # Nobody waits for one who was there and has to come back.
    with pytest.raises(CallFailed, match="not back yet"):
        ask(asking, "still dead")
    assert time.monotonic() - started < LONG_S / 2
    successor.set_result(processes[1].address)
    assert ask(asking, "alive") == "alive"


def test_a_process_killed_while_it_answers(opened: ExitStack, processes: list[Process]) -> None:
    asking = asks(opened, processes[0].address)
    assert ask(asking, "first") == "first"
    processes[0].stop()
    call = asking.begin("second", in_s(LONG_S))
    processes[0].end()
    with pytest.raises(CallFailed):
        call.answer()


def test_a_process_that_hangs_costs_no_more_than_the_time(
    opened: ExitStack, processes: list[Process]
) -> None:
    asking = asks(opened, processes[0].address)
    assert ask(asking, "first") == "first"
    processes[0].stop()
    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            ask(asking, "hello?", seconds=0.2)
        assert time.monotonic() - started < LONG_S / 2
    processes[0].go_on()
    assert ask(asking, "awake") == "awake"


def test_an_address_that_cannot_be_had_is_asked_for_again(
    opened: ExitStack, answering: Answering
) -> None:
    failed: Future[Address] = Future()
    failed.set_exception(RuntimeError("is being restarted"))
    asking = asks(opened, failed, answering.address)
    with pytest.raises(CallFailed, match="is being restarted"):
        ask(asking, "first")
    assert ask(asking, "second") == "second"


def test_those_who_wait_are_told_when_it_closes(opened: ExitStack) -> None:
    begun = threading.Event()

    def work(message: Any) -> Any:
        begun.set()
        time.sleep(0.2)
        return message

    answering = answers(opened, work, at_once=1)
    asking = asks(opened, answering.address)
    call = asking.begin("hello", in_s(LONG_S))
    assert begun.wait(LONG_S)
    answering.close()
    with pytest.raises(CallFailed):
        call.answer()
    with pytest.raises(CallFailed):
        ask(asking, "again")

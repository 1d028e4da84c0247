"""Calls between actors over sockets: they find each other through Ray, and then talk directly.

What Ray is for, placing, naming and restarting actors, needs few calls. Shards are asked several
times a request, and a Ray call costs a millisecond of CPU on either side whatever it carries; over
a socket it costs a thirteenth of that (`benchmarks/calls.py`).
"""

import errno
import hmac
import pickle
import secrets
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from actors.messages import Parts, exactly, left_s, pack, receive, send

PORTS = range(11_000, 12_000)
"""Few enough to be opened among hosts."""

_NONCE_BYTES = _MAC_BYTES = 32
_GREETING_S = 10.0
"""How long a stranger may take to say who it is."""
_READING_S = 0.005
_AGAIN_S = 0.01
_CONNECTIONS = 256


class CallFailed(ConnectionError):
    """There is no answer: the other side is gone, or cannot be found."""


class AnswerFailed(CallFailed):
    """The other side raised what is the cause of this."""


@dataclass(frozen=True)
class Address:
    """Where an actor answers, and the secret by which both sides know each other."""

    host: str
    port: int
    secret: bytes = field(repr=False)


class Answering:
    """Answers calls, each connection in a thread of its own, `at_once` at a time.

    Binds the first of `PORTS` that is free on `host`. Nothing that comes is unpickled before its
    sender has shown that it knows the secret, which nobody learns but through Ray.
    """

    def __init__(self, answer: Callable[[Any], Any], host: str, at_once: int) -> None:
        self._socket = _listening(host)
        self._answer = answer
        self._turns = threading.BoundedSemaphore(at_once)
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self.address = Address(host, self._socket.getsockname()[1], secrets.token_bytes())
        threading.Thread(target=self._accept, name="calls", daemon=True).start()

    def close(self) -> None:
        """Take no more calls; those who wait for an answer get `CallFailed`."""
        self._closed.set()
        # Closing alone wakes nobody who waits in `accept`.
        _shut(self._socket)
        self._socket.close()
        with self._lock:
            for connection in self._connections:
                _shut(connection)

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                # Whoever knocked is gone already, or this process has no file left for them.
                self._closed.wait(_AGAIN_S)
                continue
            with self._lock:
                full = len(self._connections) >= _CONNECTIONS
                if not full:
                    self._connections.add(connection)
            if full:
                connection.close()
                continue
            work = threading.Thread(
                target=self._serve, args=(connection,), name="call", daemon=True
            )
            work.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            _prepare(connection)
            _greet(connection, self.address.secret, time.monotonic() + _GREETING_S)
            while True:
                connection.settimeout(None)
                within_s, message = receive(connection, None)
                connection.settimeout(within_s)
                # Whoever has given up is not worth the work, and closes the connection.
                if not self._turns.acquire(timeout=within_s):
                    continue
                try:
                    if _is_closed(connection):
                        return
                    reply = self._reply(message)
                finally:
                    self._turns.release()
                send(connection, reply)
        except (OSError, EOFError, CallFailed):
            return
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _reply(self, message: Any) -> Parts:
        try:
            return pack((True, self._answer(message)))
        except Exception as error:
            return _told(error)


class Asking:
    """Calls one actor; thread-safe. Keeps the connections that are not in use.

    `find` asks for the actor's address, again whenever the one known has failed: an actor that
    was restarted has another.
    """

    def __init__(self, find: Callable[[], "Future[Address]"]) -> None:
        self._find = find
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()
        self._address: Future[Address] | None = None
        self._known = False

    def begin(self, message: Any, until_s: float) -> "Call":
        """Send a message, to be answered before `until_s` of the monotonic clock.

        Raises `CallFailed`, or `TimeoutError` where it could not even be sent in time.
        """
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        try:
            if connection is None:
                connection = self._connect(until_s)
            within_s = left_s(until_s)
            parts = pack((within_s, message))
            connection.settimeout(within_s)
            send(connection, parts)
        except (OSError, EOFError) as error:
            raise self._failed(connection, error) from error
        return Call(self, connection, until_s)

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()

    def answer_of(self, connection: socket.socket, until_s: float) -> Any:
        """What `Call.answer` returns."""
        try:
            good, answer = receive(connection, until_s)
        except (OSError, EOFError) as error:
            raise self._failed(connection, error) from error
        with self._lock:
            self._idle.append(connection)
        if not good:
            raise AnswerFailed(f"{type(answer).__name__}: {answer}") from answer
        return answer

    def _connect(self, until_s: float) -> socket.socket:
        address = self._where(until_s)
        connection = socket.create_connection((address.host, address.port), timeout=left_s(until_s))
        try:
            _prepare(connection)
            _introduce(connection, address.secret, until_s)
        except BaseException:
            connection.close()
            raise
        self._known = True
        return connection

    def _where(self, until_s: float) -> Address:
        """The actor's address. Nobody waits for that of an actor that was there and is gone."""
        with self._lock:
            asked = self._address = self._address or self._find()
        try:
            return asked.result(0 if self._known else left_s(until_s))
        except TimeoutError:
            if self._known:
                raise CallFailed("is not back yet") from None
            raise
        except Exception as error:
            with self._lock:
                if self._address is asked:
                    self._address = None
            raise CallFailed(f"{type(error).__name__}: {error}") from error

    def _failed(self, connection: socket.socket | None, error: Exception) -> Exception:
        if connection is not None:
            connection.close()
        if isinstance(error, TimeoutError | CallFailed):
            return error
        # The others lead to the same process, which is gone.
        self.close()
        with self._lock:
            if self._address is not None and self._address.done():
                self._address = self._find()
        return CallFailed(f"{type(error).__name__}: {error}")


def asking_actor(actor: Any) -> Asking:
    """What calls a Ray actor that has an `address`."""

    def find() -> Future[Address]:
        address: Future[Address] = actor.address.remote().future()
        return address

    return Asking(find)


@dataclass(frozen=True)
class Call:
    """A message on its way, whose answer is read once."""

    asking: Asking
    connection: socket.socket
    until_s: float

    def answer(self) -> Any:
        """What the other side returned.

        Raises `CallFailed` (`AnswerFailed` for what was raised there), and `TimeoutError` where
        the answer is late.

        What came in time is read even when that is over, as other calls may have used it up.
        """
        until_s = max(self.until_s, time.monotonic() + _READING_S)
        return self.asking.answer_of(self.connection, until_s)


def _listening(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in PORTS:
        try:
            return socket.create_server((host, port), family=family, backlog=128)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(f"no port of {PORTS.start} to {PORTS.stop - 1} is free on {host}")


def _told(error: Exception) -> Parts:
    """A reply that tells of an error, in words where it does not travel."""
    try:
        pickle.loads(pickle.dumps(error))
        return pack((False, error))
    except Exception:
        return pack((False, RuntimeError(f"{type(error).__name__}: {error}")))


def _greet(connection: socket.socket, secret: bytes, until_s: float) -> None:
    """Show the caller that this is whom it looks for, and have it show that it was told so."""
    theirs = exactly(connection, _NONCE_BYTES, until_s)
    mine = secrets.token_bytes(_NONCE_BYTES)
    connection.sendall(mine + _mac(secret, b"answering", theirs + mine))
    shown = exactly(connection, _MAC_BYTES, until_s)
    if not hmac.compare_digest(shown, _mac(secret, b"asking", theirs + mine)):
        raise CallFailed("somebody called who does not know the secret")


def _introduce(connection: socket.socket, secret: bytes, until_s: float) -> None:
    mine = secrets.token_bytes(_NONCE_BYTES)
    connection.sendall(mine)
    theirs = exactly(connection, _NONCE_BYTES, until_s)
    shown = exactly(connection, _MAC_BYTES, until_s)
    if not hmac.compare_digest(shown, _mac(secret, b"answering", mine + theirs)):
        raise CallFailed("somebody else answers at this address")
    connection.sendall(_mac(secret, b"asking", mine + theirs))


def _mac(secret: bytes, who: bytes, nonces: bytes | bytearray) -> bytes:
    return hmac.digest(secret, who + nonces, "sha256")


def _prepare(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed; it says nothing more until it has its answer."""
    patience_s = connection.gettimeout()
    connection.settimeout(0)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(patience_s)


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # Was closed by the other side.

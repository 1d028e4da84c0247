"""A lock that many readers or one writer hold, which neither side can keep from the other."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ReadWriteLock:
    """Queries read side by side; the applier writes alone, between them.

    A waiting writer goes before readers that come later, and whoever waited while it wrote
    goes before the next writer: an applier that catches up does not starve queries.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._writing = False
        self._waiting_writers = 0
        self._waiting_readers = 0
        self._writes = 0
        self._let_in = 0

    @contextmanager
    def read(self) -> Iterator[None]:
        """Hold the lock beside other readers."""
        with self._changed:
            if self._writing or self._waiting_writers:
                self._wait_for_a_write()
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                if not self._readers:
                    self._changed.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        """Hold the lock alone."""
        with self._changed:
            self._waiting_writers += 1
            try:
                while self._writing or self._readers or self._let_in:
                    self._changed.wait()
            finally:
                self._waiting_writers -= 1
            self._writing = True
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._writes += 1
                self._let_in = self._waiting_readers
                self._changed.notify_all()

    def _wait_for_a_write(self) -> None:
        writes = self._writes
        self._waiting_readers += 1
        try:
            while self._writing or (self._waiting_writers and self._writes == writes):
                self._changed.wait()
        finally:
            self._waiting_readers -= 1
            self._let_in = max(self._let_in - 1, 0)

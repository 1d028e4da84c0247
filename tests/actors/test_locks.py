import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from actors.locks import ReadWriteLock

PATIENCE_S = 20


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_readers_read_side_by_side() -> None:
    lock = ReadWriteLock()
    together = threading.Barrier(3)

    def read() -> None:
        with lock.read():
            together.wait(PATIENCE_S)

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(read) for _ in range(3)]:
            done.result(PATIENCE_S)


def test_a_waiting_writer_goes_before_readers_that_come_later() -> None:
    lock = ReadWriteLock()
    order: list[str] = []
    reading, wants_to_write, may_end = (threading.Event() for _ in range(3))

    def first_read() -> None:
        with lock.read():
            reading.set()
            assert may_end.wait(PATIENCE_S)
            order.append("first reader")

    def write() -> None:
        wants_to_write.set()
        with lock.write():
            order.append("writer")

    def later_read() -> None:
        with lock.read():
            order.append("later reader")

    threads = [in_thread(first_read)]
    assert reading.wait(PATIENCE_S)
    threads.append(in_thread(write))
    assert wants_to_write.wait(PATIENCE_S)
    while not lock._waiting_writers:
        pass
    threads.append(in_thread(later_read))
    while not lock._waiting_readers:
        pass
    may_end.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert order == ["first reader", "writer", "later reader"]


def test_a_reader_gets_in_between_two_writes() -> None:
    """An applier that writes slice after slice must not make queries wait for all of them."""
    lock = ReadWriteLock()
    stop = threading.Event()
    writes = 0

    def write_without_pause() -> None:
        nonlocal writes
        while not stop.is_set():
            with lock.write():
                for _ in range(1_000):
                    writes += 1

    writer = in_thread(write_without_pause)
    waited = []
    for _ in range(50):
        before = lock._writes
        with lock.read():
            waited.append(lock._writes - before)
            assert writes % 1_000 == 0, "read in the middle of a write"
    stop.set()
    writer.join(PATIENCE_S)
    # The one that was going on, and one that had been waiting longer. What the writer did
    # before this thread came to wait is not counted against it.
    assert sorted(waited)[25] <= 2


def test_writers_are_alone() -> None:
    lock = ReadWriteLock()
    held: list[int] = []
    n_rounds = 200

    def write(me: int) -> None:
        for _ in range(n_rounds):
            with lock.write():
                held.append(me)
                assert held == [me]
                held.pop()

    def read() -> None:
        for _ in range(n_rounds):
            with lock.read():
                assert held == []

    with ThreadPoolExecutor(6) as pool:
        tasks = [pool.submit(write, k) for k in range(3)] + [pool.submit(read) for _ in range(3)]
        for task in tasks:
            task.result(PATIENCE_S)


@pytest.mark.parametrize("side", ["read", "write"])
def test_an_error_inside_gives_the_lock_back(side: str) -> None:
    lock = ReadWriteLock()
    with pytest.raises(RuntimeError, match="inside"), getattr(lock, side)():
        raise RuntimeError("inside")
    with lock.write(), pytest.raises(RuntimeError, match="again"):
        raise RuntimeError("again")
    with lock.read():
        pass

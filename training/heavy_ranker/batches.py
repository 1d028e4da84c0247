"""A worker's batches: its share of one shuffled stream of examples, read ahead from disk.

The stream of an epoch does not depend on the number of workers: row groups in an order of the
epoch's own, cut into windows that are shuffled in memory. Each worker reads a run of it of its
own, so nothing but a window at a run's end is read twice; and what is left of all runs can be
divided anew among another number of workers, so that no example of an epoch is learnt from twice.
"""

import queue
import threading
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from training.heavy_ranker.calibration import NegativeSampling
from training.heavy_ranker.example_set import Examples, ExampleSet, concatenated
from training.job import TrainingError

WINDOW = 16_384
"""Examples that are shuffled together: 180 MB of the published inputs."""
AHEAD = 4
"""Batches that are read before they are asked for."""

T = TypeVar("T")
Runs = tuple[tuple[int, int], ...]
"""Runs of an epoch's stream, each from one place in it to before another."""


@dataclass(frozen=True)
class Place:
    """How far an epoch was read: of `runs`, divided among `n_workers`, `taken` by each."""

    epoch: int = 0
    runs: Runs | None = None
    """None: the whole epoch."""
    n_workers: int = 1
    taken: int = 0

    def left(self, n_examples: int) -> Runs:
        """Runs of the epoch that nobody has read, for however many workers go on."""
        runs = self.runs if self.runs is not None else ((0, n_examples),)
        if not self.taken:
            return runs
        shares = (share(runs, worker, self.n_workers) for worker in range(self.n_workers))
        return tuple(run for mine in shares for run in _without(mine, self.taken))


def share(runs: Runs, worker: int, n_workers: int) -> Runs:
    """A worker's part of runs: of the same length for each; up to `n_workers − 1` are left out."""
    length = sum(end - begin for begin, end in runs) // n_workers
    return _first(_without(runs, worker * length), length)


def stream(
    examples: ExampleSet,
    sampling: NegativeSampling,
    batch: int,
    epochs: int,
    seed: int,
    worker: int,
    n_workers: int,
    start: Place,
) -> Iterator[tuple[Place, Examples]]:
    """One worker's batches from a place on, each with the place after it.

    All workers get the same number of batches, of `batch` examples each: what is left at the
    end of an epoch is not learnt from in it.
    """
    for epoch in range(start.epoch, epochs):
        order = EpochOrder(examples, sampling, seed, epoch)
        begin = start if epoch == start.epoch else Place(epoch)
        runs = begin.left(len(order))
        mine = share(runs, worker, n_workers)
        n_batches = sum(end - first for first, end in mine) // batch
        for i, found in enumerate(_batches(order, mine, batch, n_batches), 1):
            after = Place(epoch, runs, n_workers, i * batch)
            yield Place(epoch + 1) if i == n_batches else after, found


class EpochOrder:
    """The stream of one epoch: which examples it has, and in which order."""

    def __init__(
        self, examples: ExampleSet, sampling: NegativeSampling, seed: int, epoch: int
    ) -> None:
        self._examples, self._sampling = examples, sampling
        self._seed = (seed, 1, epoch)
        self._groups = np.random.default_rng(self._seed).permutation(len(examples.rows)).tolist()
        sizes = [len(self._kept(group)) for group in self._groups]
        self._ends = np.cumsum(sizes).tolist()
        self._read: tuple[int, Examples] | None = None

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, begin: int, end: int) -> Iterator[Examples]:
        """The examples from one place to before another, in parts."""
        for first in range(begin // WINDOW * WINDOW, end, WINDOW):
            last = min(first + WINDOW, len(self))
            mixed = np.random.default_rng((*self._seed, first)).permutation(last - first)
            wanted = mixed[max(begin - first, 0) : end - first]
            yield self._window(first, last).take(wanted)

    def _window(self, first: int, last: int) -> Examples:
        parts = []
        for at in range(bisect_right(self._ends, first), len(self._groups)):
            begin = self._ends[at - 1] if at else 0
            if begin >= last:
                break
            parts.append(self._group(at).take(slice(max(first - begin, 0), last - begin)))
        return concatenated(parts)

    def _group(self, at: int) -> Examples:
        """The kept examples of a row group; the last one read is at hand for the next window."""
        if self._read is None or self._read[0] != at:
            group = self._groups[at]
            kept = self._kept(group)
            found = self._examples.read(self._examples.rows[group]).take(kept)
            weights = found.weights * np.where(
                found.positive(), np.float32(1), np.float32(self._sampling.weight)
            )
            self._read = at, _reweighted(found, weights)
        return self._read[1]

    def _kept(self, group: int) -> npt.NDArray[np.int64]:
        rows = self._examples.rows[group]
        if self._sampling.kept == 1:
            return np.arange(len(rows))
        drawn = np.random.default_rng((*self._seed, 0, group)).random(len(rows))
        return np.flatnonzero(self._examples.positive(rows) | (drawn < self._sampling.kept))


class ReadAhead(Iterator[T]):
    """Another iterator's items, fetched by a thread before they are asked for."""

    def __init__(self, items: Iterator[T], ahead: int = AHEAD) -> None:
        self._queue: queue.Queue[T | Exception] = queue.Queue(ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._fetch, args=(items,), daemon=True)
        self._thread.start()

    def __next__(self) -> T:
        """The next item, or what the other iterator raised."""
        found = self._queue.get()
        if isinstance(found, Exception):
            # It is also what comes next time.
            self._queue.put(found)
            raise found
        return found

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        while self._thread.is_alive():
            # It may wait for room.
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(0.01)

    def _fetch(self, items: Iterator[T]) -> None:
        try:
            for item in items:
                self._queue.put(item)
                if self._closed.is_set():
                    return
        except Exception as error:
            self._queue.put(error)
        else:
            self._queue.put(StopIteration())


def n_steps(
    examples: ExampleSet, sampling: NegativeSampling, batch: int, seed: int, n_workers: int
) -> int:
    """Steps of an epoch. Raises `TrainingError` where there are too few examples for one."""
    n = len(EpochOrder(examples, sampling, seed, 0))
    if n // n_workers < batch:
        raise TrainingError(f"{n:,} examples are too few for {n_workers} × {batch:,} in a step")
    return n // n_workers // batch


def _batches(order: EpochOrder, runs: Runs, batch: int, n_batches: int) -> Iterator[Examples]:
    """Whole batches of runs."""
    if not n_batches:
        return
    kept: list[Examples] = []
    n_kept = 0
    for run in runs:
        for part in order.read(*run):
            kept.append(part)
            n_kept += len(part)
            if n_kept < batch:
                continue
            whole = concatenated(kept)
            for at in range(0, n_kept - batch + 1, batch):
                yield whole.take(slice(at, at + batch))
                n_batches -= 1
                if not n_batches:
                    return
            n_kept %= batch
            kept = [whole.take(slice(len(whole) - n_kept, None))] if n_kept else []


def _reweighted(examples: Examples, weights: npt.NDArray[np.float32]) -> Examples:
    return Examples(**{**vars(examples), "weights": weights})


def _without(runs: Runs, n: int) -> Runs:
    """Runs less their first n places."""
    found = []
    for begin, end in runs:
        gone = min(n, end - begin)
        n -= gone
        if begin + gone < end:
            found.append((begin + gone, end))
    return tuple(found)


def _first(runs: Runs, n: int) -> Runs:
    """The first n places of runs."""
    found = []
    for begin, end in runs:
        taken = min(n, end - begin)
        n -= taken
        if taken:
            found.append((begin, begin + taken))
    return tuple(found)

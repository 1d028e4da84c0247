"""How far long work is: a bar for each job on a terminal, elsewhere a line for each part."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed

_ALMOST = 0.999
"""A part that is done does not end its job: the clock of a job goes on until the last."""


class Bars:
    """Who is told how far it is; this one says nothing of it."""

    def say(self, what: str) -> None:
        """What is being done that has no share: archiving, `JOB: activating`."""

    def progress(self, what: str, share: float | None) -> None:
        """As jobs tell it (`training.job.Progress`), `what` being `JOB: PART`.

        A share that nobody knows is None; the last one that was known stays.
        """

    def end(self, job: str, *, done: bool) -> None:
        """A job is over; of one that was not done nothing remains to be seen."""


SILENT = Bars()


@contextmanager
def job_bars(console: Console, *, lines: bool = True) -> Iterator[Bars]:
    """On a terminal bars that stay when their jobs are over; else `lines` with the time passed."""
    if not console.is_terminal:
        yield _Lines(console) if lines else SILENT
        return
    with Progress(
        TextColumn("[bold]{task.fields[job]}", justify="right"),
        BarColumn(),
        TaskProgressColumn(),
        Elapsed(),
        TextColumn("{task.description}"),
        console=console,
    ) as shown:
        bars = _Drawn(shown)
        yield bars
        bars.clear()


class _Drawn(Bars):
    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._tasks: dict[str, TaskID] = {}
        self._waiting: TaskID | None = None

    def say(self, what: str) -> None:
        job, _, part = what.rpartition(": ")
        self.clear()
        if job in self._tasks:
            self._shown.update(self._tasks[job], description=part)
        else:
            self._waiting = self._shown.add_task(what, total=None, job="")

    def progress(self, what: str, share: float | None) -> None:
        job, _, part = what.partition(": ")
        self.clear()
        if job not in self._tasks:
            self._tasks[job] = self._shown.add_task(part, total=None, job=job)
        self._shown.update(self._tasks[job], description=part)
        if share is not None:
            self._shown.update(self._tasks[job], total=1.0, completed=min(share, _ALMOST))

    def end(self, job: str, *, done: bool) -> None:
        task = self._tasks.pop(job, None)
        if task is None:
            return
        if done:
            self._shown.update(task, description="", total=1.0, completed=1.0)
        else:
            self._shown.remove_task(task)

    def clear(self) -> None:
        """Take away what has no share."""
        if self._waiting is not None:
            self._shown.remove_task(self._waiting)
            self._waiting = None


class _Lines(Bars):
    def __init__(self, console: Console) -> None:
        self._console = console
        self._began_s = time.monotonic()
        self._last = ""

    def progress(self, what: str, share: float | None) -> None:
        if what != self._last:
            self._last = what
            passed_s = time.monotonic() - self._began_s
            self._console.print(f"{passed_s:7.1f} s  {what}", markup=False, highlight=False)

    def end(self, job: str, *, done: bool) -> None:
        self._last = ""

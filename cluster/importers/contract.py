"""What every importer gives: checked batches in order, a place to resume from, and a report."""

from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import pyarrow as pa

BATCH_EVENTS = 50_000
"""Events per batch: few, large appends keep the log's cost per event small."""

MAX_SHOWN = 5
"""How many bad lines a report shows; the rest are counted."""


class UnreadableImport(ValueError):
    """A file that cannot be imported as a whole: wrong format, schema, option or state."""


@dataclass(frozen=True)
class Imported:
    """A batch that has passed `check_batch`.

    `position` resumes the same import behind this batch (`open_import(start=position)`).
    It counts lines for NDJSON and Jetstream, rows for Parquet and Arrow, and events for
    everything else.
    """

    batch: pa.RecordBatch
    position: int


@dataclass(frozen=True)
class BadLine:
    """A line (or row, both from 1) that was refused, at least in part, and why."""

    file: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.why}"


@dataclass
class Report:
    """What an import has read so far. It grows while the batches are drawn."""

    lines: int = 0
    read_share: float | None = None
    """How much of the file has been read, by its bytes, or by rows of Parquet; None where
    nobody knows."""
    events: int = 0
    bad: int = 0
    clamped: int = 0
    """Events from the future, whose time was set to now."""
    first_bad: list[BadLine] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    """Good lines that gave no event of their own, and other things worth a count."""

    def refuse(self, file: str, line: int, why: str) -> None:
        """Count a bad line, and show it if it is among the first."""
        self.bad += 1
        if len(self.first_bad) < MAX_SHOWN:
            self.first_bad.append(BadLine(file, line, why))


Batches = Generator[Imported, None, None]


@dataclass(frozen=True)
class Import:
    """An import under way: iterate it for its batches.

    Asking for the next batch says that the last one is durable: an importer that keeps
    state (Bluesky's) commits it then. So take the next batch only once the log has
    acknowledged the last; after a crash the unacknowledged one comes again, under the same
    event ids.
    """

    report: Report
    batches: Batches

    def __iter__(self) -> Iterator[Imported]:
        return self.batches

    def close(self) -> None:
        """Give up: the batch last drawn counts as not durable."""
        self.batches.close()

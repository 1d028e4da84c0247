"""The stages behind a parser: check its rows, put them in order, cut them into batches."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.events import CORE, OPTIONAL_NAMES, Kind
from cluster.importers.contract import Batches, Imported, Report
from cluster.validation import check_batch


@dataclass(frozen=True)
class Piece:
    """Unchecked event columns, and the line each event came from (int64, shape `(rows,)`)."""

    columns: pa.Table
    lines: npt.NDArray[np.int64]


def checked(
    pieces: Iterable[Piece], file: str, report: Report, *, now_ms: int
) -> Iterator[pa.RecordBatch]:
    """The good events of each piece; a line with a refused event counts as one bad line."""
    for piece in pieces:
        yield check_piece(piece, file, report, now_ms=now_ms)


def check_piece(piece: Piece, file: str, report: Report, *, now_ms: int) -> pa.RecordBatch:
    """The good events of one piece. Raises `ValueError` for columns that are no events."""
    result = check_batch(piece.columns, now_ms=now_ms)
    report.clamped += result.clamped
    refused: dict[int, str] = {}
    for problem in result.problems:
        refused.setdefault(int(piece.lines[problem.index]), problem.message)
    for line, why in refused.items():
        report.refuse(file, line, why)
    return result.batch


def in_time_order(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """All events in one batch, by time; of several creations of a post only the first.

    Holds everything in memory. Events of one instant keep their order.
    """
    tables = [pa.table(batch) for batch in batches]
    if not tables:
        return
    events = joined(tables)
    times_ms = events.column("time_ms").to_numpy()
    order = np.argsort(times_ms, kind="stable")
    created = events.column("kind").to_numpy()[order] == Kind.POST_CREATE
    rows = np.flatnonzero(created)
    post_ids = events.column("post_id").to_numpy()[order][rows]
    repeated = np.ones(len(rows), bool)
    repeated[np.unique(post_ids, return_index=True)[1]] = False
    yield from events.take(pa.array(np.delete(order, rows[repeated]))).to_batches()


def sized(
    batches: Iterable[pa.RecordBatch], report: Report, *, batch_events: int, start: int = 0
) -> Batches:
    """Batches of `batch_events` events (the last has the rest), after the first `start`."""
    position = 0
    waiting: list[pa.Table] = []
    n_waiting = 0
    for batch in batches:
        skipped = min(max(start - position - n_waiting, 0), batch.num_rows)
        position += skipped
        if batch.num_rows > skipped:
            waiting.append(pa.table(batch.slice(skipped)))
            n_waiting += batch.num_rows - skipped
        if n_waiting < batch_events:
            continue
        events = joined(waiting)
        while events.num_rows >= batch_events:
            yield imported(events.slice(0, batch_events), position + batch_events, report)
            position += batch_events
            events = events.slice(batch_events)
        waiting, n_waiting = [events], events.num_rows
    if n_waiting:
        yield imported(joined(waiting), position + n_waiting, report)


def imported(events: pa.Table, position: int, report: Report) -> Imported:
    """Checked events as one batch without unused columns, counted in the report."""
    used = [
        name
        for name in events.schema.names
        if name not in OPTIONAL_NAMES or events.column(name).null_count < events.num_rows
    ]
    batch = events.select(used).combine_chunks().to_batches()[0]
    report.events += batch.num_rows
    return Imported(batch, position)


def joined(tables: list[pa.Table]) -> pa.Table:
    """One table with every optional column that any of them has."""
    table = pa.concat_tables(tables, promote_options="default")
    names = table.schema.names
    optional = [name for name in names if name in OPTIONAL_NAMES]
    return table.select([*CORE.names, *optional])

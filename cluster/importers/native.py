"""Events in the project's own schema: NDJSON as the HTTP API takes it, Parquet, Arrow IPC."""

from collections.abc import Iterator

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cluster.events import COLUMNS
from cluster.importers.contract import BATCH_EVENTS, Batches, Report, UnreadableImport
from cluster.importers.lines import opened, read_lines, shown_name
from cluster.importers.objects import check_events
from cluster.importers.stages import Piece, check_piece, imported, joined

_CHECKED_AT_ONCE = 5_000
"""Lines per check: a line that needs the slower check slows only its neighbours."""


def import_ndjson(
    path: str, report: Report, *, now_ms: int, start: int = 0, batch_events: int = BATCH_EVENTS
) -> Batches:
    """One JSON object a line, as for `POST /v1/events`; empty lines are skipped."""
    good: list[pa.Table] = []
    n_good = 0
    position = start
    for objects, numbers in _decoded(path, report, start):
        result = check_events(objects, now_ms=now_ms)
        report.clamped += result.clamped
        for problem in result.problems:
            report.refuse(shown_name(path), numbers[problem.index], problem.message)
        good.append(pa.table(result.batch))
        n_good += result.batch.num_rows
        position = numbers[-1]
        if n_good >= batch_events:
            yield imported(joined(good), position, report)
            good, n_good = [], 0
    if n_good:
        yield imported(joined(good), position, report)


def import_parquet(
    path: str, report: Report, *, now_ms: int, start: int = 0, batch_events: int = BATCH_EVENTS
) -> Batches:
    """Rows of a Parquet file. Raises `UnreadableImport` for a schema that is not ours."""
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise UnreadableImport(f"{path}: not a Parquet file: {error}") from error
    with file:
        if file.metadata.num_rows == 0:
            raise UnreadableImport(f"{path}: the file has no rows")
        check_schema(path, file.schema_arrow)
        rows = file.iter_batches(batch_size=batch_events)
        batches = _counted(rows, file.metadata.num_rows, report)
        yield from _from_rows(path, batches, report, now_ms=now_ms, start=start)


def import_arrow(
    path: str, report: Report, *, now_ms: int, start: int = 0, batch_events: int = BATCH_EVENTS
) -> Batches:
    """Rows of an Arrow IPC file or stream. Raises `UnreadableImport` as Parquet does."""
    with opened(path) as stream:
        try:
            reader = pa.ipc.open_stream(stream)
        except pa.ArrowInvalid:
            reader = None
        if reader is not None:
            batches = _cut(reader, batch_events)
            yield from _from_arrow(path, reader.schema, batches, report, now_ms, start)
            return
    try:
        file = pa.ipc.open_file(pa.memory_map(path))
    except (pa.ArrowInvalid, OSError) as error:
        raise UnreadableImport(
            f"{shown_name(path)}: neither an Arrow IPC file nor a stream: {error}"
        ) from error
    batches = (file.get_batch(index) for index in range(file.num_record_batches))
    batches = _cut(batches, batch_events)
    yield from _from_arrow(path, file.schema, batches, report, now_ms, start)


def check_schema(file: str, schema: pa.Schema) -> None:
    """Raise `UnreadableImport` naming the file and the column that is not of our schema."""
    if "kind" not in schema.names or "time_ms" not in schema.names:
        missing = "time_ms" if "kind" in schema.names else "kind"
        raise UnreadableImport(f"{file}: column {missing!r} is missing")
    for column in schema:
        wanted = COLUMNS.get(column.name)
        if wanted is None:
            known = ", ".join(COLUMNS)
            raise UnreadableImport(
                f"{file}: column {column.name!r} is unknown; the columns are {known}"
            )
        if schema.get_all_field_indices(column.name) != [schema.get_field_index(column.name)]:
            raise UnreadableImport(f"{file}: column {column.name!r} is there twice")
        if not _convertible(column.name, column.type, wanted):
            raise UnreadableImport(
                f"{file}: column {column.name!r} has type {column.type}, expected {wanted}"
            )


def _decoded(path: str, report: Report, start: int) -> Iterator[tuple[list[object], list[int]]]:
    """Decoded lines and their numbers, `_CHECKED_AT_ONCE` at a time."""
    objects: list[object] = []
    numbers: list[int] = []
    for block in read_lines(path, report, skip=start):
        for number, line in enumerate(block.lines, block.first_line):
            try:
                objects.append(orjson.loads(line))
            except orjson.JSONDecodeError as error:
                if line.strip():
                    report.refuse(shown_name(path), number, f"not JSON: {error}")
                continue
            numbers.append(number)
            if len(objects) == _CHECKED_AT_ONCE:
                yield objects, numbers
                objects, numbers = [], []
    if objects:
        yield objects, numbers


def _from_arrow(
    path: str,
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    report: Report,
    now_ms: int,
    start: int,
) -> Batches:
    check_schema(shown_name(path), schema)
    yield from _from_rows(path, batches, report, now_ms=now_ms, start=start)
    if report.lines == 0 and start == 0:
        raise UnreadableImport(f"{shown_name(path)}: the file has no rows")


def _from_rows(
    path: str,
    batches: Iterator[pa.RecordBatch],
    report: Report,
    *,
    now_ms: int,
    start: int,
) -> Batches:
    file = shown_name(path)
    position = 0
    for batch in batches:
        first, position = position, position + batch.num_rows
        if position <= start:
            continue
        batch = batch.slice(max(start - first, 0))
        report.lines += batch.num_rows
        lines = np.arange(position - batch.num_rows + 1, position + 1)
        piece = _fitting(Piece(pa.table(batch), lines), file, report)
        events = pa.table(check_piece(piece, file, report, now_ms=now_ms))
        if events.num_rows:
            yield imported(events, position, report)


def _fitting(piece: Piece, file: str, report: Report) -> Piece:
    """The piece without rows whose integers do not fit the column they stand in."""
    good = np.ones(piece.columns.num_rows, bool)
    for column in piece.columns.schema:
        wanted = COLUMNS[column.name]
        if not pa.types.is_integer(column.type) or column.type == wanted:
            continue
        values = piece.columns.column(column.name)
        low, high = _RANGES[wanted]
        integers = pc.fill_null(values, 0).to_numpy()
        fits = (integers >= low) & (integers <= high)
        for row in np.flatnonzero(good & ~fits).tolist():
            why = f"{column.name} must be between {low} and {high}; got {values[row]}"
            report.refuse(file, int(piece.lines[row]), why)
        good &= fits
    if good.all():
        return piece
    return Piece(piece.columns.filter(pa.array(good)), piece.lines[good])


def _convertible(name: str, found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether every value of `found`, or all but those out of range, is one of `wanted`."""
    if pa.types.is_dictionary(found):
        found = found.value_type
    text = pa.types.is_string(found) or pa.types.is_large_string(found)
    fits = found == wanted
    if pa.types.is_integer(wanted):
        fits = pa.types.is_integer(found)
    elif pa.types.is_floating(wanted):
        fits = pa.types.is_integer(found) or pa.types.is_floating(found)
    elif pa.types.is_list(wanted):
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found)
        fits = is_list and _convertible(name, found.value_type, wanted.value_type)
    elif pa.types.is_string(wanted):
        fits = text
    return bool(fits or (name == "kind" and text))


def _counted(
    batches: Iterator[pa.RecordBatch], n_rows: int, report: Report
) -> Iterator[pa.RecordBatch]:
    n_read = 0
    for batch in batches:
        n_read += batch.num_rows
        report.read_share = n_read / n_rows
        yield batch


def _cut(batches: Iterator[pa.RecordBatch], batch_events: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for first in range(0, batch.num_rows, batch_events):
            yield batch.slice(first, batch_events)


_RANGES = {
    pa.int64(): (-(2**63), 2**63 - 1),
    pa.int16(): (0, 2**15 - 1),
    pa.uint8(): (0, 2**8 - 1),
}

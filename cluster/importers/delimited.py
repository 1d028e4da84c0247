"""Columns of a delimited file: parsed a block at a time, and line by line where a line is bad."""

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as pacsv

from cluster.importers.contract import Report, UnreadableImport
from cluster.importers.lines import LineBlock, read_lines, shown_name

Column = str | int
"""A column by its name in the header, or by its index from 0."""

_NULLS = ("", "NULL", "null", "NA", "NaN", "nan", "None")


_SMALL_BLOCK_BYTES = 2**14


class Content(Enum):
    """What a column holds, and so how it is parsed."""

    INTEGER = pa.int64()
    NUMBER = pa.float64()
    """Empty and null spellings are 0."""
    TEXT = pa.string()
    """Never empty."""
    DATE = pa.timestamp("ms")
    """ISO 8601; UTC where it names no zone."""


@dataclass(frozen=True)
class Layout:
    """How a delimited file is laid out."""

    delimiter: str = ","
    header: bool = True


COMMA_SEPARATED = Layout()


def read_columns(
    path: str, report: Report, wanted: Mapping[str, tuple[Column, Content]], layout: Layout
) -> Iterator[pa.Table]:
    """The wanted columns under their new names, with `line`, the line of each row.

    One line is one row: a quoted field must not contain a newline. With a header every row
    has as many fields as it; without, at least as many as are wanted. Raises
    `UnreadableImport` naming the file and the column that the header does not have.
    """
    file = shown_name(path)
    fields: _Fields | None = None
    for block in read_lines(path, report):
        if fields is None:
            fields, block = _fields_of(file, block, wanted, layout)
        yield _rows_of(block, fields, file, report)
    if fields is None and layout.header:
        raise UnreadableImport(f"{file}: the file is empty; expected a header")


@dataclass(frozen=True)
class _Fields:
    """Where the wanted columns stand in a row."""

    indices: dict[str, int]
    contents: dict[str, Content]
    delimiter: str
    n_fields: int
    exact: bool

    def accepts(self, n_fields: int) -> bool:
        return n_fields == self.n_fields if self.exact else n_fields >= self.n_fields


def _fields_of(
    file: str, block: LineBlock, wanted: Mapping[str, tuple[Column, Content]], layout: Layout
) -> tuple[_Fields, LineBlock]:
    contents = {role: content for role, (_, content) in wanted.items()}
    if not layout.header:
        indices = {}
        for role, (column, _) in wanted.items():
            if not str(column).isdecimal():
                raise UnreadableImport(
                    f"{file}: column {column!r} for {role}: a file without a header has columns "
                    "by index, from 0"
                )
            indices[role] = int(column)
        n_fields = max(indices.values()) + 1
        return _Fields(indices, contents, layout.delimiter, n_fields, exact=False), block
    head, rest = block.data.split(b"\n", 1)
    try:
        names = _split(head, layout.delimiter)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableImport(f"{file}:{block.first_line}: no header: {error}") from error
    indices = {role: _index_of(file, role, column, names) for role, (column, _) in wanted.items()}
    fields = _Fields(indices, contents, layout.delimiter, len(names), exact=True)
    return fields, LineBlock(block.first_line + 1, rest)


def _index_of(file: str, role: str, column: Column, names: list[str]) -> int:
    if column in names:
        return names.index(str(column))
    if str(column).isdecimal() and int(column) < len(names):
        return int(column)
    near = get_close_matches(str(column), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the header has {', '.join(names)}"
    raise UnreadableImport(f"{file}: column {column!r} for {role} is not in the header; {hint}")


def _rows_of(block: LineBlock, fields: _Fields, file: str, report: Report) -> pa.Table:
    """The block's good rows; only the lines near a bad one take the slow way."""
    whole = _at_once(block, fields)
    if whole is not None:
        return whole
    tables = []
    for small in _split_block(block, _SMALL_BLOCK_BYTES):
        table = _at_once(small, fields)
        tables.append(_line_by_line(small, fields, file, report) if table is None else table)
    return pa.concat_tables(tables)


def _split_block(block: LineBlock, size_bytes: int) -> Iterator[LineBlock]:
    first_line, at = block.first_line, 0
    while at < len(block.data):
        end = block.data.find(b"\n", at + size_bytes) + 1 or len(block.data)
        small = LineBlock(first_line, block.data[at:end])
        yield small
        first_line, at = first_line + small.n_lines, end


def _at_once(block: LineBlock, fields: _Fields) -> pa.Table | None:
    """The block's rows, or None unless every line is one good row."""
    if not block.data:
        return _table({}, np.empty(0, np.int64), fields)
    if block.data.count(b"\r") != block.data.count(b"\r\n"):
        return None  # the parser would end a row at a lone carriage return
    names = {role: f"f{index}" for role, index in fields.indices.items()}
    types: dict[str, pa.DataType] = {}
    for role, content in fields.contents.items():
        if types.setdefault(names[role], content.value) != content.value:
            return None  # one column read in two ways
    try:
        first = _split(block.data[: block.data.index(b"\n")], fields.delimiter)
        if not fields.accepts(len(first)):
            return None
        read = pacsv.read_csv(
            pa.BufferReader(block.data),
            pacsv.ReadOptions(
                autogenerate_column_names=True, use_threads=False, block_size=len(block.data) + 1
            ),
            pacsv.ParseOptions(delimiter=fields.delimiter, ignore_empty_lines=False),
            pacsv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=_NULLS
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError, csv.Error):
        return None
    n_lines = block.n_lines
    if read.num_rows != n_lines:
        return None
    columns = {}
    for role, content in fields.contents.items():
        column = read.column(names[role])
        if content is Content.NUMBER:
            column = pc.fill_null(column, 0.0)
        elif column.null_count or _has_empty(column, content):
            return None
        columns[role] = column
    return _table(columns, np.arange(block.first_line, block.first_line + n_lines), fields)


def _has_empty(column: pa.ChunkedArray, content: Content) -> bool:
    return content is Content.TEXT and pc.any(pc.is_in(column, pa.array(_NULLS))).as_py() is True


def _line_by_line(block: LineBlock, fields: _Fields, file: str, report: Report) -> pa.Table:
    values: dict[str, list[Any]] = {role: [] for role in fields.indices}
    lines = []
    readers = [
        (role, fields.indices[role], _READERS[content]) for role, content in fields.contents.items()
    ]
    for number, line in enumerate(block.lines, block.first_line):
        if not line.strip():
            continue
        try:
            row = _split(line, fields.delimiter)
            if not fields.accepts(len(row)):
                raise _BadRow(f"{len(row)} fields, expected {fields.n_fields}")
            read = [(role, parse(row[index])) for role, index, parse in readers]
        except (UnicodeDecodeError, csv.Error, _BadRow) as error:
            report.refuse(file, number, f"{error}; got {line[:80]!r}")
            continue
        for role, value in read:
            values[role].append(value)
        lines.append(number)
    return _table(values, np.array(lines, np.int64), fields)


def _table(columns: Mapping[str, Any], lines: npt.NDArray[np.int64], fields: _Fields) -> pa.Table:
    arrays = {
        role: pa.chunked_array([], content.value)
        if not len(lines)
        else columns[role]
        if isinstance(columns[role], pa.ChunkedArray)
        else pa.array(columns[role], content.value)
        for role, content in fields.contents.items()
    }
    return pa.table({**arrays, "line": lines})


def _split(line: bytes, delimiter: str) -> list[str]:
    text = line.removesuffix(b"\r").decode()
    if '"' in text:
        return next(csv.reader([text], delimiter=delimiter, strict=True))
    return text.split(delimiter)


class _BadRow(ValueError):
    pass


_INTEGER = re.compile(r"-?[0-9]{1,19}(\.0*)?")


def _integer(text: str) -> int:
    text = text.strip(" \t")
    if _INTEGER.fullmatch(text):
        value = int(text.partition(".")[0])
        if -(2**63) <= value < 2**63:
            return value
    raise _BadRow(f"{text[:40]!r} is not an integer")


def _number(text: str) -> float:
    if text in _NULLS:
        return 0.0
    try:
        return float(text)
    except ValueError:
        raise _BadRow(f"{text[:40]!r} is not a number") from None


def _word(text: str) -> str:
    if text in _NULLS:
        raise _BadRow("an empty field")
    return text


def _date_ms(text: str) -> int:
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise _BadRow(f"{text[:40]!r} is not a date of ISO 8601") from None
    return round((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() * 1000)


_READERS: dict[Content, Callable[[str], Any]] = {
    Content.INTEGER: _integer,
    Content.NUMBER: _number,
    Content.TEXT: _word,
    Content.DATE: _date_ms,
}

"""Training examples in Parquet files, read a row group at a time and checked as they are read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from actors.features.inputs import Schema
from actors.features.tasks import TASK_NAMES

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """n examples; columns in the order of the schema, labels in that of `TASK_NAMES`."""

    continuous: Floats
    binary: Bytes
    discrete: Int64s
    """Raw values, (n, discrete inputs)."""
    embeddings: dict[str, Floats]
    labels: Bytes
    """(n, tasks), 0 or 1."""
    mask: Bytes
    """(n, tasks), 1 where the label is known."""
    weights: Floats
    """(n,)."""

    def __len__(self) -> int:
        return len(self.weights)

    def take(self, rows: Int64s | slice | npt.NDArray[np.bool_]) -> "Examples":
        """Some of them."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        vectors = {name: values[rows] for name, values in own.pop("embeddings").items()}
        return Examples(**{name: values[rows] for name, values in own.items()}, embeddings=vectors)

    def positive(self) -> npt.NDArray[np.bool_]:
        """Which have any engagement."""
        return _any(self.labels & self.mask)


def concatenated(parts: Sequence[Examples]) -> Examples:
    """One after the other; at least one part."""
    if len(parts) == 1:
        return parts[0]
    own = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(Examples)
        if field.name != "embeddings"
    }
    vectors = {
        name: np.concatenate([part.embeddings[name] for part in parts])
        for name in parts[0].embeddings
    }
    return Examples(**own, embeddings=vectors)


@dataclass(frozen=True)
class Rows:
    """Rows `begin` … `end` − 1 of one row group of a file."""

    path: Path
    group: int
    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True)
class ExampleSet:
    """Examples of one schema in time order, on disk; small enough to send to a worker."""

    schema: Schema
    rows: tuple[Rows, ...]
    negatives_kept: float
    """Share of negatives that was written; their weights tell of it already."""

    @classmethod
    def open(cls, paths: Sequence[Path], schema: Schema) -> "ExampleSet":
        """The examples of files in this order.

        Labels are known by the names in the metadata key `tasks`; tasks that a file does not
        name are unknown there. Raises `ValueError`, naming file and column, for what does not
        fit the schema, and where there is no example at all.
        """
        rows, kept = [], 1.0
        for path in paths:
            with pq.ParquetFile(path) as file:
                _check(path, file.schema_arrow, schema)
                sizes = [
                    file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)
                ]
                rows += [Rows(path, i, 0, n) for i, n in enumerate(sizes) if n]
                told = (file.schema_arrow.metadata or {}).get(b"negatives_kept")
                kept = min(kept, float(told)) if told else kept
        if not rows:
            raise ValueError(f"no examples in {', '.join(map(str, paths)) or 'no files'}")
        return cls(schema, tuple(rows), kept)

    def __len__(self) -> int:
        return sum(map(len, self.rows))

    def between(self, begin: int, end: int) -> "ExampleSet":
        """The examples from one number to before another."""
        found, at = [], 0
        for rows in self.rows:
            first, last = max(begin - at, 0), min(end - at, len(rows))
            if first < last:
                found.append(replace(rows, begin=rows.begin + first, end=rows.begin + last))
            at += len(rows)
        return replace(self, rows=tuple(found))

    def read(self, rows: Rows) -> Examples:
        """The examples of some of its rows.

        Raises `ValueError`, naming file, column and row, for nulls, labels above 1 and weights
        that are not positive numbers.
        """
        table, tasks = _read(rows, _columns(self.schema))
        n = len(rows)
        reader = _Reader(table, rows)
        labels = _by_name(reader.lists("labels", len(tasks)), tasks)
        mask = _by_name(reader.lists("mask", len(tasks)), tasks)
        reader.refuse("labels", _any(labels > 1), "a label is 0 or 1")
        reader.refuse("mask", _any(mask > 1), "a mask is 0 or 1")
        weights = reader.values("weight")
        reader.refuse("weight", ~(np.isfinite(weights) & (weights > 0)), "a weight is above 0")
        schema = self.schema
        vectors = {
            given.name: reader.lists(given.name, given.dimensions) for given in schema.embeddings
        }
        for name, values in vectors.items():
            reader.refuse(name, _any(~np.isfinite(values)), "a vector holds numbers")
        return Examples(
            continuous=reader.lists("continuous", len(schema.continuous), np.float32, n),
            binary=reader.lists("binary", len(schema.binary), np.uint8, n),
            discrete=reader.lists("discrete", len(schema.discrete), np.int64, n),
            embeddings=vectors,
            labels=labels,
            mask=mask,
            weights=weights,
        )

    def positive(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Which of some of its rows have any engagement; reads nothing but labels."""
        table, tasks = _read(rows, ["labels", "mask"])
        reader = _Reader(table, rows)
        labels, mask = (_by_name(reader.lists(c, len(tasks)), tasks) for c in ("labels", "mask"))
        return _any(labels & mask)

    def outcomes(self, rows: Rows) -> tuple[Bytes, Bytes, Floats]:
        """Labels and mask (n, tasks), and weights, of some of its rows; reads nothing else."""
        table, tasks = _read(rows, ["labels", "mask", "weight"])
        reader = _Reader(table, rows)
        labels, mask = (_by_name(reader.lists(c, len(tasks)), tasks) for c in ("labels", "mask"))
        return labels, mask, reader.values("weight")

    def described(self, column: str) -> npt.NDArray[Any]:
        """A column that tells where examples come from, such as `source` or `time_ms`."""
        found = [_read(rows, [column])[0].column(column) for rows in self.rows]
        return np.concatenate([column.to_numpy() for column in found])

    def in_order(self, batch: int) -> Iterator[Examples]:
        """All examples in time order, up to `batch` at once."""
        for rows in self.rows:
            found = self.read(rows)
            for at in range(0, len(found), batch):
                yield found.take(slice(at, at + batch))


def _columns(schema: Schema) -> list[str]:
    lists = [name for name in ("continuous", "binary", "discrete") if getattr(schema, name)]
    return [*lists, "labels", "mask", "weight", *(given.name for given in schema.embeddings)]


def _expected(schema: Schema, n_tasks: int) -> dict[str, pa.DataType]:
    sizes = {
        "continuous": (pa.float32(), len(schema.continuous)),
        "binary": (pa.uint8(), len(schema.binary)),
        "discrete": (pa.int64(), len(schema.discrete)),
        "labels": (pa.uint8(), n_tasks),
        "mask": (pa.uint8(), n_tasks),
        **{given.name: (pa.float32(), given.dimensions) for given in schema.embeddings},
    }
    expected = {name: pa.list_(of, size) for name, (of, size) in sizes.items() if size}
    return {**expected, "weight": pa.float32()}


def _check(path: Path, found: pa.Schema, schema: Schema) -> None:
    told = (found.metadata or {}).get(b"schema", b"").decode()
    if told != schema.fingerprint:
        raise ValueError(f"{path} is of schema {told or '(none)'}, not {schema.fingerprint}")
    tasks = _tasks(path, found)
    if not set(tasks) & set(TASK_NAMES):
        raise ValueError(f"{path} has labels of none of the tasks: {', '.join(tasks)}")
    for name, expected in _expected(schema, len(tasks)).items():
        at = found.get_field_index(name)
        if at < 0:
            raise ValueError(f"{path} has no column {name}")
        given = found.field(at).type
        # The name of a list's items is of no account.
        if pa.types.is_fixed_size_list(given):
            given = pa.list_(given.value_type, given.list_size)
        if given != expected:
            raise ValueError(f"{path}: column {name} is {given}, not {expected}")


def _tasks(path: Path, found: pa.Schema) -> list[str]:
    told = (found.metadata or {}).get(b"tasks", b"").decode()
    tasks = [name for name in told.split(",") if name]
    if not tasks or len(set(tasks)) < len(tasks):
        raise ValueError(f"{path}: tasks in the metadata are {told or '(none)'}")
    return tasks


def _read(rows: Rows, columns: list[str]) -> tuple[pa.Table, list[str]]:
    with pq.ParquetFile(rows.path) as file:
        # One thread: the workers of a machine share its cores among them.
        table = file.read_row_group(rows.group, columns=columns, use_threads=False)
        return table.slice(rows.begin, len(rows)), _tasks(rows.path, file.schema_arrow)


def _by_name(columns: Bytes, tasks: list[str]) -> Bytes:
    """Columns in the order of `TASK_NAMES`, 0 where a task is not among `tasks`."""
    found = np.zeros((len(columns), len(TASK_NAMES)), np.uint8)
    for i, name in enumerate(TASK_NAMES):
        if name in tasks:
            found[:, i] = columns[:, tasks.index(name)]
    return found


def _any(columns: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Rows of which anything is true."""
    found: npt.NDArray[np.bool_] = np.any(columns, axis=1)
    return found


@dataclass(frozen=True)
class _Reader:
    """Columns of a table as arrays."""

    table: pa.Table
    rows: Rows

    def lists(self, name: str, size: int, empty: Any = None, n: int = 0) -> npt.NDArray[Any]:
        """A column of lists, (n, size)."""
        if not size:
            return np.empty((n, 0), empty)
        return self.values(name, size).reshape(-1, size)

    def values(self, name: str, size: int = 1) -> npt.NDArray[Any]:
        """A column without nulls, flat."""
        chunks = []
        for chunk in self.table.column(name).chunks:
            self._refuse_nulls(name, chunk, 1)
            inside = chunk.flatten() if pa.types.is_fixed_size_list(chunk.type) else chunk
            self._refuse_nulls(name, inside, size)
            chunks.append(inside.to_numpy(zero_copy_only=False))
        found: npt.NDArray[Any] = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
        return found

    def refuse(self, name: str, bad: npt.NDArray[np.bool_], expected: str) -> None:
        """Raise for the first row that is bad."""
        if bad.any():
            row = self.rows.begin + int(np.argmax(bad))
            raise ValueError(
                f"{self.rows.path}, column {name}, row {row} of row group {self.rows.group}: "
                f"{expected}"
            )

    def _refuse_nulls(self, name: str, values: pa.Array, size: int) -> None:
        if values.null_count:
            nulls = values.is_null().to_numpy(zero_copy_only=False)
            self.refuse(name, _any(nulls.reshape(-1, size)), "nothing may be null")

"""From outside data to valid event batches: what is wrong is named, what is right is kept."""

import difflib
import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.controls import bad_choices
from cluster.events import (
    COLUMNS,
    CORE,
    KIND_OF_LABEL,
    MEDIA_DIMENSIONS,
    OPTIONAL_NAMES,
    REFERENCES,
    RULES,
    Kind,
)
from cluster.ids import MAX_ID, id_of_string, mix64
from cluster.own_events import not_own, own_ids

MAX_TEXT_BYTES = 64 * 1024
_EMBEDDING = f"must be an array of {MEDIA_DIMENSIONS} finite numbers"
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Problem:
    """Why one event was refused."""

    index: int
    field: str
    message: str


@dataclass(frozen=True)
class Checked:
    """The good part of a batch and what was wrong with the rest."""

    batch: pa.RecordBatch
    problems: list[Problem]
    clamped: int
    """Events from the future, whose time was set to now."""


def check_objects(
    objects: Sequence[Any],
    *,
    now_ms: int,
    oldest_ms: int | None = None,
    own: Collection[int] | None = None,
) -> Checked:
    """Validate events given as decoded JSON objects."""
    rows, kept, problems = _parse(objects)
    checked = check_batch(_batch_of_rows(rows), now_ms=now_ms, oldest_ms=oldest_ms, own=own)
    problems += [Problem(kept[p.index], p.field, p.message) for p in checked.problems]
    problems.sort(key=lambda p: p.index)
    return Checked(checked.batch, problems, checked.clamped)


def check_batch(
    batch: pa.RecordBatch | pa.Table,
    *,
    now_ms: int,
    oldest_ms: int | None = None,
    own: Collection[int] | None = None,
) -> Checked:
    """Validate a batch of columns.

    Missing core columns count as not given, missing event ids are derived, times in the
    future become `now_ms`, and events before `oldest_ms` are refused. With `own`, events must
    be these users' own (`cluster.own_events`), and their ids become so. Raises `ValueError`
    naming the column where the batch as a whole cannot be read (unknown column, wrong type).
    """
    batch = _conform(batch)
    columns = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in CORE.names}
    bad = _Refusals(batch.num_rows)
    kinds = columns["kind"]
    bad.add(~_KNOWN[kinds], "kind", "is not an event kind")
    if own is not None:
        [names] = _named(batch, "name")
        for theirs in not_own(kinds, columns["actor_id"], own, names):
            bad.add(theirs.rows, theirs.field, theirs.message)
    for name in ("event_id", "actor_id", "post_id", "author_id", "target_id"):
        bad.add(columns[name] < 0, name, f"must be between 1 and {MAX_ID}")
    for name in batch.schema.names:
        if name in OPTIONAL_NAMES:
            too_small, least = _too_small(batch.column(name), name)
            bad.add(too_small, name, f"must be at least {least}")
    bad.add(columns["time_ms"] <= 0, "time_ms", "must be milliseconds since 1970, above 0")
    if oldest_ms is not None:
        bad.add(
            columns["time_ms"] < oldest_ms,
            "time_ms",
            "is older than the deduplication window; bring old events in with `murmuration ingest`",
        )
    bad.add(~np.isfinite(columns["value"]), "value", "must be a finite number")
    given = {name: columns[name] != 0 for name in CORE.names if name in _ALLOWED}
    for name in batch.schema.names:
        if name in OPTIONAL_NAMES:
            given[name] = batch.column(name).is_valid().to_numpy(zero_copy_only=False)
    for name, needs in _NEEDS.items():
        missing = needs[kinds] & ~given[name] if name in given else needs[kinds]
        bad.add(missing, name, "is required for this kind")
    for name, present in given.items():
        bad.add(present & ~_ALLOWED[name][kinds], name, "does not belong to this kind")
    for link, author in REFERENCES.items():
        none = np.zeros(batch.num_rows, bool)
        has_link, has_author = given.get(link, none), given.get(author, none)
        bad.add(has_link & ~has_author, author, f"is required with {link}")
        bad.add(has_author & ~has_link, link, f"is required with {author}")
    if "root_author_id" in given:
        has_root = given.get("root_id", np.zeros(batch.num_rows, bool))
        bad.add(given["root_author_id"] & ~has_root, "root_id", "is required with root_author_id")
    own_edge = _USER_TARGET[kinds] & (columns["actor_id"] == columns["target_id"])
    bad.add(own_edge, "target_id", "must be another user than actor_id")
    if "text" in given:
        too_long = pc.greater(pc.binary_length(batch.column("text")), MAX_TEXT_BYTES)
        too_long = pc.fill_null(too_long, False).to_numpy(zero_copy_only=False)
        bad.add(too_long, "text", f"must be at most {MAX_TEXT_BYTES} bytes of UTF-8")
    if "media_embedding" in given:
        wrong_embeddings = ~_are_embeddings(batch.column("media_embedding"))
        bad.add(wrong_embeddings, "media_embedding", _EMBEDDING)
    for wrong in bad_choices(kinds, columns["value"], *_named(batch, "name", "keyword")):
        bad.add(wrong.rows, wrong.field, wrong.message)

    late = columns["time_ms"] > now_ms
    event_ids = _derived_ids(columns, batch)
    if own is not None:
        event_ids = own_ids(event_ids, columns["actor_id"])
    batch = _with_column(batch, "event_id", event_ids)
    if late.any():
        batch = _with_column(batch, "time_ms", np.minimum(columns["time_ms"], now_ms))
    good = bad.good()
    if not good.all():
        batch = batch.filter(pa.array(good))
    return Checked(_without_empty(batch), bad.problems(kinds), int((late & good).sum()))


def is_embedding(value: Any) -> bool:
    """Whether a decoded JSON value is a list of as many numbers as it must be, all in range."""
    if type(value) is not list or len(value) != MEDIA_DIMENSIONS:
        return False
    if not set(map(type, value)) <= {int, float}:
        return False
    return all(abs(number) <= _LARGEST_FLOAT32 for number in value)


class _Refusals:
    """Collects the first thing wrong with each row."""

    def __init__(self, n_rows: int) -> None:
        self._why = np.full(n_rows, -1, np.int16)
        self._reasons: list[tuple[str, str]] = []

    def add(self, mask: npt.NDArray[np.bool_], field: str, message: str) -> None:
        if mask.any():
            self._why[mask & (self._why < 0)] = len(self._reasons)
            self._reasons.append((field, message))

    def good(self) -> npt.NDArray[np.bool_]:
        return self._why < 0

    def problems(self, kinds: npt.NDArray[np.uint8]) -> list[Problem]:
        found = []
        for index in np.flatnonzero(self._why >= 0).tolist():
            field, message = self._reasons[self._why[index]]
            kind = int(kinds[index])
            name = Kind(kind).label if _KNOWN[kind] else str(kind)
            found.append(Problem(index, field, f"{field} {message} ({name})"))
        return found


def _named(batch: pa.RecordBatch, *names: str) -> list[pa.Array | None]:
    return [batch.column(name) if name in batch.schema.names else None for name in names]


def _derived_ids(
    columns: dict[str, npt.NDArray[Any]], batch: pa.RecordBatch
) -> npt.NDArray[np.int64]:
    """Event ids, with the hash of (kind, actor, target, time) where none was given."""
    ids = columns["event_id"]
    if ids.all():
        return ids
    mixed = mix64(columns["kind"])
    for name in ("actor_id", "post_id", "author_id", "target_id", "time_ms"):
        mixed = mix64(mixed ^ mix64(columns[name]) + np.uint64(len(name)))
    for name in ("label", "keyword", "name"):
        if name in batch.schema.names:
            words = batch.column(name)
            if name == "name":
                # Of other kinds the name is only told, and may be told again otherwise.
                words = pc.if_else(pa.array(_TELLS_APART[columns["kind"]]), words, None)
            words = words.dictionary_encode()
            hashes = [id_of_string(word) for word in words.dictionary.to_pylist()]
            codes = words.indices.fill_null(len(hashes)).to_numpy()
            told = mix64(mixed ^ np.array([*hashes, 0], np.uint64)[codes])
            # An event's id must not depend on what else is in its batch.
            mixed = np.where(codes < len(hashes), told, mixed)
    derived = (mixed >> np.uint64(1)).astype(np.int64)
    return np.where(ids != 0, ids, np.maximum(derived, 1))


def _too_small(column: pa.Array, name: str) -> tuple[npt.NDArray[np.bool_], int]:
    """Which rows hold a number that is out of range, and the least that is allowed."""
    of_ids = pa.types.is_list(column.type) and pa.types.is_integer(column.type.value_type)
    least = 1 if of_ids or name.endswith("_id") else 0
    small = np.zeros(len(column), bool)
    if of_ids:
        bad = pc.fill_null(pc.less(column.flatten(), least), True)
        small[pc.list_parent_indices(column).filter(bad).to_numpy()] = True
    elif pa.types.is_integer(column.type):
        small = pc.fill_null(pc.less(column, least), False).to_numpy(zero_copy_only=False)
    return small, least


def _are_embeddings(column: pa.Array) -> npt.NDArray[np.bool_]:
    """Which rows are null, or have the length of an embedding and finite numbers alone."""
    lengths = pc.fill_null(pc.list_value_length(column), MEDIA_DIMENSIONS)
    good: npt.NDArray[np.bool_] = lengths.to_numpy() == MEDIA_DIMENSIONS
    finite = pc.fill_null(pc.is_finite(column.flatten()), False)
    good[pc.list_parent_indices(column).filter(pc.invert(finite)).to_numpy()] = False
    return good


def _conform(batch: pa.RecordBatch | pa.Table) -> pa.RecordBatch:
    """The batch with every core column present and every column of its declared type."""
    table = pa.table(batch) if isinstance(batch, pa.RecordBatch) else batch
    arrays, names = [], []
    for name in table.schema.names:
        if name not in COLUMNS:
            raise ValueError(f"column {name!r} is unknown{_suggestion(name, COLUMNS)}")
    for name, wanted in COLUMNS.items():
        if name in table.schema.names:
            column = table.column(name).combine_chunks()
            if name == "kind" and not pa.types.is_integer(column.type):
                column = _kind_codes(column)
            try:
                if not _is_readable(column.type, wanted):
                    raise pa.ArrowInvalid("it would not keep its meaning")
                column = column.cast(wanted)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise ValueError(
                    f"column {name!r} has type {column.type}, expected {wanted}: {error}"
                ) from error
            if name not in OPTIONAL_NAMES and column.null_count:
                column = column.fill_null(0)
        elif name not in OPTIONAL_NAMES:
            column = pa.array(np.zeros(table.num_rows, wanted.to_pandas_dtype()), wanted)
        else:
            continue
        arrays.append(column)
        names.append(name)
    return pa.RecordBatch.from_arrays(arrays, schema=_schema_of(names))


def _is_readable(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a cast means the same: integers never come from floats, flags or dates."""
    types = pa.types
    if types.is_list(wanted):
        lists = types.is_list(found) or types.is_large_list(found)
        same = lists and _is_readable(found.value_type, wanted.value_type)
        return bool(types.is_null(found) or same)
    if types.is_integer(wanted):
        strings = types.is_string(found) or types.is_large_string(found)
        return bool(types.is_integer(found) or types.is_null(found) or strings)
    return True


def _schema_of(names: Sequence[str]) -> pa.Schema:
    return pa.schema([pa.field(n, COLUMNS[n], nullable=n in OPTIONAL_NAMES) for n in names])


def _kind_codes(column: pa.Array) -> pa.Array:
    labels = pa.array(list(KIND_OF_LABEL))
    codes = pa.array([int(k) for k in KIND_OF_LABEL.values()], pa.uint8())
    return codes.take(pc.index_in(column.cast(pa.string()), labels)).fill_null(0)


def _with_column(batch: pa.RecordBatch, name: str, values: npt.NDArray[np.int64]) -> pa.RecordBatch:
    index = batch.schema.get_field_index(name)
    return batch.set_column(index, batch.schema.field(index), pa.array(values))


def _without_empty(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Drop optional columns that no row uses."""
    used = [
        name
        for name in batch.schema.names
        if name not in OPTIONAL_NAMES or batch.column(name).null_count < batch.num_rows
    ]
    return batch.select(used)


# Parsing of JSON objects: types only; what belongs together is checked on the columns.


class _Refused(ValueError):
    pass


def _id(value: Any) -> int:
    if type(value) is str and value.isdecimal() and value.isascii() and len(value) < 20:
        value = int(value)
    if type(value) is int and 0 < value <= MAX_ID:
        return value
    raise _Refused(f"must be an integer (or its decimal string) between 1 and {MAX_ID}")


def _event_id(value: Any) -> int:
    if type(value) is str and not value.isdecimal():
        return id_of_string(value)
    return _id(value)


def _kind(value: Any) -> int:
    if isinstance(value, str) and value in KIND_OF_LABEL:
        return KIND_OF_LABEL[value]
    raise _Refused(f"is not an event kind{_suggestion(str(value), KIND_OF_LABEL)}")


def _number(value: Any) -> float:
    if type(value) in (int, float) and abs(value) <= _LARGEST_FLOAT32:
        return float(value)
    raise _Refused("must be a finite number")


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if type(value) is int and low <= value <= high:
            return value
        raise _Refused(f"must be an integer between {low} and {high}")

    return parse


def _text(value: Any) -> str:
    if type(value) is str:
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise _Refused("must be valid Unicode") from error
        return value
    raise _Refused("must be a string")


def _flag(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise _Refused("must be true or false")


def _ids(value: Any) -> list[int]:
    if type(value) is list and len(value) <= 100:
        return [_id(v) for v in value]
    raise _Refused("must be an array of at most 100 ids")


def _embedding(value: Any) -> list[float]:
    if is_embedding(value):
        return list(value)
    raise _Refused(_EMBEDDING)


def _parser_of(name: str, kind: pa.DataType) -> Callable[[Any], Any]:
    if name.endswith("_id") and name != "request_id":
        return _id
    if pa.types.is_list(kind):
        return _ids if pa.types.is_integer(kind.value_type) else _embedding
    if pa.types.is_string(kind):
        return _text
    if pa.types.is_boolean(kind):
        return _flag
    if pa.types.is_int16(kind):
        return _integer(0, 2**15 - 1)
    return _integer(0, MAX_ID)


_PARSERS: dict[str, Callable[[Any], Any]] = {
    **{name: _parser_of(name, kind) for name, kind in COLUMNS.items()},
    "event_id": _event_id,
    "kind": _kind,
    "value": _number,
}


def _parse(
    objects: Sequence[Any],
) -> tuple[list[dict[str, Any]], list[int], list[Problem]]:
    rows, kept, problems = [], [], []
    parsers = _PARSERS
    for index, event in enumerate(objects):
        if type(event) is not dict:
            problems.append(Problem(index, "", "an event must be a JSON object"))
            continue
        name = ""
        try:
            row = {}
            for name, value in event.items():
                if value is not None:
                    row[name] = parsers[name](value)
            if "kind" not in row:
                name = "kind"
                raise _Refused("is required")
        except KeyError:
            hint = _suggestion(name, _PARSERS)
            problems.append(Problem(index, name, f"{name} is not a field of an event{hint}"))
        except _Refused as error:
            shown = repr(event.get(name))[:80]
            problems.append(Problem(index, name, f"{name} {error}; got {shown}"))
        else:
            rows.append(row)
            kept.append(index)
    return rows, kept, problems


def _batch_of_rows(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    names = [*CORE.names, *sorted(set().union(*rows) & OPTIONAL_NAMES if rows else ())]
    arrays = []
    for name in names:
        missing = None if name in OPTIONAL_NAMES else 0
        arrays.append(pa.array([row.get(name, missing) for row in rows], COLUMNS[name]))
    return pa.RecordBatch.from_arrays(arrays, schema=_schema_of(names))


def _suggestion(name: str, known: Any) -> str:
    return _nearest(name[:100], tuple(known))


@functools.lru_cache(maxsize=1_000)
def _nearest(name: str, known: tuple[str, ...]) -> str:
    """Remembered, since a batch repeats its mistakes and a look-up takes half a millisecond."""
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


# Look-up tables by kind code.


def _table(holds: Callable[[Kind], bool]) -> npt.NDArray[np.bool_]:
    table = np.zeros(256, bool)
    for kind in Kind:
        table[kind] = holds(kind)
    return table


_KNOWN = _table(lambda _: True)
_USER_TARGET = _table(lambda kind: RULES[kind].user_target)
_TELLS_APART = _table(lambda kind: kind in (Kind.PREFERENCE, Kind.DISMISS, Kind.MODULE_SERVED))
"""Events of these kinds that name different things are different events."""
_NEEDS = {
    name: _table(lambda kind, name=name: name in RULES[kind].needs)  # type: ignore[misc]
    for name in sorted({name for rule in RULES.values() for name in rule.needs})
}
_ALLOWED = {
    name: _table(
        lambda kind, name=name: name in RULES[kind].needs or name in RULES[kind].may  # type: ignore[misc]
    )
    for name in COLUMNS
    if name not in ("event_id", "kind", "time_ms")
}

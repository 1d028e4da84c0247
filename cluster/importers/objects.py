"""Decoded JSON events to checked batches, a column at a time where the values allow it."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from cluster.events import COLUMNS, KIND_OF_LABEL, OPTIONAL_NAMES
from cluster.ids import MAX_ID
from cluster.validation import Checked, check_batch, check_objects, is_embedding

_NONE = type(None)
_INT16_MAX = 2**15 - 1


def check_events(objects: Sequence[Any], *, now_ms: int) -> Checked:
    """What `check_objects` answers, several times as fast where every value is well formed."""
    columns = _columns_of(objects)
    if columns is None:
        return check_objects(objects, now_ms=now_ms)
    return check_batch(columns, now_ms=now_ms)


def _columns_of(objects: Sequence[Any]) -> pa.Table | None:
    """The events as columns, or None where some value needs a closer look."""
    if set(map(type, objects)) != {dict}:
        return None
    names = set().union(*objects)
    if "kind" not in names or not names <= COLUMNS.keys():
        return None
    arrays = {}
    for name in COLUMNS:
        if name not in names:
            continue
        values = _READERS[name]([event.get(name) for event in objects])
        if values is None:
            return None
        if name not in OPTIONAL_NAMES:
            values = [0 if value is None else value for value in values]
        arrays[name] = pa.array(values, COLUMNS[name])
    return pa.table(arrays)


Column = list[Any]
Reader = Callable[[Column], Column | None]


def _ids(values: Column) -> Column | None:
    types = set(map(type, values))
    if str in types:
        for index, value in enumerate(values):
            if type(value) is str:
                if not (value.isdecimal() and value.isascii() and len(value) < 20):
                    return None
                values[index] = int(value)
        types.remove(str)
    return values if types <= {int, _NONE} and _within(values, 1, MAX_ID) else None


def _integers(low: int, high: int) -> Reader:
    def read(values: Column) -> Column | None:
        exact = set(map(type, values)) <= {int, _NONE}
        return values if exact and _within(values, low, high) else None

    return read


def _of_types(*types: type) -> Reader:
    allowed = {*types, _NONE}

    def read(values: Column) -> Column | None:
        return values if set(map(type, values)) <= allowed else None

    return read


def _kinds(values: Column) -> Column | None:
    if set(map(type, values)) != {str}:
        return None
    codes = [KIND_OF_LABEL.get(value) for value in values]
    return None if None in codes else codes


def _numbers(values: Column) -> Column | None:
    if not set(map(type, values)) <= {int, float, _NONE}:
        return None
    return [None if value is None else float(value) for value in values]


def _id_lists(values: Column) -> Column | None:
    if not set(map(type, values)) <= {list, _NONE}:
        return None
    for value in values:
        if value and (len(value) > 100 or _ids(value) is None or None in value):
            return None
    return values


def _embeddings(values: Column) -> Column | None:
    return values if all(value is None or is_embedding(value) for value in values) else None


def _within(values: Column, low: int, high: int) -> bool:
    given = [value for value in values if value is not None]
    return not given or (low <= min(given) and max(given) <= high)


def _reader_of(name: str, kind: pa.DataType) -> Reader:
    if name == "kind":
        return _kinds
    if name == "value":
        return _numbers
    if name.endswith("_id") and name != "request_id":
        return _ids
    if pa.types.is_list(kind):
        return _id_lists if pa.types.is_integer(kind.value_type) else _embeddings
    if pa.types.is_string(kind):
        return _of_types(str)
    if pa.types.is_boolean(kind):
        return _of_types(bool)
    return _integers(0, _INT16_MAX if pa.types.is_int16(kind) else MAX_ID)


_READERS = {name: _reader_of(name, kind) for name, kind in COLUMNS.items()}

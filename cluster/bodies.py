"""Bodies of event requests: JSON, NDJSON or Arrow in, events and what is wrong with them out."""

import json
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.events import COLUMNS, MEDIA_DIMENSIONS, REFERENCES, RULES, Kind, Rule
from cluster.ids import MAX_ID
from cluster.ingest import Ingest, Ingested
from cluster.problems import ProblemError, invalid
from cluster.validation import Problem

ACTIVATE = Kind.ARTIFACT_ACTIVATE
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Received:
    """A body that was read: decoded JSON objects, or columns."""

    events: list[Any] | pa.Table
    problems: list[Problem] = field(default_factory=list)
    rows: list[int] | None = None
    """Place in the body of each event; None where they are the places in `events`."""


class _Repeated:
    """In the place of an object that names a key twice."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __repr__(self) -> str:
        return "an object with a key twice"


def read_json(body: bytes, max_events: int) -> Received:
    """Events of a JSON array, or of an object `{"events": [...]}`.

    Raises `ProblemError`, as the other readers do, where the body as a whole is unusable.
    """
    content = _parse_json(_text(body))
    if isinstance(content, _Repeated):
        raise invalid(content.key[:80], "is named twice")
    if isinstance(content, dict):
        other = [key for key in content if key != "events"]
        if other or "events" not in content:
            raise invalid("events", "is the one key of an object that wraps events")
        content = content["events"]
    if not isinstance(content, list):
        raise invalid("events", "must be an array of events")
    _check_count(len(content), max_events)
    return _usable(Received(content))


def read_ndjson(body: bytes, max_events: int) -> Received:
    """Events of a body with one JSON object a line; blank lines do not count."""
    lines = [line for line in _text(body).split("\n") if line and not line.isspace()]
    _check_count(len(lines), max_events)
    events, rows, problems = [], [], []
    for row, line in enumerate(lines):
        try:
            events.append(_parse_json(line))
            rows.append(row)
        except ProblemError as error:
            problems.append(Problem(row, "", f"the line {error.detail.removeprefix('the body ')}"))
    return _usable(Received(events, problems, rows))


def read_arrow(body: bytes, max_events: int) -> Received:
    """Events of an Arrow IPC stream of plain columns.

    What could grow without bound when it is decoded (compressed buffers, dictionaries,
    views) is refused before it is.
    """
    try:
        messages = list(pa.ipc.MessageReader.open_stream(body))
        if any(_is_compressed(message.metadata.to_pybytes()) for message in messages):
            raise ProblemError("unsupported-media-type", "send Arrow buffers uncompressed")
        with pa.ipc.open_stream(body) as reader:
            _check_columns(reader.schema)
            table = reader.read_all()
        _check_count(table.num_rows, max_events)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, LookupError, struct.error) as error:
        detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ProblemError("malformed-body", f"the body is no Arrow IPC stream: {detail}") from None
    return Received(table)


READERS: dict[str, Callable[[bytes, int], Received]] = {
    "application/json": read_json,
    "application/x-ndjson": read_ndjson,
    "application/vnd.apache.arrow.stream": read_arrow,
}
"""Media type → what reads it."""


def without_activations(received: Received) -> Received:
    """The same without activations of artifacts, which are not for everybody to send."""
    message = f"kind {ACTIVATE.label} needs a token with the scope admin"
    if isinstance(received.events, list):
        label = ACTIVATE.label
        forbidden = [
            row
            for row, event in enumerate(received.events)
            if type(event) is dict and event.get("kind") == label
        ]
        return _leave_out(received, {row: Problem(row, "kind", message) for row in forbidden})
    table = received.events
    if "kind" not in table.column_names:
        return received
    kinds = table.column("kind")
    wanted = int(ACTIVATE) if pa.types.is_integer(kinds.type) else ACTIVATE.label
    if isinstance(wanted, str) and not _is_string(kinds.type):
        return received
    mask = pc.fill_null(pc.equal(kinds, wanted), False)
    found = np.flatnonzero(mask.to_numpy())
    if not len(found):
        return received
    problems = [Problem(row, "kind", message) for row in found.tolist()]
    rows = np.flatnonzero(~mask.to_numpy()).tolist()
    return Received(table.filter(pc.invert(mask)), received.problems + problems, rows)


def events_schema() -> dict[str, Any]:
    """The JSON Schema of a body of events in JSON: what each kind must and may carry.

    It is as exact as a schema can be: what depends on the time, on the bytes of a text or on
    other fields' values is left to the checks of events.
    """
    kinds_of: dict[tuple[str, ...], list[Kind]] = {}
    for kind, rule in RULES.items():
        kinds_of.setdefault((*rule.needs, "", *sorted(rule.may)), []).append(kind)
    events = {
        "type": "array",
        "items": {"oneOf": [_event_schema(kinds, RULES[kinds[0]]) for kinds in kinds_of.values()]},
    }
    wrapped = {
        "type": "object",
        "properties": {"events": events},
        "required": ["events"],
        "additionalProperties": False,
    }
    return {"oneOf": [events, wrapped]}


def take_in(
    received: Received,
    ingest: Ingest,
    *,
    now_ms: int,
    history: bool = False,
    own: Collection[int] | None = None,
) -> Ingested:
    """Ingest what was received; problems name each event by its place in the body.

    With `own` the events must be these users' own.

    Raises the log's errors, and `ProblemError` where columns are not event columns.
    """
    try:
        if isinstance(received.events, list):
            done = ingest.objects(received.events, now_ms=now_ms, history=history, own=own)
        else:
            done = ingest.batch(received.events, now_ms=now_ms, history=history, own=own)
    except RecursionError:
        raise ProblemError("malformed-body", "the body is nested too deeply") from None
    except (pa.ArrowException, ValueError) as error:
        if isinstance(received.events, list):
            raise
        raise invalid("events", str(error).splitlines()[0][:300]) from None
    rows = received.rows
    found = [p if rows is None else replace(p, index=rows[p.index]) for p in done.problems]
    problems = sorted([*received.problems, *found], key=lambda problem: problem.index)
    return replace(done, problems=problems)


def _event_schema(kinds: list[Kind], rule: Rule) -> dict[str, Any]:
    labels = [kind.label for kind in kinds]
    optional = ["event_id", *sorted(rule.may)]
    schema: dict[str, Any] = {
        "type": "object",
        "title": ", ".join(labels),
        "properties": {
            "kind": {"type": "string", "enum": labels},
            "time_ms": {
                **_integers(1, MAX_ID),
                "description": "Since 1970; from the future is taken as of now.",
            },
            **{name: _field_schema(name) for name in rule.needs},
            # Null is the same as not given.
            **{name: {"anyOf": [_field_schema(name), {"type": "null"}]} for name in optional},
        },
        "required": ["kind", "time_ms", *rule.needs],
        "additionalProperties": False,
    }
    pairs = {link: author for link, author in REFERENCES.items() if link in rule.may}
    if pairs:
        both_ways = {link: [author] for link, author in pairs.items()}
        both_ways |= {author: [link] for link, author in pairs.items()}
        schema["dependentRequired"] = {**both_ways, "root_author_id": ["root_id"]}
    return schema


def _field_schema(name: str) -> dict[str, Any]:
    kind = COLUMNS[name]
    if name == "event_id":
        return {"anyOf": [_integers(1, MAX_ID), {"type": "string"}]}
    if name == "value":
        return {"type": "number", "minimum": -_FLOAT32_MAX, "maximum": _FLOAT32_MAX}
    if name.endswith("_id") and pa.types.is_integer(kind):
        digits = {"type": "string", "pattern": "^0*[1-9][0-9]*$", "maxLength": 19}
        return {"anyOf": [_integers(1, MAX_ID), digits]}
    if pa.types.is_list(kind) and pa.types.is_floating(kind.value_type):
        of = {"minItems": MEDIA_DIMENSIONS, "maxItems": MEDIA_DIMENSIONS}
        return {"type": "array", "items": _field_schema("value"), **of}
    if pa.types.is_list(kind):
        return {"type": "array", "items": _field_schema("post_id"), "maxItems": 100}
    if pa.types.is_boolean(kind):
        return {"type": "boolean"}
    if pa.types.is_integer(kind):
        return _integers(0, 2 ** (kind.bit_width - 1) - 1)
    return {"type": "string"}


def _integers(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise ProblemError(
            "malformed-body", f"the body is not UTF-8: byte {error.start} does not fit"
        ) from None


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen = set()
    for key, _ in pairs:
        if key in seen:
            return _Repeated(key)
        seen.add(key)
    raise AssertionError("pairs were fewer than keys")


# The standard library's parser calls back for every object, which tells of keys given twice and
# lets other threads run in between; orjson does neither, and is not faster on small objects.
_BLANK = " \t\r\n"
_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _parse_json(text: str) -> Any:
    # `decode` does the same with two regular expressions, which one line a call feels.
    text = text.strip(_BLANK)
    try:
        content, end = _DECODER.raw_decode(text)
        if end != len(text):
            raise json.JSONDecodeError("Extra data", text, end)
        return content
    except RecursionError:
        raise ProblemError("malformed-body", "the body is nested too deeply") from None
    except ValueError as error:
        raise ProblemError("malformed-body", f"the body is not JSON: {error}") from None


def _check_count(n_events: int, max_events: int) -> None:
    if n_events > max_events:
        raise ProblemError(
            "too-large", f"{n_events} events in one request; at most {max_events} are taken"
        )


def _usable(received: Received) -> Received:
    """Leave out objects that name a key twice."""
    repeated = {
        row: Problem(row, event.key[:80], f"{event.key[:80]} is named twice")
        for row, event in enumerate(received.events)
        if type(event) is _Repeated
    }
    return _leave_out(received, repeated)


def _leave_out(received: Received, found: dict[int, Problem]) -> Received:
    """Take some events out and answer each with its problem."""
    if not found:
        return received
    events = received.events
    rows = received.rows if received.rows is not None else range(len(events))
    kept = [row for row in range(len(events)) if row not in found]
    return Received(
        [events[row] for row in kept],
        received.problems + [replace(p, index=rows[row]) for row, p in found.items()],
        [rows[row] for row in kept],
    )


def _check_columns(schema: pa.Schema) -> None:
    names = schema.names
    for name in names:
        if names.count(name) > 1:
            raise invalid(name[:80], "is named twice")
        kind = schema.field(name).type
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        plain = kind.value_type if is_list else kind
        if not (pa.types.is_primitive(plain) or pa.types.is_null(plain) or _is_string(kind)):
            raise invalid(name[:80], f"has type {str(kind)[:80]}; numbers, strings and lists fit")


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_compressed(metadata: bytes) -> bool:
    """Whether a message of an Arrow stream says that its buffers are compressed.

    Reads the flatbuffer by hand (Arrow's Message.fbs), since the bindings do not say.
    """

    def u32(at: int) -> int:
        return int(struct.unpack_from("<I", metadata, at)[0])

    def field_at(table: int, number: int) -> int:
        vtable = table - struct.unpack_from("<i", metadata, table)[0]
        (size,) = struct.unpack_from("<H", metadata, vtable)
        if 4 + 2 * number >= size:
            return 0
        (offset,) = struct.unpack_from("<H", metadata, vtable + 4 + 2 * number)
        return table + int(offset) if offset else 0

    message = u32(0)
    kind_at, header_at = field_at(message, 1), field_at(message, 2)
    kind = metadata[kind_at] if kind_at else 0
    header = header_at + u32(header_at)
    if kind == 2:  # A DictionaryBatch holds a RecordBatch.
        data_at = field_at(header, 1)
        header = data_at + u32(data_at)
    return kind in (2, 3) and bool(field_at(header, 3))

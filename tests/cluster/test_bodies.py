"""Bodies of events: what each reader makes of them, and places kept through what is left out."""

import contextlib
import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.bodies import (
    READERS,
    Received,
    read_arrow,
    read_json,
    read_ndjson,
    without_activations,
)
from cluster.problems import ProblemError

FOLLOW = {"kind": "follow", "time_ms": 1, "actor_id": 1, "target_id": 2}
ACTIVATE = {"kind": "artifact_activate", "name": "x", "model_version": "1", "time_ms": 1}


def a_stream(table: pa.Table, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text() | st.none())))
def test_forms_of_json_agree(objects: list[dict[str, object]]) -> None:
    array = json.dumps(objects).encode()
    assert read_json(array, 1_000).events == objects
    assert read_json(b' {"events" : ' + array + b"}\n", 1_000).events == objects
    lines = "\n\n".join(json.dumps(o) for o in objects).encode()
    assert read_ndjson(lines, 1_000).events == objects


@pytest.mark.parametrize("read", [read_json, read_ndjson])
def test_too_many_events(read: object) -> None:
    body = json.dumps([FOLLOW] * 3).encode()
    if read is read_ndjson:
        body = b"\n".join([json.dumps(FOLLOW).encode()] * 3)
    assert len(read(body, 3).events) == 3  # type: ignore[operator]
    with pytest.raises(ProblemError, match="too-large"):
        read(body, 2)  # type: ignore[operator]


def test_too_many_rows() -> None:
    body = a_stream(pa.table({"kind": ["follow"] * 3}))
    assert read_arrow(body, 3).events.num_rows == 3  # type: ignore[union-attr]
    with pytest.raises(ProblemError, match="too-large"):
        read_arrow(body, 2)


def test_keys_given_twice_are_found_wherever_they_are() -> None:
    received = read_json(b'[{"a":1,"b":2,"a":3},{"a":1},{"b":{"c":1,"c":1}}]', 9)
    (problem,) = received.problems
    assert (problem.index, problem.field, problem.message) == (0, "a", "a is named twice")
    assert received.rows == [1, 2]
    assert received.events[0] == {"a": 1}
    # The inner object is no field an event could have; it is refused with its event.
    assert repr(received.events[1]) == "{'b': an object with a key twice}"
    with pytest.raises(ProblemError, match="twice"):
        read_json(b'{"events":[],"events":[]}', 9)


def test_places_survive_two_rounds_of_leaving_out() -> None:
    lines = [b"nonsense", FOLLOW, b'{"a":1,"a":1}', ACTIVATE, FOLLOW]
    body = b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines)
    received = without_activations(read_ndjson(body, 9))
    assert received.rows == [1, 4]
    assert received.events == [FOLLOW, FOLLOW]
    assert {p.index: p.field for p in received.problems} == {0: "", 2: "a", 3: "kind"}


def test_nothing_is_copied_where_nothing_is_left_out() -> None:
    received = read_json(json.dumps([FOLLOW]).encode(), 9)
    assert received.rows is None
    assert without_activations(received) is received


@pytest.mark.parametrize("kinds", [[20, 99, 22], ["follow", "artifact_activate", "block"]])
@pytest.mark.parametrize("large", [False, True])
def test_activations_among_columns(kinds: list[object], large: bool) -> None:
    column = pa.array(kinds)
    if large:
        column = column.cast(pa.large_string() if isinstance(kinds[0], str) else pa.int64())
    received = without_activations(Received(pa.table({"kind": column, "actor_id": [1, 2, 3]})))
    assert isinstance(received.events, pa.Table)
    assert received.events.column("actor_id").to_pylist() == [1, 3]
    assert received.rows == [0, 2]
    assert [p.index for p in received.problems] == [1]


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_buffers_are_refused_before_they_grow(codec: str) -> None:
    bomb = pa.table({"text": ["a" * 1_000] * 1_000})
    with pytest.raises(ProblemError, match="uncompressed"):
        read_arrow(a_stream(bomb, compression=codec), 10_000)
    assert read_arrow(a_stream(bomb), 10_000).events.num_rows == 1_000  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a"]).dictionary_encode(),
        pa.array(["a"], pa.string_view()),
        pa.array([{"a": 1}]),
        pa.array([[["a"]]]),
        pa.array([b"a"]),
        pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array(["a"])),
    ],
    ids=lambda column: str(column.type),
)
def test_columns_that_could_grow_are_refused(column: pa.Array) -> None:
    with pytest.raises(ProblemError) as refused:
        read_arrow(a_stream(pa.table({"text": column})), 9)
    assert refused.value.errors[0].field == "text"


@given(st.binary(max_size=300), st.sampled_from(sorted(READERS)))
def test_no_bytes_break_a_reader(body: bytes, media_type: str) -> None:
    with contextlib.suppress(ProblemError):
        assert isinstance(READERS[media_type](body, 100), Received)

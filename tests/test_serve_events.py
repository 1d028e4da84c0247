"""Sending events over HTTP: every form, everything that can be wrong, and random bodies."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.log import LogFull, LogUnavailable
from tests.http_world import (
    NOW_MS,
    World,
    a_stream,
    a_world,
    an_event,
    problem_of,
    small_world,
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield from a_world(tmp_path)


def test_every_media_type_says_the_same(tmp_path: Path) -> None:
    events = small_world()
    lines = b"\r\n".join(orjson.dumps(event) for event in events) + b"\n\n"
    table = pa.Table.from_pylist(
        [{k: e.get(k) for k in sorted(set().union(*events))} for e in events]
    )
    items = []
    for number, (body, media_type) in enumerate(
        [
            (orjson.dumps(events), "application/json; charset=UTF-8"),
            (orjson.dumps({"events": events}), "application/json"),
            (lines, "application/x-ndjson"),
            (a_stream(table), "application/vnd.apache.arrow.stream"),
        ]
    ):
        for world in a_world(tmp_path / str(number)):
            answer = world.post(body, media_type)
            assert answer.json()["accepted"] == len(events), answer.text
            assert answer.json()["problems"] == []
            world.catch_up()
            items.append(world.for_you(limit=100).json()["items"])
    assert items[0]
    assert items[1:] == items[:-1]


def test_ids_may_be_strings(world: World) -> None:
    event = an_event("favourite", 1, actor_id="11", post_id=str(2**63 - 1), author_id=12)
    assert world.post([event]).json()["accepted"] == 1


@pytest.mark.parametrize("bad", [0, -1, 2**63, 1.0, 1.5, "NaN", "1.0", "", True, [1], {"a": 1}])
def test_bad_ids(world: World, bad: Any) -> None:
    document = problem_of(
        world.post([an_event("favourite", 1, actor_id=1, post_id=bad, author_id=2)]),
        422,
        "invalid-events",
    )
    (error,) = document["errors"]
    assert (error["index"], error["field"]) == (0, "post_id")


def test_nan_and_missing_ids(world: World) -> None:
    body = b'[{"kind":"favourite","time_ms":1,"actor_id":NaN,"post_id":1,"author_id":1}]'
    assert problem_of(world.post(body), 422, "invalid-events")["errors"][0]["field"] == "actor_id"
    document = problem_of(world.post([an_event("follow", 1, actor_id=1)]), 422, "invalid-events")
    assert document["errors"][0]["field"] == "target_id"


def test_the_good_events_of_a_batch_are_kept(world: World) -> None:
    good = [an_event("follow", 1, actor_id=1, target_id=target) for target in (2, 3)]
    bad = an_event("follow", 1, actor_id=1, target_id=1)
    text = orjson.dumps([good[0], bad, good[1], {"kind": "nonsense", "time_ms": 1}, 5])
    twice = b'{"kind":"follow","kind":"block","time_ms":1,"actor_id":1,"target_id":2}'
    answer = world.post(text[:-1] + b"," + twice + b"]").json()
    assert answer["accepted"] == 2
    assert [(p["index"], p["field"]) for p in answer["problems"]] == [
        (1, "target_id"),
        (3, "kind"),
        (4, ""),
        (5, "kind"),
    ]
    assert "twice" in answer["problems"][-1]["message"]


def test_the_good_lines_of_a_body_are_kept(world: World) -> None:
    good = orjson.dumps(an_event("follow", 1, actor_id=1, target_id=2))
    body = b"\n".join([b"{not json", good, b"", b"[" * 100_000, b'{"kind":1}', good[:-1]])
    answer = world.post(body, "application/x-ndjson").json()
    assert answer["accepted"] == 1
    assert [p["index"] for p in answer["problems"]] == [0, 2, 3, 4]
    assert "nested" in answer["problems"][1]["message"]


def test_empty_batches(world: World) -> None:
    empty = pa.table({"kind": pa.array([], pa.string()), "time_ms": pa.array([], pa.int64())})
    for body, media_type in (
        (b"[]", "application/json"),
        (b'{"events":[]}', "application/json"),
        (b"", "application/x-ndjson"),
        (a_stream(empty), "application/vnd.apache.arrow.stream"),
    ):
        answer = world.post(body, media_type)
        assert answer.status_code == 200
        assert answer.json() == {
            "accepted": 0,
            "repeated": 0,
            "clamped": 0,
            "offset": 0,
            "problems": [],
        }


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        (b"", 400, "malformed-body"),
        (b"{", 400, "malformed-body"),
        (b"[] []", 400, "malformed-body"),
        (b'["\xff"]', 400, "malformed-body"),
        ('[{"kind":"follow"}]'.encode("utf-16"), 400, "malformed-body"),
        (b"[" * 200_000, 400, "malformed-body"),
        (b'{"a":' * 200_000, 400, "malformed-body"),
        (b"[" * 900 + b"]" * 900, 422, "invalid-events"),
        (b"[1" + b"0" * 5000 + b"]", 400, "malformed-body"),
        (b"3", 422, "invalid-request"),
        (b'{"kind":"follow"}', 422, "invalid-request"),
        (b'{"events":[],"events":[]}', 422, "invalid-request"),
        (b'{"events":{}}', 422, "invalid-request"),
        (b'[{"kind":"follow","kind":"follow"}]', 422, "invalid-events"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_bad_json(world: World, body: bytes, status: int, slug: str) -> None:
    problem_of(world.post(body), status, slug)


def test_bad_arrow(world: World) -> None:
    kind = "application/vnd.apache.arrow.stream"
    good = pa.table({"kind": ["follow"], "time_ms": [1], "actor_id": [1], "target_id": [2]})
    for body in (b"", b"garbage", a_stream(good)[:-60], a_stream(good)[:40]):
        problem_of(world.post(body, kind), 400, "malformed-body")
    for codec in ("zstd", "lz4"):
        body = a_stream(good, compression=codec)
        problem_of(world.post(body, kind), 415, "unsupported-media-type")
    for bad in (
        good.append_column("colour", pa.array(["red"])),
        good.set_column(0, "kind", good.column("kind").dictionary_encode()),
        good.append_column("actor_id", pa.array([1])),
        good.set_column(2, "actor_id", pa.array(["x"])),
    ):
        problem_of(world.post(a_stream(bad), kind), 422, "invalid-request")
    flipped = bytearray(a_stream(pa.table({"kind": ["follow", "block"], "time_ms": [1, 2]})))
    offsets = flipped.index(np.array([0, 6, 11], np.int32).tobytes())
    flipped[offsets + 4 : offsets + 8] = np.int32(2**30).tobytes()
    problem_of(world.post(bytes(flipped), kind), 400, "malformed-body")


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/json; charset=latin-1", "multipart/form-data"]
)
def test_wrong_media_types(world: World, media_type: str) -> None:
    problem_of(world.post(b"[]", media_type), 415, "unsupported-media-type")


def test_encoded_bodies_are_not_supported(world: World) -> None:
    headers = world.as_("write") | {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = world.client.post("/v1/events", content=b"[]", headers=headers)
    problem_of(answer, 415, "unsupported-media-type")


def test_bodies_that_are_too_large(tmp_path: Path) -> None:
    for world in a_world(tmp_path, max_body_bytes=1_000, max_events=3):
        follow = an_event("follow", 1, actor_id=1, target_id=2)
        problem_of(world.post(b" " * 1_001), 413, "too-large")
        problem_of(world.post(orjson.dumps([follow] * 4)), 413, "too-large")
        headers = world.as_("write") | {"Content-Type": "application/json"}
        chunks = (b" " * 100 for _ in range(11))
        answer = world.client.post("/v1/events", content=chunks, headers=headers)
        problem_of(answer, 413, "too-large")
        lines = b"\n".join([orjson.dumps(follow)] * 4)
        problem_of(world.post(lines, "application/x-ndjson"), 413, "too-large")
        assert world.post(orjson.dumps([follow] * 3)).status_code == 200


def test_a_declared_length_is_checked_before_the_body(world: World) -> None:
    headers = world.as_("write") | {"Content-Type": "application/json"}
    for length, status in (("99999999999999999999", 413), (str(2**26), 413)):
        answer = world.client.post(
            "/v1/events", content=b"", headers=headers | {"Content-Length": length}
        )
        assert answer.status_code == status


def test_activations_need_admin(world: World) -> None:
    event = {"kind": "artifact_activate", "time_ms": NOW_MS, "name": "light_ranker"}
    event["model_version"] = "v1"
    document = problem_of(world.post([event]), 422, "invalid-events")
    assert "admin" in document["errors"][0]["message"]
    follow = an_event("follow", 1, actor_id=1, target_id=2)
    for kinds in (["follow", "artifact_activate"], [20, 99]):
        columns = {"kind": kinds, "time_ms": [1, 1], "actor_id": [1, 0], "target_id": [2, 0]}
        columns |= {"time_ms": [follow["time_ms"]] * 2}
        table = pa.table(columns)
        answer = world.post(a_stream(table), "application/vnd.apache.arrow.stream").json()
        assert answer["accepted"] == 1
        assert [(p["index"], p["field"]) for p in answer["problems"]] == [(1, "kind")]
    assert world.post([event], role="admin").json()["accepted"] == 1


def test_history_is_taken_in_by_admins(world: World) -> None:
    old = an_event("follow", 60 * 24 * 30, actor_id=1, target_id=2)
    problem_of(world.post([old]), 422, "invalid-events")
    problem_of(world.post([old], role="admin"), 422, "invalid-events")
    assert world.post([old], role="admin", history="true").json()["accepted"] == 1


def test_events_from_the_future_are_clamped(world: World) -> None:
    ahead = an_event("follow", -60, actor_id=1, target_id=2)
    answer = world.post([ahead]).json()
    assert (answer["accepted"], answer["clamped"]) == (1, 1)


def test_a_log_that_refuses(world: World) -> None:
    follow = an_event("follow", 1, actor_id=1, target_id=2)
    world.appender.error = LogFull("no room")
    problem_of(world.post([follow]), 507, "log-full")
    world.appender.error = LogUnavailable("gone")
    answer = world.post([follow])
    problem_of(answer, 503, "log-unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert world.for_you().status_code == 200


# Random requests

FIELDS = st.text(max_size=4) | st.sampled_from(
    [
        *("kind", "time_ms", "actor_id", "post_id", "author_id", "target_id", "value", "text"),
        *("events", "topics", "label", "keyword", "reply_to_id", "event_id", "uri", "sensitive"),
    ]
)
KINDS = st.sampled_from(["follow", "favourite", "post_create", "user_update", "served", "report"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=8,
)
EVENTS = st.fixed_dictionaries(
    {"kind": KINDS | JSON, "time_ms": st.just(NOW_MS) | JSON},
    optional={
        **{n: st.integers(1, 9) | JSON for n in ("actor_id", "post_id", "author_id", "target_id")},
        **dict.fromkeys(("text", "topics", "value", "uri", "label", "language", "event_id"), JSON),
    },
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield from a_world(tmp_path_factory.mktemp("fuzzed"))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
    | st.lists(EVENTS, max_size=4).map(lambda value: json.dumps(value).encode())
    | st.lists(EVENTS, max_size=4).map(lambda v: "\n".join(map(json.dumps, v)).encode()),
    media_type=st.sampled_from(
        ["application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"]
    ),
)
def test_no_body_makes_a_server_error(fuzzed: World, body: bytes, media_type: str) -> None:
    answer = fuzzed.post(body, media_type)
    assert answer.status_code in (200, 400, 413, 415, 422), (body, answer.text)
    if answer.status_code == 200:
        done = answer.json()
        assert done["accepted"] or done["problems"] == []


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_arrow_stream_makes_a_server_error(fuzzed: World, data: st.DataObject) -> None:
    table = pa.table({"kind": ["follow", "block"], "time_ms": [NOW_MS] * 2, "actor_id": [1, 2]})
    table = table.append_column("target_id", pa.array([3, 4]))
    table = table.append_column("topics", pa.array([[1], [2]]))
    body = bytearray(a_stream(table))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    answer = fuzzed.post(bytes(body), "application/vnd.apache.arrow.stream")
    assert answer.status_code in (200, 400, 413, 415, 422), answer.text


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    user=st.text(max_size=12) | st.integers().map(str),
    parameters=st.dictionaries(
        st.sampled_from(["limit", "cursor", "now_ms", "seed", "record", "request_id"]),
        st.text(max_size=12) | st.integers().map(str),
        max_size=3,
    ),
)
def test_no_parameters_make_a_server_error(
    fuzzed: World, user: str, parameters: dict[str, str]
) -> None:
    name = quote(user, safe="", errors="replace")
    parameters = {k: v.encode("utf-8", "replace").decode() for k, v in parameters.items()}
    for path in (f"/v1/timelines/for-you/{name}", f"/v1/timelines/for-you/1/why/{name}"):
        answer = fuzzed.get(path, role="admin", **parameters)
        assert answer.status_code < 500, answer.text

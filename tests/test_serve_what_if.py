"""What if, over the whole application: who may ask, what is refused, and that nothing is left."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.http_world import NOW_MS, POSTS, VIEWER, World, a_lively_world, problem_of
from timeline.what_if_routes import MAX_BODY_BYTES, WhatIfAnswer

PATH = f"/v1/timelines/for-you/{VIEWER}/what-if"


@pytest.fixture
def lively(tmp_path: Path) -> Iterator[World]:
    yield from a_lively_world(tmp_path)


def what_if(
    world: World,
    body: Any = None,
    role: str = "read",
    *,
    path: str = PATH,
    media_type: str = "application/json",
    **parameters: Any,
) -> Any:
    content = body if isinstance(body, bytes) else orjson.dumps({} if body is None else body)
    headers = world.as_(role) | {"Content-Type": media_type}
    return world.client.post(path, content=content, params=parameters, headers=headers)


def ids(page: dict[str, Any]) -> list[int]:
    return [int(item["post_id"]) for item in page["items"]]


def test_nothing_else_moves_nothing(lively: World) -> None:
    told = what_if(lively).json()
    WhatIfAnswer.model_validate(told)
    assert sorted(ids(told["before"])) == [*POSTS, 201]
    assert told["before"] == told["after"]
    assert (told["moved"], told["changed"], told["sources_off"]) == ([], {}, [])


def test_some_sources_less(lively: World) -> None:
    off = ["backfill", "in_network", "popular"]
    told = what_if(lively, {"sources_off": off}).json()
    assert told["sources_off"] == off
    assert {item["source"] for item in told["before"]["items"]} >= {"in_network"}
    assert {item["source"] for item in told["after"]["items"]}.isdisjoint(off)
    gone = set(ids(told["before"])) - set(ids(told["after"]))
    assert gone
    assert {int(one["post_id"]) for one in told["moved"] if one["to"] is None} == gone


def test_another_factor_and_the_same_again(lively: World) -> None:
    body = {"settings": {"for_you.diversity_decay": 1.0}, "limit": 5}
    exact = {"now_ms": NOW_MS, "seed": 3}
    one, other = (what_if(lively, body, "admin", **exact).json() for _ in range(2))
    assert one == other
    assert one["changed"] == {"for_you.diversity_decay": {"before": 0.5, "after": 1.0}}
    assert len(one["before"]["items"]) == len(one["after"]["items"]) == 5


def test_nothing_is_left_behind(lively: World) -> None:
    lively.records()
    assert what_if(lively).status_code == 200
    lively.service.recorder.flush()
    assert lively.records() == []


def test_who_may_ask_what(lively: World) -> None:
    problem_of(lively.client.post(PATH, json={}), 401, "unauthorized")
    problem_of(what_if(lively, role="write"), 403, "forbidden")
    body = {"settings": {"for_you.max_seen": 10, "for_you.diversity_decay": 1.0}}
    answer = what_if(lively, body)
    document = problem_of(answer, 403, "forbidden")
    assert [error["field"] for error in document["errors"]] == ["settings.for_you.max_seen"]
    assert 'scope="admin"' in answer.headers["www-authenticate"]
    assert what_if(lively, body, "admin").status_code == 200
    for exact in ({"now_ms": NOW_MS}, {"seed": 1}, {"record": "false"}):
        problem_of(what_if(lively, **exact), 403, "forbidden")


@pytest.mark.parametrize(
    ("body", "status", "slug", "fields"),
    [
        (b"", 400, "malformed-body", []),
        (b"{", 400, "malformed-body", []),
        (b"\xff\xfe", 400, "malformed-body", []),
        (b'{"limit": Infinity}', 400, "malformed-body", []),
        (b'{"settings": {"a": ' + b"[" * 30_000, 400, "malformed-body", []),
        (b" " * (MAX_BODY_BYTES + 1), 413, "too-large", []),
        (b"null", 422, "invalid-request", ["body"]),
        (b"7", 422, "invalid-request", ["body"]),
        (b'{"limit": 101}', 422, "invalid-request", ["limit"]),
        (b'{"limit": true}', 422, "invalid-request", ["limit"]),
        (b'{"limit": 1e400}', 422, "invalid-request", ["limit"]),
        (b'{"weight": {}}', 422, "invalid-request", ["weight"]),
        (b'{"weights": []}', 422, "invalid-request", ["weights"]),
        (b'{"weights": {"is_liked": 1}}', 422, "invalid-request", ["weights.is_liked"]),
        (b'{"weights": {"is_replied": 1e400}}', 422, "invalid-request", ["weights.is_replied"]),
        (b'{"weights": {}, "weights": {}}', 422, "invalid-request", ["weights"]),
        (b'{"settings": {"for_you.no": 1}}', 422, "invalid-request", ["settings.for_you.no"]),
        (
            b'{"settings": {"http.deadline_ms": 1}}',
            *(422, "invalid-request", ["settings.http.deadline_ms"]),
        ),
        (
            b'{"settings": {"for_you.diversity_decay": "0"}}',
            *(422, "invalid-request", ["settings.for_you.diversity_decay"]),
        ),
        (b'{"sources_off": ["nobody", "popular"]}', 422, "invalid-request", ["sources_off.0"]),
        (b'{"sources_off": [[]]}', 422, "invalid-request", ["sources_off.0"]),
    ],
)
def test_bodies_that_are_refused_name_the_field(
    lively: World, body: bytes, status: int, slug: str, fields: list[str]
) -> None:
    document = problem_of(what_if(lively, body, "admin"), status, slug)
    assert [error["field"] for error in document.get("errors", [])] == fields


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-ndjson", "application/js"])
def test_other_media_types(lively: World, media_type: str) -> None:
    answer = what_if(lively, media_type=media_type)
    problem_of(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize("user", ["0", "-1", str(2**63), "x", "1.0"])
def test_bad_users(lively: World, user: str) -> None:
    path = f"/v1/timelines/for-you/{user}/what-if"
    document = problem_of(what_if(lively, path=path), 422, "invalid-request")
    assert [error["field"] for error in document["errors"]] == ["user_id"]


def test_an_unknown_user_and_shards_that_are_down(lively: World) -> None:
    path = "/v1/timelines/for-you/987654321/what-if"
    assert what_if(lively, path=path).json()["before"]["items"]
    lively.router.down = {0, 1}
    told = what_if(lively).json()
    assert told["before"]["items"] == told["after"]["items"] == []
    assert "viewer_context" in told["before"]["degraded"]

"""The HTTP interface in process: timelines, explanations, tokens, operation."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.router import shards_of
from cluster.events import Kind
from cluster.log import LogFull
from cluster.logs import features_lane
from cluster.routing import decode
from cluster.settings import DAY_MS
from tests.http_world import (
    AUTHOR,
    FRIEND,
    N_SHARDS,
    NOW_MS,
    POSTS,
    TOKENS,
    VIEWER,
    World,
    a_lively_world,
    a_world,
    an_event,
    problem_of,
    small_world,
)
from timeline import answers
from timeline.query import Query
from timeline.stages import Prepare


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield from a_world(tmp_path)


@pytest.fixture
def lively(tmp_path: Path) -> Iterator[World]:
    yield from a_lively_world(tmp_path)


# Timelines


def test_a_page_of_for_you(lively: World) -> None:
    answer = lively.for_you(limit=5)
    assert answer.status_code == 200
    page = answer.json()
    assert page["user_id"] == str(VIEWER)
    assert page["product"] == "for_you"
    assert page["degraded"] == []
    assert page["model_version"] == "untrained"
    assert page["timings_ms"]["total"] > 0
    assert page["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["cache-control"] == "no-store"
    assert len(page["items"]) == 5
    first = page["items"][0]
    assert set(first) >= {"post_id", "author_id", "created_ms", "score", "source", "reasons"}
    assert isinstance(first["post_id"], str)
    assert isinstance(first["author_id"], str)
    # Best first, but for whoever comes earlier lest an author has three posts in a row.
    left = list(page["items"])
    for at in range(len(left)):
        before = {item["author_id"] for item in page["items"][max(at - 2, 0) : at]}
        barred = before if at > 1 and len(before) == 1 else set()
        best = max((one for one in left if one["author_id"] not in barred), key=_score)
        assert page["items"][at] == best
        left.remove(best)


def _score(item: dict[str, Any]) -> float:
    return float(item["score"])


def test_uris_come_back(lively: World) -> None:
    items = lively.for_you(limit=100).json()["items"]
    uris = {item["post_id"]: item["uri"] for item in items if "uri" in item}
    assert uris == {"101": "at://did:plc:a/app.bsky.feed.post/1"}


def test_a_chain_of_pages_repeats_nothing(lively: World) -> None:
    seen: list[str] = []
    cursor = None
    while True:
        page = lively.for_you(limit=4, **({"cursor": cursor} if cursor else {})).json()
        seen += [item["post_id"] for item in page["items"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert sorted(map(int, seen)) == [*POSTS, 201]


def test_following_is_newest_first(lively: World) -> None:
    page = lively.get(f"/v1/timelines/following/{VIEWER}", limit=3).json()
    assert [item["post_id"] for item in page["items"]] == ["110", "109", "108"]
    more = lively.get(f"/v1/timelines/following/{VIEWER}", limit=3, cursor=page["cursor"]).json()
    assert [item["post_id"] for item in more["items"]] == ["107", "106", "105"]


def test_an_unknown_user_gets_a_cold_start(lively: World) -> None:
    page = lively.for_you(987654321).json()
    assert page["reason"] == "cold_start"
    assert page["items"]


def test_the_same_request_gives_the_same_timeline(lively: World) -> None:
    exact = {"now_ms": NOW_MS, "seed": 7, "record": "false"}
    answers = [lively.for_you(role="admin", limit=10, **exact).json() for _ in range(2)]
    for answer in answers:
        del answer["request_id"], answer["timings_ms"]
    assert answers[0]["items"]
    assert answers[0] == answers[1]


def test_an_unrecorded_request_leaves_nothing_behind(lively: World) -> None:
    lively.records()
    page = lively.for_you(role="admin", record="false").json()
    lively.why(110)
    lively.service.recorder.flush()
    assert lively.records() == []
    problem_of(lively.why(110, request_id=page["request_id"]), 404, "unknown-request")


@pytest.mark.parametrize("asked", [{"now_ms": NOW_MS}, {"seed": 1}, {"record": "false"}])
def test_exact_requests_need_admin(lively: World, asked: dict[str, Any]) -> None:
    answer = lively.for_you(**asked)
    problem_of(answer, 403, "forbidden")
    assert 'scope="admin"' in answer.headers["www-authenticate"]


def test_what_a_page_leaves_behind(lively: World) -> None:
    lively.records()
    page = lively.for_you(limit=3).json()
    lively.service.recorder.flush()
    records = lively.records()
    rows = [
        row
        for lane, payload in records
        if lane != features_lane(lively.settings)
        for row in decode(payload).to_pylist()
        if row["actor_id"] == VIEWER
    ]
    told = {row["event_id"]: row for row in rows}.values()
    served = [row for row in told if row["kind"] == Kind.SERVED]
    assert {row["position"]: str(row["post_id"]) for row in served} == {
        place: item["post_id"] for place, item in enumerate(page["items"])
    }
    modules = [(row["position"], row["name"]) for row in told if row not in served]
    assert modules == [(one["index"], one["name"]) for one in page["between"]]
    assert modules
    assert {row["request_id"] for row in told} == {page["request_id"]}
    (features,) = [payload for lane, payload in records if lane == features_lane(lively.settings)]
    table = pa.ipc.open_stream(features).read_all()
    assert set(table.column("request_id").to_pylist()) == {page["request_id"]}


def break_product(world: World, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def broken(_: Query) -> bool:
        raise ZeroDivisionError("a secret of the inside")

    products = world.service._timelines.products
    stages = [Prepare("broken", broken), *products[name].stages]
    monkeypatch.setitem(products, name, replace(products[name], stages=stages))


def test_for_you_falls_back_to_following(lively: World, monkeypatch: pytest.MonkeyPatch) -> None:
    break_product(lively, monkeypatch, "for_you")
    page = lively.for_you(limit=2).json()
    assert page["product"] == "following"
    assert page["degraded"] == ["for_you"]
    assert page["cursor"] is None
    assert [item["post_id"] for item in page["items"]] == ["110", "109"]
    lively.service.recorder.flush()
    assert lively.why(110, request_id=page["request_id"]).json()["product"] == "following"


@pytest.mark.parametrize("following", ["empty", "fails"])
def test_where_following_has_nothing_popular_posts_are_shown(
    lively: World, monkeypatch: pytest.MonkeyPatch, following: str
) -> None:
    broken = ["for_you"] if following == "empty" else ["for_you", "following"]
    for name in broken:
        break_product(lively, monkeypatch, name)
    viewer = 555 if following == "empty" else VIEWER
    page = lively.for_you(viewer, limit=3).json()
    assert (page["product"], page["degraded"], page["cursor"]) == ("popular", broken, None)
    assert [item["source"] for item in page["items"]] == ["popular"] * 3
    lively.service.recorder.flush()
    shown = page["items"][0]["post_id"]
    assert lively.why(shown, viewer, request_id=page["request_id"]).json()["product"] == "popular"


def test_where_everything_fails_it_is_an_error(
    lively: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("for_you", "following", "popular"):
        break_product(lively, monkeypatch, name)
    answer = lively.get(f"/v1/timelines/for-you/{VIEWER}")
    problem_of(answer, 500, "internal")
    assert "for_you" not in answer.text


def test_an_unexpected_failure_says_nothing_of_the_inside(
    lively: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_product(lively, monkeypatch, "following")
    answer = lively.get(f"/v1/timelines/following/{VIEWER}")
    problem_of(answer, 500, "internal")
    assert "secret" not in answer.text


# Shards that are down


def test_a_dead_shard_never_makes_an_error(lively: World) -> None:
    viewers, authors = shards_of(np.array([VIEWER, AUTHOR]), N_SHARDS).tolist()
    assert viewers != authors
    lively.router.down = {viewers}
    answer = lively.for_you()
    assert answer.status_code == 200
    assert answer.json()["items"] == []
    assert answer.json()["degraded"] == [f"shard_{viewers}", "viewer_context"]
    lively.router.down = {authors}
    answer = lively.for_you()
    assert answer.status_code == 200
    assert answer.json()["degraded"] == [f"shard_{authors}"]


def test_readiness_names_the_shards_that_do_not_answer(lively: World) -> None:
    assert lively.client.get("/readyz").json() == {"ready": True, "shards": 2, "missing": {}}
    lively.router.down = {1}
    answer = lively.client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["missing"] == {"1": "no answer"}
    lively.router.down = {0, 1}
    assert lively.client.get("/readyz").status_code == 503
    assert lively.client.get("/healthz").json() == {"status": "ok"}


# Why


def test_why_a_post_is_there(lively: World) -> None:
    page = lively.for_you(limit=3).json()
    lively.service.recorder.flush()
    first = page["items"][0]
    told = lively.why(int(first["post_id"]), request_id=page["request_id"]).json()
    assert told["verdict"] == "shown"
    assert told["position"] == 0
    assert told["request_id"] == page["request_id"]
    assert told["found_by"][0] == first["source"]
    assert told["score"]["final"] == pytest.approx(first["score"], rel=1e-6)
    assert all(step["passed"] for step in told["filters"])


def test_why_works_while_the_trace_waits(lively: World) -> None:
    """An answer may be asked about before anything of it was recorded."""
    page = lively.for_you(limit=3).json()
    told = lively.why(int(page["items"][0]["post_id"]), request_id=page["request_id"])
    assert told.json()["verdict"] == "shown"


def test_why_a_post_is_not_there(lively: World) -> None:
    lively.post([an_event("impression", 1, actor_id=VIEWER, post_id=110, author_id=AUTHOR)])
    lively.catch_up()
    told = lively.why(110).json()
    assert told["verdict"] == "dropped"
    assert told["dropped_by"] == "seen"
    assert told["filters"][-1] == {"name": "seen", "passed": False}
    assert told["position"] is None


def test_why_nobody_found_a_post(lively: World) -> None:
    answer = lively.why(999_999)
    assert answer.status_code == 200
    assert answer.json()["found"] is False
    assert answer.json()["verdict"] == "not_a_candidate"


def test_traces_belong_to_their_viewer(lively: World) -> None:
    page = lively.for_you().json()
    for _ in range(2):
        answer = lively.why(110, user=FRIEND, request_id=page["request_id"])
        problem_of(answer, 404, "unknown-request")
        lively.service.recorder.flush()


def test_traces_are_kept_for_a_day(lively: World) -> None:
    page = lively.for_you().json()
    lively.service.recorder.flush()
    lively.now_ms += DAY_MS
    assert lively.why(110, request_id=page["request_id"]).status_code == 200
    lively.now_ms += 1
    problem_of(lively.why(110, request_id=page["request_id"]), 404, "unknown-request")


def test_a_trace_on_a_dead_shard_is_unavailable(lively: World) -> None:
    page = lively.for_you().json()
    lively.service.recorder.flush()
    lively.router.down = {0, 1}
    answer = lively.why(110, request_id=page["request_id"])
    assert answer.status_code == 200
    assert answer.json()["verdict"] == "unavailable"


# Parameters


@pytest.mark.parametrize(
    "user",
    ["0", "-1", str(2**63), "1.0", "1.5", "NaN", "abc", "+1", "1_0", "٣", "1e3", "%20", "9" * 400],
)
def test_bad_user_ids(world: World, user: str) -> None:
    document = problem_of(world.for_you(user), 422, "invalid-request")
    assert [error["field"] for error in document["errors"]] == ["user_id"]
    assert "integer between 1 and 9223372036854775807" in document["detail"]


@pytest.mark.parametrize("limit", ["0", "101", "-5", "ten", "", "5.0", "1" * 5000])
def test_bad_limits(world: World, limit: str) -> None:
    document = problem_of(world.for_you(limit=limit), 422, "invalid-request")
    assert [error["field"] for error in document["errors"]] == ["limit"]


@pytest.mark.parametrize("limit", [1, 100])
def test_limits_at_the_edge(lively: World, limit: int) -> None:
    assert len(lively.for_you(limit=limit).json()["items"]) == min(limit, len(POSTS) + 1)


def test_cursors_that_do_not_fit(lively: World) -> None:
    cursor = lively.for_you(limit=2).json()["cursor"]
    turned = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    tampered = ("B" if cursor[0] == "A" else "A") + cursor[1:]
    for bad in ("", "garbage", "ü" * 50, "A" * 3000, tampered, turned + "AAAA", cursor[:-8]):
        problem_of(lively.for_you(cursor=bad), 400, "invalid-cursor")
    problem_of(lively.for_you(FRIEND, cursor=cursor), 400, "invalid-cursor")
    following = lively.get(f"/v1/timelines/following/{VIEWER}", cursor=cursor)
    problem_of(following, 400, "invalid-cursor")
    lively.now_ms += lively.settings.http.cursor_ttl_s * 1000 + 1
    problem_of(lively.for_you(cursor=cursor), 410, "expired-cursor")


@pytest.mark.parametrize(
    ("path", "parameters"),
    [("for-you/11/why/0", {}), ("for-you/11/why/1", {"limit": 0}), ("following/x", {})],
)
def test_bad_parameters_elsewhere(world: World, path: str, parameters: dict[str, Any]) -> None:
    problem_of(world.get(f"/v1/timelines/{path}", **parameters), 422, "invalid-request")


# Tokens


@pytest.mark.parametrize(
    "path",
    [
        "/v1/timelines/for-you/1",
        "/v1/timelines/following/1",
        "/v1/timelines/for-you/1/why/2",
        "/v1/users/1/top-posts",
        "/metrics",
    ],
)
def test_reading_needs_a_token(world: World, path: str) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer nobody-knows-this"},
        {"Authorization": "Basic x"},
    ):
        answer = world.client.get(path, headers=headers)
        problem_of(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "nobody" not in answer.text
    problem_of(world.get(path, role="write"), 403, "forbidden")
    assert world.get(path, role="admin").status_code == 200


def test_writing_needs_a_token(world: World) -> None:
    problem_of(world.client.post("/v1/events", content=b"[]"), 401, "unauthorized")
    problem_of(world.post([], role="read"), 403, "forbidden")
    problem_of(world.post([], history="true"), 403, "forbidden")
    assert world.post([], role="admin").json()["accepted"] == 0


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/version", "/openapi.json", "/docs"])
def test_open_paths(world: World, path: str) -> None:
    assert world.client.get(path).status_code == 200


# Limits, errors, operation


def test_more_requests_than_allowed_are_refused(tmp_path: Path) -> None:
    for world in a_world(tmp_path, max_ongoing=1):
        world.appender.hold()
        with ThreadPoolExecutor(1) as other:
            slow = other.submit(world.post, [an_event("follow", actor_id=1, target_id=2)])
            assert world.appender.entered.wait(10)
            answer = world.for_you()
            problem_of(answer, 503, "overloaded")
            assert answer.headers["retry-after"] == "1"
            assert world.client.get("/healthz").status_code == 200
            world.appender.gate.set()
            assert slow.result().json()["accepted"] == 1
        assert world.for_you().status_code == 200


def test_oversized_headers(world: World) -> None:
    answer = world.client.get("/version", headers={"X-Long": "x" * 40_000})
    problem_of(answer, 431, "headers-too-large")


def test_unknown_paths_and_methods(world: World) -> None:
    problem_of(world.client.get("/nothing"), 404, "not-found")
    answer = world.client.delete("/v1/events")
    problem_of(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


def test_every_answer_has_its_own_id(world: World) -> None:
    ids = {world.client.get("/healthz").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("name", ["", "short", "x" * 65, "with space", "a;b;c;d;e"])
def test_requests_may_bring_an_id(lively: World, name: str) -> None:
    headers = lively.as_("read") | {"X-Request-Id": "an-id-of-theirs"}
    answer = lively.client.get(f"/v1/timelines/for-you/{VIEWER}", headers=headers)
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "an-id-of-theirs"
    assert lively.why(110, request_id="an-id-of-theirs").json()["verdict"] == "shown"
    answer = lively.client.get("/healthz", headers={"X-Request-Id": name})
    assert answer.headers["x-request-id"] != name


def test_metrics_count(lively: World) -> None:
    lively.for_you()
    lively.post([an_event("follow", 1, actor_id=1, target_id=1, invented=2), {"x": 1}])
    text = lively.get("/metrics").text
    samples = {
        (s.name, *sorted(s.labels.values())): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }
    route = "/v1/timelines/for-you/{user_id}"
    assert samples[("murmuration_requests_total", *sorted([route, "200", "GET"]))] == 1
    assert samples[("murmuration_candidates_total", "for_you", "in_network")] == len(POSTS)
    assert samples[("murmuration_events_total", "accepted")] == len(small_world())
    assert samples[("murmuration_events_rejected_total", "other")] == 2
    assert ("murmuration_stage_seconds_count", "for_you", "light_ranker") in samples


def test_no_token_in_the_logs(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.appender.error = LogFull("no room")
    world.post([an_event("follow", 1, actor_id=1, target_id=2)])
    world.client.get(
        "/v1/timelines/for-you/1", headers={"Authorization": "Bearer wrong-token-here"}
    )
    assert caplog.records
    assert not [t for t in (*TOKENS.values(), "wrong-token") if t in caplog.text]


def test_openapi_has_examples_for_everything(world: World) -> None:
    document = world.client.get("/openapi.json").json()
    operations = [op for path in document["paths"].values() for op in path.values()]
    assert len(operations) == 19
    assert all(op["summary"] and op["tags"] for op in operations)
    bodies = document["paths"]["/v1/events"]["post"]["requestBody"]["content"]
    example = bodies["application/json"]["example"]
    assert world.post(example, role="admin", history="true").json()["accepted"] == len(example)
    assert document["components"]["securitySchemes"]
    secured = {p for p, ops in document["paths"].items() for op in ops.values() if "security" in op}
    assert set(document["paths"]) - secured == {"/healthz", "/readyz", "/version"}
    for name in ("PageAnswer", "EventsAnswer", "WhyAnswer", "WhatIfAnswer", "AnalyticsAnswer"):
        assert document["components"]["schemas"][name]["example"]


def test_answers_have_the_form_they_promise(lively: World) -> None:
    page = answers.PageAnswer.model_validate(lively.for_you().json())
    answers.WhyAnswer.model_validate(lively.why(int(page.items[0].post_id)).json())
    answers.WhyAnswer.model_validate(lively.why(5).json())
    answers.EventsAnswer.model_validate(lively.post([{"kind": "x"}, *small_world()]).json())
    answers.ProblemAnswer.model_validate(lively.for_you("x").json())

"""What if: one request made twice over a small world, and the two orders compared."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from actors.features.inputs import RankerInputs
from actors.features.tasks import TASK_NAMES
from actors.models import HEAVY_RANKER
from actors.ranker import NO_RANKER, Floats
from actors.router import Gathered, LocalRouter, Wave
from actors.state import ShardState
from cluster.events import Kind
from cluster.http_edge import Edge, answer_problems
from cluster.problems import ProblemError
from cluster.settings import Settings, load
from cluster.tokens import Tokens
from tests.http_world import TOKENS
from tests.timeline.small_worlds import FRIEND, OTHER, STRANGER, VIEWER, small_world
from tests.worlds import NOW_MS, SECRET, Clock, models, states_of
from timeline.explain import stage_kinds
from timeline.pages import Page
from timeline.parameters import Exactly
from timeline.timelines import Timelines
from timeline.what_if import Asked, WhatIf, asked_of, differences
from timeline.what_if_routes import MAX_BODY_BYTES, what_if_routes

VERSION = "h1"
KINDS = [Kind.FAVOURITE, Kind.REPOST]


class Served(LocalRouter):
    """Shards that serve a version of the heavy ranker."""

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        replies = super().ask(wave, timeout_s).replies
        active = {HEAVY_RANKER: VERSION}
        return Gathered({s: replace(r, active={**r.active, **active}) for s, r in replies.items()})


class ByPlace:
    """A heavy ranker that predicts favourites of the first rows and replies to the last."""

    ready = True

    def serving(self, version: str) -> str | None:
        return version

    def score(self, version: str, inputs: RankerInputs, timeout_s: float) -> Floats:
        found = np.zeros((len(inputs), len(TASK_NAMES)), np.float32)
        share = np.linspace(0, 1, len(inputs), dtype=np.float32)
        found[:, TASK_NAMES.index("is_favorited")] = 1 - share
        found[:, TASK_NAMES.index("is_replied")] = share / 13.5 / 4
        return found


class World:
    """Makes pages with any settings, as a service does."""

    def __init__(
        self,
        states: list[ShardState],
        router: LocalRouter,
        ranker: Any,
        settings: Settings | None = None,
    ) -> None:
        self.settings = settings or states[0].settings
        self.made: list[Settings | None] = []
        self.timelines = Timelines(self.settings, router, models(), SECRET, ranker)
        products = self.timelines.products
        self.sources = products["for_you"].source_names
        kinds = {name: stage_kinds(product) for name, product in products.items()}
        self.what_if = WhatIf(kinds, models().light_ranker)

    def make(self, limit: int) -> Callable[[Settings | None], Page]:
        def make(settings: Settings | None) -> Page:
            self.made.append(settings)
            asked = {"settings": settings, "posts_only": True}
            return self.timelines.for_you(VIEWER, limit, now_ms=NOW_MS, **asked)

        return make

    def compare(self, *, operator: bool = True, **asked: Any) -> dict[str, Any]:
        body = Asked(**asked)
        return self.what_if.compare(body, self.make(body.limit), operator=operator)


@pytest.fixture(scope="module")
def states() -> list[ShardState]:
    clock = Clock()
    likes = [clock.on_post(kind, user, 300, STRANGER) for kind in KINDS for user in (FRIEND, OTHER)]
    return states_of([*small_world(clock), *likes], 2)


@pytest.fixture
def light(states: list[ShardState]) -> World:
    return World(states, LocalRouter(states), NO_RANKER)


@pytest.fixture
def heavy(states: list[ShardState]) -> World:
    return World(states, Served(states), ByPlace())


def ids(page: dict[str, Any]) -> list[str]:
    return [item["post_id"] for item in page["items"]]


def test_nothing_changed_moves_nothing(light: World) -> None:
    told = light.compare()
    assert told["moved"] == []
    assert told["changed"] == {}
    assert told["before"] == told["after"]
    assert len(told["before"]["items"]) == 11
    assert (told["user_id"], told["now_ms"]) == (str(VIEWER), NOW_MS)


def test_weights_of_heads(heavy: World) -> None:
    told = heavy.compare(weights={"is_favorited": 0.0}, operator=False)
    assert told["before"]["model_version"] == VERSION
    path = "heavy_ranker.weights.is_favorited"
    assert told["changed"] == {path: {"before": 0.5, "after": 0.0}}
    before, after = ids(told["before"]), ids(told["after"])
    assert sorted(before) == sorted(after)
    assert before != after
    places = {one["post_id"]: (one["from"], one["to"]) for one in told["moved"]}
    expected = {p: (before.index(p), after.index(p)) for p in before}
    assert places == {p: two for p, two in expected.items() if two[0] != two[1]}
    scores = {
        name: {item["post_id"]: item["score"] for item in told[name]["items"]}
        for name in ("before", "after")
    }
    for one in told["moved"]:
        parts = {part["part"]: (part["before"], part["after"]) for part in one["why"]}
        if scores["before"][one["post_id"]] == scores["after"][one["post_id"]]:
            assert set(parts) == {"others"}
        else:
            assert parts.keys() >= {"head is_favorited", "score heavy_ranker"}
            assert parts.keys() <= {
                *("head is_favorited", "score heavy_ranker"),
                *("factor light_ranker_share", "factor author_diversity"),
            }
            assert parts["head is_favorited"][1] == 0
    assert any(part["part"] == "head is_favorited" for one in told["moved"] for part in one["why"])


def test_settings(light: World) -> None:
    told = light.compare(settings={"for_you.diversity_decay": 1.0}, operator=False)
    assert told["changed"] == {"for_you.diversity_decay": {"before": 0.5, "after": 1.0}}
    assert told["moved"]
    parts = {part["part"] for one in told["moved"] for part in one["why"]}
    assert parts <= {"factor author_diversity", "others"}
    [own, other] = light.made
    assert own is None
    assert other is not None
    assert other.for_you.diversity_decay == 1.0
    assert other.sources is light.settings.sources


def test_sources_off(light: World) -> None:
    told = light.compare(sources_off=["user_tweet_entity_graph"])
    assert told["sources_off"] == ["user_tweet_entity_graph"]
    [stranger] = [one for one in told["before"]["items"] if one["post_id"] == "300"]
    assert stranger["source"] == "user_tweet_entity_graph"
    others = [one["source"] for one in told["after"]["items"] if one["post_id"] == "300"]
    assert others != ["user_tweet_entity_graph"]
    told = light.compare(sources_off=light.sources)
    assert told["after"]["items"] == []
    assert all(one["to"] is None for one in told["moved"])
    assert {part["part"] for one in told["moved"] for part in one["why"]} == {"sources"}
    assert len(told["moved"]) == 11


def test_a_shorter_page_names_the_stage_that_drops(light: World) -> None:
    changes = {"heuristics.balance.in_network_share": None, "for_you.max_in_network": 3}
    told = light.compare(settings=changes)
    gone = [one["why"] for one in told["moved"] if one["to"] is None]
    assert len(gone) == 7
    assert all({"part": "dropped_by", "before": None, "after": "page"} in why for why in gone)


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        ({"weights": {"is_liked": 1.0}}, ["weights.is_liked"]),
        ({"weights": {"is_replied": -1.0, "is_reposted": 101.0}}, None),
        ({"weights": {"is_replied": float("nan")}}, ["weights.is_replied"]),
        ({"settings": {"for_you.diversity": 1}}, ["settings.for_you.diversity"]),
        ({"settings": {"for_you.diversity_decay": 2}}, ["settings.for_you.diversity_decay"]),
        ({"settings": {"for_you": {}}}, ["settings.for_you"]),
        ({"settings": {"visibility.rules_off": ["cover_markd"]}}, None),
        ({"settings": {"shards.count": 3}}, ["settings.shards.count"]),
        ({"settings": {"": 3, "__class__": 1, "for_you.x.y": 1}}, None),
        (
            {
                "weights": {"is_replied": 1.0},
                "settings": {"heavy_ranker.weights.is_replied": 2.0},
            },
            ["settings.heavy_ranker.weights.is_replied"],
        ),
    ],
)
def test_what_cannot_be_changed_is_named(
    light: World, asked: dict[str, Any], fields: list[str] | None
) -> None:
    with pytest.raises(ProblemError) as problem:
        light.compare(**asked)
    assert problem.value.slug == "invalid-request"
    named = [error.field for error in problem.value.errors]
    given = [
        f"{group}.{name}" for group, of in asked.items() if group != "sources_off" for name in of
    ]
    assert named == (fields or given)
    assert all(error.message for error in problem.value.errors)
    assert light.made in ([], [None])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("for_you.max_seen", 10),
        ("sources.max_signals", 3),
        ("windows.out_of_network_ms", 10),
        ("heuristics.filters.support_reply_ms", 0),
    ],
)
def test_what_only_operators_may_change(light: World, path: str, value: int) -> None:
    light.compare(settings={path: value})
    with pytest.raises(ProblemError) as problem:
        light.compare(settings={path: value}, operator=False)
    assert problem.value.slug == "forbidden"
    assert [error.field for error in problem.value.errors] == [f"settings.{path}"]


def in_an_experiment(states: list[ShardState], **overrides: Any) -> World:
    """A world in which everybody is in one arm."""
    arm = {"name": "on", "percent": 100, "overrides": overrides}
    experiments = [{"name": "trial", "arms": [arm]}]
    settings = load(data_dir=states[0].settings.data_dir, switches={"experiments": experiments})
    return World(states, LocalRouter(states), NO_RANKER, settings)


def test_what_is_changed_are_the_settings_of_the_viewers_arms(
    states: list[ShardState], light: World
) -> None:
    world = in_an_experiment(states, **{"for_you.diversity_decay": 0.9})
    served = world.timelines.for_you(VIEWER, 20, now_ms=NOW_MS)
    assert served.arms == ("trial:on",)
    told = world.compare(settings={"for_you.diversity_floor": 0.0})
    assert told["experiment_arms"] == ["trial:on"]
    assert ids(told["before"]) == [str(item.post_id) for item in served.items]
    assert [one["score"] for one in told["before"]["items"]] == [i.score for i in served.items]
    [_, other] = world.made
    assert other is not None
    assert (other.for_you.diversity_decay, other.for_you.diversity_floor) == (0.9, 0.0)
    # Taken back, the arm's change is no longer there; the others' page is what comes of it.
    back = world.compare(settings={"for_you.diversity_decay": 0.5})
    assert back["changed"] == {"for_you.diversity_decay": {"before": 0.9, "after": 0.5}}
    plain = light.compare()
    assert back["after"] == plain["before"]
    assert back["before"] != plain["before"]
    assert plain["experiment_arms"] == []


def test_whether_a_change_fits_is_judged_with_the_settings_of_the_arms(
    states: list[ShardState], light: World
) -> None:
    changes = {"mixer.who_to_follow.min_items": 25}
    with pytest.raises(ProblemError) as problem:
        light.compare(settings=changes)
    assert [error.field for error in problem.value.errors] == [f"settings.{next(iter(changes))}"]
    world = in_an_experiment(states, **{"mixer.who_to_follow.max_items": 30})
    assert world.compare(settings=changes)["changed"] == {
        "mixer.who_to_follow.min_items": {"before": 3, "after": 25}
    }
    with pytest.raises(ProblemError):
        world.compare(settings={"mixer.who_to_follow.min_items": 31})


@pytest.mark.parametrize(
    ("body", "slug", "name"),
    [
        (b"", "malformed-body", ""),
        (b"{", "malformed-body", ""),
        (b"\xff{}", "malformed-body", ""),
        (b'{"weights": {"a": NaN}}', "malformed-body", ""),
        (b"[" * 50_000, "malformed-body", ""),
        (b"[]", "invalid-request", "body"),
        (b'{"limit": 0}', "invalid-request", "limit"),
        (b'{"limit": 5.5}', "invalid-request", "limit"),
        (b'{"limits": 5}', "invalid-request", "limits"),
        (b'{"limit": 5, "limit": 6}', "invalid-request", "limit"),
        (b'{"weights": {"is_replied": "much"}}', "invalid-request", "weights.is_replied"),
        (b'{"sources_off": [1]}', "invalid-request", "sources_off.0"),
        (b'{"sources_off": "popular"}', "invalid-request", "sources_off"),
    ],
)
def test_bodies_that_cannot_be_read(body: bytes, slug: str, name: str) -> None:
    with pytest.raises(ProblemError) as problem:
        asked_of(body)
    assert problem.value.slug == slug
    assert [error.field for error in problem.value.errors] == ([name] if name else [])


def test_differences() -> None:
    def told(**given: Any) -> dict[str, Any]:
        score = {"light_ranker": 0.5, "logit": 0.0, "final": 0.5, "factors": {"reply": 1.0}}
        plain = {"verdict": "shown", "found_by": ["popular"], "dropped_by": None, "filters": []}
        return plain | {"score": score} | given

    assert differences(told(), told()) == [{"part": "others", "before": None, "after": None}]
    dropped = told(
        verdict="dropped",
        dropped_by="visibility",
        filters=[{"name": "visibility", "passed": False, "rule": "gore"}],
        score=None,
    )
    assert differences(told(), dropped) == [
        {"part": "dropped_by", "before": None, "after": "visibility: gore"}
    ]
    rescored = told(
        score={"light_ranker": 0.75, "final": 0.0, "factors": {"reply": 0.25, "new": 2.0}}
    )
    assert differences(told(), rescored) == [
        {"part": "factor new", "before": None, "after": 2.0},
        {"part": "factor reply", "before": 1.0, "after": 0.25},
        {"part": "score light_ranker", "before": 0.5, "after": 0.75},
    ]
    absent = {"verdict": "not_a_candidate", "found": False}
    assert differences(told(), absent) == [{"part": "sources", "before": ["popular"], "after": []}]


# The route


@pytest.fixture
def client(light: World) -> Iterator[TestClient]:
    app = FastAPI()
    app.add_middleware(Edge, max_ongoing=10, observe=lambda *_: None)
    answer_problems(app, outages=[])

    app.state.tokens = Tokens({token: [scope] for scope, token in TOKENS.items()})

    def compare(user: int, asked: Asked, exact: Exactly, operator: bool) -> dict[str, Any]:
        told = light.what_if.compare(asked, light.make(asked.limit), operator=operator)
        return told | {"user_id": str(user), "now_ms": exact.now_ms or told["now_ms"]}

    async def run(work: Callable[[], bytes]) -> bytes:
        return await asyncio.to_thread(work)

    app.include_router(what_if_routes(compare, run))
    with TestClient(app) as client:
        yield client


def post(
    client: TestClient,
    content: bytes = b"{}",
    role: str = "read",
    media_type: str = "application/json; charset=utf-8",
    **given: Any,
) -> Any:
    headers = {"Content-Type": media_type, "Authorization": f"Bearer {TOKENS[role]}"}
    path = "/v1/timelines/for-you/7/what-if"
    return client.post(path, content=content, headers=headers, params=given)


def test_the_route(client: TestClient) -> None:
    answer = post(
        client, b'{"settings": {"for_you.diversity_decay": 1}, "limit": 5}', "admin", now_ms=9
    )
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["user_id"], told["now_ms"]) == ("7", 9)
    assert len(told["before"]["items"]) == len(told["after"]["items"]) == 5
    schema = client.get("/openapi.json").json()["paths"]["/v1/timelines/for-you/{user_id}/what-if"]
    assert set(schema) == {"post"}
    assert "application/json" in schema["post"]["requestBody"]["content"]


def test_problems_of_the_route(client: TestClient) -> None:
    answer = post(client, b'{"settings": {"for_you.max_seen": 9}}')
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    assert 'scope="admin"' in answer.headers["www-authenticate"]
    assert post(client, b'{"settings": {"for_you.max_seen": 9}}', "admin").status_code == 200
    answer = post(client, b'{"sources_off": ["x"]}')
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "sources_off.0"
    assert post(client, media_type="text/plain").status_code == 415
    assert post(client, b" " * (MAX_BODY_BYTES + 1)).status_code == 413
    assert post(client, b"{").status_code == 400
    assert client.post("/v1/timelines/for-you/0/what-if", json={}).status_code == 401

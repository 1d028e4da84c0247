"""The routes over representations: scopes, parameters, unknown ids, the form of the answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.router import shards_of
from tests.http_world import (
    AUTHOR,
    FRIEND,
    N_SHARDS,
    NOW_MS,
    STRANGER,
    VIEWER,
    World,
    a_lively_world,
    problem_of,
)
from tests.timeline.trained_worlds import write_rows
from timeline import representation_answers as answers

POST = 201
"""The stranger's, which the friend liked."""
PATHS = (
    f"/v1/users/{VIEWER}/similar",
    f"/v1/posts/{POST}/similar",
    f"/v1/users/{VIEWER}/communities",
    f"/v1/score?user_id={VIEWER}&other_post_id={POST}",
)


@pytest.fixture
def lively(tmp_path: Path) -> Iterator[World]:
    yield from a_lively_world(tmp_path)


@pytest.fixture
def trained(lively: World) -> World:
    """The lively world, where viewer, friend and author have representations."""
    rows = {VIEWER: {0: 0.8, 1: 0.2}, FRIEND: {0: 0.9}, AUTHOR: {0: 0.4, 1: 0.6}}
    vectors = {VIEWER: (1.0, 0, 0), FRIEND: (0.8, 0.6, 0), AUTHOR: (0, 1.0, 0)}
    versions = write_rows(lively.settings.data_dir, rows, vectors)
    for state in lively.states:
        for name, version in versions.items():
            state.activate(name, version, NOW_MS)
        assert not state.counters["refused_activations"]
    return lively


def get(world: World, path: str, role: str = "read") -> Any:
    """A path with its query; the world's own `get` would drop that."""
    return world.client.get(path, headers=world.as_(role))


def test_users_like_a_user(trained: World) -> None:
    answer = trained.get(f"/v1/users/{VIEWER}/similar")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    told = answers.SimilarUsersAnswer.model_validate(answer.json())
    assert [item.user_id for item in told.items] == [str(FRIEND), str(AUTHOR)]
    assert (told.degraded, told.reason, told.now_ms) == ([], None, NOW_MS)
    assert told.versions.simclusters
    assert told.versions.twhin
    assert all(item.reasons for item in told.items)
    one = trained.get(f"/v1/users/{VIEWER}/similar", limit=1).json()
    assert [item["user_id"] for item in one["items"]] == [str(FRIEND)]


def test_posts_like_a_post(trained: World) -> None:
    liked = {"kind": "favourite", "actor_id": FRIEND, "post_id": 105, "author_id": AUTHOR}
    trained.post([liked | {"time_ms": NOW_MS - 60_000}])
    trained.catch_up()
    for asked in ({}, {"author_id": STRANGER}):
        answer = trained.get(f"/v1/posts/{POST}/similar", **asked)
        told = answers.SimilarPostsAnswer.model_validate(answer.json())
        assert (told.post_id, told.author_id) == (str(POST), str(STRANGER))
        [item] = told.items
        assert (item.post_id, item.author_id) == ("105", str(AUTHOR))
        assert item.score == pytest.approx(1.0, abs=1e-5)
        assert {reason.kind for reason in item.reasons} == {"shared_communities", "near_in_twhin"}


def test_communities(trained: World) -> None:
    answer = trained.get(f"/v1/users/{VIEWER}/communities")
    told = answers.UserCommunitiesAnswer.model_validate(answer.json())
    assert [one.community for one in told.interested_in] == [0, 1]
    assert told.interested_in[0].proof is not None
    assert told.interested_in[0].proof.followed_producers == 1
    assert told.interested_in[0].proof.user_ids == [str(FRIEND)]
    assert "1 are followed" in told.interested_in[0].proof.text


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"user_id": VIEWER}, {"other_user_id": AUTHOR}),
        ({"user_id": VIEWER}, {"other_post_id": POST, "other_author_id": STRANGER}),
        ({"post_id": POST, "author_id": STRANGER}, {"other_user_id": VIEWER}),
        ({"post_id": POST}, {"other_post_id": 105}),
    ],
)
def test_scores_of_pairs(trained: World, left: dict[str, Any], right: dict[str, Any]) -> None:
    answer = trained.get("/v1/score", **left, **right)
    told = answers.ScoreAnswer.model_validate(answer.json())
    assert {one.model for one in told.scores} == {"simclusters", "twhin"}
    assert (told.real_graph is None) == ("other_post_id" in right or "post_id" in left)
    # Nobody liked 105.
    nothing = right.get("other_post_id") == 105
    assert all(one.scores is None for one in told.scores) == nothing
    kinds = {reason.kind for reason in told.reasons}
    assert ("shared_communities" in kinds) == (not nothing)


def test_before_anything_is_trained(lively: World) -> None:
    for path in PATHS[:3]:
        told = get(lively, path).json()
        assert told["reason"] == "untrained"
        assert told["versions"] == {"simclusters": None, "twhin": None}
        assert told.get("items", told.get("interested_in")) == []
    told = get(lively, PATHS[3]).json()
    assert all(one["scores"] is None for one in told["scores"])
    assert told["reputation"] == {"left": None, "right": None}


@pytest.mark.parametrize("path", PATHS)
def test_reading_needs_the_scope(lively: World, path: str) -> None:
    problem_of(lively.client.get(path), 401, "unauthorized")
    problem_of(get(lively, path, role="write"), 403, "forbidden")
    assert get(lively, path, role="admin").status_code == 200


@pytest.mark.parametrize(
    ("path", "slug"),
    [
        ("/v1/users/987654/similar", "unknown-user"),
        ("/v1/users/987654/communities", "unknown-user"),
        ("/v1/posts/987654/similar", "unknown-post"),
        (f"/v1/posts/{POST}/similar?author_id={AUTHOR}", "unknown-post"),
        (f"/v1/score?user_id={VIEWER}&other_user_id=987654", "unknown-user"),
        (f"/v1/score?post_id=987654&other_user_id={VIEWER}", "unknown-post"),
    ],
)
def test_unknown_ids(trained: World, path: str, slug: str) -> None:
    problem_of(get(trained, path), 404, slug)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/users/x/similar", "user_id"),
        ("/v1/users/1/similar?limit=0", "limit"),
        ("/v1/users/-1/communities", "user_id"),
        ("/v1/posts/0/similar", "post_id"),
        ("/v1/posts/1/similar?author_id=1.5", "author_id"),
        ("/v1/posts/1/similar?limit=101", "limit"),
        ("/v1/score", "user_id"),
        ("/v1/score?user_id=1", "other_user_id"),
        ("/v1/score?user_id=1&post_id=2&other_user_id=3", "user_id"),
        ("/v1/score?user_id=1&other_user_id=3&other_author_id=4", "other_author_id"),
        ("/v1/score?user_id=1&author_id=2&other_user_id=3", "author_id"),
        ("/v1/score?user_id=abc&other_user_id=3", "user_id"),
    ],
)
def test_bad_parameters(lively: World, path: str, field: str) -> None:
    document = problem_of(get(lively, path), 422, "invalid-request")
    assert [error["field"] for error in document["errors"]] == [field]


@pytest.mark.parametrize("path", PATHS)
def test_dead_shards_never_make_an_error(trained: World, path: str) -> None:
    home = int(shards_of(np.array([VIEWER]), N_SHARDS)[0])
    for down in ({home}, {0, 1}):
        trained.router.down = set(down)
        answer = get(trained, path)
        assert answer.status_code == 200
        if "/posts/" not in path or len(down) > 1:
            assert answer.json()["degraded"]


def test_openapi_has_examples_that_fit(lively: World) -> None:
    document = lively.client.get("/openapi.json").json()
    for name in ("SimilarUsers", "SimilarPosts", "UserCommunities", "Score"):
        form = getattr(answers, f"{name}Answer")
        assert document["components"]["schemas"][f"{name}Answer"]["example"]
        example = form.model_config["json_schema_extra"]["example"]
        assert form.model_validate(example).model_dump(mode="json") == example
    for path in ("/v1/users/{user_id}/similar", "/v1/score"):
        assert document["paths"][path]["get"]["security"]

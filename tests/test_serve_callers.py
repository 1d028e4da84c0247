"""Who may read what: every route of the OpenAPI document, asked with tokens of every kind.

A route that is not in the tables below fails the first test, so a new one cannot be forgotten.
"""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from cluster.tokens import Tokens
from tests.http_world import (
    AUTHOR,
    FRIEND,
    NOW_MS,
    TOKENS,
    VIEWER,
    World,
    a_lively_world,
    an_event,
    problem_of,
)

LIST, OTHER_LIST = 71, 72
OWN = {
    ("get", "/v1/timelines/for-you/{user_id}"),
    ("get", "/v1/timelines/following/{user_id}"),
    ("get", "/v1/timelines/lists/{list_id}"),
    ("get", "/v1/users/{user_id}/top-posts"),
    ("get", "/v1/timelines/for-you/{user_id}/why/{post_id}"),
    ("post", "/v1/timelines/for-you/{user_id}/what-if"),
    ("get", "/v1/users/{user_id}/analytics"),
    ("get", "/v1/users/{user_id}/labels"),
    ("get", "/v1/users/{user_id}/posts/{post_id}/labels"),
    ("get", "/v1/users/{user_id}/follow-recommendations"),
}
"""What is a user's own: a token of that user suffices."""
READ = {
    ("get", "/v1/users/{user_id}/similar"),
    ("get", "/v1/users/{user_id}/communities"),
    ("get", "/v1/posts/{post_id}/similar"),
    ("get", "/v1/score"),
    ("get", "/metrics"),
}
WRITE = {("post", "/v1/events")}
OPEN = {("get", "/healthz"), ("get", "/readyz"), ("get", "/version")}
SCOPES = {
    **TOKENS,
    f"read:user:{VIEWER}": "token-of-the-viewer",
    f"read:user:{FRIEND}": "token-of-the-friend",
    f"read:user:{VIEWER},read:user:{FRIEND}": "token-of-both-users",
    f"write,read:user:{VIEWER}": "token-of-a-client",
    f"read:user:{VIEWER}0": "token-of-somebody-else",
    f"write:user:{VIEWER}": "token-that-reports",
    f"write:user:{VIEWER},write:user:{FRIEND}": "token-that-reports-of-two",
    f"read:user:{VIEWER},write:user:{VIEWER}": "token-of-an-app-of-the-viewer",
}
LEAST = ("read:user:{user_id}", "read", "write:user:{actor_id}", None)
"""The least scope of each table's routes."""
OF_VIEWER = [scope for scope in SCOPES if f"read:user:{VIEWER}" in scope.split(",")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    lists = [
        an_event("list_create", actor_id=owner, target_id=one)
        for owner, one in ((VIEWER, LIST), (FRIEND, OTHER_LIST))
    ]
    added = an_event("list_add", actor_id=FRIEND, target_id=OTHER_LIST, author_id=AUTHOR)
    own = [
        an_event("post_create", 60, post_id=post, author_id=author)
        for post, author in ((301, VIEWER), (302, FRIEND))
    ]
    more = [*lists, added, *own]
    for world in a_lively_world(tmp_path_factory.mktemp("callers"), more):
        given = {token: scope.split(",") for scope, token in SCOPES.items()}
        world.client.app.state.tokens = Tokens(given)  # type: ignore[attr-defined]
        yield world


def ask(
    world: World, operation: tuple[str, str], scope: str | None, user: Any = VIEWER, **query: Any
) -> Any:
    """Ask a route for what is `user`'s."""
    method, path = operation
    own = {VIEWER: (LIST, 301), FRIEND: (OTHER_LIST, 302)}
    list_id, post_id = own.get(user, (LIST, 301))
    url = path.format(user_id=user, list_id=list_id, post_id=post_id)
    if path.endswith("/lists/{list_id}"):
        query.setdefault("user_id", user)
    elif path == "/v1/score":
        query |= {"user_id": user, "other_user_id": AUTHOR}
    headers = {"Authorization": f"Bearer {SCOPES[scope]}"} if scope else {}
    body = {}
    if method == "post":
        headers["Content-Type"] = "application/json"
        body = {"content": orjson.dumps([] if path == "/v1/events" else {})}
    return world.client.request(method.upper(), url, params=query, headers=headers, **body)


def test_every_route_is_in_one_table_and_its_scope_in_the_document(world: World) -> None:
    tables = (OWN, READ, WRITE, OPEN)
    paths = world.client.get("/openapi.json").json()["paths"]
    documented = {(method, path): spec for path in paths for method, spec in paths[path].items()}
    assert sorted(documented) == sorted(operation for table in tables for operation in table)
    for table, scope in zip(tables, LEAST, strict=True):
        for operation in table:
            asked = documented[operation].get("security")
            assert asked == ([{"HTTPBearer": [scope]}] if scope else None), operation


@pytest.mark.parametrize("operation", sorted(OWN))
def test_a_users_token_reads_what_is_the_users_own(
    world: World, operation: tuple[str, str]
) -> None:
    for scope in ("read", "admin", *OF_VIEWER):
        answer = ask(world, operation, scope)
        assert answer.status_code == 200, (scope, answer.text)
        assert answer.json()["user_id"] == str(VIEWER)


@pytest.mark.parametrize("operation", sorted(OWN))
def test_a_users_token_reads_nothing_of_others(world: World, operation: tuple[str, str]) -> None:
    for scope, user in (
        *((f"read:user:{VIEWER}", other) for other in (FRIEND, AUTHOR, 987_654, 2**63 - 1)),
        (f"read:user:{FRIEND}", VIEWER),
        (f"read:user:{VIEWER}0", VIEWER),
        (f"write,read:user:{VIEWER}", FRIEND),
        (f"read:user:{VIEWER},write:user:{VIEWER}", FRIEND),
    ):
        answer = ask(world, operation, scope, user)
        document = problem_of(answer, 403, "forbidden")
        assert document["detail"] == f"needs the scope read or read:user:{user}"
        assert f'scope="read:user:{user}"' in answer.headers["www-authenticate"]
    for scope in ("write", f"write:user:{VIEWER}"):
        problem_of(ask(world, operation, scope), 403, "forbidden")
    problem_of(ask(world, operation, None), 401, "unauthorized")


@pytest.mark.parametrize("operation", sorted(OWN))
def test_what_is_wrong_with_an_id_is_told_to_readers_alone(
    world: World, operation: tuple[str, str]
) -> None:
    for scope in ("read", f"read:user:{VIEWER}"):
        document = problem_of(ask(world, operation, scope, "1.0"), 422, "invalid-request")
        assert [error["field"] for error in document["errors"]] == ["user_id"]
    problem_of(ask(world, operation, "write", "1.0"), 403, "forbidden")


@pytest.mark.parametrize("operation", sorted(READ))
def test_the_rest_is_for_servers(world: World, operation: tuple[str, str]) -> None:
    for scope in (*OF_VIEWER, f"write:user:{VIEWER}"):
        problem_of(ask(world, operation, scope), 403, "forbidden")
    for scope in ("read", "admin"):
        assert ask(world, operation, scope).status_code == 200


def test_a_users_token_writes_only_where_it_says_so(world: World) -> None:
    (events,) = WRITE
    for scope in ("read", f"read:user:{VIEWER}"):
        problem_of(ask(world, events, scope), 403, "forbidden")
    for scope in ("write", "admin", f"write,read:user:{VIEWER}", f"write:user:{VIEWER}"):
        assert ask(world, events, scope).status_code == 200


def send(world: World, scope: str, *events: Any, **query: Any) -> Any:
    headers = {"Authorization": f"Bearer {SCOPES[scope]}", "Content-Type": "application/json"}
    content = orjson.dumps(list(events))
    return world.client.post("/v1/events", content=content, params=query, headers=headers)


def on_post(kind: str, actor: int) -> dict[str, Any]:
    return an_event(kind, 1, actor_id=actor, post_id=301, author_id=VIEWER)


MINE, THEIRS = on_post("impression", VIEWER), on_post("favourite", FRIEND)
POST = an_event("post_create", 1, post_id=303, author_id=VIEWER)


@pytest.mark.parametrize(
    ("scope", "refused"),
    [
        (f"write:user:{VIEWER}", {1: "actor_id", 2: "kind"}),
        (f"read:user:{VIEWER},write:user:{VIEWER}", {1: "actor_id", 2: "kind"}),
        (f"write:user:{VIEWER},write:user:{FRIEND}", {2: "kind"}),
        (f"write,read:user:{VIEWER}", {}),
        ("write", {}),
        ("admin", {}),
    ],
)
def test_a_users_token_writes_in_the_users_own_name(
    world: World, scope: str, refused: dict[int, str]
) -> None:
    answer = send(world, scope, MINE, THEIRS, POST).json()
    assert {p["index"]: p["field"] for p in answer["problems"]} == refused
    assert answer["accepted"] == 3 - len(refused)
    if refused:
        document = problem_of(send(world, scope, POST), 422, "invalid-events")
        told = "kind needs a token with the scope write (post_create)"
        assert document["errors"] == [{"field": "kind", "message": told, "index": 0}]


def test_old_events_and_activations_are_not_a_users_to_send(world: World) -> None:
    scope = f"write:user:{VIEWER}"
    problem_of(send(world, scope, MINE, history=True), 403, "forbidden")
    activate = an_event("artifact_activate", 1, name="light_ranker", model_version="1")
    document = problem_of(send(world, scope, activate), 422, "invalid-events")
    assert [error["field"] for error in document["errors"]] == ["kind"]


@pytest.mark.parametrize("operation", sorted(OPEN))
def test_health_is_open(world: World, operation: tuple[str, str]) -> None:
    for scope in (None, *SCOPES):
        assert ask(world, operation, scope).status_code == 200


@pytest.mark.parametrize("exact", [{"now_ms": NOW_MS}, {"seed": 1}, {"record": "false"}])
def test_exact_requests_stay_for_operators(world: World, exact: dict[str, Any]) -> None:
    for operation in sorted(OWN):
        if "/users/" in operation[1] and "top-posts" not in operation[1]:
            continue  # takes none of these
        for scope in ("read", f"read:user:{VIEWER}"):
            problem_of(ask(world, operation, scope, **exact), 403, "forbidden")


def test_another_way_to_write_the_same_id_is_the_same_user(world: World) -> None:
    operation = ("get", "/v1/timelines/for-you/{user_id}")
    assert ask(world, operation, f"read:user:{VIEWER}", f"0{VIEWER}").status_code == 200
    problem_of(ask(world, operation, f"read:user:{VIEWER}", f"0{FRIEND}"), 403, "forbidden")


def test_two_owners_of_a_list_give_nothing_away(world: World) -> None:
    operation = ("get", "/v1/timelines/lists/{list_id}")
    for given in ([VIEWER, FRIEND], [FRIEND, VIEWER]):
        answer = ask(world, operation, f"read:user:{VIEWER}", user_id=given)
        if answer.status_code == 200:
            assert answer.json()["user_id"] == str(VIEWER)
        else:
            problem_of(answer, 403, "forbidden")


def test_ids_of_others_things_open_nothing(world: World) -> None:
    """Lists, posts and requests of others, asked for under one's own id."""
    headers = {"Authorization": f"Bearer {SCOPES[f'read:user:{VIEWER}']}"}

    def get(path: str, **query: Any) -> Any:
        return world.client.get(path, params=query, headers=headers)

    problem_of(get(f"/v1/timelines/lists/{OTHER_LIST}", user_id=VIEWER), 404, "unknown-list")
    problem_of(get(f"/v1/users/{VIEWER}/posts/302/labels"), 404, "unknown-post")
    page = ask(world, ("get", "/v1/timelines/for-you/{user_id}"), "read", FRIEND).json()
    of_friend = {"request_id": page["request_id"]}
    path = f"/v1/timelines/for-you/{VIEWER}"
    problem_of(get(f"{path}/why/302", **of_friend), 404, "unknown-request")
    assert page["cursor"]
    problem_of(get(path, cursor=page["cursor"]), 400, "invalid-cursor")


def test_what_if_keeps_its_own_scopes(world: World) -> None:
    path = f"/v1/timelines/for-you/{VIEWER}/what-if"
    headers = {
        "Authorization": f"Bearer {SCOPES[f'read:user:{VIEWER}']}",
        "Content-Type": "application/json",
    }

    def ask_for(**settings: Any) -> Any:
        content = orjson.dumps({"settings": settings})
        return world.client.post(path, content=content, headers=headers)

    assert ask_for(**{"for_you.diversity_decay": 1.0}).status_code == 200
    problem_of(ask_for(**{"for_you.max_seen": 10}), 403, "forbidden")

"""What OpenAPI promises holds for anything that may be sent: a property test over every route.

Each route is asked with values that its own parameters allow, then with one that they do not,
without a token, and by methods that it has not. No answer may be a 5xx, each must have the
documented form with nothing undocumented in it, and what is wrong must be refused by name.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cluster.events import COLUMNS, KIND_OF_LABEL, MEDIA_DIMENSIONS, REFERENCES, RULES, Kind
from cluster.own_events import OWN_KINDS
from cluster.tokens import BY_USER, Tokens, of_user
from cluster.validation import check_objects
from tests.http_world import (
    AUTHOR,
    FRIEND,
    NOW_MS,
    POSTS,
    STRANGER,
    TOKENS,
    VIEWER,
    Event,
    World,
    a_lively_world,
    an_event,
)
from timeline.parameters import MAX_LIMIT

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PROBLEM = "application/problem+json"
OPERATIONS = 19
OWN_TOKEN = "token-of-the-viewers-app"
KNOWN = {
    "user_id": [VIEWER, FRIEND, AUTHOR, STRANGER],
    "post_id": [*POSTS, 201],
    "list_id": [71],
    "user_ids": [VIEWER, AUTHOR],
}
"""Ids that mean something in the world that is asked."""
NO_INTEGERS = [
    "",
    " ",
    "x",
    "1.5",
    "-1",
    "+1",
    "1_0",
    "NaN",
    "٣",
    "1e3",
    "0x1",
    str(2**63),
    "9" * 99,
]
NO_SWITCHES = ["", "yes", "2", "null", "truefalse"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)


@dataclass(frozen=True)
class Operation:
    """One route and method of the document."""

    path: str
    method: str
    spec: dict[str, Any]

    def parameters(self, place: str) -> list[dict[str, Any]]:
        return [p for p in self.spec.get("parameters", ()) if p["in"] == place]

    def url(self, values: dict[str, str]) -> str:
        return self.path.format(**values)


@dataclass(frozen=True)
class Served:
    world: World
    document: dict[str, Any]
    operations: list[Operation]

    def named(self, path: str, method: str = "get") -> Operation:
        return next(o for o in self.operations if (o.path, o.method) == (path, method))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = {"actor_id": VIEWER, "target_id": 71}
    more = [an_event("list_create", **made), an_event("list_add", author_id=AUTHOR, **made)]
    for world in a_lively_world(tmp_path_factory.mktemp("openapi"), more):
        given = {token: [role] for role, token in TOKENS.items()}
        own = [of_user(VIEWER), f"{BY_USER}{VIEWER}"]
        world.client.app.state.tokens = Tokens({**given, OWN_TOKEN: own})  # type: ignore[attr-defined]
        document = world.client.get("/openapi.json").json()
        yield Served(
            world,
            document,
            [
                Operation(path, method, spec)
                for path, methods in document["paths"].items()
                for method, spec in methods.items()
            ],
        )


@pytest.fixture(scope="module", params=range(OPERATIONS))
def operation(served: Served, request: pytest.FixtureRequest) -> Operation:
    assert len(served.operations) == OPERATIONS
    return served.operations[request.param]


def one_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter that may be left out, without the null."""
    options = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    return dict(options[0])


def good(parameter: dict[str, Any]) -> st.SearchStrategy[str]:
    schema = one_schema(parameter["schema"])
    match schema["type"]:
        case "integer":
            low, high = schema["minimum"], schema["maximum"]
            edges = [low, high, *KNOWN.get(parameter["name"], ())]
            numbers = st.sampled_from(edges) | st.integers(low, high)
            return numbers.map(str)
        case "boolean":
            return st.sampled_from(["true", "false"])
        case "array":
            item = {"name": parameter["name"], "schema": schema["items"]}
            return good(item)
    return st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)


def bad(parameter: dict[str, Any]) -> st.SearchStrategy[str] | None:
    schema = one_schema(parameter["schema"])
    match schema["type"]:
        case "integer":
            beyond = [schema["minimum"] - 1, schema["maximum"] + 1]
            return st.sampled_from([*NO_INTEGERS, *map(str, beyond)])
        case "boolean":
            return st.sampled_from(NO_SWITCHES)
    return None


def body_of(operation: Operation) -> st.SearchStrategy[bytes | None]:
    if "requestBody" not in operation.spec:
        return st.none()
    content = operation.spec["requestBody"]["content"]["application/json"]
    example = content["example"]
    asked = st.fixed_dictionaries(
        {},
        optional={
            "weights": st.dictionaries(
                st.sampled_from(["is_replied", "is_favorited", "x"]), VALUES, max_size=2
            ),
            "settings": st.dictionaries(
                st.sampled_from(["for_you.diversity_decay", "for_you.max_seen", "mixer", ""]),
                VALUES,
                max_size=2,
            ),
            "sources_off": st.lists(st.sampled_from(["in_network", "nobody"]), max_size=2),
            "limit": st.integers(0, MAX_LIMIT + 1),
        },
    )
    return st.one_of(
        st.just(orjson.dumps(example)),
        asked.map(_json),
        VALUES.map(_json),
        st.binary(max_size=30),
    )


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer of more than 64 bits, or a lone surrogate
        return b"{}"


@st.composite
def a_request(
    draw: st.DrawFn, operation: Operation
) -> tuple[dict[str, str], dict[str, str], bytes | None]:
    """Values of the path, of the query, and the body; all as documented."""
    path = {p["name"]: draw(good(p)) for p in operation.parameters("path")}
    query = {
        p["name"]: draw(good(p))
        for p in operation.parameters("query")
        if p["required"] or draw(st.booleans())
    }
    return path, query, draw(body_of(operation))


def ask(
    served: Served,
    operation: Operation,
    path: dict[str, str],
    query: dict[str, str],
    body: bytes | None,
    role: str | None = "admin",
) -> Any:
    tokens = {**TOKENS, "oneself": OWN_TOKEN}
    headers = {"Authorization": f"Bearer {tokens[role]}"} if role else {}
    if body is not None:
        headers |= {"Content-Type": "application/json"}
    method, url = operation.method.upper(), operation.url(path)
    return served.world.client.request(method, url, params=query, content=body, headers=headers)


def check(served: Served, operation: Operation, answer: Any) -> None:
    """The answer is one that the document knows, in the form that it says."""
    assert answer.status_code < 500, answer.text
    assert answer.headers["cache-control"] == "no-store"
    media_type = answer.headers["content-type"]
    responses = operation.spec["responses"]
    documented = responses.get(str(answer.status_code), responses["default"])["content"]
    media_type = media_type.partition(";")[0]
    assert media_type in documented
    if media_type == "text/plain":
        assert operation.path == "/metrics"
        return
    assert media_type == ("application/json" if answer.status_code == 200 else PROBLEM)
    validator_of(served.document, documented[media_type]["schema"]).validate(answer.json())


def validator_of(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """Of a schema of the document, with nothing allowed that it does not name."""
    components = copy.deepcopy(document["components"])
    for one in components["schemas"].values():
        if "properties" in one:
            one.setdefault("additionalProperties", False)
    return Draft202012Validator({**schema, "components": components})


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_allowed_is_answered_as_documented(
    served: Served, operation: Operation, data: st.DataObject
) -> None:
    path, query, body = data.draw(a_request(operation))
    check(served, operation, ask(served, operation, path, query, body))


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_not_allowed_is_refused_by_name(
    served: Served, operation: Operation, data: st.DataObject
) -> None:
    wrong = [p for p in operation.spec.get("parameters", ()) if bad(p) is not None]
    if not wrong:
        return
    path, query, body = data.draw(a_request(operation))
    chosen = data.draw(st.sampled_from(wrong))
    strategy = bad(chosen)
    assert strategy is not None
    value = data.draw(strategy)
    if chosen["in"] == "path":
        path[chosen["name"]] = value
    else:
        query[chosen["name"]] = value
    answer = ask(served, operation, path, query, body)
    check(served, operation, answer)
    if answer.status_code == 404:
        assert chosen["in"] == "path"
        assert value == ""
        return
    assert answer.status_code == 422, answer.text
    assert chosen["name"] in [error["field"] for error in answer.json()["errors"]]


@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_nothing_secured_is_told_without_a_token(
    served: Served, operation: Operation, data: st.DataObject
) -> None:
    path, query, body = data.draw(a_request(operation))
    answer = ask(served, operation, path, query, body, role=None)
    check(served, operation, answer) if "security" in operation.spec else None
    expected = 401 if "security" in operation.spec else 200
    assert answer.status_code == expected
    if "security" in operation.spec:
        wrong = "read" if operation.path == "/v1/events" else "write"
        assert ask(served, operation, path, query, body, role=wrong).status_code == 403


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_users_token_opens_what_the_document_says(
    served: Served, operation: Operation, data: st.DataObject
) -> None:
    path, query, body = data.draw(a_request(operation))
    answer = ask(served, operation, path, query, body, role="oneself")
    if "security" not in operation.spec:
        assert answer.status_code == 200
        return
    check(served, operation, answer)
    [[least]] = [next(iter(one.values())) for one in operation.spec["security"]]
    user = {**path, **query}.get("user_id", str(VIEWER))
    for_operators = {"now_ms", "seed", "record"} & set(query) or query.get("history") == "true"
    if ":user:" not in least or int(user) != VIEWER:
        assert answer.status_code == 403
    elif not for_operators and operation.method == "get":
        assert answer.status_code != 403


def test_methods_that_a_route_has_not(served: Served, operation: Operation) -> None:
    known = {o.method.upper() for o in served.operations if o.path == operation.path}
    url = operation.url(dict.fromkeys([p["name"] for p in operation.parameters("path")], "1"))
    for method in METHODS:
        if method not in known:
            answer = served.world.client.request(method, url, headers=served.world.as_("admin"))
            assert answer.status_code == 405, f"{method} {url}"
            assert set(answer.headers["allow"].split(", ")) == known
            check(served, operation, answer)


def test_counters_are_documented_as_text_alone(served: Served) -> None:
    documented = served.named("/metrics").spec["responses"]["200"]["content"]
    assert list(documented) == ["text/plain"]
    answer = served.world.get("/metrics")
    assert answer.headers["content-type"].partition(";")[0] == "text/plain"


def test_what_is_not_ready_is_told_in_the_documented_form(served: Served) -> None:
    responses = served.named("/readyz").spec["responses"]
    served.world.router.down = {0, 1}
    try:
        answer = served.world.client.get("/readyz")
    finally:
        served.world.router.down = set()
    assert answer.status_code == 503
    content = responses["503"]["content"]
    assert set(content) == {answer.headers["content-type"], PROBLEM}
    validator_of(served.document, content["application/json"]["schema"]).validate(answer.json())


def known_value(name: str) -> Any:
    """A value of a field that no rule refuses whatever the others are."""
    values = {
        "actor_id": VIEWER,
        "author_id": str(AUTHOR),
        "target_id": FRIEND,
        "name": "in_network_share",
        "value": 1,
        "topics": [5, "6"],
        "media_embedding": [0.5] * MEDIA_DIMENSIONS,
    }
    if name in values:
        return values[name]
    if name.endswith("_id") and name != "request_id":
        return 9_000
    kind = COLUMNS[name]
    return True if pa.types.is_boolean(kind) else "en" if pa.types.is_string(kind) else 3


@st.composite
def an_event_of_any_kind(draw: st.DrawFn) -> Event:
    """Mostly right: it may lack a field, have one too many, or a value of another type."""
    kind = draw(st.sampled_from(Kind))
    rule = RULES[kind]
    names = {*rule.needs, *draw(st.sets(st.sampled_from(sorted(rule.may) or ["event_id"])))}
    for link, author in {**REFERENCES, "root_author_id": "root_id"}.items():
        if link in names and draw(st.integers(0, 3)):
            names.add(author)
    event = {name: known_value(name) for name in sorted(names)}
    event |= {"kind": kind.label, "time_ms": NOW_MS}
    match draw(st.integers(0, 4)):
        case 0:
            del event[draw(st.sampled_from(sorted(event)))]
        case 1:
            name = draw(st.sampled_from(sorted(COLUMNS)))
            event.setdefault(name, known_value(name))
        case 2:
            name = draw(st.sampled_from(sorted(set(event) - {"event_id", "request_id"})))
            event[name] = draw(st.sampled_from([[], {}, "", "0", -(2**70), 1.5, None, "x", 2**63]))
    return event


def is_refused_for_what_a_schema_cannot_say(event: Event) -> bool:
    """A name that is no preference's, a value out of its range, or an empty keyword."""
    kind = KIND_OF_LABEL.get(str(event.get("kind")))
    chosen = (Kind.PREFERENCE, Kind.DISMISS, Kind.MODULE_SERVED)
    choice = kind in chosen and (event["name"], event.get("value")) != ("in_network_share", 1)
    return choice or event.get("keyword") == ""


@pytest.fixture(scope="module")
def batches(served: Served) -> Draft202012Validator:
    """Of what the document says of batches of events in JSON."""
    spec = served.named("/v1/events", "post").spec
    schema = spec["requestBody"]["content"]["application/json"]["schema"]
    return validator_of(served.document, schema)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(event=an_event_of_any_kind())
def test_events_of_the_documented_form_and_no_others_are_taken(
    batches: Draft202012Validator, event: Event
) -> None:
    fits = batches.is_valid([event])
    found = check_objects([event], now_ms=NOW_MS).problems
    if fits and found:
        assert is_refused_for_what_a_schema_cannot_say(event), found
    elif not found:
        assert fits, event


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(events=st.lists(an_event_of_any_kind(), min_size=1, max_size=4))
def test_a_users_token_writes_what_is_right_and_the_users_own(
    served: Served, events: list[Event]
) -> None:
    operation = served.named("/v1/events", "post")
    answer = ask(served, operation, {}, {}, json.dumps(events).encode(), role="oneself")
    check(served, operation, answer)
    wrong = {problem.index for problem in check_objects(events, now_ms=NOW_MS).problems}
    own = {
        number
        for number, event in enumerate(events)
        if KIND_OF_LABEL.get(str(event.get("kind"))) in OWN_KINDS
        and str(event.get("actor_id")) == str(VIEWER)
    }
    told = answer.json()
    refused = {one["index"] for one in told["errors" if answer.status_code == 422 else "problems"]}
    assert refused == set(range(len(events))) - (own - wrong)


def test_a_wrapped_batch_is_documented(served: Served, batches: Draft202012Validator) -> None:
    spec = served.named("/v1/events", "post").spec["requestBody"]
    example = spec["content"]["application/json"]["example"]
    assert batches.is_valid(example)
    assert batches.is_valid({"events": example})
    several: list[Any] = [{"events": example, "more": 1}, {}, {"events": {}}, [[]], [1], "[]"]
    for wrong in several:
        assert not batches.is_valid(wrong)
        assert served.world.post(wrong).status_code == 422


def test_the_examples_of_the_document_have_its_form(served: Served) -> None:
    document = copy.deepcopy(served.document)
    for schema in document["components"]["schemas"].values():
        # FastAPI leaves nulls out of examples.
        schema["required"] = [
            name
            for name in schema.get("required", ())
            if schema["properties"][name].get("anyOf", [{}])[-1].get("type") != "null"
            and set(schema["properties"][name]) - {"title", "description"}
        ]
    examples = {
        name: schema["example"]
        for name, schema in document["components"]["schemas"].items()
        if "example" in schema
    }
    assert len(examples) >= 10
    for name, example in examples.items():
        validator_of(document, {"$ref": f"#/components/schemas/{name}"}).validate(example)

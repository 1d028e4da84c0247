"""The JSON of every answer: its form for people (OpenAPI), and its bytes."""

from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict

from cluster.ingest import Ingested
from timeline.timelines import Item, Page

_EVENTS = [
    {"kind": "user_create", "time_ms": 1700000000000, "actor_id": "1033", "name": "ada"},
    {
        "kind": "post_create",
        "time_ms": 1700000060000,
        "post_id": "7001",
        "author_id": "1033",
        "text": "a murmuration over the pier tonight",
        "language": "en",
    },
    {"kind": "follow", "time_ms": 1700000120000, "actor_id": "1041", "target_id": "1033"},
    {
        "kind": "favourite",
        "time_ms": 1700000180000,
        "actor_id": "1041",
        "post_id": "7001",
        "author_id": "1033",
    },
]
_LINES = "\n".join(orjson.dumps(event).decode() for event in _EVENTS)
EVENTS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "array", "items": {"type": "object"}},
                "example": _EVENTS,
            },
            "application/x-ndjson": {"schema": {"type": "string"}, "example": _LINES},
            "application/vnd.apache.arrow.stream": {
                "schema": {"type": "string", "format": "binary"}
            },
        },
    }
}
"""The request body of `POST /v1/events`, for OpenAPI."""

_PAGE_EXAMPLE: Any = {
    "request_id": "6f0c2a5d4a1b4c08b7ad1f4e1f6f4b11",
    "user_id": "1033",
    "product": "for_you",
    "items": [
        {
            "post_id": "1782850124272111879",
            "author_id": "1207",
            "uri": "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/3kjs5v",
            "created_ms": 1700258373520,
            "score": 0.0339,
            "source": "in_network",
            "reasons": [
                {
                    "kind": "followed_author",
                    "user_ids": ["1207"],
                    "post_ids": [],
                    "text": "you follow the author",
                }
            ],
        }
    ],
    "cursor": "rU1qYbq1kGvYkzq4…",
    "degraded": [],
    "reason": None,
    "model_version": "20260101-000000",
    "candidates": {"in_network": {"found": 301, "only": 214}},
    "timings_ms": {"viewer_context": 0.9, "candidates": 1.9, "total": 5.6},
}
_EVENTS_EXAMPLE: Any = {
    "accepted": 1,
    "repeated": 0,
    "clamped": 0,
    "offset": 42,
    "problems": [
        {"index": 1, "field": "post_id", "message": "post_id is required for this kind (favourite)"}
    ],
}
_WHY_EXAMPLE: Any = {
    "post_id": "1782850124272111879",
    "user_id": "1033",
    "request_id": "6f0c2a5d4a1b4c08b7ad1f4e1f6f4b11",
    "product": "for_you",
    "now_ms": 1700258400000,
    "model_version": "20260101-000000",
    "degraded": [],
    "found": True,
    "verdict": "dropped",
    "author_id": "1207",
    "found_by": ["in_network"],
    "position": None,
    "dropped_by": "seen",
    "filters": [{"name": "window", "passed": True}, {"name": "seen", "passed": False}],
    "score": None,
    "proofs": [{"user_id": "1041", "kind": "favourite"}],
    "features": {"age_hours": 1.5, "favourites": 0.69},
    "stages": [{"name": "candidates", "kind": "retrieve", "ms": 1.9, "in": 0, "out": 301}],
}
_PROBLEM_EXAMPLE: Any = {
    "type": "urn:murmuration:problem:invalid-request",
    "title": "The request does not hold what is expected",
    "status": 422,
    "detail": "limit: must be an integer between 1 and 100",
    "instance": "urn:murmuration:request:0c8d2bb0e7a14d0aa5a4b4a7c6d9f001",
    "errors": [{"field": "limit", "message": "must be an integer between 1 and 100"}],
}


class ReasonAnswer(BaseModel):
    """Why an item is shown: a kind for programs and a sentence for people."""

    kind: str
    user_ids: list[str]
    """Whom the sentence names."""
    post_ids: list[str]
    """The posts that it names."""
    text: str


class ItemAnswer(BaseModel):
    """One post of a page; ids are strings, since JSON numbers lose digits in browsers."""

    post_id: str
    author_id: str
    uri: str | None = None
    """Only where the post came with one."""
    created_ms: int
    score: float
    source: str
    reasons: list[ReasonAnswer]


class FoundByAnswer(BaseModel):
    """What one candidate source found."""

    found: int
    only: int
    """Posts that no other source found."""


class PageAnswer(BaseModel):
    """A page of a timeline."""

    model_config = ConfigDict(json_schema_extra={"example": _PAGE_EXAMPLE})

    request_id: str
    user_id: str
    product: Literal["for_you", "following"]
    items: list[ItemAnswer]
    cursor: str | None
    """Give it back for the next page; null at the end."""
    degraded: list[str]
    """What is missing from the answer: shards, sources, `viewer_context`."""
    reason: str | None
    """Why the timeline is not an ordinary one: `cold_start`, `nothing_new`."""
    model_version: str
    candidates: dict[str, FoundByAnswer]
    """By source, what it found before copies were merged."""
    timings_ms: dict[str, float]


class EventProblem(BaseModel):
    """An event that was refused: its place in the body, and why."""

    index: int
    field: str
    message: str


class EventsAnswer(BaseModel):
    """What became of a batch of events; those accepted are durable."""

    model_config = ConfigDict(json_schema_extra={"example": _EVENTS_EXAMPLE})

    accepted: int
    repeated: int
    clamped: int
    """Events from the future, taken as of now."""
    offset: int
    problems: list[EventProblem]


class FilterAnswer(BaseModel):
    """A filter that the post came to."""

    name: str
    passed: bool


class WhyAnswer(BaseModel):
    """Why a post is in a timeline, or is not."""

    model_config = ConfigDict(json_schema_extra={"example": _WHY_EXAMPLE})

    post_id: str
    user_id: str
    request_id: str
    product: str
    now_ms: int
    model_version: str
    degraded: list[str]
    found: bool
    """Whether any source found the post."""
    verdict: Literal["shown", "dropped", "not_a_candidate", "unavailable"]
    detail: str | None = None
    author_id: str | None = None
    found_by: list[str] = []
    position: int | None = None
    """Place on the page, from 0."""
    dropped_by: str | None = None
    filters: list[FilterAnswer] = []
    score: dict[str, Any] | None = None
    proofs: list[dict[str, str]] = []
    features: dict[str, float] = {}
    stages: list[dict[str, Any]] = []


class ProblemAnswer(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(json_schema_extra={"example": _PROBLEM_EXAMPLE})

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[dict[str, Any]] = []


def page_json(page: Page) -> bytes:
    """A page as a `PageAnswer`."""
    return orjson.dumps(
        {
            "request_id": page.request_id,
            "user_id": str(page.viewer_id),
            "product": page.product,
            "items": [_item(item) for item in page.items],
            "cursor": page.cursor,
            "degraded": page.degraded,
            "reason": page.reason,
            "model_version": page.model_version,
            "candidates": {
                name: {"found": by.found, "only": by.only}
                for name, by in page.trace.sources.items()
            },
            "timings_ms": page.timings_ms,
        }
    )


def events_json(done: Ingested) -> bytes:
    """What became of a batch as an `EventsAnswer`."""
    return orjson.dumps(
        {
            "accepted": done.accepted,
            "repeated": done.repeated,
            "clamped": done.clamped,
            "offset": done.offset,
            "problems": [
                {"index": p.index, "field": p.field, "message": p.message} for p in done.problems
            ],
        }
    )


def _item(item: Item) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "post_id": str(item.post_id),
        "author_id": str(item.author_id),
        "created_ms": item.created_ms,
        "score": item.score,
        "source": item.source,
        "reasons": [
            {
                "kind": reason.kind,
                "user_ids": [str(user) for user in reason.user_ids],
                "post_ids": [str(post) for post in reason.post_ids],
                "text": reason.text,
            }
            for reason in item.reasons
        ],
    }
    if item.uri is not None:
        answer["uri"] = item.uri
    return answer

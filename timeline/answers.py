"""The JSON of every answer: its form for people (OpenAPI), and its bytes."""

from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict

from cluster.bodies import events_schema
from cluster.ingest import Ingested
from cluster.problems import MEDIA_TYPE
from timeline.ads import Ad
from timeline.modules import Pill
from timeline.pages import Between, Item, Page
from timeline.presented import ShownPost
from timeline.reasons import Reason

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
                "schema": events_schema(),
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
    topic_ids: list[str] = []
    """The topics that it names, the likeliest first."""
    text: str


class ShownAnswer(BaseModel):
    """A post above another one or inside it."""

    post_id: str
    author_id: str | None = None
    created_ms: int | None = None
    tombstone: bool = False
    """The post is gone; nothing but its id may be shown."""
    covered_by: str | None = None
    limited_by: str | None = None


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
    context: ReasonAnswer | None = None
    """The one line to stand over the post."""
    ancestors: list[ShownAnswer] = []
    """What stands above a reply: the root, then the post that it answers."""
    quoted: ShownAnswer | None = None
    reposted: ShownAnswer | None = None
    covered_by: str | None = None
    """The rule of visibility by which the post is covered until the viewer asks for it."""
    limited_by: str | None = None
    """The rule by which replies, likes and the like are off."""


class BetweenAnswer(BaseModel):
    """What stands between posts: a module or an ad.

    Put into the list of posts one after the other, each stands at its `index`.
    """

    kind: str
    """`who_to_follow`, `who_to_subscribe`, `post_preview`, `topics`, `prompt` or `ad`."""
    index: int
    name: str | None = None
    """Of a module: what a `dismiss` event names."""
    text: str = ""
    user_ids: list[str] = []
    topic_ids: list[str] = []
    post_ids: list[str] = []
    """Of a preview: the post for subscribers of which to show the beginning."""
    because: list[str] = []
    """Beside the users or topics: why each."""
    ad: dict[str, Any] | None = None


class NewPostsAnswer(BaseModel):
    """The pill that says that there are new posts."""

    n_posts: int
    user_ids: list[str]
    delay_ms: int


class ReplacedAnswer(BaseModel):
    """A post served before that is another one now."""

    post_id: str
    by_post_id: str


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
    product: Literal["for_you", "following", "lists", "top_posts", "popular"]
    items: list[ItemAnswer]
    between: list[BetweenAnswer] = []
    new_posts: NewPostsAnswer | None = None
    replaced: list[ReplacedAnswer] = []
    cursor: str | None
    """Give it back for the next page; null at the end."""
    newer_cursor: str | None = None
    """Give it back for what has come since."""
    gap_cursor: str | None = None
    """Give it back for what lies between this page and what was shown before."""
    experiment_arms: list[str] = []
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
    rule: str | None = None
    """The rule by which, where the filter has rules."""


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
    path: dict[str, Any] = {}
    """How it was found: source, engines, the signal and the proof that led there."""
    ranks: list[dict[str, Any]] = []
    """Place before and after each stage that orders."""
    stages: list[dict[str, Any]] = []


class AliveAnswer(BaseModel):
    """That this process answers."""

    status: Literal["ok"]


class ReadyAnswer(BaseModel):
    """Whether any shard answers."""

    ready: bool
    shards: int
    missing: dict[str, str]
    """Shard → what is wrong with it."""


class VersionAnswer(BaseModel):
    """What runs."""

    name: str
    version: str
    events: int
    """The version of the schema of events."""


class ProblemAnswer(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(json_schema_extra={"example": _PROBLEM_EXAMPLE})

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[dict[str, Any]] = []


PROBLEM = {
    "description": "A problem document (RFC 9457)",
    "content": {MEDIA_TYPE: {"schema": ProblemAnswer.model_json_schema()}},
}
"""A response, for OpenAPI."""


def page_json(page: Page) -> bytes:
    """A page as a `PageAnswer`."""
    return orjson.dumps(
        {
            "request_id": page.request_id,
            "user_id": str(page.viewer_id),
            "product": page.product,
            "items": [_item(item) for item in page.items],
            "between": [_between(one) for one in page.between],
            "new_posts": _pill(page.new_posts),
            "replaced": [
                {"post_id": str(old), "by_post_id": str(new)} for old, new in page.replaced
            ],
            "cursor": page.cursor,
            "newer_cursor": page.newer_cursor,
            "gap_cursor": page.gap_cursor,
            "experiment_arms": list(page.arms),
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
    entry = item.entry
    answer: dict[str, Any] = {
        "post_id": str(item.post_id),
        "author_id": str(item.author_id),
        "created_ms": item.created_ms,
        "score": item.score,
        "source": item.source,
        "reasons": [_reason(reason) for reason in item.reasons],
        **_flags(entry.focal),
    }
    if item.uri is not None:
        answer["uri"] = item.uri
    if entry.context is not None:
        answer["context"] = _reason(entry.context)
    if len(entry.posts) > 1:
        answer["ancestors"] = [_shown(post) for post in entry.posts[:-1]]
    for name, inside in (("quoted", entry.focal.quoted), ("reposted", entry.focal.reposted)):
        if inside is not None:
            answer[name] = _shown(inside)
    return answer


def _reason(reason: Reason) -> dict[str, Any]:
    return {
        "kind": reason.kind,
        "user_ids": [str(user) for user in reason.user_ids],
        "post_ids": [str(post) for post in reason.post_ids],
        "topic_ids": [str(topic) for topic in reason.topic_ids],
        "text": reason.text,
    }


def _shown(post: ShownPost) -> dict[str, Any]:
    if post.tombstone:
        return {"post_id": str(post.post_id), "tombstone": True}
    return {
        "post_id": str(post.post_id),
        "author_id": str(post.author_id),
        "created_ms": post.created_ms,
        **_flags(post),
    }


def _flags(post: ShownPost) -> dict[str, str]:
    flags = {"covered_by": post.covered_by, "limited_by": post.limited_by}
    return {name: rule for name, rule in flags.items() if rule}


def _between(one: Between) -> dict[str, Any]:
    content = one.content
    if isinstance(content, Ad):
        # What an ad brings for the client may not pass for what the ad is.
        ad = {**content.payload, "id": content.id, "text": content.text, "url": content.url}
        return {"kind": "ad", "index": one.index, "ad": ad}
    return {
        "kind": content.kind,
        "index": one.index,
        "name": content.name,
        "text": content.text,
        "user_ids": [str(user) for user in content.user_ids],
        "topic_ids": [str(topic) for topic in content.topic_ids],
        "post_ids": [str(post) for post in content.post_ids],
        "because": list(content.because),
    }


def _pill(pill: Pill | None) -> dict[str, Any] | None:
    if pill is None:
        return None
    return {
        "n_posts": pill.n_posts,
        "user_ids": [str(user) for user in pill.user_ids],
        "delay_ms": pill.delay_ms,
    }

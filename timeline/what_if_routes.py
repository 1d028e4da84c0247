"""The route under which HTTP asks what other settings would have shown."""

from collections.abc import Callable
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from cluster.http_edge import BodyReader
from cluster.problems import ProblemError
from timeline.answered import Run, answered
from timeline.callers import Exact, Scopes, User
from timeline.parameters import Exactly
from timeline.what_if import Asked, asked_of

Compare = Callable[[int, Asked, Exactly, bool], dict[str, Any]]
"""The comparison for a user: what is asked, the instant and seed, and whether an operator asks."""

MAX_BODY_BYTES = 64 * 1024
_MEDIA_TYPE = "application/json"

_EXAMPLE: dict[str, Any] = {
    "user_id": "1033",
    "now_ms": 1700258400000,
    "experiment_arms": ["fewer_strangers:control"],
    "changed": {"heavy_ranker.weights.is_replied": {"before": 13.5, "after": 0.0}},
    "sources_off": [],
    "before": {
        "product": "for_you",
        "model_version": "20260101-000000",
        "degraded": [],
        "items": [
            {"post_id": "71", "author_id": "12", "score": 0.9, "source": "in_network"},
            {"post_id": "72", "author_id": "13", "score": 0.8, "source": "cr_mixer"},
        ],
    },
    "after": {
        "product": "for_you",
        "model_version": "20260101-000000",
        "degraded": [],
        "items": [
            {"post_id": "72", "author_id": "13", "score": 0.8, "source": "cr_mixer"},
            {"post_id": "71", "author_id": "12", "score": 0.5, "source": "in_network"},
        ],
    },
    "moved": [
        {
            "post_id": "71",
            "from": 0,
            "to": 1,
            "why": [
                {"part": "score heavy_ranker", "before": 0.9, "after": 0.5},
                {"part": "head is_replied", "before": 0.4, "after": 0.0},
            ],
        },
        {
            "post_id": "72",
            "from": 1,
            "to": 0,
            "why": [{"part": "others", "before": None, "after": None}],
        },
    ],
}
_BODY_EXAMPLE = {"weights": {"is_replied": 0.0}, "sources_off": ["popular"], "limit": 20}


class ItemOfEither(BaseModel):
    """A post of one of the pages."""

    post_id: str
    author_id: str
    score: float
    source: str


class EitherPage(BaseModel):
    """One of the pages."""

    product: str
    model_version: str
    """Of what gave the scores; weights of heads count only where that is the heavy ranker."""
    degraded: list[str]
    items: list[ItemOfEither]


class Difference(BaseModel):
    """A part of what was done to a post that differs."""

    part: str
    """`sources`, `dropped_by`, `head …` (what it adds), `score …`, `factor …`, or `others`: the
    post's own parts are the same, and others passed it."""
    before: Any
    after: Any


class Moved(BaseModel):
    """A post that is not in the same place of both pages."""

    post_id: str
    from_: int | None = Field(alias="from")
    """Place on the page as it is, from 0; null for none."""
    to: int | None
    why: list[Difference]


class WhatIfAnswer(BaseModel):
    """A page as it is, as it would be, and what moved."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    user_id: str
    now_ms: int
    experiment_arms: list[str]
    """Of the viewer, whose settings these change."""
    changed: dict[str, dict[str, Any]]
    """Setting → its value before and after."""
    sources_off: list[str]
    before: EitherPage
    after: EitherPage
    moved: list[Moved]


def what_if_routes(compare: Compare, run: Run) -> APIRouter:
    """One way to ask; it guards itself."""
    router = APIRouter(tags=["timelines"])
    reader = BodyReader(MAX_BODY_BYTES)

    @router.post(
        "/v1/timelines/for-you/{user_id}/what-if",
        response_model=WhatIfAnswer,
        summary="What other settings would show",
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    _MEDIA_TYPE: {"schema": Asked.model_json_schema(), "example": _BODY_EXAMPLE}
                },
            }
        },
    )
    async def what_if(request: Request, user_id: User, exact: Exact, scopes: Scopes) -> Response:
        """A page of For You made twice, as it is and with other weights, settings or sources.

        Both are made of the same instant and leave nothing behind. Settings other than weights,
        factors and balance need the scope admin.
        """
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != _MEDIA_TYPE:
            raise ProblemError("unsupported-media-type", f"Content-Type must be {_MEDIA_TYPE}")
        async with reader.body(request.receive, request.headers.get("content-length")) as body:
            asked = asked_of(body)
        operator = "admin" in scopes
        return await answered(run, lambda: orjson.dumps(compare(user_id, asked, exact, operator)))

    return router

"""The routes under which HTTP tells authors of their reach and their labels."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BeforeValidator, WithJsonSchema

from cluster.analytics_settings import MAX_DAYS
from timeline.analytics import CreatorAnalytics
from timeline.analytics_answers import (
    AnalyticsAnswer,
    OwnLabelsAnswer,
    analytics_json,
    labels_json,
)
from timeline.answered import Run, answered
from timeline.callers import User
from timeline.parameters import Id, Limit, integer

Days = Annotated[
    int,
    BeforeValidator(integer(1, MAX_DAYS)),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_DAYS}),
    Query(description=f"UTC days, today included, 1 to {MAX_DAYS}; older than kept are left out."),
]
Size = Annotated[Limit, Query(description="Posts, 1 to 100.")]


def analytics_routes(analytics: CreatorAnalytics, run: Run) -> APIRouter:
    """Three ways to ask; they guard themselves: this is the author's own business."""
    router = APIRouter(tags=["authors"])

    @router.get(
        "/v1/users/{user_id}/analytics",
        response_model=AnalyticsAnswer,
        summary="An author's reach",
    )
    async def reach(user_id: User, days: Days = 28, limit: Size = 10) -> Response:
        """Impressions, viewers, sources, engagements and followers by day, and top posts."""
        arrived_s = time.monotonic()

        def make() -> bytes:
            return analytics_json(user_id, analytics.of(user_id, days, limit, arrived_s))

        return await answered(run, make)

    @router.get(
        "/v1/users/{user_id}/labels",
        response_model=OwnLabelsAnswer,
        summary="Safety labels of an account and its posts",
    )
    async def labels(user_id: User, limit: Size = 20) -> Response:
        """The account's labels, its newest labelled posts, and what each label does."""
        arrived_s = time.monotonic()

        def make() -> bytes:
            return labels_json(user_id, analytics.labels(user_id, None, limit, arrived_s))

        return await answered(run, make)

    @router.get(
        "/v1/users/{user_id}/posts/{post_id}/labels",
        response_model=OwnLabelsAnswer,
        summary="Safety labels of one's own post",
    )
    async def labels_of_post(user_id: User, post_id: Id) -> Response:
        """The labels of the post and of the account, and what each label does."""
        arrived_s = time.monotonic()

        def make() -> bytes:
            return labels_json(user_id, analytics.labels(user_id, post_id, 1, arrived_s))

        return await answered(run, make)

    return router

"""The routes under which HTTP reads timelines, and why a post is there."""

import time
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request, Response

from timeline import answers
from timeline.answered import Run, answered
from timeline.callers import Exact, Owner, User
from timeline.parameters import Exactly, Id, Limit, Switch, TimeMs
from timeline.products import FOLLOWING, FOR_YOU, LISTS, TOP_POSTS
from timeline.service import Service
from timeline.timelines import Asked

Size = Annotated[Limit, Query(description="Items, 1 to 100.")]
Cursor = Annotated[str | None, Query(description="`cursor` of the page before.")]
Replies = Annotated[Switch, Query(description="Whether replies come too.")]
Since = Annotated[TimeMs | None, Query(description="Since when, ms; default: the last visit.")]
RequestId = Annotated[str | None, Query(description="Of one of the user's last 20 requests.")]


def timeline_routes(service: Service, run: Run) -> APIRouter:
    """Four products, and why; they guard themselves."""
    router = APIRouter(tags=["timelines"])

    async def page(request: Request, asked: Asked, exact: Exactly) -> Response:
        request_id, arrived_s = request.state.request_id, time.monotonic()

        def make() -> bytes:
            return answers.page_json(service.page(asked, exact, request_id, arrived_s))

        return await answered(run, make)

    @router.get(
        "/v1/timelines/for-you/{user_id}",
        response_model=answers.PageAnswer,
        summary="A page of For You",
    )
    async def for_you(
        request: Request, user_id: User, exact: Exact, limit: Size = 20, cursor: Cursor = None
    ) -> Response:
        """Candidates of all sources, ranked, filtered and mixed.

        The same request with `now_ms`, `seed` and `record=false` gives the same timeline on the
        same data and versions; it has no deadline.
        """
        return await page(request, Asked(FOR_YOU, user_id, limit, 0, cursor), exact)

    @router.get(
        "/v1/timelines/following/{user_id}",
        response_model=answers.PageAnswer,
        summary="A page of Following",
    )
    async def following(
        request: Request, user_id: User, exact: Exact, limit: Size = 20, cursor: Cursor = None
    ) -> Response:
        """Every post of the user and of those the user follows, newest first."""
        return await page(request, Asked(FOLLOWING, user_id, limit, 0, cursor), exact)

    @router.get(
        "/v1/timelines/lists/{list_id}",
        response_model=answers.PageAnswer,
        summary="A page of a list",
    )
    async def list_posts(
        request: Request,
        list_id: Id,
        user_id: Owner,
        exact: Exact,
        limit: Size = 20,
        cursor: Cursor = None,
        replies: Replies = False,
    ) -> Response:
        """Every post of the members of a list of the user's own, newest first."""
        asked = Asked(LISTS, user_id, limit, 0, cursor, list_id=list_id, with_replies=replies)
        return await page(request, asked, exact)

    @router.get(
        "/v1/users/{user_id}/top-posts",
        response_model=answers.PageAnswer,
        summary="Top posts since the user left",
    )
    async def top_posts(
        request: Request,
        user_id: User,
        exact: Exact,
        limit: Size = service.settings.products.top_posts.limit,
        since_ms: Since = None,
    ) -> Response:
        """The best of what the user's network brought since the last visit; no visit itself."""
        return await page(request, Asked(TOP_POSTS, user_id, limit, 0, since_ms=since_ms), exact)

    @router.get(
        "/v1/timelines/for-you/{user_id}/why/{post_id}",
        response_model=answers.WhyAnswer,
        summary="Why a post is there, or is not",
    )
    async def why(
        user_id: User,
        post_id: Id,
        exact: Exact,
        request_id: RequestId = None,
        limit: Size = 20,
    ) -> Response:
        """Which sources found it, what it scored and by what, and which filter dropped it.

        With `request_id` this is what that request did; without, what a request would do now,
        which leaves nothing behind.
        """
        arrived_s = time.monotonic()

        def explain() -> bytes:
            return orjson.dumps(service.why(user_id, post_id, limit, request_id, exact, arrived_s))

        return await answered(run, explain)

    return router

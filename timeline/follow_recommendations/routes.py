"""The route under which HTTP asks whom to follow."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Response

from timeline.answered import Run, answered
from timeline.callers import User
from timeline.follow_recommendations.answers import (
    FollowRecommendationsAnswer,
    recommendations_json,
)
from timeline.follow_recommendations.service import AccountRecommendations
from timeline.parameters import Limit

Size = Annotated[Limit, Query(description="Accounts, 1 to 100.")]


def follow_recommendation_routes(recommendations: AccountRecommendations, run: Run) -> APIRouter:
    """One way to ask; it guards itself."""
    router = APIRouter(tags=["recommendations"])

    @router.get(
        "/v1/users/{user_id}/follow-recommendations",
        response_model=FollowRecommendationsAnswer,
        summary="Accounts that a user may want to follow",
    )
    async def follow_recommendations(user_id: User, limit: Size = 20) -> Response:
        """Of all sources, with reasons; nobody who is followed, gone, silent or blocked."""
        arrived_s = time.monotonic()

        def make() -> bytes:
            return recommendations_json(user_id, recommendations.of(user_id, limit, arrived_s))

        return await answered(run, make)

    return router

"""The JSON of answers about whom to follow: its form for people (OpenAPI), and its bytes."""

from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict

from timeline.follow_recommendations.examples import EXAMPLE
from timeline.follow_recommendations.service import Recommendation
from timeline.representations import Told


class BecauseAnswer(BaseModel):
    """Why an account is recommended: a kind for programs and a sentence for people."""

    kind: Literal[
        "followed_by",
        "mutual_with",
        "similar_to",
        "may_know",
        "follows_you",
        "visited",
        "engaged",
        "likely",
        "like_you",
        "for_you",
        "topic",
        "popular_in_country",
        "popular_in_language",
        "popular_posts",
        "popular",
        "candidate",
    ]
    text: str
    value: float | None
    """A count or a score, by the kind."""
    user_ids: list[str]


class RecommendationAnswer(BaseModel):
    """An account to follow."""

    user_id: str
    score: float
    """The sum of 1 / (1 + rank) over the sources that found it."""
    sources: list[str]
    reasons: list[BecauseAnswer]


class FollowRecommendationsAnswer(BaseModel):
    """Accounts that a user may want to follow, best first."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE})

    user_id: str
    items: list[RecommendationAnswer]
    now_ms: int
    degraded: list[str]
    """Shards and sources of which something is missing."""
    reason: Literal["cold_start"] | None
    """Why the answer is not an ordinary one: nothing is known of the user."""


def recommendations_json(user_id: int, told: Told[list[Recommendation]]) -> bytes:
    """Recommendations as a `FollowRecommendationsAnswer`."""
    items = [
        {
            "user_id": str(item.user_id),
            "score": item.score,
            "sources": item.sources,
            "reasons": [
                {
                    "kind": reason.kind,
                    "text": reason.text,
                    "value": reason.value,
                    "user_ids": [str(user) for user in reason.user_ids],
                }
                for reason in item.reasons
            ],
        }
        for item in told.what
    ]
    return orjson.dumps(
        {
            "user_id": str(user_id),
            "items": items,
            "now_ms": told.now_ms,
            "degraded": told.degraded,
            "reason": told.reason,
        }
    )

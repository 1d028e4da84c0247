"""The routes under which HTTP asks about representations."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Response

from cluster.problems import invalid
from timeline import representation_answers as answers
from timeline.answered import Run, answered
from timeline.pair_scoring import Side
from timeline.parameters import Id, Limit
from timeline.representations import Representations

Size = Annotated[Limit, Query(description="Items, 1 to 100.")]
Author = Annotated[
    Id | None, Query(description="The post's author; without, every shard is asked for the post.")
]
Given = Annotated[Id | None, Query(description="One of the two is given.")]


def representation_routes(representations: Representations, run: Run) -> APIRouter:
    """Four ways to ask what the trained models say; whoever includes them guards them."""
    router = APIRouter(tags=["representations"])

    @router.get(
        "/v1/users/{user_id}/similar",
        response_model=answers.SimilarUsersAnswer,
        summary="Users like a user",
    )
    async def similar_users(user_id: Id, limit: Size = 20) -> Response:
        """By SimClusters and TwHIN, with reasons; nobody who is gone, protected or blocked."""
        arrived_s = time.monotonic()

        def make() -> bytes:
            told = representations.similar_users(user_id, limit, arrived_s)
            return answers.similar_users_json(told)

        return await answered(run, make)

    @router.get(
        "/v1/posts/{post_id}/similar",
        response_model=answers.SimilarPostsAnswer,
        summary="Posts like a post",
    )
    async def similar_posts(post_id: Id, author_id: Author = None, limit: Size = 20) -> Response:
        """By SimClusters and TwHIN, with reasons; nothing deleted, protected or blocked."""
        arrived_s = time.monotonic()

        def make() -> bytes:
            told = representations.similar_posts(post_id, author_id, limit, arrived_s)
            return answers.similar_posts_json(told)

        return await answered(run, make)

    @router.get(
        "/v1/users/{user_id}/communities",
        response_model=answers.UserCommunitiesAnswer,
        summary="The communities of a user",
    )
    async def communities(user_id: Id) -> Response:
        """What the user is interested in and known for, and why."""
        arrived_s = time.monotonic()

        def make() -> bytes:
            return answers.communities_json(representations.communities(user_id, arrived_s))

        return await answered(run, make)

    @router.get(
        "/v1/score",
        response_model=answers.ScoreAnswer,
        summary="How alike two users or posts are",
    )
    async def score(
        user_id: Given = None,
        post_id: Given = None,
        author_id: Author = None,
        other_user_id: Given = None,
        other_post_id: Given = None,
        other_author_id: Author = None,
    ) -> Response:
        """Every score (SimClusters, TwHIN, reputation, real graph of two users), with reasons."""
        arrived_s = time.monotonic()
        left = _side("", user_id, post_id, author_id)
        right = _side("other_", other_user_id, other_post_id, other_author_id)

        def make() -> bytes:
            return answers.score_json(representations.score(left, right, arrived_s))

        return await answered(run, make)

    return router


def _side(prefix: str, user_id: int | None, post_id: int | None, author_id: int | None) -> Side:
    if (user_id is None) == (post_id is None):
        raise invalid(f"{prefix}user_id", f"give either this or {prefix}post_id")
    if author_id is not None and post_id is None:
        raise invalid(f"{prefix}author_id", f"belongs to {prefix}post_id")
    return Side(user_id, post_id, author_id)

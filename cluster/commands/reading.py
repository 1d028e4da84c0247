"""What the commands read from a running system, over HTTP.

All of it raises `HttpProblem` where the system does not answer, or answers with a problem.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from cluster.commands.http import HttpService

_FOR_YOU = "/v1/timelines/for-you"


@dataclass(frozen=True)
class Wanted:
    """A page that somebody wants to see."""

    user_id: int
    product: str = "for-you"
    """`for-you`, `following`, `list` or `top-posts`."""
    limit: int = 20
    list_id: int = 0
    """Of the product `list`: which of the user's own,"""
    replies: bool = False
    """and whether replies come too."""
    since_ms: int | None = None
    """Of the product `top-posts`: since when; None: since the last visit."""
    cursor: str | None = None


def page(service: HttpService, wanted: Wanted, *, record: bool | None = None) -> dict[str, Any]:
    """A page, as a `PageAnswer`; with `record=False` (scope admin) it is no visit."""
    user_id = wanted.user_id
    given: dict[str, Any] = {"limit": wanted.limit, "cursor": wanted.cursor, "record": record}
    match wanted.product:
        case "list":
            path = f"/v1/timelines/lists/{wanted.list_id}"
            given |= {"user_id": user_id, "replies": wanted.replies}
        case "top-posts":
            path = f"/v1/users/{user_id}/top-posts"
            given |= {"since_ms": wanted.since_ms}
        case product:
            path = f"/v1/timelines/{product}/{user_id}"
    return service.get(path, **given)


def why(
    service: HttpService, user_id: int, post_id: int, request_id: str | None = None
) -> dict[str, Any]:
    """Why a post is, or is not, in a user's For You, as a `WhyAnswer`."""
    return service.get(f"{_FOR_YOU}/{user_id}/why/{post_id}", request_id=request_id)


def what_if(service: HttpService, user_id: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A page as it is and as it would be; `asked` is a `timeline.what_if.Asked`."""
    body = orjson.dumps(dict(asked))
    return service.post(f"{_FOR_YOU}/{user_id}/what-if", body, "application/json")


def analytics(service: HttpService, user_id: int, days: int, limit: int) -> dict[str, Any]:
    """An author's reach, as an `AnalyticsAnswer`."""
    return service.get(f"/v1/users/{user_id}/analytics", days=days, limit=limit)


def arms(service: HttpService, user_id: int) -> list[str]:
    """The `experiment:arm`s of a user's requests, as the system chooses them (scope admin)."""
    found: list[str] = page(service, Wanted(user_id, limit=1), record=False)["experiment_arms"]
    return found

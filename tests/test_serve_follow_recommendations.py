"""Whom to follow, over HTTP: a lively world without Ray."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http_world import FRIEND, VIEWER, World, a_lively_world, problem_of
from timeline.follow_recommendations.answers import FollowRecommendationsAnswer

PATH = f"/v1/users/{VIEWER}/follow-recommendations"


@pytest.fixture
def lively(tmp_path: Path) -> Iterator[World]:
    yield from a_lively_world(tmp_path)


def test_accounts_come_with_reasons(lively: World) -> None:
    answer = lively.get(PATH)
    assert answer.status_code == 200
    told = FollowRecommendationsAnswer.model_validate(answer.json())
    assert told.user_id == str(VIEWER)
    assert told.items
    assert told.degraded == []
    found = {item.user_id for item in told.items}
    assert not found & {str(VIEWER), str(FRIEND)}, "neither oneself nor whom one follows"
    for item in told.items:
        assert item.sources
        assert item.reasons
        assert all(reason.text for reason in item.reasons)
    assert [item.score for item in told.items] == sorted(
        (item.score for item in told.items), reverse=True
    )
    assert len(lively.get(PATH, limit=1).json()["items"]) == 1


def test_whoever_nobody_knows_gets_what_is_popular(lively: World) -> None:
    told = lively.get("/v1/users/987654/follow-recommendations").json()
    assert told["reason"] == "cold_start"
    assert {item["user_id"] for item in told["items"]}


def test_who_may_ask_and_how(lively: World) -> None:
    problem_of(lively.client.get(PATH), 401, "unauthorized")
    problem_of(lively.client.get(PATH, headers=lively.as_("write")), 403, "forbidden")
    for path, field in ((f"{PATH}?limit=0", "limit"), (PATH.replace(str(VIEWER), "x"), "user_id")):
        answer = lively.client.get(path, headers=lively.as_("read"))
        problem_of(answer, 422, "invalid-request")
        assert answer.json()["errors"][0]["field"] == field

"""Whom to follow, as people are told: reasons, cold starts, and the form of the answer."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from cluster.events import Kind
from cluster.problems import ProblemError
from cluster.tokens import Tokens, of_user
from tests.timeline.follow_recommendations.asking import ME, follows, settings_of
from tests.worlds import NOW_MS, Clock, Event, PartialRouter, states_of
from timeline.follow_recommendations.answers import BecauseAnswer, FollowRecommendationsAnswer
from timeline.follow_recommendations.reasons import KINDS
from timeline.follow_recommendations.routes import follow_recommendation_routes
from timeline.follow_recommendations.service import AccountRecommendations, Recommendation

SOON_S = 1e9
NOBODY = 77


def a_world() -> list[Event]:
    """20 is followed by 10 and 11 and follows them, 21 follows the viewer, 22 is popular."""
    clock = Clock()
    users = [
        clock.event(Kind.USER_CREATE, actor_id=user, country="DE", language="de")
        for user in (ME, 10, 11, *range(30, 36))
    ]
    return [
        *users,
        *follows(clock, {ME: [10, 11], 10: [ME, 20], 11: [ME, 20, 21], 20: [10, 11]}),
        *follows(clock, {21: [ME], **dict.fromkeys(range(30, 36), (22,))}),
        *(clock.post(100 + user, user) for user in (20, 21, 22)),
        *(
            clock.event(Kind.PROFILE_CLICK, actor_id=ME, author_id=22, time_ms=NOW_MS - 60_000 - k)
            for k in range(3)
        ),
    ]


def service_of(
    events: list[Event], n_shards: int = 1, missing: tuple[int, ...] = ()
) -> AccountRecommendations:
    chosen = settings_of()
    router = PartialRouter(states_of(events, n_shards, chosen), missing)
    return AccountRecommendations(chosen, router, lambda: NOW_MS)


def of(service: AccountRecommendations, user: int = ME, **asked: Any) -> dict[int, Recommendation]:
    return {item.user_id: item for item in service.of(user, 20, SOON_S, **asked).what}


@pytest.mark.parametrize("n_shards", [1, 4])
def test_every_account_has_its_reasons(n_shards: int) -> None:
    told = of(service_of(a_world(), n_shards))
    assert set(told) == {20, 21, 22}
    why = {user: {r.kind: r.text for r in item.reasons} for user, item in told.items()}
    assert why[20]["followed_by"] in {
        "followed by 10 and 11, whom you follow",
        "followed by 11 and 10, whom you follow",
    }
    assert why[20]["mutual_with"].startswith("follow one another with 1")
    assert why[21]["follows_you"] == "follows you"
    assert why[21]["followed_by"] == "followed by 11, whom you follow"
    assert why[22]["visited"] == "you visited the profile 3 times lately"
    assert why[22]["popular_in_country"] == "popular in your country"
    assert next(iter(why[20])) == "followed_by"
    assert told[20].sources[0] == "online_stp"
    assert of(service_of(a_world(), n_shards), excluded_ids=(20, 21)).keys() == {22}


def test_a_stranger_gets_popular_ones() -> None:
    service = service_of(a_world(), 4)
    told = service.of(NOBODY, 2, SOON_S)
    assert told.reason == "cold_start"
    assert told.degraded == []
    # 10 and 11 never posted.
    assert len(told.what) == 2
    assert {item.user_id for item in told.what} <= {20, 21, 22}
    assert all(item.reasons[0].kind == "popular" for item in told.what)


def test_the_same_within_an_hour() -> None:
    service = service_of(a_world(), 4)
    first, again = (service.of(ME, 20, SOON_S) for _ in range(2))
    assert first == again


def test_nobody_is_told_to_those_who_are_gone() -> None:
    clock = Clock()
    service = service_of([clock.event(Kind.USER_SUSPEND, actor_id=ME)])
    with pytest.raises(ProblemError, match="unknown-user") as caught:
        service.of(ME, 20, SOON_S)
    assert caught.value.slug == "unknown-user"


def test_without_the_viewers_shard_there_is_nobody() -> None:
    told = service_of(a_world(), 1, (0,)).of(ME, 20, SOON_S)
    assert told.what == []
    assert told.degraded == ["shard_0", "viewer_context"]


def test_the_answer_has_the_form_that_it_says() -> None:
    async def run(make: Callable[[], bytes]) -> bytes:
        return make()

    app = FastAPI()
    app.include_router(follow_recommendation_routes(service_of(a_world(), 4), run))
    token = "token-of-a-test-of-it"
    app.state.tokens = Tokens({token: [of_user(ME)]})
    client = TestClient(app, headers={"Authorization": f"Bearer {token}"})
    answer = client.get(f"/v1/users/{ME}/follow-recommendations", params={"limit": 2})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    told = FollowRecommendationsAnswer.model_validate(answer.json())
    assert (told.user_id, told.reason, told.now_ms) == (str(ME), None, NOW_MS)
    assert len(told.items) == 2
    assert all(item.reasons and item.sources for item in told.items)
    assert client.get("/v1/users/x/follow-recommendations").status_code == 422
    shape = FollowRecommendationsAnswer.model_config["json_schema_extra"]
    FollowRecommendationsAnswer.model_validate(shape["example"])  # type: ignore[index]


def test_every_kind_of_reason_may_be_answered() -> None:
    assert set(get_args(BecauseAnswer.model_fields["kind"].annotation)) == set(KINDS)

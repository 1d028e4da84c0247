"""What authors are told of their reach and their labels, from events to JSON."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from actors import snapshot
from actors.analytics_questions import AskAuthor, AskOwnLabels
from actors.router import LocalRouter
from actors.state import ShardState
from actors.stores.distinct import RELATIVE_ERROR
from cluster.events import Kind
from cluster.http_edge import answer_problems
from cluster.problems import ProblemError
from cluster.settings import Settings
from cluster.tokens import Tokens
from tests.worlds import DAY_MS, NOW_MS, USERS, Clock, Event, PartialRouter, empty_states, states_of
from timeline.analytics import AuthorAnalytics, CreatorAnalytics, OwnLabels, Reach
from timeline.analytics_answers import AnalyticsAnswer, OwnLabelsAnswer, analytics_json, labels_json
from timeline.analytics_routes import analytics_routes
from timeline.representations import Told
from timeline.visibility_effects import effects_of

AUTHOR, FAN, OTHER, GONE, UNKNOWN = USERS[0], USERS[2], USERS[4], USERS[6], 99_999
SOON_S = 1e9
TOKEN = "a-token-that-reads"
MIDNIGHT_MS = NOW_MS // DAY_MS * DAY_MS


def a_world() -> list[Event]:
    """Two posts of the author, 10 yesterday and 11 today, and what became of them."""
    clock = Clock()
    common: dict[str, Any] = {"request_id": "r", "position": 0}
    yesterday, today = MIDNIGHT_MS - DAY_MS // 2, MIDNIGHT_MS + 60_000
    told: list[tuple[int, Event]] = [
        (yesterday, clock.event(Kind.USER_CREATE, actor_id=AUTHOR)),
        (yesterday, clock.event(Kind.USER_CREATE, actor_id=FAN)),
        (yesterday, clock.event(Kind.USER_SUSPEND, actor_id=GONE)),
        (yesterday, clock.edge(Kind.FOLLOW, FAN, AUTHOR)),
        (yesterday, clock.edge(Kind.FOLLOW, OTHER, AUTHOR)),
        (today, clock.edge(Kind.UNFOLLOW, OTHER, AUTHOR)),
        (yesterday, clock.post(10, AUTHOR, text="one")),
        (today, clock.post(11, AUTHOR, text="two")),
        (today, clock.post(12, AUTHOR, repost_of_id=30, repost_of_author_id=OTHER)),
        (today, clock.post(13, AUTHOR, text="gone")),
        (today, clock.event(Kind.POST_DELETE, post_id=13, author_id=AUTHOR)),
    ]
    for viewer in (FAN, OTHER):
        served = clock.on_post(Kind.SERVED, viewer, 10, AUTHOR, source="popular", **common)
        told += [(yesterday, served)]
        told += [(yesterday, clock.on_post(Kind.IMPRESSION, viewer, 10, AUTHOR))]
    served = clock.on_post(Kind.SERVED, FAN, 11, AUTHOR, source="in_network", **common)
    told += [
        (today, served),
        (today, clock.on_post(Kind.IMPRESSION, FAN, 11, AUTHOR)),
        (yesterday, clock.on_post(Kind.FAVOURITE, FAN, 10, AUTHOR)),
        (today, clock.on_post(Kind.FAVOURITE, FAN, 11, AUTHOR)),
        (today, clock.on_post(Kind.FAVOURITE, OTHER, 11, AUTHOR)),
        (today, clock.on_post(Kind.REPLY, FAN, 11, AUTHOR)),
    ]
    for label, value, post in (
        *(("nsfw_high_precision", 1.0, 10), ("p_nsfw", 0.6, 11), ("made_up", 1.0, 11)),
        ("low_quality", 1.0, None),
    ):
        given = {"author_id": AUTHOR, "label": label, "value": value}
        given |= {"post_id": post} if post else {}
        told.append((today, clock.event(Kind.SAFETY_LABEL, **given)))
    return [event | {"time_ms": time_ms + event["event_id"]} for time_ms, event in told]


def service_of(
    states: list[ShardState], missing: tuple[int, ...] = (), chosen: Settings | None = None
) -> CreatorAnalytics:
    return CreatorAnalytics(chosen or Settings(), PartialRouter(states, missing), lambda: NOW_MS)


YESTERDAY = Reach(
    impressions=2,
    viewers=2,
    served=2,
    served_by={"popular": 2},
    engagements={"favourite": 1},
    follows=2,
)
TODAY = Reach(
    impressions=1,
    viewers=1,
    served=1,
    served_by={"in_network": 1},
    engagements={"favourite": 2, "reply": 1},
    unfollows=1,
)
TOTAL = Reach(
    impressions=3,
    viewers=2,
    served=3,
    served_by={"in_network": 1, "popular": 2},
    engagements={"favourite": 3, "reply": 1},
    follows=2,
    unfollows=1,
)


@pytest.mark.parametrize("n_shards", [1, 4])
def test_the_reach_of_an_author(n_shards: int) -> None:
    told = service_of(states_of(a_world(), n_shards)).of(AUTHOR, 3, 10, SOON_S)
    assert (told.now_ms, told.degraded) == (NOW_MS, [])
    reach = told.what
    assert (reach.since_ms, reach.followers) == (MIDNIGHT_MS - 2 * DAY_MS, 1)
    assert reach.by_day == [
        (MIDNIGHT_MS - 2 * DAY_MS, Reach()),
        (MIDNIGHT_MS - DAY_MS, YESTERDAY),
        (MIDNIGHT_MS, TODAY),
    ]
    assert reach.total == TOTAL
    assert reach.total.rates == {"favourite": 1.0, "reply": pytest.approx(1 / 3)}
    assert Reach(engagements={"favourite": 3}).rates == {}
    posts = [(post.post_id, post.total) for post in reach.top_posts]
    assert posts == [
        (11, Reach(impressions=1, engagements={"favourite": 2, "reply": 1})),
        (10, Reach(impressions=2, engagements={"favourite": 1})),
    ]


def test_only_the_days_asked_for() -> None:
    service = service_of(states_of(a_world()))
    today = service.of(AUTHOR, 1, 1, SOON_S).what
    assert today.by_day == [(MIDNIGHT_MS, TODAY)]
    assert (today.total, today.since_ms) == (TODAY, MIDNIGHT_MS)
    assert [post.post_id for post in today.top_posts] == [11]
    two = service.of(AUTHOR, 2, 1, SOON_S).what
    assert (len(two.by_day), two.total, [p.post_id for p in two.top_posts]) == (2, TOTAL, [11])


def test_days_that_are_not_kept_are_left_out_and_said_so() -> None:
    chosen = Settings(analytics={"days": 5})  # type: ignore[arg-type]
    reach = service_of(states_of(a_world(), 1, chosen), chosen=chosen).of(AUTHOR, 28, 1, SOON_S)
    assert len(reach.what.by_day) == 5
    assert reach.what.since_ms == MIDNIGHT_MS - 4 * DAY_MS


def test_a_snapshot_keeps_the_days_for_any_number_of_shards(tmp_path: Path) -> None:
    before = states_of(a_world(), 2)
    for state in before:
        snapshot.write(snapshot.capture(state, dict.fromkeys(state.lanes, 1)), tmp_path)
    after = empty_states(3)
    for state in after:
        snapshot.restore(state, tmp_path)
    for user in (AUTHOR, FAN):
        of_both = [service_of(states).of(user, 28, 10, SOON_S) for states in (before, after)]
        assert of_both[0] == of_both[1]


def test_what_labels_do_is_what_the_rules_say() -> None:
    told = service_of(states_of(a_world(), 2)).labels(AUTHOR, None, 10, SOON_S)
    assert told.degraded == []
    [account] = told.what.account
    assert (account.label, account.value, account.by_model) == ("low_quality", 1.0, False)
    assert account.effects == effects_of({}, {"low_quality": 1.0})
    assert [post.post_id for post in told.what.posts] == [11, 10]
    made_up, model = told.what.posts[0].labels
    assert (made_up.label, made_up.effects) == ("made_up", [])
    assert (model.label, model.by_model) == ("p_nsfw", True)
    assert model.value == pytest.approx(0.6)
    [person] = told.what.posts[1].labels
    assert person.effects == effects_of({"nsfw_high_precision": 1.0})
    done = {(effect.level, effect.action) for effect in person.effects}
    assert {("for_you_in", "interstitial"), ("for_you_out", "drop"), ("own", "notice")} <= done


def test_the_newest_labelled_posts_first_and_one_by_its_id() -> None:
    service = service_of(states_of(a_world()))
    assert [p.post_id for p in service.labels(AUTHOR, None, 1, SOON_S).what.posts] == [11]
    one = service.labels(AUTHOR, 10, 1, SOON_S).what
    assert [(p.post_id, len(p.labels)) for p in one.posts] == [(10, 1)]
    assert len(one.account) == 1
    # Not labelled, but the author's own.
    assert service.labels(AUTHOR, 12, 1, SOON_S).what.posts[0].labels == []


@pytest.mark.parametrize("post", [13, 30, 777])
def test_posts_that_are_deleted_or_of_others_are_nobodys_business(post: int) -> None:
    service = service_of(states_of(a_world()))
    with pytest.raises(ProblemError) as refused:
        service.labels(AUTHOR, post, 1, SOON_S)
    assert refused.value.slug == "unknown-post"
    with pytest.raises(ProblemError) as refused:
        service.labels(FAN, 10, 1, SOON_S)
    assert refused.value.slug == "unknown-post"


@pytest.mark.parametrize("user", [GONE, UNKNOWN])
def test_who_is_gone_or_was_never_heard_of(user: int) -> None:
    service = service_of(states_of(a_world()))
    asked: list[Callable[[], object]] = [
        lambda: service.of(user, 28, 10, SOON_S),
        lambda: service.labels(user, None, 10, SOON_S),
    ]
    for ask in asked:
        with pytest.raises(ProblemError) as refused:
            ask()
        assert refused.value.slug == "unknown-user"


def test_a_shard_that_does_not_answer_is_named() -> None:
    states = states_of(a_world(), 2)
    home = next(
        shard
        for shard, state in enumerate(states)
        if AskAuthor(AUTHOR, 3, NOW_MS, 1).answer(state).days.counts.any()
    )
    service = service_of(states, (home,))
    told = service.of(AUTHOR, 3, 10, SOON_S)
    assert (told.what, told.degraded) == (AuthorAnalytics(0, 0, Reach(), [], []), [f"shard_{home}"])
    labels = service.labels(AUTHOR, None, 10, SOON_S)
    assert (labels.what, labels.degraded) == (OwnLabels([], []), [f"shard_{home}"])


def test_whoever_only_reads_has_no_reach_but_is_known() -> None:
    told = service_of(states_of(a_world())).of(AUTHOR, 1, 10, SOON_S)
    assert told.what.followers == 1
    [state] = states_of([Clock().event(Kind.USER_CREATE, actor_id=FAN)])
    assert service_of([state]).of(FAN, 1, 10, SOON_S).what.total == Reach()
    assert AskOwnLabels(FAN, None, NOW_MS, 10).answer(state).known


def test_the_form_of_answers() -> None:
    service = service_of(states_of(a_world()))
    content = orjson.loads(analytics_json(AUTHOR, service.of(AUTHOR, 3, 10, SOON_S)))
    answer = AnalyticsAnswer.model_validate(content)
    assert answer.model_dump() == content
    assert answer.viewers_error == round(RELATIVE_ERROR, 4)
    assert (answer.user_id, answer.top_posts[0].post_id) == (str(AUTHOR), "11")
    assert answer.by_day[-1].rates == {"favourite": 2.0, "reply": 1.0}
    content = orjson.loads(labels_json(AUTHOR, service.labels(AUTHOR, None, 10, SOON_S)))
    assert OwnLabelsAnswer.model_validate(content).model_dump() == content
    for model in (AnalyticsAnswer, OwnLabelsAnswer):
        model.model_validate(model.model_config["json_schema_extra"]["example"])  # type: ignore[index,call-overload]
    nothing = Told(AuthorAnalytics(0, 0, Reach(), [], []), NOW_MS, ["shard_0"])
    AnalyticsAnswer.model_validate(orjson.loads(analytics_json(1, nothing)))


@pytest.fixture
def client() -> Iterator[TestClient]:
    async def at_once(make: Callable[[], bytes]) -> bytes:
        return make()

    app = FastAPI()

    @app.middleware("http")
    async def named(request: Any, call_next: Any) -> Any:
        request.state.request_id = "r"
        return await call_next(request)

    answer_problems(app, outages=[])
    app.state.tokens = Tokens({TOKEN: ["read"]})
    analytics = CreatorAnalytics(Settings(), LocalRouter(states_of(a_world())), lambda: NOW_MS)
    app.include_router(analytics_routes(analytics, at_once))
    with TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"}) as made:
        yield made


def test_over_http(client: TestClient) -> None:
    told = client.get(f"/v1/users/{AUTHOR}/analytics", params={"days": 2, "limit": 1}).json()
    assert len(told["by_day"]) == 2
    assert len(told["top_posts"]) == 1
    assert len(client.get(f"/v1/users/{AUTHOR}/analytics").json()["by_day"]) == 28
    labels = client.get(f"/v1/users/{AUTHOR}/labels").json()
    assert [post["post_id"] for post in labels["posts"]] == ["11", "10"]
    one = client.get(f"/v1/users/{AUTHOR}/posts/10/labels").json()
    assert [post["post_id"] for post in one["posts"]] == ["10"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/v1/users/{UNKNOWN}/analytics", 404),
        (f"/v1/users/{FAN}/posts/10/labels", 404),
        (f"/v1/users/{AUTHOR}/analytics?days=0", 422),
        (f"/v1/users/{AUTHOR}/analytics?days=91", 422),
        (f"/v1/users/{AUTHOR}/analytics?days=1.5", 422),
        (f"/v1/users/{AUTHOR}/labels?limit=101", 422),
        ("/v1/users/me/analytics", 422),
        (f"/v1/users/{AUTHOR}/posts/x/labels", 422),
    ],
)
def test_what_is_refused_over_http(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    )

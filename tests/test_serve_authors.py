"""What authors are told of their own, over HTTP: reach and labels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http_world import (
    AUTHOR,
    FRIEND,
    STRANGER,
    VIEWER,
    World,
    a_lively_world,
    an_event,
    problem_of,
)
from timeline.analytics_answers import AnalyticsAnswer, OwnLabelsAnswer

ANALYTICS = f"/v1/users/{AUTHOR}/analytics"
LABELS = f"/v1/users/{AUTHOR}/labels"
POST_LABELS = f"/v1/users/{AUTHOR}/posts/110/labels"


@pytest.fixture
def lively(tmp_path: Path) -> Iterator[World]:
    labelled = {"author_id": AUTHOR, "label": "nsfw_high_precision", "value": 1.0}
    more = [
        an_event("user_create", 300, actor_id=STRANGER),
        an_event("safety_label", 1, post_id=110, **labelled),
    ]
    for world in a_lively_world(tmp_path):
        assert world.post(more, role="admin").json()["accepted"] == 2
        world.catch_up()
        yield world


def test_what_was_served_and_seen_is_in_the_reach(lively: World) -> None:
    before = lively.get(ANALYTICS).json()
    assert (before["total"]["served"], before["total"]["impressions"]) == (0, 0)
    page = lively.get(f"/v1/timelines/following/{VIEWER}", limit=2).json()
    shown = [int(item["post_id"]) for item in page["items"]]
    seen = {"actor_id": VIEWER, "author_id": AUTHOR, "request_id": page["request_id"]}
    lively.happen(*(an_event("impression", 0, post_id=post, **seen) for post in shown))
    told = AnalyticsAnswer.model_validate(lively.get(ANALYTICS, days=1).json())
    assert (told.total.served, told.total.impressions, told.total.viewers) == (2, 2, 1)
    assert [post.post_id for post in told.top_posts[:2]] == ["110", "109"] == [*map(str, shown)]
    assert told.degraded == []


def test_labels_of_the_account_and_of_a_post(lively: World) -> None:
    told = OwnLabelsAnswer.model_validate(lively.get(LABELS).json())
    assert [post.post_id for post in told.posts] == ["110"]
    one = OwnLabelsAnswer.model_validate(lively.get(POST_LABELS).json())
    assert one.posts == told.posts
    effects = one.posts[0].labels[0].effects
    assert effects
    none = lively.get(f"/v1/users/{AUTHOR}/posts/109/labels").json()
    assert none["posts"] == [{**none["posts"][0], "post_id": "109", "labels": []}]


@pytest.mark.parametrize("path", [ANALYTICS, LABELS, POST_LABELS])
def test_who_may_read(lively: World, path: str) -> None:
    problem_of(lively.client.get(path), 401, "unauthorized")
    problem_of(lively.get(path, role="write"), 403, "forbidden")
    for role in ("read", "admin"):
        assert lively.get(path, role=role).status_code == 200


@pytest.mark.parametrize(
    ("path", "slug"),
    [
        ("/v1/users/987654321/analytics", "unknown-user"),
        ("/v1/users/987654321/labels", "unknown-user"),
        ("/v1/users/987654321/posts/110/labels", "unknown-user"),
        (f"/v1/users/{FRIEND}/posts/110/labels", "unknown-post"),
        (f"/v1/users/{AUTHOR}/posts/999/labels", "unknown-post"),
    ],
)
def test_unknown_users_and_posts_of_others(lively: World, path: str, slug: str) -> None:
    problem_of(lively.get(path), 404, slug)


@pytest.mark.parametrize(
    ("path", "parameters", "field"),
    [
        ("/v1/users/0/analytics", {}, "user_id"),
        (f"/v1/users/{2**63}/labels", {}, "user_id"),
        (f"/v1/users/{AUTHOR}/posts/NaN/labels", {}, "post_id"),
        (ANALYTICS, {"days": 0}, "days"),
        (ANALYTICS, {"days": 91}, "days"),
        (ANALYTICS, {"days": "1.0"}, "days"),
        (ANALYTICS, {"limit": 101}, "limit"),
        (LABELS, {"limit": 0}, "limit"),
    ],
)
def test_bad_parameters(lively: World, path: str, parameters: dict[str, Any], field: str) -> None:
    document = problem_of(lively.get(path, **parameters), 422, "invalid-request")
    assert [error["field"] for error in document["errors"]] == [field]


@pytest.mark.parametrize("path", [ANALYTICS, LABELS, POST_LABELS])
def test_shards_that_are_down_are_named(lively: World, path: str) -> None:
    lively.router.down = {0, 1}
    answer = lively.get(path)
    assert answer.status_code == 200
    assert [name for name in answer.json()["degraded"] if name.startswith("shard_")]


def test_a_deleted_account_has_no_reach(lively: World) -> None:
    lively.happen(an_event("user_delete", 0, actor_id=AUTHOR))
    problem_of(lively.get(ANALYTICS), 404, "unknown-user")
    problem_of(lively.get(LABELS), 404, "unknown-user")

"""The home mixer over HTTP: lists, top posts, experiments, modules, ads, and viewers' controls."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from cluster.events import Kind
from cluster.logs import features_lane
from cluster.routing import decode
from cluster.settings import DAY_MS
from cluster.switches import overridden
from tests.http_world import (
    AUTHOR,
    FRIEND,
    NOW_MS,
    POSTS,
    STRANGER,
    VIEWER,
    Event,
    World,
    a_lively_world,
    an_event,
    problem_of,
)
from timeline.answers import PageAnswer
from timeline.served import settings_version

OWN, OTHER, EMPTY, OF_FRIEND = 71, 72, 73, 74
NEWCOMER = 15
FOLLOWING = f"/v1/timelines/following/{VIEWER}"


def a_list(list_id: int, *members: int, owner: int = VIEWER) -> list[Event]:
    made = {"actor_id": owner, "target_id": list_id}
    adds = [an_event("list_add", 50, author_id=member, **made) for member in members]
    return [an_event("list_create", 60, **made), *adds]


def listed() -> list[Event]:
    reply = {"reply_to_id": 201, "reply_to_author_id": STRANGER}
    return [
        *a_list(OWN, AUTHOR, STRANGER),
        *a_list(OTHER, STRANGER),
        *a_list(EMPTY),
        *a_list(OF_FRIEND, AUTHOR, owner=FRIEND),
        an_event("post_create", 0.5, post_id=111, author_id=AUTHOR, **reply),
    ]


@pytest.fixture
def lively(tmp_path: Path) -> Iterator[World]:
    yield from a_lively_world(tmp_path, listed())


def of_list(world: World, list_id: Any = OWN, user: Any = VIEWER, **parameters: Any) -> Any:
    return world.get(f"/v1/timelines/lists/{list_id}", user_id=user, **parameters)


def top_posts(world: World, user: Any = VIEWER, **parameters: Any) -> Any:
    return world.get(f"/v1/users/{user}/top-posts", **parameters)


def ids(answer: Any) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [int(item["post_id"]) for item in answer.json()["items"]]


def told(world: World, kind: Kind) -> list[dict[str, Any]]:
    """Events of a kind that were recorded since the last call, each once."""
    world.service.recorder.flush()
    rows = [
        row
        for lane, payload in world.records()
        if lane != features_lane(world.settings)
        for row in decode(payload).to_pylist()
        if row["kind"] == kind
    ]
    return list({row["event_id"]: row for row in rows}.values())


# Lists


def test_a_list_is_newest_first(lively: World) -> None:
    newest_first = [*reversed(POSTS), 201]
    assert ids(of_list(lively)) == newest_first
    # A reply, below what it answers.
    with_replies = of_list(lively, replies="true")
    assert ids(with_replies) == [111, *reversed(POSTS)]
    assert [post["post_id"] for post in with_replies.json()["items"][0]["ancestors"]] == ["201"]
    assert ids(of_list(lively, OTHER)) == [201]
    page = PageAnswer.model_validate(of_list(lively).json())
    assert (page.product, page.degraded, page.between) == ("lists", [], [])


def test_a_list_page_by_page(lively: World) -> None:
    found, cursor = [], None
    for _ in range(9):
        answer = of_list(lively, limit=4, **({"cursor": cursor} if cursor else {}))
        found += ids(answer)
        cursor = answer.json()["cursor"]
        if cursor is None:
            break
    assert found == [*reversed(POSTS), 201]


def test_what_came_since_on_a_list(lively: World) -> None:
    newer = of_list(lively).json()["newer_cursor"]
    assert ids(of_list(lively, cursor=newer)) == []
    lively.happen(an_event("post_create", 0.1, post_id=120, author_id=AUTHOR))
    answer = of_list(lively, cursor=newer)
    assert ids(answer) == [120]
    pill = {"n_posts": 1, "user_ids": [str(AUTHOR)], "delay_ms": 240_000}
    assert answer.json()["new_posts"] == pill


def test_a_list_without_members_is_empty_and_no_error(lively: World) -> None:
    assert ids(of_list(lively, EMPTY)) == []


@pytest.mark.parametrize(("list_id", "user"), [(999, VIEWER), (OF_FRIEND, VIEWER), (OWN, FRIEND)])
def test_lists_of_nobody_and_of_others_are_unknown(lively: World, list_id: int, user: int) -> None:
    problem_of(of_list(lively, list_id, user), 404, "unknown-list")


def test_a_deleted_list_is_unknown_at_once(lively: World) -> None:
    cursor = of_list(lively, limit=2).json()["cursor"]
    lively.happen(an_event("list_delete", 0, actor_id=VIEWER, target_id=OWN))
    problem_of(of_list(lively), 404, "unknown-list")
    problem_of(of_list(lively, cursor=cursor), 404, "unknown-list")


def test_a_list_whose_owner_is_not_known_is_degraded_and_not_unknown(lively: World) -> None:
    lively.router.down = {0, 1}
    answer = of_list(lively)
    assert ids(answer) == []
    assert "viewer_context" in answer.json()["degraded"]


def test_cursors_stay_with_their_list_and_product(lively: World) -> None:
    cursors = {
        "list": of_list(lively, limit=2).json()["cursor"],
        "for_you": lively.for_you(limit=2).json()["cursor"],
        "following": lively.get(FOLLOWING, limit=2).json()["cursor"],
    }
    assert all(cursors.values())
    assert of_list(lively, cursor=cursors["list"]).status_code == 200
    problem_of(of_list(lively, OTHER, cursor=cursors["list"]), 400, "invalid-cursor")
    problem_of(of_list(lively, OWN, FRIEND, cursor=cursors["list"]), 400, "invalid-cursor")
    for wrong in (cursors["for_you"], cursors["following"], "garbage", ""):
        problem_of(of_list(lively, cursor=wrong), 400, "invalid-cursor")
    problem_of(lively.for_you(cursor=cursors["list"]), 400, "invalid-cursor")
    problem_of(lively.get(FOLLOWING, cursor=cursors["list"]), 400, "invalid-cursor")
    lively.now_ms += lively.settings.http.cursor_ttl_s * 1000 + 1
    problem_of(of_list(lively, cursor=cursors["list"]), 410, "expired-cursor")


@pytest.mark.parametrize(
    ("list_id", "parameters", "field"),
    [
        ("0", {}, "list_id"),
        ("x", {}, "list_id"),
        (str(2**63), {}, "list_id"),
        (OWN, {"user": "-1"}, "user_id"),
        (OWN, {"user": None}, "user_id"),
        (OWN, {"limit": 0}, "limit"),
        (OWN, {"limit": 101}, "limit"),
        (OWN, {"replies": "perhaps"}, "replies"),
        (OWN, {"now_ms": "soon"}, "now_ms"),
    ],
)
def test_bad_parameters_of_lists(
    lively: World, list_id: Any, parameters: dict[str, Any], field: str
) -> None:
    document = problem_of(of_list(lively, list_id, **parameters), 422, "invalid-request")
    assert [error["field"] for error in document["errors"]] == [field]


def test_who_may_read_lists_and_top_posts(lively: World) -> None:
    for path in (f"/v1/timelines/lists/{OWN}?user_id={VIEWER}", f"/v1/users/{VIEWER}/top-posts"):
        problem_of(lively.client.get(path), 401, "unauthorized")
        problem_of(lively.get(path, role="write"), 403, "forbidden")
        problem_of(
            lively.client.get(
                f"{path}{'&' if '?' in path else '?'}seed=1", headers=lively.as_("read")
            ),
            403,
            "forbidden",
        )


# Top posts


def test_top_posts_are_no_visit_and_repeat(lively: World) -> None:
    lively.for_you(limit=3)
    lively.catch_up()
    lively.records()
    first = ids(top_posts(lively, limit=5, since_ms=NOW_MS - DAY_MS))
    assert len(first) == 5
    assert told(lively, Kind.SERVED) == []
    assert ids(top_posts(lively, limit=5, since_ms=NOW_MS - DAY_MS)) == first
    answer = top_posts(lively).json()
    assert (answer["product"], answer["cursor"], answer["newer_cursor"]) == (
        "top_posts",
        None,
        None,
    )


def test_top_posts_since_an_instant(lively: World) -> None:
    since_ms = NOW_MS - int(3.5 * 60_000)
    assert sorted(ids(top_posts(lively, since_ms=since_ms))) == [108, 109, 110, 111]
    assert ids(top_posts(lively, since_ms=NOW_MS + DAY_MS)) == []


@pytest.mark.parametrize(
    ("user", "parameters", "field"),
    [
        ("x", {}, "user_id"),
        (VIEWER, {"limit": 0}, "limit"),
        (VIEWER, {"since_ms": 0}, "since_ms"),
        (VIEWER, {"since_ms": -5}, "since_ms"),
        (VIEWER, {"since_ms": 2**53 + 1}, "since_ms"),
        (VIEWER, {"since_ms": "yesterday"}, "since_ms"),
    ],
)
def test_bad_parameters_of_top_posts(
    lively: World, user: Any, parameters: dict[str, Any], field: str
) -> None:
    document = problem_of(top_posts(lively, user, **parameters), 422, "invalid-request")
    assert [error["field"] for error in document["errors"]] == [field]


def test_how_many_top_posts_there_are_is_a_setting(tmp_path: Path) -> None:
    settings = {"products": {"top_posts": {"limit": 2}}}
    for world in a_lively_world(tmp_path, settings=settings):
        assert len(ids(top_posts(world))) == 2
        assert len(ids(top_posts(world, limit=3))) == 3


# Experiments


def experiment(percent: float, **overrides: Any) -> dict[str, Any]:
    arms = [{"name": "on", "percent": percent, "overrides": overrides}]
    return {"switches": {"experiments": [{"name": "trial", "arms": arms}]}}


def test_the_arm_is_in_the_answer_and_in_what_is_recorded(tmp_path: Path) -> None:
    tried = {"mixer.prompt.on": False}
    for world in a_lively_world(tmp_path, settings=experiment(100, **tried)):
        world.records()
        page = world.for_you(limit=3).json()
        assert page["experiment_arms"] == ["trial:on"]
        assert page["between"] == []
        served = told(world, Kind.SERVED)
        assert len(served) == 3
        assert {row["experiment_arm"] for row in served} == {"trial:on"}
        of_arm = settings_version(overridden(world.settings, tried))
        assert {row["settings_version"] for row in served} == {of_arm}


def test_who_is_in_no_arm_has_none(tmp_path: Path) -> None:
    for world in a_lively_world(tmp_path, settings=experiment(0)):
        world.records()
        page = world.for_you(limit=3).json()
        assert page["experiment_arms"] == []
        served = told(world, Kind.SERVED)
        assert {row.get("experiment_arm") for row in served} == {None}
        assert {row["settings_version"] for row in served} == {settings_version(world.settings)}


# Modules


def prompts(page: dict[str, Any]) -> list[str]:
    return [one["name"] for one in page["between"] if one["kind"] == "prompt"]


def test_modules_served_are_recorded_and_keep_their_interval(lively: World) -> None:
    lively.records()
    page = lively.get(FOLLOWING, limit=3).json()
    assert prompts(page) == ["prompt_accounts"]
    (row,) = told(lively, Kind.MODULE_SERVED)
    assert row["name"] == "prompt_accounts"
    assert (row["actor_id"], row["surface"], row["position"]) == (VIEWER, "following", 0)
    assert row["request_id"] == page["request_id"]


def test_the_next_request_has_the_next_prompt(lively: World) -> None:
    seen = []
    for _ in range(4):
        seen += prompts(lively.get(FOLLOWING, limit=3).json())
        lively.catch_up()
    assert seen == ["prompt_accounts", "prompt_topics", "prompt_languages"]


def test_a_module_of_a_page_without_posts_is_recorded_too(lively: World) -> None:
    lively.happen(an_event("user_create", 1, actor_id=NEWCOMER))
    path = f"/v1/timelines/following/{NEWCOMER}"
    page = lively.get(path).json()
    assert page["items"] == []
    assert prompts(page) == ["prompt_accounts"]
    lively.catch_up()
    assert prompts(lively.get(path).json()) == ["prompt_topics"]


def test_a_dismissal_counts_from_the_next_request(tmp_path: Path) -> None:
    at_once = {"mixer": {"prompt": {"interval_ms": 0}}}
    for world in a_lively_world(tmp_path, settings=at_once):
        assert prompts(world.get(FOLLOWING).json()) == ["prompt_accounts"]
        world.catch_up()
        assert prompts(world.get(FOLLOWING).json()) == ["prompt_accounts"]
        world.happen(an_event("dismiss", 0, actor_id=VIEWER, name="prompt_accounts"))
        assert prompts(world.get(FOLLOWING).json()) == ["prompt_topics"]
        world.now_ms += 7 * DAY_MS
        assert prompts(world.get(FOLLOWING).json()) == ["prompt_accounts"]


# Ads


def an_ad(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "advertiser_id": f"of {name}", "text": f"buy {name}", **more}


def ads_of(page: dict[str, Any]) -> list[tuple[int, str]]:
    return [(one["index"], one["ad"]["id"]) for one in page["between"] if one["kind"] == "ad"]


@pytest.fixture
def with_ads(tmp_path: Path) -> Iterator[World]:
    file = tmp_path / "ads.json"
    payload = {"image": "x.jpg", "id": "another", "url": "javascript:"}
    first = an_ad("first", url="https://a.example/1", payload=payload)
    file.write_bytes(
        orjson.dumps({"ads": [first, an_ad("second"), an_ad("adult", adults_only=True)]})
    )
    settings = {
        "mixer": {"ads": {"source": "file", "file": str(file)}, "prompt": {"on": False}},
    }
    yield from a_lively_world(tmp_path / "world", settings=settings)


def test_ads_from_a_file_stand_between_posts(with_ads: World) -> None:
    page = with_ads.for_you(limit=10).json()
    found = ads_of(page)
    assert sorted(name for _, name in found) == ["first", "second"]
    one, other = (index for index, _ in found)
    assert one >= 1
    assert other - one > 4, "at least four posts between two ads"
    (first,) = [one["ad"] for one in page["between"] if one.get("ad", {}).get("id") == "first"]
    assert first["text"] == "buy first"
    assert (first["url"], first["image"]) == ("https://a.example/1", "x.jpg")
    PageAnswer.model_validate(page)


def test_ads_keep_their_distance_across_pages(with_ads: World) -> None:
    for path in (FOLLOWING, f"/v1/timelines/for-you/{VIEWER}"):
        places: list[int] = []
        cursor: dict[str, str] = {}
        n_posts = 0
        for _ in range(4):
            page = with_ads.get(path, limit=5, **cursor).json()
            n_before = n_posts
            for index, _ in ads_of(page):
                before = sum(one["index"] < index for one in page["between"])
                places.append(n_before + index - before)
            n_posts += len(page["items"])
            cursor = {"cursor": page["cursor"]}
            if not page["cursor"]:
                break
        assert len(places) > 1, path
        assert all(b - a >= 4 for a, b in pairwise(places)), (path, places)
        assert len(places) <= n_posts / 4


def test_ads_served_are_recorded(with_ads: World) -> None:
    with_ads.records()
    first = with_ads.for_you(limit=10).json()
    assert len(ads_of(first)) == 2
    assert {row["name"] for row in told(with_ads, Kind.MODULE_SERVED)} >= {"ad_1", "ad_2"}


def test_who_had_as_many_ads_as_a_day_has_gets_none(tmp_path: Path) -> None:
    file = tmp_path / "ads.json"
    file.write_bytes(orjson.dumps({"ads": [an_ad("first"), an_ad("second")]}))
    ads = {"source": "file", "file": str(file), "max_per_day": 3}
    for world in a_lively_world(tmp_path / "world", settings={"mixer": {"ads": ads}}):
        found = []
        for hours in (0, 0, 0, 12, 12, 0):
            world.now_ms += hours * 3_600_000
            found.append(len(ads_of(world.get(FOLLOWING, limit=10).json())))
            world.catch_up()
        # The second page has but one left; a day after the first the first two are free again.
        assert found == [2, 1, 0, 0, 2, 1]


def test_ads_are_not_for_lists_nor_for_exact_requests_nor_for_who_pays(with_ads: World) -> None:
    with_ads.happen(*a_list(OWN, AUTHOR))
    assert of_list(with_ads, limit=10).json()["between"] == []
    assert ads_of(with_ads.for_you(role="admin", record="false").json()) == []
    with_ads.happen(an_event("preference", 0, actor_id=VIEWER, name="ad_free", value=1.0))
    assert ads_of(with_ads.for_you(limit=10).json()) == []


def test_an_ads_file_that_is_broken_costs_the_page_nothing(with_ads: World) -> None:
    file = with_ads.settings.mixer.ads.file
    assert file is not None
    before = ads_of(with_ads.get(FOLLOWING, limit=10).json())
    assert before
    file.write_text("{")
    page = with_ads.get(FOLLOWING, limit=10).json()
    assert len(page["items"]) == 10
    assert page["degraded"] == ["ads"]
    assert ads_of(page) == before, "the last good file stays in force"


# Viewers' controls


def test_muted_words_count_from_the_next_request(lively: World) -> None:
    assert 105 in ids(lively.for_you(limit=100, role="admin", record="false"))
    lively.happen(an_event("keyword_mute", 0, actor_id=VIEWER, keyword="105"))
    assert 105 not in ids(lively.for_you(limit=100, role="admin", record="false"))
    assert 105 not in ids(lively.get(FOLLOWING, limit=100))
    assert 105 not in ids(of_list(lively))
    assert 105 not in ids(top_posts(lively, limit=100, since_ms=NOW_MS - DAY_MS))
    why = lively.why(105).json()
    assert (why["verdict"], why["dropped_by"]) == ("dropped", "muted_words")
    lively.happen(an_event("keyword_unmute", 0, actor_id=VIEWER, keyword="105"))
    assert 105 in ids(lively.for_you(limit=100))


def test_blocks_and_deletions_count_from_the_next_request_everywhere(lively: World) -> None:
    pages = [
        lambda: lively.for_you(limit=100, role="admin", record="false"),
        lambda: lively.get(FOLLOWING, limit=100, role="admin", record="false"),
        lambda: of_list(lively, limit=100, role="admin", record="false"),
        lambda: top_posts(lively, limit=100, since_ms=NOW_MS - DAY_MS),
    ]
    for page in pages:
        assert 107 in ids(page())
    lively.happen(an_event("post_delete", 0, post_id=107, author_id=AUTHOR))
    for page in pages:
        found = ids(page())
        assert 107 not in found
        assert 108 in found
    lively.happen(an_event("block", 0, actor_id=VIEWER, target_id=AUTHOR))
    for page in pages:
        assert not set(ids(page())) & {*POSTS, 111}

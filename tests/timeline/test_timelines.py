"""Whole requests over shards in this process: what is in a timeline."""

import pytest
from hypothesis import given, settings

from cluster.events import Kind
from tests.timeline.small_worlds import (
    FRIEND,
    OTHER,
    STRANGER,
    VIEWER,
    following,
    for_you,
    ids,
    small_world,
)
from tests.worlds import (
    DAY_MS,
    NOW_MS,
    POSTS,
    USERS,
    Clock,
    Event,
    author_of,
    shown,
    states_of,
    timelines_of,
    worlds,
)


@settings(max_examples=15)
@given(worlds(max_happenings=60))
def test_timelines_do_not_depend_on_the_number_of_shards(events: list[Event]) -> None:
    clock = Clock(NOW_MS - DAY_MS)
    follows = [
        clock.edge(Kind.FOLLOW, u, USERS[(k + step) % 8], event_id=1_000 + 10 * k + step)
        for k, u in enumerate(USERS)
        for step in (1, 2, 3)
    ]
    pages = []
    for n_shards in (1, 3, 4):
        timelines = timelines_of(states_of([*follows, *events], n_shards))
        pages.append(
            [
                (shown(page), page.reason, page.degraded)
                for user in [*USERS, 424_242]
                for page in (
                    timelines.for_you(user, 20, now_ms=NOW_MS),
                    timelines.following(user, 20, now_ms=NOW_MS),
                )
            ]
        )
    assert pages[1] == pages[0]
    assert pages[2] == pages[0]


def test_the_same_request_gives_the_same_answer() -> None:
    timelines = timelines_of(states_of(small_world(Clock()), 2))
    first, second = (timelines.for_you(VIEWER, 20, now_ms=NOW_MS) for _ in range(2))
    assert shown(first) == shown(second)
    assert len(first.items) == 11


def test_for_you_has_the_network_and_what_it_liked() -> None:
    page = for_you(*small_world(Clock()), n_shards=4)
    assert set(ids(page)) == {*range(100, 105), *range(200, 205), 300}
    by_id = {item.post_id: item for item in page.items}
    assert [r.kind for r in by_id[100].reasons] == ["followed_author"]
    first = by_id[300].reasons[0]
    assert (first.kind, first.user_ids) == ("favourited_by", (FRIEND,))
    assert by_id[300].source == "user_tweet_entity_graph"
    assert page.degraded == []
    assert page.reason is None
    scores = [item.score for item in page.items]
    assert scores == sorted(scores, reverse=True)


def test_following_is_everything_newest_first() -> None:
    page = following(*small_world(Clock()))
    assert ids(page) == [204, 203, 202, 201, 200, 104, 103, 102, 101, 100]


def test_a_new_user_gets_what_is_popular() -> None:
    clock = Clock()
    events = small_world(clock)
    events += [clock.on_post(Kind.FAVOURITE, user, 104, FRIEND) for user in USERS]
    page = for_you(*events, viewer=999_999)
    assert page.reason == "cold_start"
    assert ids(page)[0] == 104
    assert {r.kind for item in page.items for r in item.reasons} <= {
        *("popular", "recommended_author"),
    }
    assert page.items[0].reasons[0].kind in ("popular", "recommended_author")
    assert following(*events, viewer=999_999).items == []


def test_an_empty_system_answers() -> None:
    page = for_you()
    assert (page.items, page.cursor, page.reason) == ([], None, "cold_start")


@pytest.mark.parametrize("kind", [Kind.USER_DEACTIVATE, Kind.USER_SUSPEND, Kind.USER_DELETE])
def test_who_is_gone_neither_reads_nor_is_read(kind: Kind) -> None:
    clock = Clock()
    events = [*small_world(clock), clock.event(kind, actor_id=FRIEND)]
    assert set(ids(for_you(*events))) == {*range(200, 205), 300}
    assert set(ids(following(*events))) == {*range(200, 205)}
    assert for_you(*events, viewer=FRIEND).items == []


def test_a_trace_says_where_a_post_went() -> None:
    clock = Clock()
    events = small_world(clock)
    events += [
        clock.edge(Kind.MUTE, VIEWER, STRANGER),
        clock.event(Kind.POST_DELETE, post_id=300, author_id=STRANGER),
        clock.on_post(Kind.IMPRESSION, VIEWER, 104, FRIEND),
        clock.on_post(Kind.NOT_INTERESTED, VIEWER, 200, OTHER),
    ]
    timelines = timelines_of(states_of(events, 2))
    page = timelines.for_you(VIEWER, 3, now_ms=NOW_MS)
    dropped = {
        stage.name: set(stage.dropped.tolist())
        for stage in page.trace.stages
        if stage.dropped is not None and len(stage.dropped)
    }
    left_out = set(range(100, 104)) | set(range(201, 205))
    assert dropped == {
        "seen": {104},
        "negative_feedback": {200},
        "page": left_out - set(ids(page)),
    }
    assert set(page.trace.found.post_ids.tolist()) == {*range(100, 105), *range(200, 205)}
    # Nor is a post of somebody muted.
    # What was seen is not looked for; another source found it.
    assert page.trace.sources["in_network"].found == 9
    assert page.model_version == "untrained"
    assert "total" in page.timings_ms


@settings(max_examples=20)
@given(worlds())
def test_every_candidate_is_shown_or_dropped_by_one_stage(events: list[Event]) -> None:
    timelines = timelines_of(states_of(events, 2))
    for user in USERS[:4]:
        page = timelines.for_you(user, 3, now_ms=NOW_MS)
        dropped = [
            post
            for stage in page.trace.stages
            if stage.dropped is not None
            for post in stage.dropped.tolist()
        ]
        assert sorted([*dropped, *ids(page)]) == sorted(page.trace.found.post_ids.tolist())
        for item in page.items:
            assert item.reasons
            assert item.author_id == author_of(item.post_id)
            assert item.post_id in POSTS


def test_external_names_come_with_items() -> None:
    clock = Clock()
    events = small_world(clock)
    events.append(clock.post(105, FRIEND, uri="at://friend/105"))
    page = for_you(*events, n_shards=3)
    uris = {item.post_id: item.uri for item in page.items}
    assert uris[105] == "at://friend/105"
    assert uris[104] is None

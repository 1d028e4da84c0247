"""Whole requests over shards in this process: what the timelines promise."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.router import shards_of
from cluster.events import Kind
from cluster.settings import Settings
from tests.worlds import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    POSTS,
    USERS,
    Clock,
    Event,
    PartialRouter,
    apply,
    author_of,
    empty_states,
    shown,
    states_of,
    timelines_of,
    worlds,
)
from timeline.cursors import InvalidCursor
from timeline.timelines import Page, Timelines

VIEWER, FRIEND, OTHER, STRANGER = USERS[0], USERS[2], USERS[4], USERS[6]


def ids(page: Page) -> list[int]:
    return [item.post_id for item in page.items]


def small_world(clock: Clock, n_posts: int = 5) -> list[Event]:
    """The viewer follows a friend and another; a friend liked what a stranger wrote."""
    return [
        clock.edge(Kind.FOLLOW, VIEWER, FRIEND),
        clock.edge(Kind.FOLLOW, VIEWER, OTHER),
        *(clock.post(100 + k, FRIEND) for k in range(n_posts)),
        *(clock.post(200 + k, OTHER) for k in range(n_posts)),
        clock.post(300, STRANGER),
        clock.on_post(Kind.FAVOURITE, FRIEND, 300, STRANGER),
    ]


def for_you(*events: Event, viewer: int = VIEWER, n_shards: int = 1) -> Page:
    timelines = timelines_of(states_of(events, n_shards))
    return timelines.for_you(viewer, 100, now_ms=NOW_MS)


def following(*events: Event, viewer: int = VIEWER) -> Page:
    return timelines_of(states_of(events)).following(viewer, 100, now_ms=NOW_MS)


# The number of shards.


@settings(max_examples=30)
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


# What is in a timeline.


def test_for_you_has_the_network_and_what_it_liked() -> None:
    page = for_you(*small_world(Clock()), n_shards=4)
    assert set(ids(page)) == {*range(100, 105), *range(200, 205), 300}
    by_id = {item.post_id: item for item in page.items}
    assert [r.kind for r in by_id[100].reasons] == ["followed_author"]
    assert [(r.kind, r.user_ids) for r in by_id[300].reasons][0] == ("favourited_by", (FRIEND,))
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
    assert {r.kind for item in page.items for r in item.reasons} == {"popular"}
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


# What is not in a timeline.


def both(*events: Event) -> set[int]:
    return {*ids(for_you(*events)), *ids(following(*events))}


@pytest.mark.parametrize("kind", [Kind.BLOCK, Kind.MUTE])
def test_blocked_and_muted_authors(kind: Kind) -> None:
    clock = Clock()
    events = small_world(clock)
    # The stranger's post is still found: it is popular.
    assert both(*events, clock.edge(kind, VIEWER, FRIEND)) == {*range(200, 205), 300}
    assert 300 not in both(*events, clock.edge(kind, VIEWER, STRANGER))
    undo = Kind.UNBLOCK if kind is Kind.BLOCK else Kind.UNMUTE
    again = [clock.edge(kind, VIEWER, FRIEND), clock.edge(undo, VIEWER, FRIEND)]
    assert both(*events, *again) == both(*events)


def named(page: Page) -> set[int]:
    return {user for item in page.items for r in item.reasons for user in r.user_ids}


def test_who_blocked_the_viewer_is_not_shown_nor_named() -> None:
    clock = Clock()
    events = [*small_world(clock), clock.on_post(Kind.FAVOURITE, FRIEND, 200, OTHER)]
    assert named(for_you(*events, n_shards=4)) == {FRIEND, OTHER}
    page = for_you(*events, clock.edge(Kind.BLOCK, FRIEND, VIEWER), n_shards=4)
    assert set(ids(page)) == {*range(200, 205), 300}
    assert named(page) == {OTHER}


@pytest.mark.parametrize("link", ["reply_to", "quote_of", "repost_of"])
@pytest.mark.parametrize("blocker", [VIEWER, STRANGER])
def test_nothing_that_replies_to_quotes_or_reposts_a_blocked_author(
    link: str, blocker: int
) -> None:
    clock = Clock()
    given = {f"{link}_id": 300, f"{link}_author_id": STRANGER}
    events = [*small_world(clock), clock.post(150, FRIEND, **given)]
    assert 150 in both(*events)
    blocked = STRANGER if blocker == VIEWER else VIEWER
    assert not {150, 300} & both(*events, clock.edge(Kind.BLOCK, blocker, blocked))


def test_deleted_and_edited_posts() -> None:
    clock = Clock()
    events = small_world(clock)
    events += [
        clock.event(Kind.POST_DELETE, post_id=100, author_id=FRIEND),
        clock.event(Kind.POST_DELETE, post_id=300, author_id=STRANGER),
        clock.post(190, FRIEND, edit_of_id=101),
    ]
    assert both(*events) == {190, *range(102, 105), *range(200, 205)}


def test_an_edited_post_of_a_stranger_is_its_newest_version() -> None:
    clock = Clock()
    events = [*small_world(clock), clock.post(301, STRANGER, edit_of_id=300)]
    events.append(clock.post(302, STRANGER, edit_of_id=301))
    page = for_you(*events, n_shards=4)
    assert 302 in ids(page)
    assert not {300, 301} & set(ids(page))


def test_reposts_of_one_post() -> None:
    clock = Clock()
    link = {"repost_of_id": 300, "repost_of_author_id": STRANGER}
    events = small_world(clock)
    events += [clock.post(150, FRIEND, **link), clock.post(250, OTHER, **link)]
    # The post itself is there, so neither of its reposts is.
    assert not {150, 250} & set(ids(for_you(*events)))
    unseen = [e for e in events if e["kind"] != "favourite" and e.get("post_id") != 300]
    assert len({150, 250} & set(ids(for_you(*unseen)))) == 1


def test_own_posts_and_reposts_of_them() -> None:
    clock = Clock()
    events = [*small_world(clock), clock.post(400, VIEWER)]
    events += [
        clock.on_post(Kind.FAVOURITE, FRIEND, 400, VIEWER),
        clock.post(151, FRIEND, repost_of_id=400, repost_of_author_id=VIEWER),
        clock.post(152, FRIEND, quote_of_id=400, quote_of_author_id=VIEWER),
    ]
    assert {400, 151, 152} & both(*events) == {152}


def test_protected_authors_are_for_their_followers() -> None:
    clock = Clock()
    events = small_world(clock)
    events += [
        clock.event(Kind.USER_UPDATE, actor_id=user, protected=True) for user in (FRIEND, STRANGER)
    ]
    assert set(ids(for_you(*events))) == {*range(100, 105), *range(200, 205)}
    [popular] = ids(for_you(*events, viewer=999_999))
    assert popular in range(200, 205)


def test_seen_posts_do_not_come_again_in_for_you() -> None:
    clock = Clock()
    events = small_world(clock)
    events += [clock.on_post(Kind.IMPRESSION, VIEWER, post, FRIEND) for post in (103, 104)]
    assert set(ids(for_you(*events))) == {100, 101, 102, *range(200, 205), 300}
    assert {103, 104} <= set(ids(following(*events)))


def test_negative_feedback_hides_posts_and_authors() -> None:
    clock = Clock()
    events = small_world(clock)
    not_that = clock.on_post(Kind.NOT_INTERESTED, VIEWER, 104, FRIEND)
    less = clock.on_post(Kind.SHOW_LESS, VIEWER, 200, OTHER)
    assert set(ids(for_you(*events, not_that, less))) == {100, 101, 102, 103, 300}
    undone = clock.on_post(Kind.UNDO_SHOW_LESS, VIEWER, 200, OTHER)
    assert {*range(200, 205)} <= set(ids(for_you(*events, less, undone)))


def test_negative_feedback_is_not_forgotten_over_thousands_of_clicks() -> None:
    clock = Clock()
    events = [*small_world(clock), clock.on_post(Kind.REPORT, VIEWER, 200, OTHER)]
    events += [clock.on_post(Kind.CLICK, VIEWER, 100, FRIEND) for _ in range(1_100)]
    assert not {*range(200, 205)} & set(ids(for_you(*events)))


def test_the_window_of_either_side() -> None:
    clock = Clock(NOW_MS - 40 * HOUR_MS)
    events = small_world(clock)
    # A light user's own network has 48 hours, everybody else 24.
    assert set(ids(for_you(*events))) == {*range(100, 105), *range(200, 205)}
    older = small_world(Clock(NOW_MS - 50 * HOUR_MS))
    assert ids(for_you(*older)) == []
    assert for_you(*older).reason == "nothing_new"


def test_posts_to_come_are_not_shown() -> None:
    # The third post is of this very millisecond.
    events = small_world(Clock(NOW_MS - 5))
    assert set(ids(for_you(*events))) == {100, 101, 102}
    assert ids(following(*events)) == [102, 101, 100]


# Pages.


def chain_of(
    timelines: Timelines, product: str, limit: int, more: Any = None, max_pages: int = 30
) -> list[int]:
    """All posts of a chain of pages; `more` is called between two pages."""
    found: list[int] = []
    cursor = None
    for number in range(max_pages):
        page = getattr(timelines, product)(VIEWER, limit, now_ms=NOW_MS + number, cursor=cursor)
        assert len(page.items) <= limit
        found += ids(page)
        cursor = page.cursor
        if cursor is None:
            return found
        if more:
            more(number)
    raise AssertionError("a chain of pages did not end")


@pytest.mark.parametrize("product", ["for_you", "following"])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_a_chain_serves_everything_once(product: str, limit: int) -> None:
    timelines = timelines_of(states_of(small_world(Clock()), 2))
    found = chain_of(timelines, product, limit)
    everything = {*range(100, 105), *range(200, 205), *([300] if product == "for_you" else [])}
    assert len(found) == len(set(found))
    assert set(found) == everything


@settings(max_examples=25)
@given(worlds(), worlds(), st.integers(1, 4), st.sampled_from(["for_you", "following"]))
def test_no_post_comes_twice_in_a_chain(
    events: list[Event], news: list[Event], limit: int, product: str
) -> None:
    """Promise 4, while posts, follows, deletions and reposts arrive between the pages."""
    clock = Clock()
    follows = [
        clock.edge(Kind.FOLLOW, VIEWER, user, event_id=900 + k) for k, user in enumerate(USERS[1:])
    ]
    states = empty_states(2)
    apply(states, [*follows, *events])
    arriving = [e | {"event_id": e["event_id"] + 5_000} for e in news]
    # A post keeps its id: those that are there already are new ones under another.
    arriving = [
        e | ({"post_id": e["post_id"] + 80} if e["kind"] == "post_create" else {})
        for e in arriving
    ]

    def more(page: int) -> None:
        apply(states, arriving[3 * page : 3 * page + 3], offset=page + 2)

    found = chain_of(timelines_of(states), product, limit, more, max_pages=60)
    assert len(found) == len(set(found))


def test_a_repost_does_not_bring_back_what_the_chain_showed() -> None:
    clock = Clock()
    link = {"repost_of_id": 300, "repost_of_author_id": STRANGER}
    events = [clock.edge(Kind.FOLLOW, VIEWER, FRIEND), clock.post(300, STRANGER)]
    events.append(clock.post(150, FRIEND, **link))
    states = states_of(events)
    timelines = timelines_of(states)
    first = timelines.for_you(VIEWER, 1, now_ms=NOW_MS)
    apply(states, [clock.on_post(Kind.FAVOURITE, FRIEND, 300, STRANGER)], offset=2)
    second = timelines.for_you(VIEWER, 9, now_ms=NOW_MS, cursor=first.cursor)
    assert len(ids(first)) == 1
    assert ids(second) == []


def test_muting_somebody_loud_does_not_end_following() -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, VIEWER, user) for user in (FRIEND, OTHER)]
    events += [clock.post(200 + k, OTHER) for k in range(3)]
    events += [clock.post(1_000 + k, FRIEND) for k in range(200)]
    events.append(clock.edge(Kind.MUTE, VIEWER, FRIEND))
    assert chain_of(timelines_of(states_of(events)), "following", 2) == [202, 201, 200]


def test_following_pages_through_posts_of_one_instant() -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, VIEWER, FRIEND)]
    events += [clock.post(100 + k, FRIEND, time_ms=NOW_MS - 9) for k in range(7)]
    found = chain_of(timelines_of(states_of(events)), "following", 2)
    assert found == [106, 105, 104, 103, 102, 101, 100]


def test_a_chain_ends() -> None:
    settings = Settings(for_you={"max_chain": 4})  # type: ignore[arg-type]
    states = states_of(small_world(Clock()), settings=settings)
    assert 4 <= len(chain_of(timelines_of(states), "for_you", 2)) <= 6


def test_cursors_are_for_their_viewer_and_timeline() -> None:
    timelines = timelines_of(states_of(small_world(Clock())))
    page = timelines.for_you(VIEWER, 2, now_ms=NOW_MS)
    for viewer, product in ((FRIEND, timelines.for_you), (VIEWER, timelines.following)):
        with pytest.raises(InvalidCursor):
            product(viewer, 2, now_ms=NOW_MS, cursor=page.cursor)


# Missing shards.

N_SHARDS = 4
HOMES = dict(zip(USERS, shards_of(np.array(USERS), N_SHARDS).tolist(), strict=True))


def degraded(product: str, **router: Any) -> Page:
    states = states_of(small_world(Clock()), N_SHARDS)
    timelines = timelines_of(states, router=PartialRouter(states, **router))
    page: Page = getattr(timelines, product)(VIEWER, 50, now_ms=NOW_MS)
    return page


def test_users_of_these_tests_live_in_different_shards() -> None:
    assert len({HOMES[user] for user in (VIEWER, FRIEND, OTHER, STRANGER)}) == N_SHARDS


STALE_MS = Settings().shards.stale_after_ms
OUT = pytest.mark.parametrize("how", ["missing", "stale"])


def out(how: str, shard: int) -> dict[str, Any]:
    return {"missing": [shard]} if how == "missing" else {"lags_ms": {shard: STALE_MS + 1}}


@OUT
@pytest.mark.parametrize("product", ["for_you", "following"])
def test_without_the_viewers_shard_nothing_is_shown(product: str, how: str) -> None:
    page = degraded(product, **out(how, HOMES[VIEWER]))
    assert page.items == []
    assert page.cursor is None
    assert page.reason is None
    assert set(page.degraded) == {f"shard_{HOMES[VIEWER]}", "viewer_context"}


@OUT
def test_without_another_shard_its_posts_are_missing_and_it_is_named(how: str) -> None:
    page = degraded("for_you", **out(how, HOMES[FRIEND]))
    # The friend's posts, and what only the friend's favourites lead to.
    assert not set(range(100, 105)) & set(ids(page))
    assert set(range(200, 205)) <= set(ids(page))
    assert page.degraded == [f"shard_{HOMES[FRIEND]}"]
    page = degraded("following", **out(how, HOMES[FRIEND]))
    assert ids(page) == [204, 203, 202, 201, 200]
    assert page.degraded == [f"shard_{HOMES[FRIEND]}"]


@OUT
def test_a_post_whose_own_shard_is_silent_might_be_deleted(how: str) -> None:
    page = degraded("for_you", **out(how, HOMES[STRANGER]))
    assert 300 not in ids(page)
    assert set(ids(page)) == {*range(100, 105), *range(200, 205)}
    assert page.degraded == [f"shard_{HOMES[STRANGER]}"]


def test_a_shard_little_behind_still_counts() -> None:
    page = degraded("for_you", lags_ms=dict.fromkeys(range(N_SHARDS), STALE_MS))
    assert page.degraded == []
    assert len(page.items) == 11


def test_all_shards_but_one_gone() -> None:
    others = [shard for shard in range(N_SHARDS) if shard != HOMES[VIEWER]]
    page = degraded("for_you", missing=others)
    assert page.items == []
    assert set(page.degraded) == {f"shard_{shard}" for shard in others}


# Explanations.


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
        "unknown_or_deleted": {300},
        "seen": {104},
        "negative_feedback": {200},
        "page": left_out - set(ids(page)),
    }
    assert set(page.trace.found.post_ids.tolist()) == {*range(100, 105), *range(200, 205), 300}
    assert page.trace.per_source["in_network"] == 10
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

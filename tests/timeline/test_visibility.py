"""What is never in a timeline, whichever source found it."""

import pytest

from actors.router import LocalRouter
from cluster.events import Kind
from cluster.settings import Settings
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
    HOUR_MS,
    NOW_MS,
    USERS,
    Clock,
    Event,
    states_of,
)
from timeline.hydration import fetch_viewer
from timeline.pages import Page
from timeline.query import Query
from timeline.sources.source_keys import source_keys


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


@pytest.mark.parametrize("how", ["delete", "suspend"])
@pytest.mark.parametrize("n_shards", [1, 4])
def test_a_repost_goes_with_what_it_reposts(how: str, n_shards: int) -> None:
    clock = Clock()
    link = {"repost_of_id": 300, "repost_of_author_id": STRANGER}
    third = USERS[7]
    events = [
        *small_world(clock),
        clock.post(150, FRIEND, **link),
        # Found by its favourite alone, so that nobody knows at first that it is a repost.
        clock.post(160, third, **link),
        clock.on_post(Kind.FAVOURITE, OTHER, 160, third),
    ]
    there = [e for e in events if e.get("post_id") != 300]
    assert {150, 160} & set(ids(for_you(*there, n_shards=n_shards)))
    assert 150 in ids(following(*there))
    if how == "delete":
        events.append(clock.event(Kind.POST_DELETE, post_id=300, author_id=STRANGER))
    else:
        events.append(clock.event(Kind.USER_SUSPEND, actor_id=STRANGER))
    assert not {150, 160, 300} & set(ids(for_you(*events, n_shards=n_shards)))
    assert 150 not in ids(following(*events))


def test_own_posts_and_reposts_of_them() -> None:
    clock = Clock()
    events = [*small_world(clock), clock.post(400, VIEWER)]
    events += [
        clock.on_post(Kind.FAVOURITE, FRIEND, 400, VIEWER),
        clock.post(151, FRIEND, repost_of_id=400, repost_of_author_id=VIEWER),
        clock.post(152, FRIEND, quote_of_id=400, quote_of_author_id=VIEWER),
    ]
    posts = {400, 151, 152}
    assert posts & set(ids(for_you(*events))) == {152}
    assert posts & set(ids(following(*events))) == posts


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
    # Who was here lately gets nothing older; who was away is brought up to date.
    served = {"position": 0, "surface": "for_you", "request_id": "r", "source": "in_network"}
    lately = Clock(NOW_MS - HOUR_MS).on_post(Kind.SERVED, VIEWER, 999, FRIEND, **served)
    assert ids(for_you(*older, lately)) == []
    assert for_you(*older, lately).reason == "nothing_new"
    away = for_you(*older)
    assert set(ids(away)) == {*range(100, 105), *range(200, 205)}
    assert {item.source for item in away.items} == {"backfill"}


def test_posts_to_come_are_not_shown() -> None:
    # The third post is of this very millisecond.
    events = small_world(Clock(NOW_MS - 5))
    assert set(ids(for_you(*events))) == {100, 101, 102}
    assert ids(following(*events)) == [102, 101, 100]


@pytest.mark.parametrize("n_shards", [1, 2, 4])
def test_a_block_holds_whoever_an_event_names_as_the_author(n_shards: int) -> None:
    clock = Clock()
    events = small_world(clock)
    events += [
        clock.post(900, STRANGER),
        clock.edge(Kind.BLOCK, VIEWER, STRANGER),
        # Sent with another author: wrong, and nothing can tell when it comes.
        clock.on_post(Kind.FAVOURITE, FRIEND, 900, USERS[5]),
        clock.on_post(Kind.FAVOURITE, OTHER, 900, USERS[7]),
    ]
    assert 900 not in ids(for_you(*events, n_shards=n_shards))


def test_nothing_by_whom_the_viewer_hides_leads_anywhere() -> None:
    clock = Clock()
    events = small_world(clock)
    events += [
        clock.on_post(Kind.FAVOURITE, VIEWER, 300, STRANGER),
        clock.edge(Kind.BLOCK, STRANGER, VIEWER),
        clock.edge(Kind.MUTE, VIEWER, OTHER),
    ]
    asked = Query(VIEWER, NOW_MS, 10, "r", Settings(), LocalRouter(states_of(events)))
    assert fetch_viewer(asked)
    keys = source_keys(asked, 0)
    assert keys.author_ids.tolist() == [FRIEND]

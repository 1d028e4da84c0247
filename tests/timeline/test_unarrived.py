"""Reposts and quotes of posts that never arrived: what speaks against them counts all the same."""

from collections.abc import Callable

import numpy as np
import pytest

from actors.router import shards_of
from cluster.events import Kind
from cluster.settings import Settings
from cluster.visibility_settings import VisibilitySettings
from tests.timeline.small_worlds import (
    FRIEND,
    OTHER,
    STRANGER,
    VIEWER,
    for_you,
    ids,
    small_world,
)
from tests.worlds import NOW_MS, Clock, Event, PartialRouter, states_of, timelines_of
from timeline.pages import Item, Page

UNARRIVED, REPOST, QUOTE = 900, 150, 151
Against = Callable[[Clock], Event]


def _world(clock: Clock) -> list[Event]:
    return [
        *small_world(clock),
        clock.post(REPOST, FRIEND, repost_of_id=UNARRIVED, repost_of_author_id=STRANGER),
        clock.post(QUOTE, FRIEND, quote_of_id=UNARRIVED, quote_of_author_id=STRANGER),
    ]


def _label(name: str, *, of_author: bool = False) -> Against:
    about = {"author_id": STRANGER} | ({} if of_author else {"post_id": UNARRIVED})
    return lambda clock: clock.event(Kind.SAFETY_LABEL, label=name, **about)


def _of_author(kind: Kind, **given: bool) -> Against:
    return lambda clock: clock.event(kind, actor_id=STRANGER, **given)


def _item(page: Page, post_id: int) -> Item:
    return next(item for item in page.items if item.post_id == post_id)


def _both(events: list[Event], n_shards: int) -> list[Page]:
    return [
        for_you(*events, n_shards=n_shards),
        timelines_of(states_of(events, n_shards)).following(VIEWER, 100, now_ms=NOW_MS),
    ]


AGAINST: dict[str, Against] = {
    "label": _label("pdna"),
    "deleted": lambda clock: clock.event(Kind.POST_DELETE, post_id=UNARRIVED, author_id=STRANGER),
    "protected": _of_author(Kind.USER_UPDATE, protected=True),
    "suspended": _of_author(Kind.USER_SUSPEND),
    "deactivated": _of_author(Kind.USER_DEACTIVATE),
    "blocked": lambda clock: clock.edge(Kind.BLOCK, VIEWER, STRANGER),
    "blocking": lambda clock: clock.edge(Kind.BLOCK, STRANGER, VIEWER),
    "muted": lambda clock: clock.edge(Kind.MUTE, VIEWER, STRANGER),
    "reported": lambda clock: clock.on_post(Kind.REPORT, VIEWER, UNARRIVED, STRANGER),
    # Nobody can say that it does not hold the word.
    "muted word": lambda clock: clock.event(Kind.KEYWORD_MUTE, actor_id=VIEWER, keyword="cat"),
}


@pytest.mark.parametrize("n_shards", [1, 4])
@pytest.mark.parametrize("named_first", [None, STRANGER, OTHER])
@pytest.mark.parametrize("why", AGAINST)
def test_what_is_known_of_it_keeps_its_reposts_away(
    why: str, named_first: int | None, n_shards: int
) -> None:
    clock = Clock()
    events = []
    if named_first is not None:
        events.append(clock.on_post(Kind.CLICK, OTHER, UNARRIVED, named_first))
    events += _world(clock)
    for page in _both(events, n_shards):
        assert _item(page, REPOST).entry.focal.reposted is not None
    for page in _both([*events, AGAINST[why](clock)], n_shards):
        assert REPOST not in ids(page)
        for item in page.items:
            quoted = item.entry.focal.quoted
            assert quoted is None or quoted.tombstone


def test_what_only_recommendations_leave_out() -> None:
    clock = Clock()
    events = _world(clock)
    for against in (_label("abusive"), _label("spam_high_recall", of_author=True)):
        for_you_page, following_page = _both([*events, against(clock)], 2)
        assert REPOST not in ids(for_you_page)
        assert REPOST in ids(following_page)


def test_followers_read_whom_others_may_not() -> None:
    clock = Clock()
    events = [*_world(clock), _of_author(Kind.USER_UPDATE, protected=True)(clock)]
    follow = clock.edge(Kind.FOLLOW, VIEWER, STRANGER)
    assert [REPOST in ids(page) for page in _both([*events, follow], 2)] == [True, True]


def test_it_is_covered_from_whom_a_marked_post_is_covered() -> None:
    """Whether its author marked it as sensitive came with it."""
    clock = Clock()
    events = _world(clock)
    grown = clock.event(Kind.USER_UPDATE, actor_id=VIEWER, age_years=30, allow_sensitive=True)
    for given, covered_by in (([], "cover_marked"), ([grown], "")):
        for page in _both([*events, *given], 2):
            reposted = _item(page, REPOST).entry.focal.reposted
            assert reposted is not None
            assert (reposted.post_id, reposted.covered_by) == (UNARRIVED, covered_by)


def test_minors_may_have_none_of_it() -> None:
    clock = Clock()
    strict = Settings(visibility=VisibilitySettings(minors_in_network="drop"))
    timelines = timelines_of(states_of(_world(clock), 2), strict)
    assert REPOST not in ids(timelines.following(VIEWER, 100, now_ms=NOW_MS))
    assert REPOST not in ids(timelines.for_you(VIEWER, 100, now_ms=NOW_MS))


def test_an_edit_that_came_first_tells_the_text() -> None:
    clock = Clock()
    events = _world(clock)
    events.append(clock.event(Kind.KEYWORD_MUTE, actor_id=VIEWER, keyword="cat"))
    for text, shown in (("a dog", True), ("a cat", False)):
        edit = clock.event(Kind.POST_EDIT, post_id=UNARRIVED, author_id=STRANGER, text=text)
        assert [REPOST in ids(page) for page in _both([*events, edit], 2)] == [shown, shown]


def test_what_a_silent_shard_would_say_is_not_guessed() -> None:
    clock = Clock()
    states = states_of(_world(clock), 4)
    home = int(shards_of(np.array([STRANGER]), 4)[0])
    timelines = timelines_of(states, router=PartialRouter(states, missing=[home]))
    page = timelines.following(VIEWER, 100, now_ms=NOW_MS)
    assert REPOST not in ids(page)
    assert page.degraded == [f"shard_{home}"]

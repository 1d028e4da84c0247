"""Who are creators, and which of their posts may be previewed."""

from typing import Any

import numpy as np
import pytest

from actors.creator_questions import AskCreators, FoundCreators, previewable
from cluster.events import Kind
from tests.worlds import DAY_MS, NOW_MS, USERS, Clock, Event, states_of

CREATOR, PLAIN, GONE, LABELLED = USERS[:4]
TEXT = "a long story " * 10


def asked(**given: Any) -> AskCreators:
    plain: dict[str, Any] = {
        "author_ids": np.array([PLAIN, CREATOR, LABELLED, GONE, 999]),
        **{"labels": ("spam",), "since_ms": NOW_MS - 7 * DAY_MS, "max_posts": 200},
        **{"keywords": (), "language": "", "now_ms": NOW_MS},
    }
    return AskCreators(**(plain | given))


def world(*more: Event, clock: Clock) -> list[Event]:
    users = [
        clock.event(Kind.USER_CREATE, actor_id=user, creator=user != PLAIN)
        for user in (CREATOR, PLAIN, GONE, LABELLED)
    ]
    return [
        *users,
        clock.event(Kind.USER_DEACTIVATE, actor_id=GONE),
        clock.event(Kind.SAFETY_LABEL, author_id=LABELLED, label="spam"),
        *more,
    ]


def exclusive(clock: Clock, post_id: int, author: int = CREATOR, **given: Any) -> Event:
    return clock.post(post_id, author, **({"text": TEXT, "exclusive": True} | given))


def found(events: list[Event], **given: Any) -> FoundCreators:
    [state] = states_of(events)
    return asked(**given).answer(state)


def post_ids(told: FoundCreators) -> list[int]:
    return [] if told.posts is None else told.posts.post_ids.tolist()


def test_creators_are_those_who_are_there_and_take_subscribers() -> None:
    clock = Clock()
    told = found(world(clock=clock))
    assert told.creator_ids.tolist() == [CREATOR]
    assert told.posts is None
    assert found(world(clock=Clock()), labels=()).creator_ids.tolist() == [CREATOR, LABELLED]
    assert found([], labels=("spam",)).creator_ids.tolist() == []


def test_posts_are_originals_for_subscribers_newest_first() -> None:
    clock = Clock()
    links = {"reply_to_id": 1, "reply_to_author_id": PLAIN}
    events = world(
        exclusive(clock, 10),
        exclusive(clock, 11),
        clock.post(12, CREATOR, text=TEXT),
        exclusive(clock, 13, **links),
        exclusive(clock, 14, quote_of_id=1, quote_of_author_id=PLAIN),
        exclusive(clock, 15, repost_of_id=1, repost_of_author_id=PLAIN),
        exclusive(clock, 16, PLAIN),
        exclusive(clock, 17, GONE),
        exclusive(clock, 18, text="short"),
        exclusive(clock, 19),
        clock.event(Kind.POST_DELETE, post_id=19, author_id=CREATOR),
        exclusive(clock, 20, text=f"{TEXT} spoilers"),
        clock=clock,
    )
    assert post_ids(found(events)) == [20, 11, 10]
    assert post_ids(found(events, keywords=("spoilers",))) == [11, 10]
    assert post_ids(found(events, max_posts=0)) == []
    assert found(events, max_posts=0).creator_ids.tolist() == [CREATOR]
    late = next(event for event in events if event.get("post_id") == 11)["time_ms"]
    assert post_ids(found(events, since_ms=late)) == [20, 11]
    assert post_ids(found(events, since_ms=late + 1)) == [20]


@pytest.mark.parametrize(
    ("text", "may"),
    [
        (None, False),
        ("x" * 100, False),
        ("x" * 101, True),
        ("a\nb\nc" + "x" * 100, True),
        ("a\nb\nc\nd" + "x" * 100, False),
        ("x" * 50 + "\n\n\n" + "x" * 50, True),
        ("https://example.org/ " + "x" * 100, False),
        ("  HTTP://example.org/ " + "x" * 100, False),
        ("see https://example.org/ " + "x" * 100, True),
    ],
)
def test_texts_to_preview(text: str | None, may: bool) -> None:
    assert previewable([text]).tolist() == [may]
    assert previewable([]).dtype == np.bool_

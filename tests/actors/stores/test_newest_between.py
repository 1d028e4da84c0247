"""The newest posts between two places, against sorting them all."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.stores.newest_between import (
    NEWEST,
    OLDEST,
    FoundRows,
    Place,
    Replies,
    newest_between,
)
from actors.stores.posts import PostTable
from cluster.events import Kind
from tests.worlds import NOW_MS, USERS, Clock, Event, replaced_posts, states_of, worlds


def table_of(events: list[Event]) -> PostTable:
    return states_of(events)[0].posts.table


def sorted_ids(ids: Iterable[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(sorted(ids), np.int64)


def search(
    table: PostTable,
    authors: Iterable[int] = USERS,
    before: Place = NEWEST,
    after: Place = OLDEST,
    limit: int = 100,
    replies: Replies = Replies.ALL,
    addressed: Iterable[int] = (),
    hidden: Iterable[int] = (),
    max_scan: int = 10**6,
) -> tuple[list[int], Place | None]:
    found: FoundRows = newest_between(
        table,
        sorted_ids(authors),
        before=before,
        after=after,
        limit=limit,
        replies=replies,
        addressed_ids=sorted_ids(addressed),
        hidden_ids=sorted_ids(hidden),
        max_scan=max_scan,
    )
    return table["post_ids"][found.rows].tolist(), found.reached


def model(
    events: list[Event],
    authors: set[int],
    before: Place,
    after: Place,
    replies: Replies,
    addressed: set[int],
    hidden: set[int],
) -> list[Place]:
    deleted = {e["post_id"] for e in events if e["kind"] == "post_delete"}
    edited = replaced_posts(events)
    found = []
    for event in events:
        place = Place(event["time_ms"], event.get("post_id", 0))
        linked = {event.get(f"{link}_author_id") for link in ("reply_to", "quote_of", "repost_of")}
        to = event.get("reply_to_author_id") if event.get("reply_to_id") else None
        if (
            event["kind"] == "post_create"
            and event["author_id"] in authors
            and after < place < before
            and place.post_id not in deleted | edited
            and (to is None or replies is Replies.ALL or (replies and to in addressed))
            and not linked & hidden
        ):
            found.append(place)
    return sorted(found, reverse=True)


_users = st.sets(st.sampled_from(USERS), max_size=8)
_places = st.builds(
    Place,
    st.integers(0, 12).map(lambda k: NOW_MS - k * 20 * 3_600_000 // 12),
    st.integers(1_000, 1_012),
)


@settings(max_examples=60)
@given(
    *(worlds(), _users, _places, _places, st.integers(1, 5), st.sampled_from(Replies)),
    *(_users, _users, st.sampled_from([1, 2, 3, 10**6])),
)
def test_against_model(
    events: list[Event],
    authors: set[int],
    before: Place,
    after: Place,
    limit: int,
    replies: Replies,
    addressed: set[int],
    hidden: set[int],
    max_scan: int,
) -> None:
    table = table_of(events)
    expected = model(events, authors, before, after, replies, addressed, hidden)
    found: list[int] = []
    # Going on from where each search stopped leads through everything, once.
    for _ in range(60):
        ids, reached = search(
            *(table, authors, before, after, limit, replies, addressed, hidden, max_scan)
        )
        assert len(ids) <= limit
        found += ids
        if reached is None:
            break
        assert after < reached < before
        before = reached
    assert found == [place.post_id for place in expected]
    assert reached is None


def test_the_end_is_told_exactly() -> None:
    clock = Clock()
    events = [clock.post(10 + k, USERS[k % 3]) for k in range(4)]
    table = table_of(events)
    at = [Place(e["time_ms"], e["post_id"]) for e in events]
    assert search(table, limit=4) == ([13, 12, 11, 10], None)
    assert search(table, limit=3) == ([13, 12, 11], at[1])
    assert search(table, limit=3, after=at[0]) == ([13, 12, 11], None)
    assert search(table, before=at[1]) == ([10], None)
    assert search(table, before=at[0]) == ([], None)
    assert search(table, authors=[]) == ([], None)
    assert search(table, authors=[77]) == ([], None)


def test_posts_of_one_instant_lie_by_id() -> None:
    clock = Clock()
    events = [clock.post(10 + k, USERS[k % 2], time_ms=NOW_MS) for k in range(6)]
    table = table_of(events)
    assert search(table)[0] == [15, 14, 13, 12, 11, 10]
    assert search(table, before=Place(NOW_MS, 13), after=Place(NOW_MS, 10))[0] == [12, 11]


def test_which_replies_there_are() -> None:
    clock = Clock()
    ann, ben, cat = USERS[:3]
    events = [
        clock.post(10, ann),
        clock.post(11, ann, reply_to_id=9, reply_to_author_id=ben),
        clock.post(12, ann, reply_to_id=9, reply_to_author_id=cat),
        clock.post(13, ann, quote_of_id=9, quote_of_author_id=cat),
    ]
    table = table_of(events)
    for replies, expected in (
        (Replies.NONE, [13, 10]),
        (Replies.TO_GIVEN, [13, 11, 10]),
        (Replies.ALL, [13, 12, 11, 10]),
    ):
        assert search(table, replies=replies, addressed=[ben])[0] == expected
    assert search(table, hidden=[cat])[0] == [11, 10]


@pytest.mark.parametrize("max_scan", [1, 7, 50])
def test_who_only_replies_costs_a_bounded_search(max_scan: int) -> None:
    clock = Clock()
    to = {"reply_to_id": 9, "reply_to_author_id": USERS[5]}
    events = [clock.post(10, USERS[1]), *(clock.post(11 + k, USERS[1], **to) for k in range(49))]
    events.append(clock.event(Kind.POST_DELETE, post_id=10, author_id=USERS[1]))
    ids, reached = search(table_of(events), replies=Replies.NONE, max_scan=max_scan)
    assert ids == []
    at = events[50 - max_scan]
    assert reached == (None if max_scan == 50 else Place(at["time_ms"], at["post_id"]))

from typing import Any

import numpy as np
import pytest

from actors.shown_questions import AskEdited
from actors.viewer_state import ViewerState
from cluster.events import Kind
from tests.timeline.candidate_rows import VIEWER as NOBODY
from tests.timeline.candidate_rows import query, rows
from tests.timeline.linked_worlds import asking, candidates_of, linked
from tests.worlds import NOW_MS, USERS, Clock, Event, PartialRouter, apply, empty_states
from timeline.candidates import NONE
from timeline.linked import (
    Link,
    Linked,
    barred,
    gone,
    keep_quotes,
    keep_reposts,
    linked_posts,
    may_see,
    quotes_of_gone,
    without_muted_words,
)

VIEWER, FRIEND, OTHER, STRANGER = USERS[0], USERS[2], USERS[4], USERS[6]
CATS = ViewerState(muted_keywords=("cat",))


def conversation(clock: Clock) -> list[Event]:
    """A root, a reply to it, a reply to that; a quote and a repost of the root."""
    first = {"reply_to_id": 10, "reply_to_author_id": STRANGER, "root_id": 10}
    second = {"reply_to_id": 11, "reply_to_author_id": OTHER, "root_id": 10}
    return [
        clock.post(10, STRANGER, text="a cat"),
        clock.post(11, OTHER, text="hm", **first, root_author_id=STRANGER),
        clock.post(12, FRIEND, text="a dog", **second, root_author_id=STRANGER),
        clock.post(13, OTHER, text="my cat", quote_of_id=10, quote_of_author_id=STRANGER),
        clock.post(14, FRIEND, repost_of_id=10, repost_of_author_id=STRANGER),
    ]


POSTS = {12: FRIEND, 13: OTHER, 14: FRIEND}


def ids(found: Linked) -> list[list[int]]:
    """By candidate and link the post found, 0 for none."""
    every = np.append(found.posts.post_ids, 0)
    return every[found.rows].tolist()  # type: ignore[no-any-return]


def states(events: list[Event], n_shards: int) -> Any:
    found = empty_states(n_shards)
    apply(found, events, imported=True)
    return found


@pytest.mark.parametrize("n_shards", [1, 3])
def test_everything_comes_in_one_wave(n_shards: int) -> None:
    clock = Clock()
    follow = clock.edge(Kind.FOLLOW, FRIEND, OTHER)
    shards = states([*conversation(clock), follow], n_shards)
    asked = asking(VIEWER, shards, follows=[FRIEND], state=CATS)
    candidates = candidates_of(shards, POSTS, follows=[FRIEND])
    found = linked_posts(asked, candidates)
    assert len(asked.applied) == 1
    assert ids(found) == [[11, 0, 0, 10], [0, 10, 0, 0], [0, 0, 10, 0]]
    known = {10: STRANGER, 11: OTHER}
    authors = zip(found.posts.post_ids.tolist(), found.posts.author_ids.tolist(), strict=True)
    assert dict(authors) == known
    assert (found.posts.created_ms > 0).all()
    reply = found.posts.post_ids.tolist().index(11)
    assert found.posts.links[reply].tolist() == [10, 0, 10]
    assert found.posts.feature("is_followed").tolist() == [0, 0]
    assert found.holds_muted.tolist() == [False, True, False]
    assert without_muted_words(candidates, found).tolist() == [True, False, True]
    muted = dict(zip(found.posts.post_ids.tolist(), found.linked_hold_muted.tolist(), strict=True))
    assert muted == {10: True, 11: False}
    # Of an author whom the viewer follows nobody need be named.
    assert found.follower_ids.tolist() == [[0, 0], [FRIEND, 0], [0, 0]]
    assert asked.degraded == []


def test_followers_are_named_nearest_first_and_never_muted_ones() -> None:
    clock = Clock()
    follows = [clock.edge(Kind.FOLLOW, user, OTHER) for user in USERS[1:4]]
    shards = states([*conversation(clock), *follows], 2)
    known: dict[str, Any] = {"affine_ids": np.sort(USERS[2:3]), "affinities": [3.0]}
    asked = asking(VIEWER, shards, follows=USERS[1:4], mutes=[], **known)
    found = linked_posts(asked, candidates_of(shards, {13: OTHER}))
    assert found.follower_ids.tolist() == [[USERS[2], min(USERS[1], USERS[3])]]
    asked = asking(VIEWER, shards, follows=USERS[1:4], mutes=[USERS[2]], **known)
    found = linked_posts(asked, candidates_of(shards, {13: OTHER}))
    assert found.follower_ids.tolist() == [sorted([USERS[1], USERS[3]])]


def test_followers_are_not_named_where_the_post_has_other_proof() -> None:
    clock = Clock()
    follows = [clock.edge(Kind.FOLLOW, user, OTHER) for user in USERS[1:4]]
    shards = states([*conversation(clock), *follows], 2)
    asked = asking(VIEWER, shards, follows=USERS[1:4])
    candidates = candidates_of(shards, {13: OTHER, 11: OTHER})
    candidates.proof_ids[0, 0] = FRIEND
    found = linked_posts(asked, candidates)
    assert (found.follower_ids > 0).any(axis=1).tolist() == [False, True]


def test_a_root_is_left_out_where_nobody_says_whose_it_is() -> None:
    clock = Clock()
    events = conversation(clock)
    for event in events:
        event.pop("root_author_id", None)
    shards = states(events, 1)
    found = linked_posts(asking(VIEWER, shards), candidates_of(shards, {12: FRIEND}))
    assert ids(found) == [[11, 0, 0, 0]]
    # Unless another candidate says so.
    found = linked_posts(asking(VIEWER, shards), candidates_of(shards, {12: FRIEND, 11: OTHER}))
    assert ids(found) == [[11, 0, 0, 10], [10, 0, 0, 10]]


def test_a_post_that_is_somebody_elses_is_gone() -> None:
    clock = Clock()
    wrong = {"quote_of_id": 10, "quote_of_author_id": FRIEND}
    shards = states([*conversation(clock), clock.post(20, OTHER, **wrong)], 1)
    candidates = candidates_of(shards, {20: OTHER, 13: OTHER})
    found = linked_posts(asking(VIEWER, shards), candidates)
    # The one who quotes it rightly is not harmed.
    assert gone(found)[found.rows[:, Link.QUOTED]].tolist() == [True, False]
    assert quotes_of_gone(candidates, found).tolist() == [True, False]


def test_who_begins_a_conversation_has_no_root_but_itself() -> None:
    clock = Clock()
    root = {"root_id": 10, "root_author_id": STRANGER}
    shards = states([clock.post(10, STRANGER, **root), clock.post(11, OTHER, **root)], 1)
    found = linked_posts(asking(VIEWER, shards), candidates_of(shards, {10: STRANGER, 11: OTHER}))
    assert ids(found) == [[0, 0, 0, 0], [0, 0, 0, 0]]


def test_nobody_mutes_what_they_wrote() -> None:
    clock = Clock()
    shards = states(conversation(clock), 2)
    candidates = candidates_of(shards, {13: OTHER, 12: FRIEND})
    for viewer, own, linked_ones in ((OTHER, [False, False], [10]), (STRANGER, [True, False], [])):
        found = linked_posts(asking(viewer, shards, state=CATS), candidates)
        assert found.holds_muted.tolist() == own
        assert found.posts.post_ids[found.linked_hold_muted].tolist() == linked_ones


def test_newest_versions_are_found() -> None:
    clock = Clock()
    shards = states([*conversation(clock), clock.post(15, STRANGER, edit_of_id=10)], 1)
    found = linked_posts(asking(VIEWER, shards), candidates_of(shards, POSTS))
    assert ids(found) == [[11, 0, 0, 15], [0, 15, 0, 0], [0, 0, 15, 0]]


def test_shards_that_do_not_answer() -> None:
    clock = Clock()
    shards = states(conversation(clock), 4)
    candidates = candidates_of(shards, POSTS)
    # Users are spread evenly, so the stranger lives in the last of four shards, alone.
    router = PartialRouter(shards, missing=[3])
    asked = asking(VIEWER, shards, router=router, state=CATS)
    found = linked_posts(asked, candidates)
    of_dead = {post: gone(found)[row] for row, post in enumerate(found.posts.post_ids.tolist())}
    assert of_dead == {10: True, 11: False}
    assert asked.degraded == ["shard_3"]
    assert found.linked_hold_muted[gone(found)].all()
    none = linked_posts(asking(VIEWER, shards, router=router), candidates)
    # Who muted no words has no texts that nobody can check.
    assert not none.linked_hold_muted.any()
    assert not none.holds_muted.any()
    every = asking(VIEWER, shards, router=PartialRouter(shards, missing=range(4)), state=CATS)
    lost = linked_posts(every, candidates)
    assert lost.holds_muted.all()
    assert gone(lost).all()


def test_nothing_to_ask() -> None:
    clock = Clock()
    shards = states(conversation(clock), 1)
    asked = asking(VIEWER, shards)
    found = linked_posts(asked, candidates_of(shards, {10: STRANGER}))
    assert asked.applied == []
    assert ids(found) == [[0, 0, 0, 0]]
    assert len(found.posts) == 0
    assert len(linked_posts(asked, NONE).rows) == 0


def test_questions_beside_travel_along() -> None:
    clock = Clock()
    shards = states(conversation(clock), 2)
    edited = {shard: AskEdited(np.array([10]), 0, "en", NOW_MS) for shard in range(2)}
    asked = asking(VIEWER, shards)
    found = linked_posts(asked, candidates_of(shards, POSTS), edited)
    assert sorted(found.beside) == [0, 1]
    assert len(asked.applied) == 1


BARS = [
    ({}, {}, False),
    ({"created_ms": 0}, {}, True),
    ({"deleted": True}, {}, True),
    ({"author_gone": True}, {}, True),
    ({"author_protected": True}, {}, True),
    ({"author_protected": True}, {"follows": [7]}, False),
    ({}, {"blocks": [7]}, True),
    ({}, {"blocked_by": [7]}, True),
    ({}, {"mutes": [7]}, True),
    ({"linked": [0, 9]}, {"blocks": [9]}, True),
    ({"post_ids": 5}, {"hidden_post_ids": [5]}, True),
    ({"author_ids": NOBODY, "author_protected": True, "linked": [9]}, {"blocks": [9]}, False),
]


@pytest.mark.parametrize(("post", "known", "bad"), BARS)
def test_barred(post: dict[str, Any], known: dict[str, Any], bad: bool) -> None:
    posts = rows({"author_ids": 7} | post)
    found = linked(rows({}), posts)
    assert barred(query(**known), found).tolist() == [bad]
    assert may_see(query(**known), posts).tolist() == [not bad or bool(gone(found)[0])]


def test_barred_by_words_and_by_visibility() -> None:
    found = linked(rows({}), rows({}, {}, {}), linked_hold_muted=np.array([True, False, False]))
    dropped = np.array([False, True, False])
    assert barred(query(), found, dropped).tolist() == [True, True, False]


def test_reposts_and_quotes() -> None:
    posts = rows({"post_ids": 1}, {"post_ids": 2}, {"post_ids": 3, "deleted": True})
    candidates = rows(
        {},
        *({"repost_of_ids": post} for post in (1, 2, 3, 4)),
        *({"links": [0, post, 0]} for post in (1, 2, 3, 4)),
    )
    found = linked(candidates, posts)
    bars = np.array([False, True, True])
    # 2 must not be seen, 3 is deleted, of 4 nobody knows the author.
    assert keep_reposts(candidates, found, bars).tolist() == [True] * 2 + [False] * 3 + [True] * 4
    assert keep_quotes(candidates, found, bars).tolist() == [True] * 6 + [False] + [True] * 2
    assert quotes_of_gone(candidates, found).tolist() == [False] * 7 + [True] * 2
    assert found.used_as(Link.REPOSTED).tolist() == [True] * 3
    assert found.take(np.array([1, 6])).used_as(Link.REPOSTED).tolist() == [True, False, False]
    assert found.take(np.array([1, 6])).used_as(Link.QUOTED, Link.REPOSTED).tolist() == [
        *(True, True, False)
    ]

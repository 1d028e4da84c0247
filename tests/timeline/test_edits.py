from typing import Any

import numpy as np
import pytest

from actors.router import LocalRouter, shards_of
from actors.scored_posts import NOTHING_SCORED, ScoredPosts
from actors.state import ShardState
from actors.viewer_state import ViewerState
from cluster.events import Kind
from tests.timeline.candidate_rows import query, rows
from tests.timeline.linked_worlds import asking
from tests.worlds import NOW_MS, USERS, Clock, Event, apply, empty_states
from timeline.edits import (
    EDIT_WINDOW_MS,
    NOTHING_REPLACED,
    Replacements,
    edit_questions,
    newest_versions,
    of_served_lately,
    replacements,
    without_stale,
)
from timeline.query import Query

VIEWER, FRIEND, OTHER, STRANGER = USERS[0], USERS[2], USERS[4], USERS[6]
MINUTE_MS = 60_000


def served(clock: Clock, post_id: int, author_id: int, at_ms: int) -> Event:
    clock.now_ms = at_ms
    given = {"request_id": f"r{at_ms}", "position": 0}
    return clock.on_post(Kind.SERVED, VIEWER, post_id, author_id, **given)


def world(clock: Clock, last_ms: int) -> list[Event]:
    """Posts served an hour and more before the last visit, then edited after it."""
    clock.now_ms = last_ms - 3 * EDIT_WINDOW_MS
    events = [clock.post(post, FRIEND, text="old") for post in (1, 2, 3)]
    events += [clock.post(post, OTHER, text="old") for post in (4, 5)]
    events += [clock.post(6, STRANGER, text="old")]
    events += [
        served(clock, 1, FRIEND, last_ms - EDIT_WINDOW_MS - 1_000),
        served(clock, 2, FRIEND, last_ms - EDIT_WINDOW_MS + 1_000),
        served(clock, 4, OTHER, last_ms - 30 * MINUTE_MS),
        served(clock, 5, OTHER, last_ms - 20 * MINUTE_MS),
    ]
    # Told at the last visit.
    clock.now_ms = last_ms - 10 * MINUTE_MS
    events.append(clock.post(15, OTHER, text="new", edit_of_id=5))
    events.append(served(clock, 6, STRANGER, last_ms - 1))
    clock.now_ms = last_ms + MINUTE_MS
    events += [
        clock.post(11, FRIEND, text="new", edit_of_id=1),
        clock.post(12, FRIEND, text="new", edit_of_id=2),
        clock.post(13, FRIEND, text="new", edit_of_id=3),
        clock.event(Kind.POST_EDIT, post_id=4, author_id=OTHER, text="new"),
        clock.post(16, STRANGER, text="new", edit_of_id=6),
    ]
    return events


def answered(asked: Query, shards: list[ShardState]) -> Replacements:
    """As a request does it: with the viewer's context, then with the last wave."""
    first = of_served_lately(asked)
    home = int(shards_of(np.array([VIEWER]), len(shards))[0])
    asked.told[type(first)] = (first, first.answer(shards[home]))
    questions = edit_questions(asked)
    replies = LocalRouter(shards).ask({s: [q] for s, q in questions.items()}, 1.0)
    return replacements(asked, questions, replies.answers(0))


@pytest.mark.parametrize("n_shards", [1, 3])
@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({}, [(6, 16), (4, 4), (2, 12)]),
        ({"blocks": [OTHER]}, [(6, 16), (2, 12)]),
        ({"mutes": [STRANGER]}, [(4, 4), (2, 12)]),
    ],
)
def test_what_was_served_in_the_window_and_edited_since(
    n_shards: int, known: dict[str, Any], told: list[tuple[int, int]]
) -> None:
    shards = empty_states(n_shards)
    apply(shards, world(Clock(), NOW_MS - 10 * MINUTE_MS), imported=True)
    found = answered(asking(VIEWER, shards, **known), shards)
    pairs = zip(found.old_ids.tolist(), found.posts.post_ids.tolist(), strict=True)
    assert list(pairs) == told
    assert len(found) == len(told)


def test_versions_of_gone_or_protected_authors_replace_nothing() -> None:
    clock = Clock()
    shards = empty_states(2)
    events = world(clock, NOW_MS - 10 * MINUTE_MS)
    events += [
        clock.event(Kind.USER_SUSPEND, actor_id=OTHER),
        clock.event(Kind.USER_UPDATE, actor_id=STRANGER, protected=True),
        clock.event(Kind.POST_DELETE, post_id=12, author_id=FRIEND),
    ]
    apply(shards, events, imported=True)
    assert len(answered(asking(VIEWER, shards), shards)) == 0
    followed = answered(asking(VIEWER, shards, follows=[STRANGER]), shards)
    assert followed.old_ids.tolist() == [6]


@pytest.mark.parametrize("n_shards", [1, 3])
def test_versions_with_muted_words_replace_nothing_but_own_posts(n_shards: int) -> None:
    clock = Clock()
    shards = empty_states(n_shards)
    events = world(clock, NOW_MS - 10 * MINUTE_MS)
    apply(shards, events, imported=True)
    muting = ViewerState(muted_keywords=("new", "old"))
    assert len(answered(asking(VIEWER, shards, state=muting), shards)) == 0
    old = ViewerState(muted_keywords=("old",))
    assert answered(asking(VIEWER, shards, state=old), shards).old_ids.tolist() == [6, 4, 2]
    mine = [
        clock.post(7, VIEWER, text="old"),
        served(clock, 7, VIEWER, clock.now_ms + 1),
        clock.event(Kind.POST_EDIT, post_id=7, author_id=VIEWER, text="new"),
    ]
    apply(shards, mine, offset=2, imported=True)
    assert answered(asking(VIEWER, shards, state=muting), shards).old_ids.tolist() == [7]


def test_who_was_served_nothing_asks_nobody() -> None:
    shards = empty_states(1)
    asked = asking(VIEWER, shards)
    assert edit_questions(asked) == {}
    assert replacements(asked, {}, {}) is NOTHING_REPLACED
    assert len(answered(asked, shards)) == 0
    assert edit_questions(asked) == {}


def test_replaced_versions_are_filtered() -> None:
    candidates = rows({}, {"newest_ids": 9})
    assert newest_versions(query(), candidates).tolist() == [True, False]


def test_stale_scores_leave_the_cache() -> None:
    ids = np.array([1, 2, 3])
    columns = (ids, ids, np.zeros(3, np.int8), np.ones(3, np.float32), ids)
    cached = ScoredPosts(("a",), "v", *columns, evidence={"signals": ids})
    left = without_stale(cached, [2, 9])
    assert left.post_ids.tolist() == [1, 3]
    assert left.evidence["signals"].tolist() == [1, 3]
    assert without_stale(cached, []) is cached
    assert without_stale(NOTHING_SCORED, [2]) is NOTHING_SCORED

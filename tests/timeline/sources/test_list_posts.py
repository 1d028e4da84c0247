"""The posts of one list: whose, in what order, and how far down it was read."""

from dataclasses import replace

import numpy as np
import pytest

from actors.router import LocalRouter, shards_of
from actors.stores.newest_between import Place
from cluster.events import Kind
from cluster.settings import Settings, load
from tests.timeline.sources.finding import run, unanswered
from tests.worlds import NOW_MS, USERS, Clock, Event, PartialRouter, states_of
from timeline.cursors import Walk
from timeline.hydration import fetch_viewer
from timeline.query import Query
from timeline.sources.list_posts import UNKNOWN_LIST, ListPosts

VIEWER, FRIEND, OTHER, STRANGER = USERS[0], USERS[2], USERS[4], USERS[6]


def query(
    events: list[Event], n_shards: int = 1, settings: Settings | None = None, limit: int = 10
) -> Query:
    chosen = settings or Settings()
    router = LocalRouter(states_of(events, n_shards, chosen))
    asked = Query(VIEWER, NOW_MS, limit, "request", chosen, router, walk=Walk(list_id=71))
    fetch_viewer(asked, with_tastes=False)
    return asked


def listed(clock: Clock, list_id: int, *members: int, owner: int = VIEWER) -> list[Event]:
    made = {"actor_id": owner, "target_id": list_id}
    return [
        clock.event(Kind.LIST_CREATE, **made),
        *(clock.event(Kind.LIST_ADD, author_id=member, **made) for member in members),
    ]


def world(clock: Clock) -> list[Event]:
    events = [*listed(clock, 71, FRIEND, OTHER, VIEWER), *listed(clock, 72, STRANGER)]
    for k in range(2):
        events += [clock.post(10 + k, FRIEND), clock.post(20 + k, OTHER)]
        events += [clock.post(30 + k, STRANGER), clock.post(40 + k, VIEWER)]
    events.append(clock.post(60, OTHER, reply_to_id=10, reply_to_author_id=FRIEND))
    events.append(clock.post(61, OTHER, repost_of_id=30, repost_of_author_id=STRANGER))
    return events


def found(asked: Query) -> list[int]:
    post_ids: list[int] = run(ListPosts(), asked).post_ids.tolist()
    return post_ids


@pytest.mark.parametrize("n_shards", [1, 4])
def test_the_members_posts_newest_first(n_shards: int) -> None:
    asked = query(world(Clock()), n_shards)
    assert found(asked) == [61, 41, 21, 11, 40, 20, 10]
    assert asked.reached is None
    asked.walk = replace(asked.walk, with_replies=True)
    assert found(asked) == [61, 60, 41, 21, 11, 40, 20, 10]


@pytest.mark.parametrize("n_shards", [1, 4])
def test_a_part_of_time(n_shards: int) -> None:
    events = world(Clock())
    at = {e["post_id"]: Place(e["time_ms"], e["post_id"]) for e in events if "post_id" in e}
    asked = query(events, n_shards)
    asked.walk = Walk(before=at[41], after=at[20], list_id=71)
    assert found(asked) == [21, 11, 40]


@pytest.mark.parametrize("n_shards", [1, 4])
def test_how_far_down_it_was_read(n_shards: int) -> None:
    clock = Clock()
    events = listed(clock, 71, FRIEND, OTHER)
    events += [clock.post(100 + k, (FRIEND, OTHER)[k % 2]) for k in range(50)]
    asked = query(events, n_shards, limit=1)
    assert found(asked) == list(range(149, 127, -1))
    assert asked.reached is not None
    assert asked.reached.post_id == 128
    asked.walk = replace(asked.walk, before=asked.reached)
    asked.reached = None
    assert found(asked) == list(range(127, 105, -1))


def test_whom_the_viewer_does_not_hear_or_may_not_read() -> None:
    clock = Clock()
    events = world(clock)
    protected = clock.event(Kind.USER_UPDATE, actor_id=FRIEND, protected=True)
    assert found(query([*events, protected])) == [61, 41, 21, 40, 20]
    follows = clock.edge(Kind.FOLLOW, VIEWER, FRIEND)
    assert found(query([*events, protected, follows])) == [61, 41, 21, 11, 40, 20, 10]
    own = clock.event(Kind.USER_UPDATE, actor_id=VIEWER, protected=True)
    assert found(query([*events, own])) == [61, 41, 21, 11, 40, 20, 10]
    for hidden in (
        clock.edge(Kind.MUTE, VIEWER, OTHER),
        clock.edge(Kind.BLOCK, VIEWER, OTHER),
        clock.edge(Kind.BLOCK, OTHER, VIEWER),
        clock.event(Kind.USER_SUSPEND, actor_id=OTHER),
    ):
        assert found(query([*events, hidden])) == [41, 11, 40, 10]
    # What reposts somebody who is not heard goes with them.
    assert 61 not in found(query([*events, clock.edge(Kind.MUTE, VIEWER, STRANGER)]))


def test_a_list_of_somebody_else_is_unknown() -> None:
    clock = Clock()
    asked = query(listed(clock, 71, FRIEND, owner=FRIEND))
    assert found(asked) == []
    assert asked.reason == UNKNOWN_LIST
    asked = query(listed(clock, 71))
    assert found(asked) == []
    assert asked.reason != UNKNOWN_LIST


def test_of_a_long_list_those_added_last_are_read() -> None:
    clock = Clock()
    few = load(products={"list_members": 1})
    events = [*listed(clock, 71, FRIEND, OTHER), clock.post(10, FRIEND), clock.post(20, OTHER)]
    assert found(query(events, 1, few)) == [20]


def test_shards_that_do_not_answer() -> None:
    events = world(Clock())
    asked = query(events, 4)
    whole = found(asked)
    author_of = {e["post_id"]: e["author_id"] for e in events if "post_id" in e}
    assert len(unanswered(ListPosts(), asked)) == 0
    assert asked.reason != UNKNOWN_LIST
    for dead in range(4):
        asked.router = PartialRouter(states_of(events, 4), missing=[dead])
        some = set(found(asked))
        gone = {user for user in USERS if int(shards_of(np.array([user]), 4)[0]) == dead}
        left = {post for post in whole if author_of[post] not in gone}
        assert some == (set() if dead == asked.viewer_shard else left)

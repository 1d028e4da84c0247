"""The source of lists: whose posts it finds, and by which list."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.router import LocalRouter
from cluster.events import Kind
from cluster.settings import Settings
from tests.timeline.sources.finding import run, unanswered
from tests.worlds import (
    DAY_MS,
    NOW_MS,
    USERS,
    Clock,
    Event,
    PartialRouter,
    plain,
    states_of,
    worlds,
)
from timeline.hydration import fetch_viewer
from timeline.query import Query
from timeline.sources.lists import Lists

VIEWER, FRIEND, OTHER, STRANGER = USERS[0], USERS[2], USERS[4], USERS[6]


def query(events: list[Event], n_shards: int = 1, viewer: int = VIEWER, **lists: Any) -> Query:
    chosen = Settings(sources={"lists": lists})
    router = LocalRouter(states_of(events, n_shards, chosen))
    asked = Query(viewer, NOW_MS, 10, "request", chosen, router)
    fetch_viewer(asked)
    return asked


def listed(clock: Clock, list_id: int, *members: int, owner: int = VIEWER) -> list[Event]:
    made = {"actor_id": owner, "target_id": list_id}
    return [
        clock.event(Kind.LIST_CREATE, **made),
        *(clock.event(Kind.LIST_ADD, author_id=member, **made) for member in members),
    ]


def world(clock: Clock) -> list[Event]:
    events = [
        *listed(clock, 71, FRIEND, OTHER),
        *listed(clock, 72, OTHER, STRANGER, VIEWER),
        *listed(clock, 73, USERS[5], owner=FRIEND),
    ]
    for k in range(3):
        events += [clock.post(10 + k, FRIEND), clock.post(20 + k, OTHER)]
        events += [clock.post(30 + k, STRANGER), clock.post(40 + k, VIEWER)]
        events += [clock.post(50 + k, USERS[5])]
    events.append(clock.post(60, OTHER, reply_to_id=10, reply_to_author_id=FRIEND))
    events.append(clock.post(61, OTHER, repost_of_id=10, repost_of_author_id=FRIEND))
    return events


def test_the_newest_of_each_list_and_whence_they_came() -> None:
    events = world(Clock())
    for n_shards in (1, 4):
        found = run(Lists(), query(events, n_shards))
        assert found.post_ids.tolist() == [32, 22, 12, 31, 21, 11, 30, 20, 10]
        by_list = dict(zip(found.author_ids.tolist(), found.signal_ids.tolist(), strict=True))
        # Other is in both lists, and counts for the newer one.
        assert by_list == {STRANGER: 72, OTHER: 72, FRIEND: 71}
        assert found.created_ms.tolist() == [0] * 9
        assert (np.diff(found.scores) <= 0).all()
        few = run(Lists(), query(events, n_shards, posts_per_list=2))
        assert few.post_ids.tolist() == [32, 22, 12]
        assert few.signal_ids.tolist() == [72, 72, 71]
        assert run(Lists(), query(events, n_shards, max_lists=1)).post_ids.tolist() == [
            *(32, 22, 31, 21, 30, 20)
        ]


def test_whom_the_viewer_does_not_hear_is_left_out() -> None:
    clock = Clock()
    events = [
        *world(clock),
        clock.edge(Kind.MUTE, VIEWER, FRIEND),
        clock.edge(Kind.BLOCK, STRANGER, VIEWER),
    ]
    assert set(run(Lists(), query(events, 2)).author_ids.tolist()) == {OTHER}
    events.append(clock.edge(Kind.BLOCK, VIEWER, OTHER))
    assert len(run(Lists(), query(events, 2))) == 0


def test_old_posts_are_left_out() -> None:
    clock = Clock(NOW_MS - 15 * DAY_MS)
    events = [*listed(clock, 71, FRIEND), clock.post(10, FRIEND)]
    events.append(clock.post(11, FRIEND, time_ms=NOW_MS - 13 * DAY_MS))
    assert run(Lists(), query(events)).post_ids.tolist() == [11]


def test_shards_that_do_not_answer() -> None:
    events = world(Clock())
    assert len(run(Lists(), query([]))) == 0
    asked = query(events, 4)
    # What the viewer's shard told beside the viewer's context is asked for again.
    asked.told.clear()
    assert len(unanswered(Lists(), asked)) == 0
    whole = run(Lists(), asked)
    home = asked.viewer_shard
    for dead in range(4):
        states = states_of(events, 4)
        asked.router = PartialRouter(states, missing=[dead])
        found = set(run(Lists(), asked).post_ids.tolist())
        assert found <= set(whole.post_ids.tolist())
        assert (not found) == (dead == home)


@settings(max_examples=12)
@given(worlds(), st.integers(1, 3), st.integers(1, 4))
def test_the_same_for_any_number_of_shards(events: list[Event], most: int, n_shards: int) -> None:
    clock = Clock()
    lists = [*listed(clock, 71, *USERS[:5]), *listed(clock, 72, *USERS[3:])]
    for k, event in enumerate(lists):
        event["event_id"] = 800 + k
    found = [run(Lists(), query([*lists, *events], n, posts_per_list=most)) for n in (1, n_shards)]
    assert plain(found[0]) == plain(found[1])
    assert len(found[0]) <= 2 * most
    assert len(set(found[0].post_ids.tolist())) == len(found[0])
    assert VIEWER not in found[0].author_ids.tolist()

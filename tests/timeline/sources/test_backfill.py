"""Backfill: for whom, and what."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.router import LocalRouter
from cluster.events import Kind
from cluster.settings import Settings
from tests.timeline.sources.finding import run, unanswered
from tests.worlds import DAY_MS, HOUR_MS, NOW_MS, USERS, Clock, Event, plain, states_of, worlds
from timeline.hydration import fetch_viewer
from timeline.query import Query
from timeline.sources.backfill import Backfill
from timeline.sources.following import Following

VIEWER, FRIEND, OTHER, STRANGER = USERS[0], USERS[2], USERS[4], USERS[6]


def query(events: list[Event], n_shards: int = 1, **given: Any) -> Query:
    chosen = Settings(sources={"backfill": given})
    router = LocalRouter(states_of(events, n_shards, chosen))
    asked = Query(VIEWER, NOW_MS, 1_000, "request", chosen, router)
    fetch_viewer(asked)
    return asked


def world(clock: Clock) -> list[Event]:
    return [
        clock.edge(Kind.FOLLOW, VIEWER, FRIEND),
        clock.edge(Kind.FOLLOW, VIEWER, OTHER),
        clock.post(10, FRIEND),
        clock.post(11, FRIEND, reply_to_id=20, reply_to_author_id=OTHER),
        clock.post(12, FRIEND, repost_of_id=30, repost_of_author_id=STRANGER),
        clock.post(20, OTHER),
        clock.post(30, STRANGER),
    ]


def served(clock: Clock, at_ms: int, kind: Kind = Kind.SERVED) -> Event:
    more = {"request_id": "r", "position": 0} if kind is Kind.SERVED else {}
    return clock.on_post(kind, VIEWER, 10, FRIEND, time_ms=at_ms, **more)


@pytest.mark.parametrize("n_shards", [1, 4])
def test_what_following_would_show_without_replies(n_shards: int) -> None:
    clock = Clock()
    events = world(clock)
    found = run(Backfill(), query(events, n_shards))
    assert found.post_ids.tolist() == [20, 12, 10]
    assert found.author_ids.tolist() == [OTHER, FRIEND, FRIEND]
    assert found.created_ms.tolist() == [0] * 3
    assert run(Backfill(), query(events, n_shards, fetched=2)).post_ids.tolist() == [20, 12]
    mute = clock.edge(Kind.MUTE, VIEWER, FRIEND)
    assert run(Backfill(), query([*events, mute], n_shards)).post_ids.tolist() == [20]


@pytest.mark.parametrize("n_shards", [1, 4])
def test_accounts_that_are_gone_take_nobodys_place(n_shards: int) -> None:
    clock = Clock()
    events = world(clock)
    events += [clock.post(21, OTHER), clock.event(Kind.USER_DEACTIVATE, actor_id=OTHER)]
    found = run(Backfill(), query(events, n_shards, fetched=2))
    assert found.post_ids.tolist() == [12, 10]


def test_only_for_those_who_were_away() -> None:
    clock = Clock(NOW_MS - 3 * DAY_MS)
    events = world(clock)
    for at_ms, is_away in (
        *((NOW_MS - 1, False), (NOW_MS - DAY_MS, False), (NOW_MS - DAY_MS - 1, True)),
        (NOW_MS - 40 * HOUR_MS, True),
    ):
        asked = query([*events, served(clock, at_ms)], 2)
        finding = Backfill().find(asked)
        next(finding)
        assert len(run(Backfill(), asked)) == (3 if is_away else 0)
    # What was only seen says nothing of requests.
    seen = [served(clock, NOW_MS - k, Kind.IMPRESSION) for k in range(1, 4)]
    assert len(run(Backfill(), query([*events, *seen]))) == 3
    both = [served(clock, NOW_MS - 5), *seen]
    assert len(run(Backfill(), query([*events, *both]))) == 0
    assert len(run(Backfill(), query([*events, *both], away_ms=4))) == 3


def test_a_closed_gate_asks_for_no_posts() -> None:
    clock = Clock()
    asked = query([*world(clock), served(clock, NOW_MS - 5)], 4)
    finding = Backfill().find(asked)
    assert list(next(finding)) == [asked.viewer_shard]
    with pytest.raises(StopIteration):
        finding.send({asked.viewer_shard: [NOW_MS - 5]})


@settings(max_examples=12)
@given(worlds(), st.integers(1, 5), st.integers(1, 4))
def test_some_of_what_following_finds(events: list[Event], most: int, n_shards: int) -> None:
    events = [e for e in events if e["kind"] != "served"]
    follows = [
        Clock().edge(Kind.FOLLOW, VIEWER, user, event_id=900 + k)
        for k, user in enumerate(USERS[1:])
    ]
    found = [run(Backfill(), query([*follows, *events], n, fetched=most)) for n in (1, n_shards)]
    assert plain(found[0]) == plain(found[1])
    whole = run(Following(), query([*follows, *events]))
    posts = whole.post_ids[~whole.is_reply & (whole.author_ids != VIEWER)].tolist()
    assert found[0].post_ids.tolist() == posts[:most]


def test_nothing_and_nobody_answers() -> None:
    assert len(run(Backfill(), query([]))) == 0
    assert len(unanswered(Backfill(), query(world(Clock()), 3))) == 0

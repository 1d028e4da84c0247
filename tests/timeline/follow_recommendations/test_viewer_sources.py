"""Accounts by what the viewer did: decayed engagements, visits, Real Graph."""

from dataclasses import replace

import numpy as np
import pytest

from cluster.events import Kind
from tests.timeline.follow_recommendations.asking import (
    ME,
    accounts_of,
    follows,
    query_of,
    shown,
)
from tests.worlds import DAY_MS, NOW_MS, Clock, Event
from timeline.follow_recommendations.viewer_sources import (
    OF_FOLLOWED,
    SOURCES,
    FromTies,
)

BY_NAME = {source.names[0]: source for source in (*SOURCES, *OF_FOLLOWED)}


def of(name: str, events: list[Event], n_shards: int = 1) -> list[tuple[int, float]]:
    source: FromTies = BY_NAME[name]
    found = accounts_of(source, query_of(events, n_shards))[name]
    return [(user, score) for user, score, _ in shown(found)]


def engagements(clock: Clock) -> list[Event]:
    """10 is followed; 20 favourited now and a day ago; what concerns 21 was taken back."""
    now, day = NOW_MS, DAY_MS
    return [
        *follows(clock, {ME: [10], 10: [ME]}),
        clock.on_post(Kind.FAVOURITE, ME, 100, 10, time_ms=now - day),
        clock.on_post(Kind.REPLY, ME, 100, 10, time_ms=now - 2 * day),
        clock.on_post(Kind.FAVOURITE, ME, 200, 20, time_ms=now),
        clock.on_post(Kind.FAVOURITE, ME, 201, 20, time_ms=now - day),
        clock.on_post(Kind.FAVOURITE, ME, 210, 21, time_ms=now - 5_000),
        clock.on_post(Kind.UNFAVOURITE, ME, 210, 21, time_ms=now - 4_000),
        clock.on_post(Kind.REPOST, ME, 220, 22, time_ms=now - 15 * day),
        clock.on_post(Kind.CLICK, ME, 230, 23, time_ms=now),
        clock.on_post(Kind.REPOST, ME, 240, ME, time_ms=now),
    ]


@pytest.mark.parametrize("n_shards", [1, 4])
def test_engagements_decay_by_half_each_day(n_shards: int) -> None:
    world = engagements(Clock())
    assert of("recent_engagement_non_direct", world, n_shards) == [(20, 1.5)]
    assert of("recent_engagement_direct", world, n_shards) == [(10, 0.75)]


def test_profile_views_count_while_an_account_is_new() -> None:
    clock = Clock()
    view = clock.event(Kind.PROFILE_CLICK, actor_id=ME, author_id=23, time_ms=NOW_MS)
    created = clock.event(Kind.USER_CREATE, actor_id=ME, time_ms=NOW_MS - DAY_MS)
    long_ago = {**created, "time_ms": NOW_MS - 31 * DAY_MS}
    assert of("recent_engagement_non_direct", [created, view]) == [(23, 0.4)]
    assert of("recent_engagement_non_direct", [long_ago, view]) == []
    assert of("recent_engagement_non_direct", [view]) == []


def test_visits_repeat() -> None:
    clock = Clock()
    visited = {20: 3, 21: 2, 22: 5, 10: 4}
    views = [
        clock.event(Kind.PROFILE_CLICK, actor_id=ME, author_id=account)
        for account, times in visited.items()
        for _ in range(times)
    ]
    old = Clock(NOW_MS - 15 * DAY_MS)
    old._last_id = 500
    views += [old.event(Kind.PROFILE_CLICK, actor_id=ME, author_id=21) for _ in range(9)]
    world = [*follows(clock, {ME: [10]}), *views]
    assert of("repeated_profile_visits", world) == [(22, 5.0), (20, 3.0)]


def test_mutual_follows_are_the_newest() -> None:
    world = follows(Clock(), {ME: [10, 11, 12], 10: [ME], 12: [ME]})
    found = of("mutual_follow_stp", world)
    assert [user for user, _ in found] == [12, 10]


def test_real_graph_out_of_network_is_close_enough() -> None:
    query = query_of(follows(Clock(), {ME: [10]}))
    ids = np.array([10, 20, 21, 22])
    scores = np.array([0.9, 0.25, 0.26, 0.8], np.float32)
    query.tastes = replace(query.tastes, affine_ids=ids, real_graph=scores)
    out = accounts_of(BY_NAME["real_graph_oon"], query)["real_graph_oon"]
    assert out.user_ids.tolist() == [22]
    out = accounts_of(BY_NAME["real_graph"], query)["real_graph"]
    assert out.user_ids.tolist() == [22, 21, 20]


@pytest.mark.parametrize("name", BY_NAME)
def test_nothing_comes_of_nothing(name: str) -> None:
    assert of(name, []) == []

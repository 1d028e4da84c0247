"""Accounts by the graph of follows: exact ones on hand-made worlds, whatever the shards."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from tests.timeline.follow_recommendations.asking import (
    ME,
    accounts_of,
    asked_of,
    follows,
    query_of,
    shown,
)
from tests.timeline.trained_worlds import trained_states
from tests.worlds import DAY_MS, NOW_MS, Clock, Event
from timeline.follow_recommendations.expansions import (
    FollowGraph,
    OnlineStrongTies,
    TriangularLoops,
    UserUserGraph,
)
from timeline.query import Query

N_SHARDS = pytest.mark.parametrize("n_shards", [1, 4])


@N_SHARDS
def test_a_walk_of_two_steps_ends_where_it_likely_does(n_shards: int) -> None:
    world = follows(Clock(), {ME: [10, 11], 10: [20, 21], 11: [21, 22, 23, ME]})
    found = accounts_of(FollowGraph(), query_of(world, n_shards))
    assert shown(found["two_hop_random_walk"]) == [
        (21, 0.375, [10, 11]),
        (20, 0.25, [10]),
        (22, 0.125, [11]),
        (23, 0.125, [11]),
    ]
    assert shown(found["recent_following_recent_following"]) == [
        (21, 2.0, [11, 10]),
        (20, 1.0, [10]),
        (22, 1.0, [11]),
        (23, 1.0, [11]),
    ]


def test_recent_follows_are_the_newest_few() -> None:
    world = follows(Clock(), {ME: [10, 11], 10: [20, 21], 11: [21, 22, 23]})
    query = query_of(world, recent_follows=1, recent_followees=2)
    found = accounts_of(FollowGraph(), query)["recent_following_recent_following"]
    assert shown(found) == [(22, 1.0, [11]), (23, 1.0, [11])]
    query = query_of(world, walk_follows=1, walk_followees=1)
    walked = accounts_of(FollowGraph(), query)["two_hop_random_walk"]
    assert shown(walked) == [(23, 0.333333, [11])]


def test_nobody_muted_leads_anywhere() -> None:
    clock = Clock()
    world = follows(clock, {ME: [10, 11], 10: [20], 11: [21]})
    world.append(clock.edge(Kind.MUTE, ME, 11))
    for source in (FollowGraph(), OnlineStrongTies(), UserUserGraph()):
        for found in accounts_of(source, query_of(world, graph_min_proofs=1)).values():
            assert set(found.user_ids.tolist()) <= {20}


@N_SHARDS
def test_the_user_user_graph_counts_new_follows(n_shards: int) -> None:
    old = Clock(NOW_MS - 8 * DAY_MS)
    new = Clock()
    new._last_id = 500
    world = [
        *follows(old, {ME: [10, 11, 12], 10: [20], 11: [20]}),
        *follows(new, {10: [21, 22], 11: [21], 12: [21, 20, 22]}),
    ]
    found = accounts_of(UserUserGraph(), query_of(world, n_shards))["user_user_graph"]
    # 20 was followed by two long ago, and by one lately.
    assert [(user, score) for user, score, _ in shown(found)] == [(21, 3.0), (22, 2.0)]
    assert sorted(shown(found)[0][2]) == [10, 11, 12]


def mutual_world() -> list[Event]:
    return follows(
        Clock(),
        {
            ME: [10, 11, 12],
            10: [ME, 20, 21],
            11: [ME, 20, 22],
            12: [23],
            20: [10, 11],
            21: [10],
            23: [12],
        },
    )


@N_SHARDS
def test_strong_ties_are_mutual_twice(n_shards: int) -> None:
    query = query_of(mutual_world(), n_shards)
    found = accounts_of(OnlineStrongTies(), query)["online_stp"]
    # 22 does not follow back, and 12 does not follow the viewer back.
    assert [(user, score) for user, score, _ in shown(found)] == [(20, 2.0), (21, 1.0)]
    assert sorted(shown(found)[0][2]) == [10, 11]


def test_strong_ties_are_not_more_than_asked_for() -> None:
    query = query_of(mutual_world(), strong_ties=1)
    assert accounts_of(OnlineStrongTies(), query)["online_stp"].user_ids.tolist() == [20]
    # 11 was followed after 10.
    query = query_of(mutual_world(), max_mutuals=1)
    assert shown(accounts_of(OnlineStrongTies(), query)["online_stp"]) == [(20, 1.0, [11])]


def test_low_reputations_come_second(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "artifacts")
    with store.writing("tweepcred", schema_version=1) as draft:
        users = np.array([10, 11, 12])
        columns = {"user_id": users, "reputation": np.array([90, 90, 39], np.float32)}
        draft.write_table("reputations.arrow", pa.table({**columns, "pagerank": users / 100}))
    world = [*mutual_world(), *follows(Clock(NOW_MS - DAY_MS), {12: [22], 22: [12]})]
    for k, event in enumerate(world, 1):
        event["event_id"] = k
    states = trained_states(tmp_path, world, 4, {"tweepcred": str(draft.version)})
    found = accounts_of(OnlineStrongTies(), asked_of(states))["online_stp"]
    # 12 does not follow the viewer back, but is not well reputed: a path over 12 is worth less
    # than any path over a mutual follow.
    expected = [(20, 2.0, {10, 11}), (21, 1.0, {10}), (22, 1 / 6, {12}), (23, 1 / 6, {12})]
    told = [(user, score, set(proofs)) for user, score, proofs in shown(found)]
    assert told == [(user, round(score, 6), proofs) for user, score, proofs in expected]


@N_SHARDS
def test_a_loop_closes_over_somebody_followed(n_shards: int) -> None:
    world = follows(
        Clock(), {ME: [10, 11], 20: [ME], 21: [ME, 30, 31], 22: [ME], 10: [20, 21], 11: [20]}
    )
    found = accounts_of(TriangularLoops(), query_of(world, n_shards))["triangular_loops"]
    # 20 has two followers and follows one; 21 has one and follows three; nobody follows 22.
    assert [(user, score) for user, score, _ in shown(found)] == [(20, 0.333333), (21, 0.25)]
    assert sorted(shown(found)[0][2]) == [10, 11]
    limited = accounts_of(TriangularLoops(), query_of(world, n_shards, loops=1))
    assert limited["triangular_loops"].user_ids.tolist() == [20]


@pytest.mark.parametrize(
    "source", [FollowGraph(), UserUserGraph(), OnlineStrongTies(), TriangularLoops()]
)
def test_nothing_comes_of_nothing(source: Any) -> None:
    def none(query: Query) -> bool:
        return not sum(map(len, accounts_of(source, query).values()))

    assert none(query_of([]))
    assert none(query_of(follows(Clock(), {ME: [10]}), 4))
    assert none(query_of(follows(Clock(), {10: [ME], ME: [10]}), 4))


def test_unfollowed_is_not_found_again() -> None:
    clock = Clock()
    world = follows(clock, {ME: [10, 20], 10: [20, 21]})
    world.append(clock.edge(Kind.UNFOLLOW, ME, 20))
    found = accounts_of(FollowGraph(), query_of(world))["two_hop_random_walk"]
    assert found.user_ids.tolist() == [21]
    long_ago = Clock(NOW_MS - 91 * DAY_MS)
    world = follows(long_ago, {ME: [10, 20], 10: [20, 21]})
    world.append(long_ago.edge(Kind.UNFOLLOW, ME, 20))
    found = accounts_of(FollowGraph(), query_of(world))["two_hop_random_walk"]
    assert found.user_ids.tolist() == [20, 21]

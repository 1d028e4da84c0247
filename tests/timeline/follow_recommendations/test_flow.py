"""The whole flow: who is left out and why, who vouches, and that shards do not matter."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.router import shards_of
from cluster.events import Kind
from tests.timeline.follow_recommendations.asking import (
    ME,
    asked_of,
    follows,
    query_of,
    run,
    settings_of,
)
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
from timeline.follow_recommendations.catalogue import SEEDS_ONLY, UNSUPPORTED
from timeline.follow_recommendations.expansions import FollowGraph
from timeline.follow_recommendations.flow import (
    ALL_SOURCES,
    CONTENT,
    WHO_TO_FOLLOW,
    Flow,
    Recommended,
    find_accounts,
    recommend,
)
from timeline.query import Query

FLOW = Flow("walks", (FollowGraph(),), {"recent_following_recent_following": 0.0})


def told(query: Query, flow: Flow = FLOW, limit: int = 10, **asked: Any) -> Recommended:
    found: Recommended = run(query, recommend(query, flow, limit, **asked))
    return found


def a_world(clock: Clock, reasons: list[Event]) -> list[Event]:
    """10 leads to 20 … 29, all of whom posted; `reasons` speak against some."""
    users = range(20, 30)
    return [
        *follows(clock, {ME: [10, 11], 10: list(users), 11: [20]}),
        *(clock.post(100 + user, user) for user in users),
        *reasons,
    ]


@pytest.mark.parametrize("n_shards", [1, 4])
def test_who_is_left_out(n_shards: int) -> None:
    clock = Clock()
    against = [
        clock.edge(Kind.BLOCK, ME, 20),
        clock.edge(Kind.BLOCK, 21, ME),
        clock.edge(Kind.MUTE, ME, 22),
        clock.edge(Kind.MUTE, 23, ME),
        clock.event(Kind.USER_SUSPEND, actor_id=24),
        clock.event(Kind.USER_CREATE, actor_id=25, protected=True),
        clock.event(Kind.POST_DELETE, post_id=126, author_id=26),
        clock.event(Kind.SAFETY_LABEL, author_id=27, label="spam"),
        clock.on_post(Kind.SHOW_LESS, ME, 128, 28),
    ]
    answer = told(query_of(a_world(clock, against), n_shards))
    assert answer.user_ids.tolist() == [29]
    assert answer.dropped == {
        "gone": 1, "protected": 1, "hides_viewer": 1, "inactive": 1, "unhealthy": 1
    }  # fmt: skip


def test_whom_the_request_leaves_out() -> None:
    query = query_of(a_world(Clock(), []))
    answer = told(query, excluded_ids=np.array([29, 20]))
    assert sorted(answer.user_ids.tolist()) == list(range(21, 29))


def test_silence_of_two_months_is_enough() -> None:
    old = Clock(NOW_MS - 61 * DAY_MS)
    old._last_id = 500
    world = [*follows(Clock(), {ME: [10], 10: [20, 21]}), old.post(120, 20)]
    old.now_ms = NOW_MS - 59 * DAY_MS
    world.append(old.post(121, 21))
    answer = told(query_of(world))
    assert answer.user_ids.tolist() == [21]
    # The content flow does not ask.
    content = Flow("content", (FollowGraph(),), checks=())
    assert sorted(told(query_of(world), content).user_ids.tolist()) == [20, 21]


@pytest.mark.parametrize("n_shards", [1, 4])
def test_who_vouches(n_shards: int) -> None:
    clock = Clock()
    favourite = clock.on_post(Kind.FAVOURITE, ME, 900, 11)
    answer = told(query_of(a_world(clock, [favourite]), n_shards), limit=1)
    assert answer.user_ids.tolist() == [20]
    assert answer.between.tolist() == [2]
    # The viewer engaged with 11.
    assert answer.named_ids.tolist() == [[11, 10, 0]]


def test_pages_go_on_until_enough_pass() -> None:
    clock = Clock()
    users = range(20, 60)
    world = [*follows(clock, {ME: [10], 10: list(users)}), clock.post(100, 31)]
    query = query_of(world, page_size=5)
    # The walk's accounts are equals, in order of ids: 31 is on the third page of five.
    assert told(query, limit=1).user_ids.tolist() == [31]
    assert told(
        query_of([*world, clock.post(101, 20)], page_size=5), limit=1
    ).user_ids.tolist() == [20]
    assert told(query_of(world, page_size=3), limit=1).user_ids.tolist() == []


@settings(max_examples=15)
@given(worlds(), st.integers(2, 4))
def test_every_source_is_the_same_for_all_shard_counts(events: list[Event], n_shards: int) -> None:
    clock = Clock()
    pairs = {USERS[0]: USERS[1:4], USERS[1]: USERS[4:], USERS[2]: [USERS[0], *USERS[5:]]}
    world = [
        *follows(clock, pairs),
        *({**event, "event_id": 900 + k} for k, event in enumerate(events)),
    ]
    small = {"graph_min_proofs": 1, "ppmi_min_follows": 1}
    one = query_of(world, 1, USERS[0], **small) if visible(world) else None
    if one is None:
        return
    many = query_of(world, n_shards, USERS[0], **small)
    a, b = (run(query, find_accounts(query, CONTENT)) for query in (one, many))
    assert plain(a.pool) == plain(b.pool)
    assert a.user_ids.tolist() == b.user_ids.tolist()
    again = run(one, find_accounts(one, CONTENT))
    assert plain(again.pool) == plain(a.pool)
    found = a.user_ids.tolist()
    assert len(set(found)) == len(found)
    assert not set(found) & {0, *a.seeker.excluded.tolist()}
    first, second = (told(query, WHO_TO_FOLLOW) for query in (one, many))
    for name in ("user_ids", "scores", "between", "named_ids", "dropped"):
        assert plain(getattr(first, name)) == plain(getattr(second, name)), name


def visible(world: list[Event]) -> bool:
    """Whether the viewer is still there."""
    [state] = states_of(world)
    return not state.users.gone(np.array([USERS[0]]))[0]


def test_a_silent_shard_costs_what_lives_there() -> None:
    states = states_of(a_world(Clock(), []), 4, settings_of())
    whole = told(asked_of(states)).user_ids.tolist()
    homes = dict(zip(range(40), shards_of(np.arange(40), 4).tolist(), strict=True))
    assert sorted(whole) == list(range(20, 30))
    assert len({homes[user] for user in whole}) > 2
    for shard in {*homes.values()} - {homes[ME]}:
        query = asked_of(states)
        query.router = PartialRouter(states, [shard])
        alive = {user for user in whole if homes[user] != shard}
        if shard == homes[10]:
            # All but 20 are told by 10 alone.
            alive &= {20}
        assert set(told(query).user_ids.tolist()) == alive
        asked = {homes[user] for user in (10, 11, *whole)}
        assert query.degraded == ([f"shard_{shard}"] if shard in asked else [])
    query.router = PartialRouter(states, [homes[ME]])
    # The viewer's ties came beside the viewer's context; without them:
    query.told.clear()
    assert run(query, recommend(query, FLOW, 10)) is None


def test_sampling_is_seeded() -> None:
    query = query_of(a_world(Clock(), []))
    flow = Flow("sampled", (FollowGraph(),), sampling=1.0)
    drawn = run(query, find_accounts(query, flow)).user_ids.tolist()
    assert run(query, find_accounts(query, flow)).user_ids.tolist() == drawn
    assert sorted(drawn) == list(range(20, 30))
    others = []
    for seed in range(1, 6):
        query.seed = seed
        others.append(run(query, find_accounts(query, flow)).user_ids.tolist())
    assert any(other != drawn for other in others)


def test_every_source_of_the_original_is_here_or_named() -> None:
    names = [name for source in ALL_SOURCES for name in source.names]
    assert len(set(names)) == len(names)
    assert not set(names) & {*UNSUPPORTED, *SEEDS_ONLY}

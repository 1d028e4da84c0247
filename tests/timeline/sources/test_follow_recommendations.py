"""Posts of recommended accounts: whose, which, how old, and in what order."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.events import Kind
from tests.timeline.follow_recommendations.asking import ME, follows, query_of
from tests.timeline.sources.finding import run, unanswered
from tests.worlds import HOUR_MS, NOW_MS, USERS, Clock, Event, active, plain, worlds
from timeline.sources.follow_recommendations import FollowRecommendations

SOURCE = FollowRecommendations()


def a_world(clock: Clock) -> list[Event]:
    """20 and 21 are recommended: 20 by two, 21 by one."""
    return [
        *follows(clock, {ME: [10, 11], 10: [20, 21], 11: [20]}),
        clock.post(200, 20),
        clock.post(201, 20, reply_to_id=100, reply_to_author_id=10),
        clock.post(202, 20, repost_of_id=100, repost_of_author_id=10),
        clock.post(203, 20, quote_of_id=100, quote_of_author_id=10),
        clock.post(210, 21),
        clock.post(100, 10),
        clock.post(300, 30),
    ]


@pytest.mark.parametrize("n_shards", [1, 4])
def test_originals_and_quotes_of_recommended_accounts(n_shards: int) -> None:
    query = query_of(a_world(Clock()), n_shards)
    found = run(SOURCE, query)
    assert sorted(found.post_ids.tolist()) == [200, 203, 210]
    assert found.signal_ids.tolist() == found.author_ids.tolist()
    # Complete: nothing has to be fetched for them any more.
    assert (found.created_ms > 0).all()
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert ((found.scores > 0) & (found.scores <= 1)).all()


def test_light_users_see_twice_as_far() -> None:
    clock = Clock()
    world = [*a_world(clock), clock.post(211, 21, time_ms=NOW_MS - 47 * HOUR_MS)]
    world.append(clock.post(212, 21, time_ms=NOW_MS - 49 * HOUR_MS))
    assert 211 in run(SOURCE, query_of(world)).post_ids.tolist()
    assert 212 not in run(SOURCE, query_of(world)).post_ids.tolist()
    heavy = active(clock, ME, NOW_MS, 21)
    assert 211 not in run(SOURCE, query_of([*world, *heavy])).post_ids.tolist()


@pytest.mark.parametrize("n_shards", [1, 4])
def test_limits(n_shards: int) -> None:
    def posts(**limits: int) -> list[int]:
        found = run(SOURCE, query_of(a_world(Clock()), n_shards, **limits))
        return sorted(found.post_ids.tolist())

    # The newest of all, and of each author.
    assert posts(max_posts=2) == [203, 210]
    assert posts(max_per_author=1) == [203, 210]
    assert posts(max_posts=0) == posts(max_seeds=0) == []
    assert len({post // 10 for post in posts(max_seeds=1)}) == 1


def test_of_two_posts_of_one_instant_that_of_the_better_account_comes_first() -> None:
    clock = Clock()
    world = follows(clock, {ME: [10, 11], 10: [20, 21], 11: [20]})
    world += [clock.post(100 + user, user, time_ms=NOW_MS - HOUR_MS) for user in (20, 21)]
    for seed in range(5):
        query = query_of(world, 4)
        query.seed = seed
        found = run(SOURCE, query)
        assert found.scores[0] == pytest.approx((1 + 1 - 1 / 48) / 2)
        assert found.scores[1] == pytest.approx((0.5 + 1 - 1 / 48) / 2)


@settings(max_examples=12)
@given(worlds(), st.integers(1, 4), st.integers(1, 5))
def test_the_contract(events: list[Event], n_shards: int, most: int) -> None:
    clock = Clock()
    pairs = {USERS[0]: USERS[1:3], USERS[1]: USERS[2:], USERS[2]: USERS[3:]}
    start: list[Any] = [clock.event(Kind.USER_CREATE, actor_id=USERS[0]), *follows(clock, pairs)]
    gone = (Kind.USER_SUSPEND.label, Kind.USER_DEACTIVATE.label)
    kept = [e for e in events if e["kind"] not in gone]
    world = [*start, *({**event, "event_id": 900 + k} for k, event in enumerate(kept))]
    query = query_of(world, n_shards, USERS[0], max_posts=most)
    found = run(SOURCE, query)
    assert len(found) <= most
    assert len(set(found.post_ids.tolist())) == len(found)
    assert (found.post_ids > 0).all()
    viewer = query.viewer
    hidden = {
        USERS[0],
        *viewer.blocks.tolist(),
        *viewer.blocked_by.tolist(),
        *viewer.mutes.tolist(),
    }
    assert not set(found.author_ids.tolist()) & hidden
    assert plain(run(SOURCE, query)) == plain(found)
    assert plain(run(SOURCE, query_of(world, 1, USERS[0], max_posts=most))) == plain(found)


def test_nothing_comes_of_nothing() -> None:
    assert len(run(SOURCE, query_of([]))) == 0
    assert len(unanswered(SOURCE, query_of(a_world(Clock()), 4))) == 0

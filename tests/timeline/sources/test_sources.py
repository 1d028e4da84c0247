"""The contract of every source, and what each of them finds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.router import LocalRouter
from actors.social_proof import seeds_of
from cluster.events import Kind
from cluster.settings import Settings
from tests.timeline.sources.finding import run, unanswered
from tests.worlds import (
    HOUR_MS,
    NOW_MS,
    USERS,
    Clock,
    Event,
    states_of,
    worlds,
)
from timeline.candidates import Candidates
from timeline.hydration import fetch_viewer
from timeline.query import Query
from timeline.sources.following import Following
from timeline.sources.in_network import InNetwork
from timeline.sources.popular import Popular
from timeline.sources.user_tweet_entity_graph import UserTweetEntityGraph

VIEWER, FRIEND, OTHER, STRANGER = USERS[0], USERS[2], USERS[4], USERS[6]
SOURCES: list[Callable[[], Any]] = [InNetwork, UserTweetEntityGraph, Popular, Following]
EVERY_SOURCE = pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.name)
LIMITS = {
    "in_network": "in_network_results",
    "user_tweet_entity_graph": "out_of_network_results",
    "popular": "popular_results",
}


def query(
    events: list[Event], n_shards: int = 1, viewer: int = VIEWER, limit: int = 10, **for_you: Any
) -> Query:
    chosen = Settings(for_you=for_you)  # type: ignore[arg-type]
    router = LocalRouter(states_of(events, n_shards, chosen))
    asked = Query(viewer, NOW_MS, limit, "request", chosen, router)
    fetch_viewer(asked)
    assert asked.context is not None
    return asked


def plain(candidates: Candidates) -> dict[str, Any]:
    return {name: column.tolist() for name, column in vars(candidates).items()}


def limit_of(source: Any, asked: Query) -> int:
    if source.name == "following":
        return 2 * asked.limit + 20
    return int(getattr(asked.settings.for_you, LIMITS[source.name]))


@EVERY_SOURCE
@settings(max_examples=12)
@given(worlds(), st.integers(1, 4), st.integers(1, 5))
def test_every_source(make: Any, events: list[Event], n_shards: int, most: int) -> None:
    limits = dict.fromkeys(LIMITS.values(), most)
    clock = Clock()
    follows = [clock.edge(Kind.FOLLOW, VIEWER, u, event_id=900 + u) for u in USERS[1:]]
    asked = query([*follows, *events], n_shards, limit=most, **limits)
    candidates = run(make(), asked)
    n = len(candidates)
    assert n <= limit_of(make(), asked)
    assert len(set(candidates.post_ids.tolist())) == n
    assert (candidates.post_ids > 0).all()
    assert (candidates.author_ids > 0).all()
    assert candidates.sources.tolist() == [1 << 3] * n
    assert candidates.source.tolist() == [3] * n
    for name, column in vars(candidates).items():
        assert len(column) == n, name
    assert np.isfinite(candidates.features).all()
    # The same again, and with any number of shards.
    assert plain(run(make(), asked)) == plain(candidates)
    single = query([*follows, *events], 1, limit=most, **limits)
    assert plain(run(make(), single)) == plain(candidates)


@EVERY_SOURCE
def test_every_source_copes_with_nothing(make: Any) -> None:
    asked = query([])
    assert len(run(make(), asked)) == 0
    assert len(unanswered(make(), asked)) == 0
    # Shards that answer, and have nothing.
    somebody = query([Clock().edge(Kind.FOLLOW, VIEWER, FRIEND)], 3)
    assert len(run(make(), somebody)) == 0


def followed_world(clock: Clock) -> list[Event]:
    return [
        clock.edge(Kind.FOLLOW, VIEWER, FRIEND),
        clock.edge(Kind.FOLLOW, VIEWER, OTHER),
        clock.post(10, FRIEND),
        clock.post(20, OTHER),
        clock.post(30, STRANGER),
        clock.on_post(Kind.FAVOURITE, FRIEND, 30, STRANGER),
        clock.on_post(Kind.REPLY, OTHER, 30, STRANGER),
        clock.on_post(Kind.FAVOURITE, FRIEND, 31, STRANGER),
    ]


def test_in_network_prefers_those_the_viewer_engages_with() -> None:
    clock = Clock()
    events = followed_world(clock)
    plain_order = run(InNetwork(), query(events)).post_ids.tolist()
    assert sorted(plain_order) == [10, 20]
    for author, other in ((FRIEND, OTHER), (OTHER, FRIEND)):
        likes = [clock.on_post(Kind.FAVOURITE, VIEWER, 500 + k, author) for k in range(5)]
        ranked = run(InNetwork(), query([*events, *likes], 2))
        assert ranked.author_ids.tolist() == [author, other]
        assert ranked.scores[0] > ranked.scores[1]


def test_in_network_leaves_the_newest_posts_to_settle() -> None:
    clock = Clock(NOW_MS - 16_000)
    events = [clock.edge(Kind.FOLLOW, VIEWER, FRIEND), clock.post(10, FRIEND)]
    late = [*events, clock.post(11, FRIEND, time_ms=NOW_MS - 14_999)]
    assert sorted(run(InNetwork(), query(late)).post_ids.tolist()) == [10, 11]
    settled = run(InNetwork(), query(late, skip_newest_ms=15_000))
    assert settled.post_ids.tolist() == [10]


def test_second_degree_ranks_by_the_weight_of_who_engaged() -> None:
    clock = Clock()
    events = followed_world(clock)
    asked = query(events, 4)
    ranked = run(UserTweetEntityGraph(), asked)
    assert ranked.post_ids.tolist() == [30, 31]
    assert ranked.author_ids.tolist() == [STRANGER, STRANGER]
    assert sorted(ranked.proof_ids[0][:2].tolist()) == sorted([FRIEND, OTHER])
    assert ranked.proof_ids[1].tolist() == [FRIEND] + [0] * 9
    assert asked.proof is not None
    weights = asked.proof.features(np.array([31, 30, 999]))
    # ln(1 + x) of the weight and of the counts of favourites, reposts and replies.
    expected = np.log1p([[1, 1, 0, 0], [2, 1, 0, 1], [0, 0, 0, 0]])
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_second_degree_forgets_what_was_taken_back() -> None:
    clock = Clock()
    events = followed_world(clock)
    events.append(clock.on_post(Kind.UNFAVOURITE, FRIEND, 31, STRANGER))
    assert run(UserTweetEntityGraph(), query(events)).post_ids.tolist() == [30]


def test_the_viewers_own_posts_are_no_second_degree() -> None:
    clock = Clock()
    events = [*followed_world(clock), clock.on_post(Kind.FAVOURITE, FRIEND, 40, VIEWER)]
    assert 40 not in run(UserTweetEntityGraph(), query(events)).post_ids.tolist()


def test_private_engagements_are_no_proof() -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, VIEWER, FRIEND), clock.post(30, STRANGER)]
    private = (Kind.CLICK, Kind.BOOKMARK, Kind.DWELL, Kind.SHARE, Kind.REPORT)
    events += [clock.on_post(kind, FRIEND, 30, STRANGER) for kind in private]
    assert len(run(UserTweetEntityGraph(), query(events))) == 0


def test_seeds_are_the_heaviest_and_lend_no_muted_voice() -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, VIEWER, user) for user in USERS[1:6]]
    events += [clock.on_post(Kind.FAVOURITE, VIEWER, 5, USERS[4]) for _ in range(3)]
    events.append(clock.on_post(Kind.FAVOURITE, VIEWER, 6, USERS[2]))
    asked = query(events, max_seeds=2)
    seeds, weights = seeds_of(asked.viewer, 2)
    assert seeds.tolist() == sorted([USERS[4], USERS[2]])
    heavier = weights[seeds.tolist().index(USERS[4])]
    assert heavier == pytest.approx(1 + np.log1p(3), rel=0.01)
    events.append(clock.edge(Kind.MUTE, VIEWER, USERS[4]))
    events.append(clock.edge(Kind.BLOCK, USERS[3], VIEWER))
    seeds, _ = seeds_of(query(events).viewer, 100)
    assert set(seeds.tolist()) == {USERS[1], USERS[2], USERS[5]}


def test_popular_weighs_engagements_against_age() -> None:
    clock = Clock(NOW_MS - 20 * HOUR_MS)
    events = [clock.post(10, FRIEND), clock.post(11, FRIEND), clock.post(12, FRIEND)]
    for post, fans in ((10, 6), (12, 3)):
        events += [clock.on_post(Kind.FAVOURITE, u, post, FRIEND) for u in USERS[:fans]]
    events += [clock.on_post(Kind.REPORT, USERS[5], 12, FRIEND)]
    events.append(clock.post(20, OTHER, time_ms=NOW_MS - HOUR_MS))
    ranked = run(Popular(), query(events, 2))
    # Two of an author at most; three favourites and a report are no better than nothing.
    assert ranked.post_ids.tolist() == [10, 20, 11]
    newest = np.log1p(0) - 1 / 24
    assert ranked.scores[1] == pytest.approx(newest, abs=1e-5)
    assert ranked.scores[0] == pytest.approx(np.log1p(6) - 20 / 24, abs=1e-5)


def test_popular_is_for_those_with_a_small_network() -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, VIEWER, 5_000 + k) for k in range(50)]
    events.append(clock.post(10, STRANGER))
    assert len(run(Popular(), query(events))) == 0
    assert run(Popular(), query(events[1:])).post_ids.tolist() == [10]


def test_following_reaches_back_two_weeks() -> None:
    clock = Clock(NOW_MS - 15 * 24 * HOUR_MS)
    events = [clock.edge(Kind.FOLLOW, VIEWER, FRIEND), clock.post(10, FRIEND)]
    events.append(clock.post(11, FRIEND, time_ms=NOW_MS - 13 * 24 * HOUR_MS))
    assert run(Following(), query(events)).post_ids.tolist() == [11]

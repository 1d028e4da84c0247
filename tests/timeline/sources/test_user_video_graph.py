"""The user-video graph: which watches count, and what is found by them."""

import math

import numpy as np
import pytest

from actors.watch_levels import N_LEVELS, THRESHOLDS_MS, half_levels, levels_of
from cluster.events import Kind
from tests.timeline.sources.co_engagement_worlds import listed, run_finding, world_of
from tests.timeline.sources.finding import run, unanswered
from tests.worlds import USERS, Clock, Event
from timeline.candidates import ENGINES
from timeline.sources.user_video_graph import (
    UserVideoGraph,
    related_by_consumers,
    related_by_posts,
    related_by_producers,
)

AUTHOR = USERS[7]
SECOND_MS = 1_000
VIDEOS = {10: 60 * SECOND_MS, 11: 60 * SECOND_MS, 12: 600 * SECOND_MS, 13: 0}
POST = np.array([10]), np.array([AUTHOR])


def test_half_of_a_video_counts_and_less_than_a_third_does_not() -> None:
    assert levels_of(np.array([0.0, 1_999.0, 2_000.0, 2_999.0, 3_000.0])).tolist() == [
        *(-1, -1, 0, 0, 1)
    ]
    assert levels_of(np.array([1e9])).tolist() == [N_LEVELS - 1]
    durations_ms = np.arange(4_000, 2_600_000, 500)
    needed_ms = THRESHOLDS_MS[half_levels(durations_ms)]
    assert (needed_ms <= durations_ms / 2).all()
    assert (needed_ms > durations_ms / 3 - 1).all()
    assert half_levels(np.array([0, 3_000])).tolist() == [0, 0]


def watched(*extra: tuple[int, int, float], shares: tuple[float, ...] = (0.9,) * 5) -> list[Event]:
    """Every user of five watched so much of each video, those without a length for 10 s."""
    clock = Clock()
    events = [
        clock.post(post, AUTHOR, **({"video_duration_ms": length} if length else {}))
        for post, length in VIDEOS.items()
    ]
    for user, share in zip(USERS, shares, strict=False):
        for post, length in VIDEOS.items():
            value = float(share * length) if length else 10_000.0
            events.append(clock.on_post(Kind.VIDEO_WATCH, user, post, AUTHOR, value=value))
    for user, post, value in extra:
        events.append(clock.on_post(Kind.VIDEO_WATCH, user, post, AUTHOR, value=value))
    return events


@pytest.mark.parametrize("n_shards", [1, 4])
def test_repeated_watches_count_once(n_shards: int) -> None:
    again = [(user, 11, 55_000.0) for user in USERS[:5]] + [(USERS[0], 11, 60_000.0)]
    query = world_of(watched(*again), n_shards)
    (rows,) = listed(run_finding(query, related_by_posts(query, *POST)))
    score = 5 / math.log(5) / 5 * 5 / math.log(5)
    assert rows == [(post, AUTHOR, pytest.approx(score)) for post in (11, 12, 13)]


@pytest.mark.parametrize("n_shards", [1, 4])
def test_half_of_a_video_is_told_by_its_author_s_shard(n_shards: int) -> None:
    # Half a minute is enough of the short videos and by far too little of the long one.
    query = world_of(watched(shares=(0.05,) * 5), n_shards)
    assert listed(run_finding(query, related_by_posts(query, *POST))) == [[]]
    long = [(user, 12, 30_000.0) for user in USERS[:5]]
    short = [(user, post, 30_000.0) for user in USERS[:4] for post in (10, 11)]
    query = world_of(watched(*long, *short, shares=(0.01,) * 5), n_shards)
    (rows,) = listed(run_finding(query, related_by_posts(query, *POST)))
    assert {post for post, _, _ in rows} == {11, 13}
    assert rows[0] == (11, AUTHOR, pytest.approx(4 / math.log(4) / 4 * 4 / math.log(4)))
    assert rows[1] == (13, AUTHOR, pytest.approx(4 / math.log(4) / 4 * 4 / math.log(5)))


@pytest.mark.parametrize("n_shards", [1, 4])
def test_consumers_and_producers(n_shards: int) -> None:
    events = watched()
    clock = Clock()
    events += [clock.edge(Kind.FOLLOW, u, USERS[6], event_id=700 + u) for u in USERS[:4]]
    query = world_of(events, n_shards)
    (rows,) = listed(run_finding(query, related_by_consumers(query, np.array(USERS[:3]))))
    assert rows == [(post, AUTHOR, pytest.approx(1_000 / math.log(5))) for post in VIDEOS]
    found = run_finding(query, related_by_producers(query, np.array([USERS[6]])))
    assert listed(found) == [rows]


@pytest.mark.parametrize("n_shards", [1, 4])
def test_the_source_starts_from_favourites_too(n_shards: int) -> None:
    viewer = USERS[6]
    events = watched()
    events.append(Clock().on_post(Kind.FAVOURITE, viewer, 10, AUTHOR, event_id=900))
    query = world_of(events, n_shards, viewer)
    found = run(UserVideoGraph(), query)
    assert found.post_ids.tolist() == [11, 12, 13]
    assert found.signal_ids.tolist() == [10] * 3
    assert found.engines.tolist() == [1 << ENGINES.index("user_video_graph")] * 3
    assert len(unanswered(UserVideoGraph(), query)) == 0

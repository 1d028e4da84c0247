"""Following: whose posts it finds, which replies, and how far down it reads."""

import numpy as np
import pytest

from actors.router import LocalRouter
from cluster.events import Kind
from cluster.settings import Settings, load
from tests.timeline.small_worlds import ids
from tests.timeline.sources.finding import run, unanswered
from tests.worlds import HOUR_MS, NOW_MS, USERS, Clock, Event, states_of, timelines_of
from timeline.candidates import unhydrated
from timeline.filters import not_protected
from timeline.hydration import complete, fetch_viewer
from timeline.query import Query
from timeline.sources.following import Following, own_where_wanted
from timeline.sources.user_tweet_entity_graph import UserTweetEntityGraph

VIEWER, FRIEND, OTHER, STRANGER = USERS[0], USERS[2], USERS[4], USERS[6]


def query(
    events: list[Event], n_shards: int = 1, limit: int = 10, settings: Settings | None = None
) -> Query:
    router = LocalRouter(states_of(events, n_shards))
    asked = Query(VIEWER, NOW_MS, limit, "request", settings or Settings(), router)
    fetch_viewer(asked, with_tastes=False)
    return asked


def follows(clock: Clock, *authors: int) -> list[Event]:
    return [clock.edge(Kind.FOLLOW, VIEWER, author) for author in authors]


@pytest.mark.parametrize("n_shards", [1, 4])
def test_replies_only_to_those_whom_the_viewer_follows_or_is(n_shards: int) -> None:
    clock = Clock()
    events = [*follows(clock, FRIEND, OTHER), clock.post(10, VIEWER), clock.post(11, STRANGER)]
    for k, to in enumerate((FRIEND, OTHER, VIEWER, STRANGER)):
        events.append(clock.post(20 + k, FRIEND, reply_to_id=10, reply_to_author_id=to))
    events.append(clock.post(30, FRIEND, quote_of_id=11, quote_of_author_id=STRANGER))
    asked = query(events, n_shards)
    assert run(Following(), asked).post_ids.tolist() == [30, 22, 21, 20, 10]


FEW = load(for_you={"max_follows": 1}, products={"max_followed": 2})


@pytest.mark.parametrize("n_shards", [1, 4])
def test_more_are_followed_than_for_you_looks_for(n_shards: int) -> None:
    clock = Clock()
    events = [
        *follows(clock, STRANGER, FRIEND, OTHER),
        *(clock.post(10 + k, author) for k, author in enumerate((STRANGER, FRIEND, OTHER))),
        clock.post(20, OTHER, reply_to_id=11, reply_to_author_id=FRIEND),
    ]
    asked = query(events, n_shards, settings=FEW)
    assert asked.viewer.follows.tolist() == [OTHER]
    assert asked.viewer.followed.tolist() == sorted([FRIEND, OTHER])
    assert run(Following(), asked).post_ids.tolist() == [20, 12, 11]
    muted = query([*events, clock.edge(Kind.MUTE, VIEWER, FRIEND)], n_shards, settings=FEW)
    assert run(Following(), muted).post_ids.tolist() == [12]


@pytest.mark.parametrize("n_shards", [1, 4])
def test_whoever_is_followed_is_no_stranger_anywhere(n_shards: int) -> None:
    """A protected friend of old may be read, and is in the network, whatever finds the post."""
    clock = Clock()
    events = [
        *follows(clock, FRIEND, OTHER),
        clock.event(Kind.USER_CREATE, actor_id=FRIEND, protected=True),
        clock.post(11, FRIEND),
        clock.post(12, STRANGER),
        clock.on_post(Kind.FAVOURITE, OTHER, 11, FRIEND),
        clock.on_post(Kind.FAVOURITE, OTHER, 12, STRANGER),
    ]
    timelines = timelines_of(states_of(events, n_shards, FEW))
    assert ids(timelines.following(VIEWER, 10, now_ms=NOW_MS)) == [11]
    asked = query(events, n_shards, settings=FEW)
    # What friends engaged with is of strangers alone.
    assert run(UserTweetEntityGraph(), asked).post_ids.tolist() == [12]
    posts = unhydrated(np.array([11, 12]), np.array([FRIEND, STRANGER]), np.zeros(2))
    known = complete(asked, posts)
    assert known.feature("is_followed").tolist() == [1, 0]
    assert not_protected(asked, known).tolist() == [True, True]


OTHERS_ALONE = load(products={"following_own_posts": False})


@pytest.mark.parametrize("n_shards", [1, 4])
def test_ones_own_posts_where_the_settings_say_so(n_shards: int) -> None:
    """Protected or not; of one's replies, as of others', those to whom one follows or is."""
    clock = Clock()
    events = [*follows(clock, FRIEND), clock.post(10, VIEWER), clock.post(11, FRIEND)]
    for k, to in enumerate((FRIEND, VIEWER, STRANGER)):
        events.append(clock.post(20 + k, VIEWER, reply_to_id=9, reply_to_author_id=to))
    events.append(clock.post(30, FRIEND, repost_of_id=10, repost_of_author_id=VIEWER))
    events.append(clock.event(Kind.USER_CREATE, actor_id=VIEWER, protected=True))
    asked = query(events, n_shards)
    found = run(Following(), asked)
    assert found.post_ids.tolist() == [30, 21, 20, 11, 10]
    assert own_where_wanted(asked, found).all()
    asked = query(events, n_shards, settings=OTHERS_ALONE)
    found = run(Following(), asked)
    assert found.post_ids.tolist() == [30, 11]
    assert own_where_wanted(asked, found).tolist() == [False, True]


def test_whoever_follows_nobody_has_ones_own_posts() -> None:
    clock = Clock()
    events = [clock.post(10, VIEWER), clock.post(11, STRANGER)]
    assert run(Following(), query(events)).post_ids.tolist() == [10]
    assert len(run(Following(), query(events, settings=OTHERS_ALONE))) == 0


def test_those_who_reply_to_strangers_all_day_do_not_fill_the_answer() -> None:
    clock = Clock()
    to = {"reply_to_id": 9, "reply_to_author_id": STRANGER}
    events = [*follows(clock, FRIEND, OTHER), clock.post(10, OTHER)]
    events += [clock.post(100 + k, FRIEND, **to) for k in range(200)]
    asked = query(events, limit=1)
    assert run(Following(), asked).post_ids.tolist() == [10]
    assert asked.reached is None


@pytest.mark.parametrize("n_shards", [1, 4])
def test_the_newest_and_where_reading_ended(n_shards: int) -> None:
    clock = Clock()
    events = follows(clock, FRIEND, OTHER)
    events += [clock.post(100 + k, (FRIEND, OTHER)[k % 2]) for k in range(40)]
    asked = query(events, n_shards, limit=3)
    assert run(Following(), asked).post_ids.tolist() == list(range(139, 113, -1))
    assert asked.reached is not None
    assert asked.reached.post_id == 114


def test_two_weeks() -> None:
    clock = Clock(NOW_MS - 15 * 24 * HOUR_MS)
    oldest_ms = NOW_MS - 14 * 24 * HOUR_MS
    events = [*follows(clock, FRIEND), clock.post(10, FRIEND, time_ms=oldest_ms - 1)]
    events.append(clock.post(11, FRIEND, time_ms=oldest_ms))
    events.append(clock.post(12, FRIEND, time_ms=NOW_MS))
    events.append(clock.post(13, FRIEND, time_ms=NOW_MS + 1))
    assert run(Following(), query(events)).post_ids.tolist() == [12, 11]


def test_nobody_followed_and_nobody_answering() -> None:
    clock = Clock()
    assert len(run(Following(), query([clock.post(10, FRIEND)]))) == 0
    asked = query([*follows(clock, FRIEND), clock.post(11, FRIEND)])
    assert len(unanswered(Following(), asked)) == 0
    assert asked.reached is None

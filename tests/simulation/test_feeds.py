from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.ids import Ids
from simulation.behaviour import UTILITIES
from simulation.feeds import (
    NOTHING,
    POPULARITY_HALF_LIFE_H,
    Chronological,
    Exploring,
    FeedPolicy,
    Moment,
    Oracle,
    Popular,
    Random,
    best_values,
    pool_of,
    values,
)
from simulation.posts import draw_posts
from simulation.reactions import on_screen_chance, react
from simulation.recorder import Recorder
from simulation.rhythm import HOUR_MS
from simulation.shown import Feed
from simulation.world import World

START_MS = 1_704_067_200_000
NOW_MS = START_MS + 30 * HOUR_MS
N_USERS = 20
VIEWER, FRIEND, FOE, STRANGER = 0, 1, 2, 3


def _world(authors: list[int], hours: list[float]) -> World:
    """A world in which nobody follows anybody, with a post per author, written so long ago."""
    rng = np.random.default_rng(0)
    world = World(N_USERS, START_MS, rng)
    world.follows.remove(*world.follows.pairs())
    world.population.protected[:] = False
    times_ms = NOW_MS - (np.array(hours) * HOUR_MS).astype(np.int64)
    world.posts.append(draw_posts(world.population, np.array(authors, np.int64), times_ms, rng))
    return world


def _moment(world: World, viewers: list[int], known_ms: int = NOW_MS) -> Moment:
    n = len(viewers)
    return Moment(world, np.array(viewers), NOW_MS + np.arange(n), known_ms, ["r"] * n)


def _serve(policy: FeedPolicy, moment: Moment, n_posts: int = 5, seed: int = 0) -> Ids:
    return policy.serve(moment, n_posts, np.random.default_rng(seed))


def _busy_world(seed: int = 0, n_posts: int = 150) -> World:
    rng = np.random.default_rng(seed)
    world = World(N_USERS, START_MS, rng)
    times_ms = NOW_MS - np.sort(rng.integers(-HOUR_MS, 50 * HOUR_MS, n_posts))[::-1]
    authors = rng.integers(0, N_USERS, n_posts)
    world.posts.append(draw_posts(world.population, authors, times_ms, rng))
    world.posts.rows["popularity"] = rng.exponential(3, n_posts)
    return world


def test_chronological_is_what_the_followed_wrote_newest_first() -> None:
    #                0       1         2       3       4       5     6          7
    authors = [FRIEND, FRIEND, STRANGER, FRIEND, VIEWER, FRIEND, FOE, FRIEND]
    world = _world(authors, [50, 9, 8, 7, 6, 5, 4, 3])
    world.follows.add(np.array([VIEWER, VIEWER]), np.array([FRIEND, FOE]))
    assert _serve(Chronological(), _moment(world, [VIEWER]))[0].tolist() == [7, 6, 5, 3, 1]
    world.hidden.add(np.array([VIEWER]), np.array([FOE]))
    world.seen.add(np.array([VIEWER]), np.array([5]))
    world.posts.rows["deleted_ms"][3] = NOW_MS - 1
    world.posts.rows["reply_to"][1] = 2
    expected = [7, 1, NOTHING, NOTHING, NOTHING]
    assert _serve(Chronological(), _moment(world, [VIEWER]))[0].tolist() == expected
    both = _serve(Chronological(), _moment(world, [STRANGER, VIEWER]), 2)
    assert both.tolist() == [[NOTHING, NOTHING], [7, 1]]


def test_nobody_knows_of_posts_after_the_slice_began() -> None:
    world = _world([FRIEND, FRIEND], [2, 1])
    world.follows.add(np.array([VIEWER]), np.array([FRIEND]))
    known_ms = NOW_MS - HOUR_MS
    for policy in (Chronological(), Random(), Oracle(), Popular()):
        assert 1 not in _serve(policy, _moment(world, [VIEWER], known_ms))


def test_popular_is_engagement_halved_by_age_in_the_viewers_language() -> None:
    age = POPULARITY_HALF_LIFE_H
    world = _world([FRIEND, FOE, STRANGER, FRIEND, FOE], [2 * age, age, 0.01, 0.01, 0.01])
    posts = world.posts.rows
    posts["language"] = world.population.languages[VIEWER]
    # 41/4 > 19/2 > 8: the third is newest and has least.
    posts["popularity"] = [40, 18, 7, 100, 100]
    posts["reply_to"][3] = 0
    posts["language"][4] = (world.population.languages[VIEWER] + 1) % 6
    assert _serve(Popular(), _moment(world, [VIEWER]))[0, :4].tolist() == [0, 1, 2, NOTHING]


def test_random_shows_each_allowed_post_alike_and_once() -> None:
    world = _busy_world()
    moment = _moment(world, [VIEWER])
    pool = pool_of(moment)
    n_allowed = int(pool.allowed.sum())
    feed = _serve(Random(), moment, n_allowed + 3)[0]
    assert sorted(feed[:n_allowed].tolist()) == pool.rows[pool.allowed[0]].tolist()
    assert (feed[n_allowed:] == NOTHING).all()
    firsts = {int(_serve(Random(), moment, 1, seed)[0, 0]) for seed in range(60)}
    assert len(firsts) > 30
    assert (_serve(Random(), moment) == _serve(Random(), moment)).all()


def test_exploring_leaves_a_share_of_sessions_to_chance() -> None:
    world = _busy_world()
    moment = _moment(world, list(range(N_USERS)))
    popular = _serve(Popular(), moment)
    assert (_serve(Exploring(Popular(), 0.0), moment) == popular).all()
    assert (_serve(Exploring(Popular(), 1.0), moment) != popular).any(axis=1).all()
    changed = [
        (_serve(Exploring(Popular(), 0.3), moment, seed=seed) != popular).any(axis=1).mean()
        for seed in range(40)
    ]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.08)
    with pytest.raises(ValueError, match=r"share is 1\.5"):
        Exploring(Popular(), 1.5)


def test_the_oracle_ranks_by_what_posts_are_worth_and_drops_what_is_worth_nothing() -> None:
    world = _busy_world()
    moment = _moment(world, [VIEWER, FRIEND])
    pool = pool_of(moment)
    feeds = _serve(Oracle(), moment, len(pool.rows))
    for place, viewer in enumerate((VIEWER, FRIEND)):
        rows = pool.rows[pool.allowed[place]]
        user_id = world.population.user_ids[viewer]
        worth = world.utility(user_id, world.posts.rows["id"][rows], NOW_MS + place)
        shown = feeds[place][feeds[place] >= 0]
        assert shown.tolist() == rows[np.argsort(-worth, kind="stable")][: len(shown)].tolist()
        assert len(shown) == int((worth > 0).sum()) < len(rows)


def test_a_feed_is_worth_its_posts_by_their_chance_of_getting_on_screen() -> None:
    world = _busy_world()
    moment = _moment(world, [VIEWER, FRIEND])
    feeds = np.array([[7, 3, NOTHING], [NOTHING, NOTHING, NOTHING]])
    ids = world.posts.rows["id"][[7, 3]]
    worth = world.utility(world.population.user_ids[VIEWER], ids, NOW_MS)
    expected = float(on_screen_chance(3)[:2] @ worth)
    assert values(moment, feeds) == pytest.approx([expected, 0.0], rel=1e-5)


def test_people_get_what_feeds_are_worth_on_average() -> None:
    world = _busy_world(n_posts=400)
    moment = _moment(world, list(range(N_USERS)))
    feeds = _serve(Oracle(), moment, 10)
    worth = values(moment, feeds).sum()
    sessions, positions = np.nonzero(feeds >= 0)
    found = []
    for seed in range(400):
        # Reactions change the world; the components of the next ones must be the same.
        follows = world.follows.keys.copy()
        feed = Feed(
            moment.viewers,
            moment.starts_ms,
            _strings(moment),
            sessions,
            feeds[sessions, positions],
            positions,
        )
        reactions = react(world, feed, Recorder(), np.random.default_rng(seed))
        found.append(float((reactions.done @ UTILITIES).sum()))
        world.follows.keys = follows
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - worth) < 4.5 * error
    assert error < 0.1 * worth


def _strings(moment: Moment) -> Any:
    import pyarrow as pa

    return pa.array(moment.request_ids)


@st.composite
def _feeds(draw: st.DrawFn) -> tuple[Moment, Ids]:
    """Feeds of any posts of the pool, in any order and of any length."""
    world = _busy_world(draw(st.integers(0, 5)))
    viewers = draw(st.lists(st.integers(0, N_USERS - 1), min_size=1, max_size=3, unique=True))
    moment = _moment(world, viewers)
    pool = pool_of(moment)
    n_posts = draw(st.integers(1, 25))
    feeds = np.full((len(viewers), n_posts), NOTHING)
    for place in range(len(viewers)):
        rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        shown = rng.permutation(pool.rows[pool.allowed[place]])[: draw(st.integers(0, n_posts))]
        feeds[place, : len(shown)] = shown
    return moment, feeds


@settings(max_examples=60, deadline=None)
@given(_feeds())
def test_nothing_beats_the_oracle(given_feeds: tuple[Moment, Ids]) -> None:
    moment, feeds = given_feeds
    oracle = _serve(Oracle(), moment, feeds.shape[1])
    best = values(moment, oracle)
    assert (values(moment, feeds) <= best + 1e-6).all()
    assert best_values(moment, feeds) == pytest.approx(best, abs=1e-5)
    assert best_values(moment, oracle) == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("policy", [Chronological(), Popular(), Random(), Oracle()])
def test_no_policy_beats_the_oracle(policy: FeedPolicy) -> None:
    for seed in range(4):
        moment = _moment(_busy_world(seed), list(range(N_USERS)))
        feeds = _serve(policy, moment, 12)
        assert (best_values(moment, feeds) - values(moment, feeds) > -1e-6).all()


def test_what_was_shown_belongs_to_the_pool() -> None:
    """A feed with posts that the pool lacks has no negative regret."""
    world = _busy_world()
    moment = _moment(world, [VIEWER])
    best = _serve(Oracle(), moment, 3)
    world.seen.add(np.full(3, VIEWER), best[0])
    assert not np.isin(best[0], _serve(Oracle(), moment, 3)).any()
    assert best_values(moment, best) == pytest.approx(values(moment, best), abs=1e-6)


def test_a_world_without_posts_shows_nothing() -> None:
    world = _world([], [])
    moment = _moment(world, [VIEWER, FRIEND])
    for policy in (Chronological(), Popular(), Random(), Oracle()):
        feeds = _serve(policy, moment)
        assert (feeds == NOTHING).all()
        assert best_values(moment, feeds).tolist() == values(moment, feeds).tolist() == [0, 0]

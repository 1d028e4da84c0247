import numpy as np
import pyarrow as pa
import pytest

from cluster.events import Kind
from simulation.posts import draw_posts
from simulation.recorder import Recorder
from simulation.rhythm import HOUR_MS
from simulation.shown import Feed
from simulation.timeline import ARMS, N_SERVED, SOURCES, serve
from simulation.world import World

START_MS = 1_704_067_200_000
NOW_MS = START_MS + 6 * HOUR_MS
N_USERS = 120


def _world(n_posts: int = 2_000) -> World:
    rng = np.random.default_rng(0)
    world = World(N_USERS, START_MS, rng)
    times_ms = START_MS + np.sort(rng.integers(0, 8 * HOUR_MS, n_posts))
    authors = rng.integers(0, N_USERS, n_posts)
    world.posts.append(draw_posts(world.population, authors, times_ms, rng))
    return world


def _serve(world: World, seed: int = 1) -> tuple[Feed, pa.RecordBatch]:
    recorder, viewers = Recorder(), np.arange(N_USERS)
    starts_ms = NOW_MS + np.arange(N_USERS)
    feed = serve(world, viewers, starts_ms, recorder, np.random.default_rng(seed))
    batch = recorder.take()
    assert batch is not None
    return feed, batch


def test_a_world_without_posts_serves_nothing() -> None:
    feed = serve(_world(0), np.arange(3), np.full(3, NOW_MS), Recorder(), np.random.default_rng(0))
    assert len(feed.posts) == 0


def test_every_row_is_a_served_event() -> None:
    world = _world()
    feed, batch = _serve(world)
    assert batch.num_rows == len(feed.posts)
    ids = world.posts.rows["id"][feed.posts]
    users = world.population.user_ids[feed.viewers[feed.sessions]]
    rows = zip(users.tolist(), ids.tolist(), feed.positions.tolist(), strict=True)
    names = ("actor_id", "post_id", "position")
    assert set(rows) == set(zip(*(batch.column(n).to_pylist() for n in names), strict=True))
    assert set(batch.column("kind").to_pylist()) == {Kind.SERVED}
    assert set(batch.column("source").to_pylist()) == set(SOURCES)
    assert set(batch.column("experiment_arm").to_pylist()) == set(ARMS)
    assert len(set(batch.column("request_id").to_pylist())) == N_USERS


def test_a_timeline_is_numbered_and_without_repetition() -> None:
    feed, _ = _serve(_world())
    lengths = np.bincount(feed.sessions, minlength=N_USERS)
    assert lengths.max() == N_SERVED
    assert np.mean(lengths == N_SERVED) > 0.8, "few are short, for want of readable posts"
    for session in range(N_USERS):
        mine = feed.sessions == session
        assert feed.positions[mine].tolist() == list(range(lengths[session]))
        assert len(set(feed.posts[mine].tolist())) == lengths[session]


def test_nothing_forbidden_is_served() -> None:
    world = _world()
    rng = np.random.default_rng(2)
    viewers, authors = rng.integers(0, N_USERS, (2, 3_000))
    world.hidden.add(viewers, authors)
    world.population.protected[:40] = True
    world.posts.rows["deleted_ms"][::3] = NOW_MS - 1
    seen_users, seen_posts = rng.integers(0, N_USERS, 9_000), rng.integers(0, 2_000, 9_000)
    world.seen.add(seen_users, seen_posts)
    feed, _ = _serve(world)
    assert len(feed.posts) > 1_000
    users = feed.viewers[feed.sessions]
    posts = world.posts.rows[feed.posts]
    assert np.all(posts["author"] != users)
    assert np.all(posts["created_ms"] < NOW_MS + N_USERS)
    assert np.all(posts["deleted_ms"] > NOW_MS)
    assert not world.hidden.contain(users, posts["author"]).any()
    assert not world.seen.contains(users, feed.posts).any()
    protected = world.population.protected[posts["author"]]
    assert protected.any()
    assert world.follows.contain(users, posts["author"])[protected].all()


def test_replies_are_not_discovered_but_reach_followers() -> None:
    world = _world()
    rows = world.posts.rows
    rows["reply_to"][1_000:], rows["root"][1_000:] = 0, 0
    feed, _ = _serve(world)
    replies = rows["reply_to"][feed.posts] >= 0
    users, authors = feed.viewers[feed.sessions], rows["author"][feed.posts]
    assert replies.any()
    assert world.follows.contain(users, authors)[replies].all()


def test_a_repost_reaches_the_followers_of_who_reposted() -> None:
    world = _world()
    world.posts.rows["reply_to"][:] = 0  # nothing can be discovered
    followers = np.bincount(world.follows.pairs()[1], minlength=N_USERS)
    star = int(followers.argmax())
    world.follows.remove(*world.follows.pairs())
    fans = np.setdiff1d(np.arange(N_USERS), [star])
    world.follows.add(fans, np.full(len(fans), star))
    world.posts.rows["author"][:] = (star + 1) % N_USERS
    world.population.protected[:] = False
    world.reposts.append((np.array([star]), np.array([17]), np.array([NOW_MS - 5])))
    feed, _ = _serve(world)
    assert set(feed.posts.tolist()) == {17}
    assert len(feed.posts) == N_USERS - 2, "all but the star and the author"


@pytest.mark.parametrize("trait", ["created_ms", "popularity"])
def test_newer_and_more_popular_posts_are_preferred(trait: str) -> None:
    world = _world()
    world.posts.rows["popularity"] = np.random.default_rng(3).exponential(5, 2_000)
    feed, _ = _serve(world)
    past = world.posts.rows["created_ms"] < NOW_MS
    values = world.posts.rows[trait]
    top, low = feed.positions < 5, feed.positions >= 15
    assert values[feed.posts[top]].mean() > values[feed.posts[low]].mean()
    assert values[feed.posts[top]].mean() > values[past].mean()

import numpy as np
import pytest

from cluster.events import Kind
from simulation.behaviour import HEAD_KINDS
from simulation.reactions import relate
from simulation.recorder import Recorder
from simulation.run import Simulation

RELATIONS = (Kind.FOLLOW, Kind.UNFOLLOW, Kind.MUTE, Kind.BLOCK)


def _simulation(hours: int = 12) -> Simulation:
    simulation = Simulation(150, 8)
    for _ in range(hours):
        simulation.hour()
    return simulation


def test_events_come_as_often_as_the_model_says() -> None:
    """Over 30,000 posts on screen, each kind within five standard deviations."""
    simulation = _simulation()
    world, rng = simulation.world, np.random.default_rng(1)
    expected = np.zeros(len(HEAD_KINDS))
    variance = np.zeros(len(HEAD_KINDS))
    counts = np.zeros(256)
    for step in range(300):
        user_id = int(rng.choice(world.population.user_ids))
        ids = rng.choice(world.posts.rows["id"], 100, replace=False)
        chances = world.probabilities(user_id, ids, simulation.now_ms)
        expected += chances.sum(axis=0)
        variance += (chances * (1 - chances)).sum(axis=0)
        batch = world.react(user_id, ids, simulation.now_ms, str(step), rng, scroll=False)
        counts += np.bincount(batch.column("kind").to_numpy(), minlength=256)
        for kind, link in ((Kind.REPLY, "reply_to_id"), (Kind.QUOTE, "quote_of_id")):
            if link in batch.schema.names:
                counts[kind] += batch.num_rows - batch.column(link).null_count
    for head, kind in enumerate(HEAD_KINDS):
        # Follows and the like come once per pair of people, so less often than the draws.
        if kind not in RELATIONS:
            error = counts[kind] - expected[head]
            assert abs(error) < 5 * np.sqrt(variance[head]) + 1, kind.label
    assert counts[Kind.FAVOURITE] > 100


def test_reactions_change_the_world() -> None:
    simulation = _simulation()
    world, rng = simulation.world, np.random.default_rng(2)
    n_posts = len(world.posts)
    popularity = world.posts.rows["popularity"].copy()
    kinds: list[int] = []
    followed: list[tuple[int, int]] = []
    for step in range(300):
        user_id = int(rng.choice(world.population.user_ids))
        ids = rng.choice(world.posts.rows["id"][:n_posts], 40, replace=False)
        batch = world.react(user_id, ids, simulation.now_ms, str(step), rng, scroll=False)
        kinds += batch.column("kind").to_pylist()
        rows = batch.filter(batch.column("kind").to_numpy() == Kind.FOLLOW)
        followed += zip(
            rows.column("actor_id").to_pylist(), rows.column("target_id").to_pylist(), strict=True
        )
        assert world.seen.contains(world.users_of(user_id), world.posts.rows_of(ids)).all()
    assert len(world.posts) == n_posts + kinds.count(Kind.POST_CREATE) > n_posts
    gained = world.posts.rows["popularity"][:n_posts] - popularity
    assert gained.sum() >= kinds.count(Kind.FAVOURITE) + 2 * kinds.count(Kind.REPOST) > 0
    assert followed
    sources, targets = world.users_of(np.array(followed)).T
    assert world.follows.contain(sources, targets).mean() > 0.9


def test_a_reply_is_a_post_that_can_be_answered() -> None:
    simulation = _simulation(24)
    world = simulation.world
    rows = world.posts.rows
    replies = np.flatnonzero(rows["reply_to"] >= 0)
    assert len(replies)
    parents = rows[rows["reply_to"][replies]]
    assert np.all(rows["created_ms"][replies] > parents["created_ms"])
    expected_roots = np.where(parents["root"] >= 0, parents["root"], rows["reply_to"][replies])
    assert np.array_equal(rows["root"][replies], expected_roots)


def test_a_block_ends_follows_both_ways_and_hides_both() -> None:
    world = _simulation(0).world
    one, other = np.array([3]), np.array([9])
    world.follows.add(np.array([3, 9]), np.array([9, 3]))
    recorder = Recorder()
    relate(world, recorder, Kind.BLOCK, one, other, np.array([1_000]))
    batch = recorder.take()
    assert batch is not None
    names = ("time_ms", "kind", "actor_id", "target_id")
    events = set(zip(*(batch.column(name).to_pylist() for name in names), strict=True))
    assert events == {
        (1_000, Kind.BLOCK, 1_003, 1_009),
        (1_001, Kind.UNFOLLOW, 1_003, 1_009),
        (1_001, Kind.UNFOLLOW, 1_009, 1_003),
    }
    for a, b in ((one, other), (other, one)):
        assert not world.follows.contain(a, b)[0]
        assert world.hidden.contain(a, b)[0]


@pytest.mark.parametrize("kind", [Kind.MUTE, Kind.FOLLOW, Kind.UNFOLLOW])
def test_other_relations_hold_one_way(kind: Kind) -> None:
    world = _simulation(0).world
    one, other = np.array([3]), np.array([9])
    world.follows.remove(np.array([3, 9]), np.array([9, 3]))
    if kind == Kind.UNFOLLOW:
        world.follows.add(one, other)
    relate(world, Recorder(), kind, one, other, np.array([1_000]))
    assert world.follows.contain(one, other)[0] == (kind == Kind.FOLLOW)
    assert world.hidden.contain(one, other)[0] == (kind == Kind.MUTE)
    assert not world.follows.contain(other, one)[0]
    assert not world.hidden.contain(other, one)[0]

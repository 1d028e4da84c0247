import numpy as np

from cluster.events import Kind
from simulation.errands import FIRST_LIST_ID, record_past, run_errands
from simulation.recorder import Recorder
from simulation.rhythm import HOUR_MS
from simulation.vocabulary import N_TOPICS
from simulation.world import World

START_MS = 1_704_067_200_000


def test_the_past_holds_every_follow_and_consistent_lists() -> None:
    world, recorder = World(300, START_MS, np.random.default_rng(0)), Recorder()
    record_past(world, recorder, np.random.default_rng(1))
    batch = recorder.take()
    assert batch is not None
    assert batch.column("time_ms").to_numpy().max() < START_MS
    kinds = batch.column("kind").to_numpy()
    assert (kinds == Kind.FOLLOW).sum() == len(world.follows)
    made = {row["target_id"]: row for row in batch.filter(kinds == Kind.LIST_CREATE).to_pylist()}
    assert len(made) == len(world.list_owners) > 5
    added = batch.filter(kinds == Kind.LIST_ADD).to_pylist()
    assert added
    for row in added:
        own = made[row["target_id"]]
        assert row["actor_id"] == own["actor_id"] == row["target_id"] - FIRST_LIST_ID + 1_000
        assert row["time_ms"] >= own["time_ms"]
        assert row["author_id"] != row["actor_id"]
    topics = batch.filter(kinds == Kind.TOPIC_FOLLOW).to_pylist()
    assert topics
    for row in topics:
        assert 1 <= row["target_id"] <= N_TOPICS
        assert world.population.interests[row["actor_id"] - 1_000, row["target_id"] - 1] > 0


def test_errands_change_the_graph_as_recorded() -> None:
    world, recorder = World(300, START_MS, np.random.default_rng(0)), Recorder()
    before = set(world.follows.keys.tolist())
    run_errands(world, START_MS, np.full(300, 24.0), recorder, np.random.default_rng(2))
    batch = recorder.take()
    assert batch is not None
    assert batch.column("time_ms").to_numpy().min() >= START_MS
    kinds = batch.column("kind").to_numpy()
    keys = (batch.column("actor_id").to_numpy() - 1_000) * 300 + (
        batch.column("target_id").to_numpy() - 1_000
    )
    gained = set(keys[kinds == Kind.FOLLOW].tolist())
    lost = set(keys[kinds == Kind.UNFOLLOW].tolist())
    assert gained
    assert lost
    assert not gained & before
    assert lost <= before | gained
    assert set(world.follows.keys.tolist()) == (before | gained) - lost


def test_nobody_does_errands_asleep() -> None:
    world, recorder = World(50, START_MS, np.random.default_rng(0)), Recorder()
    run_errands(world, START_MS + HOUR_MS, np.zeros(50), recorder, np.random.default_rng(3))
    assert recorder.take() is None

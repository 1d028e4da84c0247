import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.events import CORE, ENGAGEMENTS, NEGATIVE_FEEDBACK, Kind
from simulation.behaviour import HEAD_KINDS
from simulation.run import Simulation
from simulation.world import World

ACTIONS = {*ENGAGEMENTS, *NEGATIVE_FEEDBACK}


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    simulation = Simulation(200, 5)
    for _ in range(24):
        simulation.hour()
    return simulation


@pytest.fixture
def world(simulation: Simulation) -> World:
    return simulation.world


def test_a_world_needs_two_users() -> None:
    with pytest.raises(ValueError, match="n_users is 1"):
        World(1, 10**12, np.random.default_rng(0))


def test_unknown_users_and_posts_are_named(world: World) -> None:
    known = int(world.posts.rows["id"][0])
    with pytest.raises(KeyError, match="user 77 is unknown"):
        world.utility(77, [known], 10**12)
    with pytest.raises(KeyError, match="post 77 is unknown"):
        world.utility(1_000, [known, 77], 10**12)


def test_one_user_stands_for_all_posts(simulation: Simulation, world: World) -> None:
    ids = world.posts.rows["id"][:30]
    one = world.probabilities(1_003, ids, simulation.now_ms)
    paired = world.probabilities(np.full(30, 1_003), ids, simulation.now_ms)
    assert one.shape == (30, len(HEAD_KINDS))
    assert np.array_equal(one, paired)


def test_utilities_can_be_replaced(simulation: Simulation, world: World) -> None:
    only_favourites = np.zeros(len(HEAD_KINDS), np.float32)
    only_favourites[HEAD_KINDS.index(Kind.FAVOURITE)] = 1
    ids = world.posts.rows["id"][:30]
    chances = world.probabilities(1_003, ids, simulation.now_ms)
    worth = world.utility(1_003, ids, simulation.now_ms, only_favourites)
    assert np.array_equal(worth, chances[:, HEAD_KINDS.index(Kind.FAVOURITE)])


@given(st.data())
@settings(max_examples=30)
def test_regret_against_a_slow_model(simulation: Simulation, data: st.DataObject) -> None:
    world, now_ms = simulation.world, simulation.now_ms
    rows = data.draw(
        st.lists(st.integers(0, len(world.posts) - 1), min_size=1, max_size=20, unique=True)
    )
    pool = world.posts.rows["id"][rows]
    n_shown = data.draw(st.integers(1, len(pool)))
    worths = [float(world.utility(1_042, [post_id], now_ms)[0]) for post_id in pool.tolist()]
    best = np.mean(sorted(worths, reverse=True)[:n_shown])
    regret = world.regret(1_042, pool[:n_shown], pool, now_ms)
    assert regret == pytest.approx(best - np.mean(worths[:n_shown]), abs=1e-5)
    assert regret > -1e-6
    ideal = world.oracle(1_042, pool, now_ms, n_shown)
    assert world.regret(1_042, ideal, pool, now_ms) == pytest.approx(0, abs=1e-6)


def test_nothing_shown_is_nothing_lost(world: World) -> None:
    assert world.regret(1_000, [], world.posts.rows["id"][:5], 10**12) == 0.0


def test_the_oracle_beats_chance_popularity_and_time(simulation: Simulation, world: World) -> None:
    """Mean utility of ten posts of 300: at least 0.2 favourites above every simple order."""
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {"oracle": [], "chance": [], "popularity": [], "time": []}
    rows = world.posts.rows
    for user in range(0, 200, 4):
        pool = rng.choice(len(rows), 300, replace=False)
        worths = world.utility(1_000 + user, rows["id"][pool], simulation.now_ms)
        found["oracle"].append(np.sort(worths)[-10:].mean())
        found["chance"].append(worths.mean())
        found["popularity"].append(worths[np.argsort(-rows["popularity"][pool])[:10]].mean())
        found["time"].append(worths[np.argsort(-rows["created_ms"][pool])[:10]].mean())
    means = {name: float(np.mean(values)) for name, values in found.items()}
    best_simple = max(means["chance"], means["popularity"], means["time"])
    assert means["oracle"] > best_simple + 0.2


def test_react_shows_posts_from_the_top(simulation: Simulation, world: World) -> None:
    ids = world.posts.rows["id"][-40:]
    batch = world.react(1_007, ids, simulation.now_ms, "request", np.random.default_rng(1))
    impressions = batch.filter(batch.column("kind").to_numpy() == Kind.IMPRESSION).to_pylist()
    assert 0 < len(impressions) < 40
    assert [row["post_id"] for row in impressions] == [
        int(ids[row["position"]]) for row in impressions
    ]
    times_ms = [row["time_ms"] for row in impressions]
    assert times_ms == sorted(times_ms)
    assert times_ms[0] > simulation.now_ms
    for row in batch.to_pylist():
        if row["kind"] in ACTIONS and row["kind"] != Kind.NOTIFICATION_OPEN:
            assert row["actor_id"] == 1_007
            assert row["request_id"] == "request"
            assert row["post_id"] in ids


def test_react_without_scrolling_shows_all(simulation: Simulation, world: World) -> None:
    ids = world.posts.rows["id"][:25]
    rng = np.random.default_rng(2)
    batch = world.react(1_009, ids, simulation.now_ms, "r", rng, scroll=False)
    impressions = batch.column("kind").to_numpy() == Kind.IMPRESSION
    assert batch.column("post_id").to_numpy()[impressions].tolist() == ids.tolist()


def test_react_to_nothing_is_an_empty_batch(simulation: Simulation, world: World) -> None:
    batch = world.react(1_009, [], simulation.now_ms, "r", np.random.default_rng(3))
    assert batch.num_rows == 0
    assert batch.schema == CORE

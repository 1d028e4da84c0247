import numpy as np

from cluster.events import Kind
from simulation.population import MEDIA, draw_population, record_users
from simulation.recorder import Recorder
from simulation.vocabulary import N_TOPICS

START_MS = 1_704_067_200_000


def test_interests_overlap_in_two_to_four_communities() -> None:
    population = draw_population(500, START_MS, np.random.default_rng(0))
    joined = (population.interests > 0).sum(axis=1)
    assert set(joined.tolist()) == {2, 3, 4}
    assert np.allclose(population.interests.sum(axis=1), 1, atol=1e-5)
    assert population.interests.shape == population.tastes.shape == (500, N_TOPICS)
    assert np.allclose(population.tastes.max(axis=1), 1)
    assert population.media_tastes.shape == (500, len(MEDIA))
    people_of_two = population.interests[:, 0] * population.interests[:, 1] > 0
    assert people_of_two.any(), "communities overlap"


def test_habits_are_heavy_tailed_around_their_means() -> None:
    population = draw_population(4_000, START_MS, np.random.default_rng(1))
    for habit, low, high in (
        (population.posts_per_day, 2.0, 3.0),
        (population.sessions_per_day, 4.0, 5.0),
    ):
        assert low < habit.mean() < high
        assert habit.max() > 3 * np.median(habit)


def test_user_events_say_what_is_public() -> None:
    population = draw_population(50, START_MS, np.random.default_rng(2))
    recorder = Recorder()
    record_users(population, recorder, np.random.default_rng(3))
    users = recorder.take()
    assert users is not None
    assert users.num_rows == 50
    assert set(users.column("kind").to_pylist()) == {Kind.USER_CREATE}
    assert set(users.column("actor_id").to_pylist()) == set(population.user_ids.tolist())
    assert len(set(users.column("name").to_pylist())) == 50
    assert max(users.column("time_ms").to_pylist()) < START_MS
    assert min(users.column("age_years").to_pylist()) >= 14

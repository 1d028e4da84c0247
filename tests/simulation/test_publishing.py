import numpy as np

from cluster.events import Kind
from simulation.posts import draw_posts, has_picture
from simulation.publishing import LABELS, PICTURE_LABEL, look_after, publish
from simulation.recorder import NEVER_MS, Recorder
from simulation.world import World

START_MS = 1_704_067_200_000


def _world(n_posts: int) -> World:
    rng = np.random.default_rng(0)
    world = World(100, START_MS, rng)
    authors = rng.integers(0, 100, n_posts)
    world.posts.append(draw_posts(world.population, authors, START_MS + np.arange(n_posts), rng))
    return world


def test_people_publish_at_their_rate_times_their_activity() -> None:
    world, recorder = _world(0), Recorder()
    active = np.full(100, 24.0)  # so that one hour stands for a day
    active[50:] = 0
    for _ in range(20):
        publish(world, START_MS, active, recorder, np.random.default_rng(len(world.posts)))
    counts = np.bincount(world.posts.rows["author"], minlength=100)
    assert not counts[50:].any()
    expected = 20 * world.population.posts_per_day[:50].sum()
    assert abs(counts.sum() - expected) < 5 * np.sqrt(expected)
    batch = recorder.take()
    assert batch is not None
    assert batch.num_rows == counts.sum()


def test_posts_are_edited_deleted_and_labelled() -> None:
    world, recorder = _world(20_000), Recorder()
    rows = np.arange(20_000)
    look_after(world, rows, START_MS + 5_000, recorder, np.random.default_rng(1))
    batch = recorder.take()
    assert batch is not None
    kinds = batch.column("kind").to_numpy()
    assert batch.column("time_ms").to_numpy().min() >= START_MS + 5_000
    assert 100 < (kinds == Kind.POST_EDIT).sum() < 300
    deleted = batch.filter(kinds == Kind.POST_DELETE)
    gone = world.posts.rows_of(deleted.column("post_id").to_numpy())
    deleted_ms = world.posts.rows["deleted_ms"]
    assert np.array_equal(deleted_ms[gone], deleted.column("time_ms").to_numpy())
    assert (deleted_ms != NEVER_MS).sum() == len(gone) > 200
    named = batch.filter(kinds == Kind.MENTION)
    assert 1_200 < named.num_rows < 2_000
    rows_named = world.posts.rows_of(named.column("post_id").to_numpy())
    user_ids = world.population.user_ids
    order = np.argsort(user_ids)
    who, whom = (
        order[np.searchsorted(user_ids, named.column(name).to_numpy(), sorter=order)]
        for name in ("actor_id", "target_id")
    )
    assert np.array_equal(who, world.posts.rows["author"][rows_named])
    assert world.follows.contain(who, whom).all()
    forgotten = batch.filter(kinds == Kind.UNMENTION).column("post_id").to_pylist()
    assert forgotten
    mentioned = set(named.column("post_id").to_pylist())
    assert set(forgotten) == mentioned & set(deleted.column("post_id").to_pylist())
    edited = batch.filter(kinds == Kind.POST_EDIT).column("post_id").to_pylist()
    assert not set(edited) & set(deleted.column("post_id").to_pylist())
    labelled = batch.filter(kinds == Kind.SAFETY_LABEL)
    posts = world.posts.rows[world.posts.rows_of(labelled.column("post_id").to_numpy())]
    labels = np.array(labelled.column("label").to_pylist())
    assert np.all(
        (labelled.column("value").to_numpy() > 0) & (labelled.column("value").to_numpy() <= 1)
    )
    for trait, label in LABELS.items():
        rightly = posts[trait][labels == label]
        assert rightly.mean() > 0.6
        assert rightly.sum() > 0.75 * world.posts.rows[trait].sum()
    pictured = world.posts.rows["adult"] & has_picture(world.posts.rows)
    assert (posts["adult"] & has_picture(posts))[labels == PICTURE_LABEL].all()
    assert 0.9 * pictured.sum() < (labels == PICTURE_LABEL).sum() < pictured.sum()

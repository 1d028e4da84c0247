"""A new version of the models takes over in two phases; what cannot be served never does."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import snapshot
from actors.state import RETIRED_MS, Failed, Question, ShardState
from actors.stores.sparse_embeddings import SIMCLUSTERS
from actors.vector_models import TWHIN
from actors.vector_questions import AskEmbeddings, AskNear, AskUserVectors, AskVectors
from cluster.artifacts import ArtifactStore
from cluster.settings import Settings
from tests.actors.test_vector_models import write_sparse
from tests.actors.test_vectors import interested
from tests.actors.test_vectors_expiry import ACTIONS, Action, event_of
from tests.worlds import NOW_MS, POSTS, USERS, Clock, Event, apply, models, plain

D = 3
ALL = np.array(POSTS)


def vectors_table(ids: Sequence[int], vectors: npt.NDArray[Any]) -> pa.Table:
    flat = pa.array(vectors.astype(np.float32).reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return pa.table({"id": np.array(ids, np.int64), "vector": lists})


def simclusters(store: ArtifactStore, seed: int) -> str:
    with store.writing(SIMCLUSTERS, schema_version=1) as draft:
        write_sparse(draft, "interested_in", interested(seed))
    return str(draft.version)


def twhin(
    store: ArtifactStore,
    seed: int,
    *,
    posts_dimension: int = D,
    broken: Callable[[npt.NDArray[Any]], None] = lambda _: None,
) -> str:
    rng = np.random.default_rng(seed)
    users = rng.normal(size=(len(USERS), D))
    broken(users)
    with store.writing(TWHIN, schema_version=1) as draft:
        # By hand, since the store writes no number that is not finite.
        table = vectors_table(sorted(USERS), users)
        path = str(draft.file("user_engagement.arrow"))
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        posts = vectors_table(POSTS[::4], rng.normal(size=(len(POSTS[::4]), posts_dimension)))
        draft.write_table("posts.arrow", posts)
    return str(draft.version)


class World:
    """An artifact store with two versions of each artifact."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = ArtifactStore(folder)
        self.old = {SIMCLUSTERS: simclusters(self.store, 1), TWHIN: twhin(self.store, 1)}
        self.new = {SIMCLUSTERS: simclusters(self.store, 2), TWHIN: twhin(self.store, 2)}

    def state(self) -> ShardState:
        """A shard that serves the old versions."""
        state = ShardState(Settings(), models(self.folder))
        for name, version in self.old.items():
            state.activate(name, version, NOW_MS - 1)
        assert state.active_versions() == self.old
        return state


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("actors.vectors._PREPARED_AT_ONCE", 2)
        yield World(tmp_path_factory.mktemp("artifacts"))


def answers(state: ShardState, version: str | None = None) -> list[object]:
    """What a shard says under a version, rounded; sums in another order differ a little."""
    named = version or state.vectors.version
    asked: list[Question] = [
        AskEmbeddings(named, ALL, NOW_MS),
        AskVectors(named, ALL, NOW_MS),
        AskUserVectors(named, "user_engagement", np.array(sorted(USERS))),
        AskNear(named, np.ones(D, np.float32), 50, NOW_MS, 3 * 86_400_000),
    ]
    embeddings, vectors, users, near = state.ask(asked)
    return [
        embeddings.offsets.tolist(),
        [
            sorted(
                zip(
                    embeddings.communities[a:b].tolist(),
                    np.round(embeddings.scores[a:b], 4).tolist(),
                    strict=True,
                )
            )
            for a, b in zip(embeddings.offsets[:-1], embeddings.offsets[1:], strict=True)
        ],
        np.round(vectors[0], 3).tolist(),
        vectors[1].tolist(),
        plain(users),
        sorted(near.ids.tolist()),
    ]


def events_of(clock: Clock, actions: Sequence[Action]) -> list[Event]:
    return [event_of(clock, action) for action in actions]


@settings(max_examples=40)
@given(ACTIONS, ACTIONS, st.integers(1, 4))
def test_what_arrives_while_a_version_is_prepared_is_in_it(
    world: World, early: list[Action], between: list[Action], at_once: int
) -> None:
    # A version is made of what was engaged with in the last two days, as far as it came before.
    early, between = ([(*what, hours % 48) for *what, hours in some] for some in (early, between))
    clock = Clock()
    first, second = events_of(clock, early), events_of(clock, between)
    interleaved, at_the_end = world.state(), world.state()
    for state in (interleaved, at_the_end):
        apply([state], first, imported=True)
    trained = interleaved.models.vectors(world.new)
    waiting = list(second)
    for _ in interleaved.vectors.preparing(trained, NOW_MS):
        offset = 2 + len(second) - len(waiting)
        apply([interleaved], waiting[:at_once], offset=offset, imported=True)
        del waiting[:at_once]
    apply([interleaved], waiting, offset=1_000, imported=True)
    apply([at_the_end], second, offset=2, imported=True)
    at_the_end.vectors.prepare(at_the_end.models.vectors(world.new), NOW_MS)
    assert answers(interleaved) == answers(at_the_end)
    assert answers(interleaved, trained.version) == answers(at_the_end, trained.version)


LIKES: list[Action] = [
    *(("create", 0, k, 20) for k in range(len(POSTS))),
    *(("like", 4 + k % 3, k, 19 - k % 5) for k in range(len(POSTS))),
]


def lively(world: World) -> ShardState:
    state = world.state()
    apply([state], events_of(Clock(), LIKES), imported=True)
    return state


def test_the_old_version_answers_until_it_is_retired(world: World) -> None:
    state = lively(world)
    old, before = state.vectors.version, answers(state)
    for name, version in world.new.items():
        state.activate(name, version, NOW_MS)
    new = state.vectors.version
    assert state.active_versions() == world.new
    assert answers(state, old) == before
    assert answers(state, new) != before
    state.expire(NOW_MS + RETIRED_MS - 1)
    assert answers(state, old) == before
    state.expire(NOW_MS + RETIRED_MS)
    [failed] = state.ask([AskVectors(old, ALL, NOW_MS)])
    assert isinstance(failed, Failed)
    assert f"version {old} is not held" in failed.reason
    assert state.vectors.versions == [new]


def missing(_: World) -> str:
    return "20010101T000000-0001"


def corrupt(world: World) -> str:
    version = twhin(world.store, 3)
    file = world.store.root / TWHIN / version / "user_engagement.arrow"
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-64])
    return version


def of_another_dimension(world: World) -> str:
    return twhin(world.store, 3, posts_dimension=D + 1)


def not_a_number(world: World) -> str:
    # As if its writer had not looked: the store itself keeps no such number.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cluster.artifacts.artifact_files.check_file", lambda _: None)
        return twhin(world.store, 3, broken=lambda users: users.__setitem__((0, 0), np.nan))


@pytest.mark.parametrize("made", [missing, corrupt, of_another_dimension, not_a_number])
@pytest.mark.parametrize("with_posts", [False, True])
def test_what_cannot_be_served_is_refused(
    world: World, made: Callable[[World], str], with_posts: bool
) -> None:
    state = lively(world) if with_posts else world.state()
    old, before = state.vectors.version, answers(state)
    state.activate(TWHIN, made(world), NOW_MS)
    assert state.counters["refused_activations"] == 1
    assert state.active_versions() == world.old
    assert (state.vectors.version, state.vectors.versions[-1]) == (old, old)
    assert answers(state) == before
    state.activate(TWHIN, world.new[TWHIN], NOW_MS + 1)
    assert state.active_version(TWHIN) == world.new[TWHIN]


def taken(state: ShardState, root: Path) -> None:
    snapshot.write(snapshot.capture(state, dict.fromkeys(state.lanes, 1)), root)


def test_a_snapshot_comes_back_under_its_own_version(world: World, tmp_path: Path) -> None:
    state = lively(world)
    taken(state, tmp_path)
    again = ShardState(Settings(), models(world.folder))
    snapshot.restore(again, tmp_path)
    assert again.active_versions() == world.old
    assert answers(again) == answers(state)


def test_a_snapshot_of_another_version_is_accumulated_anew(world: World, tmp_path: Path) -> None:
    """Two halves of a state, the newer of which was taken after an activation."""
    events = events_of(Clock(), LIKES)
    halves = [ShardState(Settings(), models(world.folder), k, 2) for k in (0, 1)]
    for half in halves:
        for name, version in world.old.items():
            half.activate(name, version, NOW_MS - 1)
    apply(halves, events, imported=True)
    taken(halves[0], tmp_path)
    for name, version in world.new.items():
        halves[1].activate(name, version, NOW_MS)
    taken(halves[1], tmp_path)
    whole = ShardState(Settings(), models(world.folder))
    snapshot.restore(whole, tmp_path)
    expected = lively(world)
    for name, version in world.new.items():
        expected.activate(name, version, NOW_MS)
    assert whole.active_versions() == world.new
    assert whole.vectors.version == expected.vectors.version
    assert answers(whole) == answers(expected)

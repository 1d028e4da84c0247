import os
from pathlib import Path

import numpy as np
import pytest

from actors import near_rebuild
from actors.near_rebuild import BuildFailed, NearRebuilds
from actors.stores.hnsw import unit_rows
from actors.vectors import VectorsKind
from cluster.events import Kind
from tests.actors.test_tailer import wait_for
from tests.actors.test_vectors import apply, created, kinds_of, like
from tests.worlds import DAY_MS, POSTS, USERS, Clock

QUERY = np.array([1, 1, 0], np.float32)


def kind_of(clock: Clock) -> VectorsKind:
    [kind] = kinds_of([*created(clock), *(like(clock, USERS[5], post) for post in POSTS)])
    return kind


def rebuilds(
    kind: VectorsKind, folder: Path, after: int, idle_for_s: float = 300.0
) -> NearRebuilds:
    return NearRebuilds(
        lambda: kind,
        folder / "near",
        after,
        look_every_s=0.01,
        retry_s=0.05,
        idle_for_s=idle_for_s,
    )


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_index_is_built_by_another_process_and_swapped_in(tmp_path: Path) -> None:
    clock = Clock()
    kind = kind_of(clock)
    before = kind.near("old", QUERY, 99, clock.now_ms, DAY_MS)
    one = rebuilds(kind, tmp_path, after=5)
    one.start()
    try:
        wait_for(lambda: one.built or one.failure)
        assert one.status() == {"built": 1, "failed": 0, "failure": None}
        assert kind.sizes()["vectors_one_by_one"] == 0
        assert kind.sizes()["vectors"] == len(POSTS)
        after = kind.near("old", QUERY, 99, clock.now_ms, DAY_MS)
        assert after.ids.tolist() == before.ids.tolist()
        np.testing.assert_allclose(after.scores, before.scores, atol=1e-6)
        apply([kind], [like(clock, USERS[6], post) for post in POSTS])
        wait_for(lambda: one.built == 2)
        [kept] = (tmp_path / "near").iterdir()
        assert [file.name for file in kept.iterdir() if file.suffix] == ["index.hnsw"]
    finally:
        one.stop()
    assert not (tmp_path / "near").exists()
    apply([kind], [like(clock, USERS[5], post, Kind.UNFAVOURITE) for post in POSTS[:3]])
    assert kind.sizes()["vectors"] == len(POSTS)


def test_an_index_is_extended_until_much_of_it_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    kind = kind_of(Clock())
    held = kind._held["old"].posts
    one = rebuilds(kind, tmp_path, after=5)
    builds: list[int | None] = []
    build = one._build

    def noting(folder: Path, extended: Path | None) -> None:
        builds.append(None if extended is None else len(np.load(folder / "vectors.npy")))
        build(folder, extended)

    monkeypatch.setattr(one, "_build", noting)
    ids = np.arange(1_000, 1_100)
    vectors = rng.normal(size=(100, 3)).astype(np.float32)
    for changed in (100, 10, 10, 10, 10):
        vectors[:changed] = rng.normal(size=(changed, 3))
        held.put(ids[:changed], vectors[:changed])
        one._rebuild()
        assert held.n_fresh == 0
        found, known = held.vectors(ids)
        assert known.all()
        np.testing.assert_allclose(found, unit_rows(vectors, 3), atol=1e-6)
        nearest = held.search(vectors[0], 1)
        assert nearest.ids.tolist() == [1_000]
    assert builds[1:] == [10, 10, 10, None]
    one.stop()


def test_what_cannot_be_extended_is_built_anew(tmp_path: Path) -> None:
    kind = kind_of(Clock())
    one = rebuilds(kind, tmp_path, after=5)
    one._rebuild()
    [index] = tmp_path.glob("near/*/index.hnsw")
    with index.open("r+b") as file:
        file.write(b"\xff" * 48)
    apply([kind], [like(Clock(), USERS[6], POSTS[0])])
    n_fresh = kind.sizes()["vectors_one_by_one"]
    assert n_fresh
    with pytest.raises(BuildFailed):
        one._rebuild()
    assert kind.sizes()["vectors_one_by_one"] == n_fresh
    one._rebuild()
    assert kind.sizes()["vectors_one_by_one"] == 0
    one.stop()


def test_where_nothing_is_idle_it_is_built_on_a_share(tmp_path: Path) -> None:
    kind = kind_of(Clock())
    one = rebuilds(kind, tmp_path, after=5, idle_for_s=0.0)
    one.start()
    try:
        wait_for(lambda: one.built or one.failure)
        assert one.status() == {"built": 1, "failed": 0, "failure": None}
        assert kind.sizes()["vectors_one_by_one"] == 0
    finally:
        one.stop()


def test_few_vectors_are_no_reason(tmp_path: Path) -> None:
    kind = kind_of(Clock())
    one = rebuilds(kind, tmp_path, after=len(POSTS))
    assert not one._due()
    one = rebuilds(kind, tmp_path, after=len(POSTS) - 1)
    assert one._due()


def test_a_build_that_fails_is_counted_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = kind_of(Clock())
    # The process that builds finds no vectors where it looks for them.
    monkeypatch.setattr(near_rebuild, "_VECTORS", "elsewhere.npy")
    one = rebuilds(kind, tmp_path, after=5)
    one.start()
    try:
        wait_for(lambda: one.failed >= 2)
        assert "BuildFailed: exit status 1: FileNotFoundError" in str(one.failure)
        assert kind.sizes()["vectors_one_by_one"] == len(POSTS)
        monkeypatch.undo()
        wait_for(lambda: one.built)
        assert one.failure is None
    finally:
        one.stop()


def test_stop_leaves_no_process_behind(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kind = kind_of(Clock())
    held = kind._held["old"].posts
    # Enough to take seconds.
    held.put(np.arange(10_000, 60_000), rng.normal(size=(50_000, 3)))
    one = rebuilds(kind, tmp_path, after=5)
    one.start()
    wait_for(lambda: one._child)
    child = one._child
    assert child is not None
    one.stop()
    assert child.returncode != 0
    assert not is_running(child.pid)
    assert not one._thread.is_alive()
    assert one.built == one.failed == 0

import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.stores.hnsw import (
    HnswBase,
    build_base,
    extend_base,
    unit_rows,
)
from actors.stores.nearest import NearestIndex

DIMENSION = 4
VECTORS = np.random.default_rng(5).normal(size=(40, DIMENSION)).astype(np.float32)
NONE = np.empty((0, DIMENSION), np.float32)


def base_of(folder: Path, ids: list[int], vectors: npt.NDArray[np.float32]) -> HnswBase:
    path = folder / f"{len(list(folder.iterdir()))}.hnsw"
    build_base(path, vectors)
    return HnswBase.load(path, np.array(ids, np.int64), vectors.shape[1])


def extended(
    folder: Path, base: HnswBase, ids: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]
) -> HnswBase:
    assert base.path
    path = folder / f"{len(list(folder.iterdir()))}.hnsw"
    extend_base(path, base.path, vectors)
    return HnswBase.load(path, ids, DIMENSION)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> HnswBase:
    """Twenty vectors whose ids neither ascend nor are row numbers."""
    return base_of(tmp_path_factory.mktemp("base"), list(range(120, 100, -1)), VECTORS[:20])


def exactly(held: dict[int, int], query: npt.NDArray[np.float32], k: int) -> list[int]:
    """Ids by cosine, `held` giving the row of each id's vector."""
    units = unit_rows(VECTORS, DIMENSION)
    unit = unit_rows(query, DIMENSION)[0]
    return sorted(held, key=lambda id_: (-float(units[held[id_]] @ unit), id_))[:k]


HELD = {120 - row: row for row in range(20)}
CHANGES = st.lists(
    st.tuples(st.integers(99, 125), st.integers(0, 39) | st.none())
    | st.sampled_from(["export", "export fresh", "swap"]),
    max_size=25,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES, st.integers(0, 39), st.integers(1, 30), st.booleans())
def test_it_answers_as_a_plain_dictionary_does(
    base: HnswBase,
    tmp_path: Path,
    changes: list[tuple[int, int | None] | str],
    query: int,
    k: int,
    filtered: bool,
) -> None:
    index, held = NearestIndex(base), dict(HELD)
    built: tuple[HnswBase, int] | None = None
    for change in changes:
        if change == "export":
            ids, vectors, mark = index.export()
            built = base_of(tmp_path, ids.tolist(), vectors), mark
        elif change == "export fresh":
            before, ids, vectors, mark = index.export_fresh()
            assert len(vectors) == index.n_fresh
            built = extended(tmp_path, before, ids, vectors), mark
        elif change == "swap" and built:
            index.swap(*built)
            built = None
        elif isinstance(change, tuple) and change[1] is None:
            index.remove(np.array([change[0]]))
            held.pop(change[0], None)
        elif isinstance(change, tuple):
            index.put(np.array([change[0]]), VECTORS[change[1]] * 3)
            held[change[0]] = int(change[1] or 0)
    assert len(index) == len(held)
    even = {id_: row for id_, row in held.items() if not filtered or id_ % 2 == 0}
    found = index.search(VECTORS[query], k, (lambda ids: ids % 2 == 0) if filtered else None)
    # Two ids may have the same vector, so what each scores is compared, not their order.
    assert len(set(found.ids.tolist())) == len(found.ids) == min(k, len(even))
    for ids in (found.ids.tolist(), exactly(even, VECTORS[query], k)):
        wanted = unit_rows(VECTORS[[even[id_] for id_ in ids]], DIMENSION)
        expected = wanted @ unit_rows(VECTORS[query], DIMENSION)[0]
        np.testing.assert_allclose(found.scores, expected, atol=1e-5)
    everyone = np.arange(98, 127)
    vectors, known = index.vectors(everyone)
    assert everyone[known].tolist() == sorted(held)
    rows = [held[id_] for id_ in sorted(held)]
    np.testing.assert_allclose(vectors[known], unit_rows(VECTORS[rows], DIMENSION), atol=1e-6)
    assert not vectors[~known].any()


def test_a_fresh_vector_takes_the_place_of_the_trained_one(base: HnswBase) -> None:
    index = NearestIndex(base)
    query = np.array([1, 0, 0, 0], np.float32)
    index.put(np.array([110, 7, 110]), np.array([[9, 9, 0, 0], [1, 1, 1, 1], [5, 0, 0, 0]]))
    assert index.n_fresh == 2
    assert index.search(query, 1).ids.tolist() == [110]
    assert index.search(query, 1).scores.tolist() == [1.0]
    index.remove(np.array([110, 999]))
    assert 110 not in index.search(query, 99).ids
    index.put(np.array([110]), np.array([[0, 1, 0, 0]]))
    copy = NearestIndex.from_columns(index.columns(), base)
    assert copy.search(query, 99).ids.tolist() == index.search(query, 99).ids.tolist()


def test_an_empty_index_and_more_than_there_are() -> None:
    index = NearestIndex(HnswBase.empty(DIMENSION))
    assert not len(index.search(VECTORS[0], 5).ids)
    assert len(index) == 0
    index.put(np.array([3]), VECTORS[:1])
    assert index.search(VECTORS[0], 5).ids.tolist() == [3]
    with pytest.raises(ValueError, match="k is 0"):
        index.search(VECTORS[0], 0)


def test_an_empty_base_is_written_and_read(tmp_path: Path) -> None:
    empty = base_of(tmp_path, [], NONE)
    assert len(empty) == 0
    assert not len(NearestIndex(empty).search(VECTORS[0], 3).ids)


@pytest.mark.parametrize(
    ("vectors", "problem"),
    [
        ([[1, 2, 3]], "expected dimension 4"),
        ([1, 2, 3, 4, 5], "expected dimension 4"),
        ([[[1, 2, 3, 4]]], "expected dimension 4"),
        ([[1, 2, 3, 4], [1, np.nan, 0, 0]], "vector 1 is not finite"),
        ([[np.inf, 0, 0, 0]], "vector 0 is not finite"),
        ([[1, 2, 3, 4], [0, 0, 0, 0]], "vector 1 is zero"),
    ],
)
def test_what_is_no_vector_is_refused(
    base: HnswBase, tmp_path: Path, vectors: list[object], problem: str
) -> None:
    index = NearestIndex(base)
    with pytest.raises(ValueError, match=problem):
        index.put(np.arange(1, 3), vectors)
    assert index.n_fresh == 0
    if np.ndim(vectors) == 2 and len(vectors) == 1:
        with pytest.raises(ValueError, match=problem):
            index.search(vectors, 3)
    if np.shape(vectors)[-1] == DIMENSION and np.ndim(vectors) == 2:
        with pytest.raises(ValueError, match=problem):
            build_base(tmp_path / "bad.hnsw", np.array(vectors, np.float32))
        assert not list(tmp_path.iterdir())


def test_several_vectors_are_not_one_query(base: HnswBase) -> None:
    with pytest.raises(ValueError, match="2 vectors searched at once"):
        NearestIndex(base).search(VECTORS[:2], 3)
    with pytest.raises(ValueError, match="1 vectors for 2 ids"):
        NearestIndex(base).put(np.array([1, 2]), VECTORS[:1])


def test_readers_never_see_a_half_written_index(tmp_path: Path) -> None:
    """Every id always has one of the vectors that it was ever given, and no id is missing."""
    ids = np.arange(1, 21)
    index = NearestIndex(base_of(tmp_path, ids.tolist(), VECTORS[:20]))
    units = unit_rows(VECTORS, DIMENSION)
    query = units[0]
    allowed = {
        int(i): {round(float(units[row] @ query), 4) for row in (i - 1, i + 19)} for i in ids
    }
    problems: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            found = index.search(query, 20)
            if sorted(found.ids.tolist()) != ids.tolist():
                problems.append(f"found {sorted(found.ids.tolist())}")
            for id_, score in zip(found.ids.tolist(), found.scores.tolist(), strict=True):
                if min(abs(score - one) for one in allowed[id_]) > 1e-3:
                    problems.append(f"{id_} scored {score}")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(60):
        index.put(ids, VECTORS[20:] if turn % 2 == 0 else VECTORS[:20])
        if turn % 20 == 19:
            held, vectors, mark = index.export()
            index.swap(base_of(tmp_path, held.tolist(), vectors), mark)
    done.set()
    for reader in readers:
        reader.join()
    assert not problems


def test_a_base_of_another_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match="dimension 3: expected 4"):
        NearestIndex(HnswBase.empty(DIMENSION)).swap(HnswBase.empty(3))

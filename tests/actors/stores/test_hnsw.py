from pathlib import Path

import numpy as np
import pytest

from actors.stores.hnsw import (
    HnswBase,
    Neighbours,
    build_base,
    extend_base,
    merge_neighbours,
    unit_rows,
)

DIMENSION = 4
VECTORS = np.random.default_rng(5).normal(size=(40, DIMENSION)).astype(np.float32)


def test_a_saved_base_finds_what_is_nearest(tmp_path: Path) -> None:
    ids = np.random.default_rng(6).permutation(40) + 100
    build_base(tmp_path / "base.hnsw", VECTORS, threads=2)
    base = HnswBase.load(tmp_path / "base.hnsw", ids, DIMENSION, ef=50)
    units = unit_rows(VECTORS, DIMENSION)
    for query in units[:10]:
        found = base.search(query, 5)
        best = np.argsort(-(units @ query))[:5]
        assert found.ids.tolist() == ids[best].tolist()
        np.testing.assert_allclose(found.scores, units[best] @ query, atol=1e-5)
    assert len(base.search(units[0], 99).ids) == len(base) == 40
    assert base.rows_of(np.array([ids[7], 1, ids[0]])).tolist() == [7, -1, 0]
    np.testing.assert_allclose(base.vectors(np.array([3, 1])), units[[3, 1]], atol=1e-6)


def test_fewer_come_where_the_graph_reaches_fewer(tmp_path: Path) -> None:
    """Of many equal vectors hnswlib links some out of reach, and then raises."""
    vectors = np.ones((600, DIMENSION), np.float32)
    build_base(tmp_path / "base.hnsw", vectors, degree=2, ef_construction=2)
    base = HnswBase.load(tmp_path / "base.hnsw", np.arange(600), DIMENSION, ef=10)
    found = base.search(unit_rows(vectors[0], DIMENSION)[0], 600)
    assert 0 < len(found.ids) <= 600
    assert len(set(found.ids.tolist())) == len(found.ids)


def test_the_greatest_and_the_least_floats_have_a_direction() -> None:
    extremes = np.array([[3e38, 3e38], [1e-45, 0]], np.float32)
    np.testing.assert_allclose(unit_rows(extremes, 2), [[0.5**0.5] * 2, [1, 0]], rtol=1e-6)


def test_a_file_that_does_not_belong_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "base.hnsw"
    build_base(path, VECTORS)
    ids = np.arange(40)
    with pytest.raises(ValueError, match="dimension 4: expected 8"):
        HnswBase.load(path, ids, 8)
    with pytest.raises(ValueError, match="40 vectors for 39 ids"):
        HnswBase.load(path, ids[:39], DIMENSION)
    with pytest.raises(ValueError, match="does not exist"):
        HnswBase.load(tmp_path / "other.hnsw", ids, DIMENSION)
    content = path.read_bytes()
    for length in (20, 300, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="no index"):
            HnswBase.load(path, ids, DIMENSION)


def test_a_build_leaves_no_other_file(tmp_path: Path) -> None:
    build_base(tmp_path / "base.hnsw", VECTORS)
    build_base(tmp_path / "again.hnsw", VECTORS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.hnsw", "base.hnsw"]
    assert (tmp_path / "base.hnsw").read_bytes() == (tmp_path / "again.hnsw").read_bytes()


def test_an_extended_base_finds_what_one_of_all_finds(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    vectors = unit_rows(rng.normal(size=(2_000, 16)), 16)
    build_base(tmp_path / "first.hnsw", vectors[:1_000])
    extend_base(tmp_path / "second.hnsw", tmp_path / "first.hnsw", vectors[1_000:1_500])
    extend_base(tmp_path / "all.hnsw", tmp_path / "second.hnsw", 3 * vectors[1_500:])
    extend_base(tmp_path / "same.hnsw", tmp_path / "all.hnsw", vectors[:0])
    ids = np.arange(5, 2_005)
    for name in ("all", "same"):
        base = HnswBase.load(tmp_path / f"{name}.hnsw", ids, 16, ef=100)
        np.testing.assert_allclose(base.vectors(np.arange(2_000)), vectors, atol=1e-6)
        for query in unit_rows(rng.normal(size=(20, 16)), 16):
            best = np.argsort(-(vectors @ query))[:10]
            assert len(set(base.search(query, 10).ids) & set(ids[best])) >= 9
    with pytest.raises(ValueError, match="dimension 16: expected 4"):
        extend_base(tmp_path / "other.hnsw", tmp_path / "all.hnsw", VECTORS)


def test_answers_of_several_indexes_are_one() -> None:
    parts = [
        Neighbours(np.array([4, 2]), np.array([0.9, 0.5], np.float32)),
        Neighbours(np.array([1, 3]), np.array([0.5, 0.1], np.float32)),
    ]
    merged = merge_neighbours(parts, 3)
    assert merged.ids.tolist() == [4, 1, 2]
    assert merge_neighbours(parts, 2).ids.tolist() == [4, 1]
    assert merge_neighbours([], 2).ids.tolist() == []

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from actors.stores.hnsw import build_base
from actors.stores.sparse_embeddings import SparseEmbeddings
from actors.vector_models import (
    DenseVectors,
    contributions_of,
    interests_of,
    read_vector_models,
    version_of,
)
from cluster.artifacts import ArtifactStore, Draft
from cluster.events import Kind

IDS = np.array([3, 5, 8])
VECTORS = np.arange(6, dtype=np.float32).reshape(3, 2) + 1
CENTRES = np.array([[0, 0], [3, 4]], np.float32)

INTERESTS = SparseEmbeddings.from_entries(
    np.array([5, 5, 5, 8]),
    np.array([1, 2, 3, 1], np.int32),
    np.array([0.9, 0.5, 0.2, 0.1], np.float32),
    {
        "fav_score": np.array([0.3, 0.5, 0.2, 0.1], np.float32),
        "log_fav_normalized": np.array([0.25, 0.75, 1.0, 1.0], np.float32),
    },
)


def table(vectors: np.ndarray = VECTORS, ids: np.ndarray = IDS) -> pa.Table:  # type: ignore[type-arg]
    flat = pa.array(vectors.reshape(-1))
    return pa.table({"id": ids, "vector": pa.FixedSizeListArray.from_arrays(flat, 2)})


def write_sparse(draft: Draft, name: str, rows: SparseEmbeddings) -> None:
    of_rows, entries = rows.to_tables()
    draft.write_table(f"{name}_rows.arrow", of_rows)
    draft.write_table(f"{name}.arrow", entries)


def written(folder: Path) -> tuple[ArtifactStore, str, str]:
    store = ArtifactStore(folder)
    with store.writing("simclusters", schema_version=1) as draft:
        write_sparse(draft, "interested_in", INTERESTS)
        write_sparse(draft, "topics_by_language", INTERESTS)
    with store.writing("twhin", schema_version=1) as other:
        other.write_table("user_engagement.arrow", table())
        other.write_table("posts.arrow", table(VECTORS[::-1].copy(), IDS + 10))
        build_base(other.file("posts.hnsw"), VECTORS[::-1].copy())
        other.write_tensors("relations.safetensors", {"engager_centres": CENTRES})
        other.write_json("relations.json", [{"name": "follow"}, {"name": "favourite"}])
    return store, str(draft.version), str(other.version)


def test_all_of_one_version_is_read(tmp_path: Path) -> None:
    store, simclusters, twhin = written(tmp_path)
    assert read_vector_models(store, simclusters, twhin).bases == {}
    models = read_vector_models(store, simclusters, twhin, bases=("posts", "users"))
    assert models.version == version_of(simclusters, twhin) == f"{simclusters}+{twhin}"
    assert models.interested_in.of(5)[0].tolist() == [1, 2, 3]
    assert models.sparse["topics_by_language"].of(8)[0].tolist() == [1]
    vectors, known = models.user_engagement.of(np.array([8, 4, 3, 9]))
    assert vectors.tolist() == [[5, 6], [0, 0], [1, 2], [0, 0]]
    assert known.tolist() == [True, False, True, False]
    assert models.dense["posts"].of(np.array([13]))[0].tolist() == [[5, 6]]
    assert models.dimension == 2
    assert models.engager_centres is not None
    assert models.engager_centres[Kind.FAVOURITE].tolist() == [3, 4]
    assert not models.engager_centres[Kind.REPOST].any()
    assert models.bases["posts"].ids.tolist() == [13, 15, 18]
    assert list(models.bases) == ["posts"]
    assert models.dense["posts"].holds(np.array([13, 14, 99])).tolist() == [True, False, False]


def test_only_what_reaches_the_minimum_adds_to_a_post() -> None:
    found = contributions_of(INTERESTS)
    assert found.ids.tolist() == [5]
    assert [column.tolist() for column in found.of(5)] == [[2, 1], [0.75, 0.25]]
    everything = contributions_of(INTERESTS, 0.0)
    assert [column.tolist() for column in everything.of(8)] == [[1], [1.0]]


def test_users_without_favourites_are_of_what_they_follow() -> None:
    follows_only = SparseEmbeddings.from_entries(
        np.array([5, 5, 8, 8]),
        np.array([1, 2, 1, 3], np.int32),
        np.array([0.9, 0.0, 0.0, 0.0], np.float32),
        {
            "fav_score": np.array([0.9, 0, 0, 0], np.float32),
            "log_fav_normalized": np.array([0.5, 0, 0, 0], np.float32),
            "follow_normalized": np.array([0.1, 0.7, 0.2, 0.4], np.float32),
        },
    )
    for found, own in ((contributions_of(follows_only), 0.5), (interests_of(follows_only), 0.9)):
        communities, scores = found.of(5)
        assert (communities.tolist(), scores.tolist()) == ([1], [pytest.approx(own)])
        communities, scores = found.of(8)
        assert (communities.tolist(), scores.tolist()) == ([3, 1], pytest.approx([0.4, 0.2]))
    assert set(interests_of(follows_only).columns) == set(follows_only.columns)


def test_interests_stay_as_they_are_where_everybody_favours() -> None:
    assert interests_of(INTERESTS) is INTERESTS


def test_what_is_not_trained_is_empty(tmp_path: Path) -> None:
    models = read_vector_models(ArtifactStore(tmp_path), None, None)
    assert models.version == "none+none"
    assert models.interested_in.of(5)[0].tolist() == []
    assert len(models.contributions) == len(models.user_engagement) == 0
    assert models.bases == {}
    assert not models.user_engagement.holds(np.array([5]))[0]
    assert models.user_engagement.of(np.array([5]))[1].tolist() == [False]


def test_a_part_alone(tmp_path: Path) -> None:
    store, simclusters, twhin = written(tmp_path)
    assert len(read_vector_models(store, simclusters, None).user_engagement) == 0
    assert len(read_vector_models(store, None, twhin).interested_in) == 0


def test_ids_must_ascend() -> None:
    with pytest.raises(ValueError, match="do not strictly ascend"):
        DenseVectors.from_table(table(ids=np.array([3, 3, 8])))

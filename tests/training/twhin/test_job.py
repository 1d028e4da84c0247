import subprocess
import sys
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
import pytest

from cluster.archive import Archive
from cluster.artifacts import Artifact, ArtifactStore
from cluster.settings import Settings
from tests.training.archives import archived_events, settings_at
from tests.training.twhin.networks import archive_of, circles
from training.job import TrainingError
from training.twhin import job
from training.twhin.job import TWHIN, train
from training.twhin.relations import RELATIONS, TABLES

SIZE = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Archive]:
    folder = tmp_path_factory.mktemp("twhin")
    return archive_of(folder, circles(size=SIZE), epochs=5, learning_rate=0.1)


@pytest.fixture(scope="module")
def artifact(world: tuple[Settings, Archive]) -> Artifact:
    settings, archive = world
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    return artifacts.open(TWHIN, train(settings, archive, artifacts).version)


def table(artifact: Artifact, name: str) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    found = artifact.table(f"{name}.arrow")
    vectors = found.column("vector").chunk(0).flatten().to_numpy()
    return found.column("id").to_numpy(), vectors.reshape(len(found), -1)


def test_tables_are_ordered_and_whole(artifact: Artifact) -> None:
    for name in TABLES:
        ids, vectors = table(artifact, name)
        assert (np.diff(ids) > 0).all()
        assert vectors.shape == (artifact.manifest.metrics["nodes"][name], 8)
        assert vectors.dtype == np.float32
    tensors = artifact.tensors("relations.safetensors")
    assert tensors["translations"].shape == tensors["engager_centres"].shape == (6, 8)
    assert not tensors["engager_centres"][[0, 5]].any()
    assert [told["name"] for told in artifact.json("relations.json")] == [r.name for r in RELATIONS]


@pytest.mark.parametrize(
    ("file", "name"),
    [("users.hnsw", "user_engagement"), ("authors.hnsw", "author_follow"), ("posts.hnsw", "posts")],
)
def test_neighbours_in_the_indexes_are_of_one_circle(
    artifact: Artifact, file: str, name: str
) -> None:
    ids, vectors = table(artifact, name)
    index = hnswlib.Index(space="cosine", dim=8)
    index.load_index(str(artifact.file(file)))
    assert (index.get_current_count(), index.M, index.ef_construction) == (len(ids), 16, 200)
    labels, distances = index.knn_query(vectors, k=5)
    np.testing.assert_array_equal(labels[:, 0], np.arange(len(ids)))
    np.testing.assert_allclose(distances[:, 0], 0, atol=1e-5)
    authors = (ids - 1_000) // 10 if name == "posts" else ids
    circle = (authors - 1) // SIZE
    assert (circle[labels[:, 1:]] == circle[:, None]).mean() > 0.9


def test_it_beats_popularity_and_forms_fresh_posts(artifact: Artifact) -> None:
    metrics: dict[str, Any] = artifact.manifest.metrics
    kinds = [metrics["evaluation"][name] for name in ("favourite", "reply", "repost", "quote")]
    assert sum(found["edges"] for found in kinds) > 80
    for metric in ("mrr", "cosine_mrr", "hits_at_10", "cosine_hits_at_10"):
        model = np.mean([found[metric] for found in kinds])
        popularity = np.mean(
            [found[f"popularity_{metric.removeprefix('cosine_')}"] for found in kinds]
        )
        assert model > 1.5 * popularity
    assert metrics["formed_posts"] > 20
    assert metrics["formed_posts_cosine"] > 0.8


def test_the_same_archive_gives_the_same_vectors_and_leaves_no_folder(
    world: tuple[Settings, Archive], artifact: Artifact
) -> None:
    settings, archive = world
    home = settings.data_dir / "training" / TWHIN
    stale = home / "0123456789abcdef"
    stale.mkdir()
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    again = train(settings, archive, artifacts)
    assert list(home.iterdir()) == []
    assert again.metrics == artifact.manifest.metrics
    other = artifacts.open(TWHIN, again.version)
    for name in TABLES:
        np.testing.assert_array_equal(table(other, name)[1], table(artifact, name)[1])


def test_a_job_goes_on_where_one_was_cut_off(
    world: tuple[Settings, Archive], artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, archive = world
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    n_before = len(artifacts.versions(TWHIN))

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job, "evaluate", cut_off)
        with pytest.raises(KeyboardInterrupt):
            train(settings, archive, artifacts)
    assert len(artifacts.versions(TWHIN)) == n_before

    def not_again(*_: object) -> None:
        raise AssertionError("the edges were there already")

    monkeypatch.setattr(job, "prepare", not_again)
    assert train(settings, archive, artifacts).metrics == artifact.manifest.metrics


def test_two_jobs_do_not_share_a_folder(world: tuple[Settings, Archive]) -> None:
    settings, archive = world
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    with (
        job._work_folder(settings, archive, None),
        pytest.raises(TrainingError, match="another job trains TwHIN"),
    ):
        train(settings, archive, artifacts)


def test_too_little_leaves_no_artifact(folder: Path) -> None:
    settings = settings_at(folder)
    artifacts = ArtifactStore(folder / "artifacts")
    with pytest.raises(TrainingError, match="at least 500 are needed"):
        train(settings, archived_events(settings, circles(1, 6)), artifacts)
    assert artifacts.versions(TWHIN) == []


def test_a_network_of_follows_alone_has_empty_tables(folder: Path) -> None:
    follows = [event for event in circles(4, 20) if event["kind"] == "follow"]
    settings, archive = archive_of(folder, follows, epochs=1)
    artifacts = ArtifactStore(folder / "artifacts")
    trained = train(settings, archive, artifacts)
    artifact = artifacts.open(TWHIN, trained.version)
    assert [len(artifact.table(f"{name}.arrow")) for name in TABLES] == [80, 0, 80, 0]
    index = hnswlib.Index(space="cosine", dim=8)
    index.load_index(str(artifact.file("posts.hnsw")))
    assert index.get_current_count() == 0
    assert trained.metrics["formed_posts"] == 0


def test_importing_the_job_loads_neither_torch_nor_ray() -> None:
    heavy = "[name for name in ('torch', 'torchrec', 'ray') if name in sys.modules]"
    told = f"import sys, training.twhin.job; print({heavy})"
    done = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, check=True,
        cwd=Path(__file__).resolve().parents[3],
    )  # fmt: skip
    assert done.stdout.strip() == "[]"

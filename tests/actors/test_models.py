import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.features.binned import UNTRAINED_VERSION
from actors.features.light import FEATURES
from actors.models import LIGHT_RANKER, LIGHT_RANKER_SCHEMA, SIDES, Models
from cluster.artifact_manifest import ArtifactCorrupt
from cluster.artifacts import ArtifactNotFound, ArtifactRefused, ArtifactStore

BINS = 4


def tensors(bias: float = 0.5) -> dict[str, Any]:
    """Two models that differ in their biases."""
    shape = (len(SIDES), len(FEATURES))
    return {
        "edges": np.ones((*shape, BINS - 1), np.float32).cumsum(axis=2),
        "weights": np.full((*shape, BINS), 0.25, np.float32),
        "biases": np.array([bias, bias - 1], np.float32),
    }


def written(
    store: ArtifactStore,
    bias: float = 0.5,
    names: Any = (*FEATURES,),
    schema_version: int = LIGHT_RANKER_SCHEMA,
    **changed: Any,
) -> str:
    with store.writing(LIGHT_RANKER, schema_version=schema_version) as draft:
        draft.write_tensors("model.safetensors", tensors(bias) | changed)
        draft.write_json("features.json", list(names) if type(names) is tuple else names)
    assert draft.version is not None
    return draft.version


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


def test_the_untrained_model_is_always_there(store: ArtifactStore) -> None:
    model = Models(store).light_ranker(UNTRAINED_VERSION)
    assert (model.names, model.version) == (FEATURES, UNTRAINED_VERSION)


def test_a_version_is_read_once(store: ArtifactStore, tmp_path: Path) -> None:
    version = written(store)
    models = Models(store)
    model = models.light_ranker(version)
    assert (model.version, model.of(True).bias, model.of(False).bias) == (version, 0.5, -0.5)
    for file in tmp_path.rglob("*.safetensors"):
        file.chmod(0o600)
        file.write_bytes(b"gone")
    assert models.light_ranker(version) is model
    with pytest.raises(ArtifactCorrupt):
        Models(store).light_ranker(version)


def test_old_versions_give_way(store: ArtifactStore) -> None:
    models = Models(store)
    versions = [written(store, bias=k) for k in range(5)]
    loaded = [models.light_ranker(version) for version in versions]
    assert models.light_ranker(versions[-1]) is loaded[-1]
    again = models.light_ranker(versions[0])
    assert again is not loaded[0]
    assert again.in_network.bias == 0
    assert models.light_ranker(UNTRAINED_VERSION).version == UNTRAINED_VERSION


def test_a_model_of_other_features_is_refused(store: ArtifactStore) -> None:
    version = written(store, names=["nonsense", *FEATURES[1:]])
    with pytest.raises(ValueError, match=f"{FEATURES[0]}, nonsense|nonsense, {FEATURES[0]}"):
        Models(store).light_ranker(version)
    swapped = written(store, names=[FEATURES[1], FEATURES[0], *FEATURES[2:]])
    with pytest.raises(ValueError, match="their order"):
        Models(store).light_ranker(swapped)
    for no_list in (None, 5, {"names": []}, "age_hours"):
        with pytest.raises(ValueError, match="other features"):
            Models(store).light_ranker(written(store, names=no_list))


def test_a_single_model_of_before_is_refused(store: ArtifactStore) -> None:
    version = written(store, schema_version=LIGHT_RANKER_SCHEMA - 1)
    with pytest.raises(ValueError, match=r"has schema version 1, one model .* train it again"):
        Models(store).light_ranker(version)


def test_a_side_without_a_model_is_refused(store: ArtifactStore) -> None:
    version = written(store, biases=np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="a model for each of"):
        Models(store).light_ranker(version)


@pytest.mark.parametrize("version", ["../x", "s3://a/b", "", "20240101T000000-0001/../.."])
def test_a_version_is_no_path(store: ArtifactStore, version: str) -> None:
    with pytest.raises((ArtifactRefused, ArtifactNotFound)):
        Models(store).light_ranker(version)


def test_many_threads_get_one_model(store: ArtifactStore) -> None:
    version = written(store)
    models, found = Models(store), []
    threads = [
        threading.Thread(target=lambda: found.append(models.light_ranker(version)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 8
    assert {model.version for model in found} == {version}

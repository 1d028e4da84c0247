"""Trained models as a process holds them: loaded once, found by exact version."""

import threading

import numpy as np

from actors.features.binned import UNTRAINED_VERSION, BinnedModel, untrained
from actors.features.light import FEATURES
from cluster.artifacts import ArtifactStore

LIGHT_RANKER = "light_ranker"
LIGHT_RANKER_SCHEMA = 1
_VERSIONS_KEPT = 3


class Models:
    """Light rankers by version; the untrained one is always there.

    A request names the version it began with, so that shards and the timeline never mix
    two; an old version stays in memory until others have replaced it.
    """

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._loaded = {UNTRAINED_VERSION: untrained(FEATURES)}
        self._lock = threading.Lock()

    def light_ranker(self, version: str) -> BinnedModel:
        """The light ranker of a version, read on first use.

        Raises what `ArtifactStore.open` raises, and `ValueError` where the artifact does
        not fit the features of this version of the code.
        """
        model = self._loaded.get(version)
        if model is None:
            model = read_light_ranker(self._artifacts, version)
            with self._lock:
                kept = list(self._loaded.items())[1:][-(_VERSIONS_KEPT - 1) :]
                untrained_one = self._loaded[UNTRAINED_VERSION]
                self._loaded = {UNTRAINED_VERSION: untrained_one, **dict(kept), version: model}
        return model


def read_light_ranker(artifacts: ArtifactStore, version: str) -> BinnedModel:
    """Read and check one version from the artifact store."""
    artifact = artifacts.open(LIGHT_RANKER, version, schema_version=LIGHT_RANKER_SCHEMA)
    tensors = artifact.tensors("model.safetensors")
    listed = artifact.json("features.json")
    names = tuple(map(str, listed)) if isinstance(listed, list) else ()
    if names != FEATURES:
        unknown = sorted(set(names) ^ set(FEATURES))
        raise ValueError(
            f"light_ranker {version} was trained on other features than this code computes"
            f" (differing: {', '.join(unknown) or 'their order'})"
        )
    bias = float(np.asarray(tensors["bias"]).reshape(-1)[0])
    return BinnedModel(names, tensors["edges"], tensors["weights"], bias, version)

"""Trained models as a process holds them: loaded once, found by exact version."""

import threading
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from actors.features.batch_aggregates import (
    AGGREGATES,
    BatchAggregates,
    read_batch_aggregates,
)
from actors.features.binned import UNTRAINED_VERSION, BinnedModel, LightRanker, untrained_pair
from actors.features.light import FEATURES
from actors.features.real_graph import REAL_GRAPH, REAL_GRAPH_SCHEMA, SCORES, RealGraphScores
from actors.features.reputation import REPUTATIONS, TWEEPCRED, TWEEPCRED_SCHEMA, Reputations
from actors.features.safety import TRUST_AND_SAFETY, SafetyModel, read_safety_model
from actors.stores.sparse_embeddings import SIMCLUSTERS
from actors.vector_models import (
    TWHIN,
    VectorModels,
    read_vector_models,
    version_of,
)
from cluster.artifacts import ArtifactStore

HEAVY_RANKER = "heavy_ranker"
HEAVY_RANKER_SCHEMA = 1
LIGHT_RANKER = "light_ranker"
LIGHT_RANKER_SCHEMA = 2
"""1 had one model for both sides; those are refused, and trained again."""
SIDES = ("in_network", "out_of_network")
"""The order of a light ranker's models in its tensors `edges`, `weights` and `biases`."""
VECTORS = "vectors"
"""The pair of artifacts that the kind `vectors` works with, as one thing with one version."""
_VERSIONS_KEPT = 3

PROBLEMS = (ValueError, LookupError, OSError, RuntimeError)
"""What is raised for an artifact that cannot be served: missing, corrupt, or not fitting."""


class Models:
    """Models by name and version; an untrained light ranker is always there.

    A request names the version it began with, so that shards and the timeline never mix
    two; an old version stays in memory until others have replaced it.
    """

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._loaded: dict[str, dict[str, Any]] = {}
        self._untrained = untrained_pair(FEATURES)
        self._lock = threading.Lock()

    def light_ranker(self, version: str) -> LightRanker:
        """The light ranker of a version; see `load`."""
        if version == UNTRAINED_VERSION:
            return self._untrained
        return cast(LightRanker, self.load(LIGHT_RANKER, version))

    def real_graph(self, version: str) -> RealGraphScores:
        """Real Graph's scores of a version; see `load`."""
        return cast(RealGraphScores, self.load(REAL_GRAPH, version))

    def reputations(self, version: str) -> Reputations:
        """Tweepcred's reputations of a version; see `load`."""
        return cast(Reputations, self.load(TWEEPCRED, version))

    def aggregates(self, version: str) -> BatchAggregates:
        """The batch aggregates of a version; see `load`."""
        return cast(BatchAggregates, self.load(AGGREGATES, version))

    def safety(self, version: str) -> SafetyModel:
        """The text models of trust and safety of a version; see `load`."""
        return cast(SafetyModel, self.load(TRUST_AND_SAFETY, version))

    def vectors(self, active: Mapping[str, str]) -> VectorModels:
        """What the kind `vectors` works with under the versions in `active`; see `load`."""
        simclusters, twhin = active.get(SIMCLUSTERS), active.get(TWHIN)
        return cast(
            VectorModels,
            self._kept(
                VECTORS,
                version_of(simclusters, twhin),
                lambda _: read_vector_models(self._artifacts, simclusters, twhin),
            ),
        )

    def load(self, name: str, version: str) -> Any:
        """A model, read and checked on first use.

        Raises what `ArtifactStore.open` raises, `LookupError` for a name that no model has,
        and `ValueError` where the artifact does not fit this version of the code.
        """
        reader = _READERS.get(name)
        if reader is None:
            raise LookupError(f"no model is called {name!r}; there are {', '.join(_READERS)}")
        return self._kept(name, version, lambda version: reader(self._artifacts, version))

    def _kept(self, name: str, version: str, read: Callable[[str], Any]) -> Any:
        model = self._loaded.get(name, {}).get(version)
        if model is None:
            model = read(version)
            with self._lock:
                newest = list(self._loaded.get(name, {}).items())[-(_VERSIONS_KEPT - 1) :]
                self._loaded = {**self._loaded, name: {**dict(newest), version: model}}
        return model


def read_light_ranker(artifacts: ArtifactStore, version: str) -> LightRanker:
    """Read and check one version from the artifact store."""
    artifact = artifacts.open(LIGHT_RANKER, version, schema_version=LIGHT_RANKER_SCHEMA)
    found = artifact.manifest.schema_version
    if found != LIGHT_RANKER_SCHEMA:
        raise ValueError(
            f"light_ranker {version} has schema version {found}, one model for both sides; this"
            f" program reads {LIGHT_RANKER_SCHEMA}: train it again"
        )
    tensors = artifact.tensors("model.safetensors")
    listed = artifact.json("features.json")
    names = tuple(map(str, listed)) if isinstance(listed, list) else ()
    if names != FEATURES:
        unknown = sorted(set(names) ^ set(FEATURES))
        raise ValueError(
            f"light_ranker {version} was trained on other features than this code computes"
            f" (differing: {', '.join(unknown) or 'their order'})"
        )
    edges, weights, biases = (np.asarray(tensors[name]) for name in ("edges", "weights", "biases"))
    if not len(edges) == len(weights) == len(biases) == len(SIDES):
        raise ValueError(f"light_ranker {version}: expected a model for each of {SIDES}")
    return LightRanker(
        *(
            BinnedModel(names, edges[i], weights[i], float(biases[i]), version)
            for i in range(len(SIDES))
        )
    )


def _check_heavy_ranker(artifacts: ArtifactStore, version: str) -> None:
    """Shards serve its version and never score with it: its files are what was written.

    Whether the model fits is checked before it is activated, and by every process that scores.
    """
    artifacts.open(HEAVY_RANKER, version, schema_version=HEAVY_RANKER_SCHEMA)


def _read_real_graph(artifacts: ArtifactStore, version: str) -> RealGraphScores:
    artifact = artifacts.open(REAL_GRAPH, version, schema_version=REAL_GRAPH_SCHEMA)
    return RealGraphScores(artifact.table(SCORES))


def _read_reputations(artifacts: ArtifactStore, version: str) -> Reputations:
    artifact = artifacts.open(TWEEPCRED, version, schema_version=TWEEPCRED_SCHEMA)
    return Reputations(artifact.table(REPUTATIONS))


_READERS: dict[str, Callable[[ArtifactStore, str], Any]] = {
    LIGHT_RANKER: read_light_ranker,
    REAL_GRAPH: _read_real_graph,
    TWEEPCRED: _read_reputations,
    TRUST_AND_SAFETY: read_safety_model,
    AGGREGATES: read_batch_aggregates,
    HEAVY_RANKER: _check_heavy_ranker,
}

OF_VECTORS = (SIMCLUSTERS, TWHIN)
"""Artifacts that are read together: see `Models.vectors`."""
ACTIVATED = (*_READERS, *OF_VECTORS)
"""Artifacts of which a shard serves one version; it knows nothing of others."""

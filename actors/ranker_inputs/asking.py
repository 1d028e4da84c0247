"""What all questions of one request for the ranker's inputs have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from actors.features.batch_aggregates import AGGREGATES
from actors.features.families import Selection
from actors.features.real_graph import REAL_GRAPH
from actors.features.reputation import TWEEPCRED
from actors.models import VECTORS
from actors.state import ShardState
from actors.vector_models import VectorModels

READ = (TWEEPCRED, REAL_GRAPH, AGGREGATES)
"""Artifacts that inputs are read from, beside the vectors."""


@dataclass(frozen=True)
class Asking:
    """Who asks, when, for which inputs, under which versions of the artifacts."""

    viewer_id: int
    now_ms: int
    selection: Selection
    vector_dimensions: int
    """Of TwHIN's vectors as the model reads them."""
    versions: Mapping[str, str] | None = None
    """By artifact, without those of which there is none; None for what the shard serves."""

    def under(self, state: ShardState) -> "Asking":
        """The same under exact versions: the ones asked for, or what the shard serves."""
        return self if self.versions is not None else self.keeping_to(versions_of(state))

    def keeping_to(self, versions: Mapping[str, str]) -> "Asking":
        """The same under some versions."""
        return replace(self, versions=versions)

    def version(self, name: str) -> str | None:
        """The version of an artifact; None where there is none."""
        return (self.versions or {}).get(name)

    @property
    def viewer(self) -> npt.NDArray[np.int64]:
        """The viewer's id, (1,)."""
        return np.array([self.viewer_id], np.int64)

    def vector_models(self, state: ShardState) -> VectorModels | None:
        """The trained representations, where the shard holds them under this version."""
        version = self.version(VECTORS)
        if version is None or "vectors" not in state.settings.shards.kinds:
            return None
        return state.vectors.models(version)


def versions_of(state: ShardState) -> dict[str, str]:
    """What a state serves of the artifacts that inputs are read from."""
    active = state.active_versions()
    versions = {name: active[name] for name in READ if name in active}
    if "vectors" in state.settings.shards.kinds:
        versions[VECTORS] = state.vectors.version
    return versions

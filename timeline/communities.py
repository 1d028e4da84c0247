"""What communities are about, as their training described them for people."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from actors.models import PROBLEMS
from actors.stores.sparse_embeddings import SIMCLUSTERS
from cluster.artifacts import Artifact, ArtifactStore

COMMUNITIES = "communities.json"
_VERSIONS_KEPT = 2
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Community:
    """A community; of one that nobody described only its number is known."""

    community: int
    size: int | None = None
    """Producers known for it."""
    interested: int | None = None
    """Users interested in it."""
    topics: tuple[tuple[int, float], ...] = ()
    """Leading topics and how alike their followers are to its consumers (cosine)."""
    languages: tuple[tuple[str, float], ...] = ()
    """Leading languages and their shares."""


class CommunityBook:
    """Descriptions by version of `simclusters`, read on first use; thread-safe.

    A version that cannot be read describes nothing: the answers do without.
    """

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._read: dict[str, dict[int, Community]] = {}
        self._lock = threading.Lock()

    def of(self, version: str, communities: Sequence[int]) -> tuple[Community, ...]:
        """The communities asked for, in their order."""
        described = self._read.get(version)
        if described is None:
            with self._lock:
                described = self._read.get(version)
                if described is None:
                    described = self._described(version)
                    newest = list(self._read.items())[-(_VERSIONS_KEPT - 1) :]
                    self._read = {**dict(newest), version: described}
        return tuple(described.get(c) or Community(c) for c in communities)

    def _described(self, version: str) -> dict[int, Community]:
        try:
            # Not `open`, which checks all files: the shards did, and the matrices are large.
            manifest = self._artifacts.manifest(SIMCLUSTERS, version)
            folder = self._artifacts.root / SIMCLUSTERS / version
            listed = Artifact(folder, manifest).json(COMMUNITIES)
            return {int(one["community"]): _community(one) for one in listed}
        except (*PROBLEMS, TypeError) as error:
            _LOG.warning("the communities of simclusters %s are not described: %s", version, error)
            return {}


def _community(described: dict[str, Any]) -> Community:
    return Community(
        int(described["community"]),
        int(described["size"]),
        int(described["interested"]),
        tuple((int(one["topic_id"]), float(one["cosine"])) for one in described["topics"]),
        tuple((str(one["language"]), float(one["share"])) for one in described["languages"]),
    )

"""What a request knows of its viewer's tastes: signals, ties and vectors, in one answer.

The viewer's own shard answers beside the viewer's context, under the versions it serves; the
rest of the request keeps to those.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from actors.features.binned import UNTRAINED_VERSION
from actors.features.real_graph import REAL_GRAPH
from actors.models import VECTORS
from actors.signal_lists import EMPTY, SignalList
from actors.signal_types import VISITS, SignalType
from actors.state import ShardState
from actors.stores.sparse_embeddings import Communities, Scores
from actors.user_signals import finish, gather
from actors.vector_models import Float32s
from cluster.ids import Ids

_QUALITY_VIEW, _QUALITY_VIEW_MS = SignalType.VIDEO_QUALITY_VIEW_90D, 10_000
_NO_IDS, _NO_SCORES = np.empty(0, np.int64), np.empty(0, np.float32)


@dataclass(frozen=True)
class Tastes:
    """One viewer's tastes; what is not trained, or not known of the viewer, is empty."""

    versions: Mapping[str, str] = field(default_factory=dict)
    """Of Real Graph and of the pair of vector models, by name; missing where there is none."""
    signals: Mapping[SignalType, SignalList] = field(default_factory=dict)
    affine_ids: Ids = field(default_factory=_NO_IDS.copy)
    """Authors whom Real Graph scores for the viewer, ascending."""
    real_graph: npt.NDArray[np.float32] = field(default_factory=_NO_SCORES.copy)
    """The scores, probabilities, beside `affine_ids`."""
    communities: Communities = field(default_factory=lambda: np.empty(0, np.int32))
    """InterestedIn, by score descending."""
    interests: Scores = field(default_factory=_NO_SCORES.copy)
    vector: Float32s = field(default_factory=_NO_SCORES.copy)
    """TwHIN's engagement vector (D,), or empty."""

    def of(self, kind: SignalType) -> SignalList:
        """The signals of one type; empty where it was not asked for."""
        return self.signals.get(kind, EMPTY)

    def scores_of(self, user_ids: Ids, without: float = 0.0) -> npt.NDArray[np.float32]:
        """Real Graph's scores of users (n,); `without` where there is none."""
        scores = np.full(len(user_ids), without, np.float32)
        if len(self.affine_ids):
            at = np.searchsorted(self.affine_ids, user_ids)
            at[at == len(self.affine_ids)] = 0
            known = self.affine_ids[at] == user_ids
            scores[known] = self.real_graph[at[known]]
        return scores


@dataclass(frozen=True)
class AskTastes:
    """A viewer's tastes; for the viewer's own shard."""

    viewer_id: int
    types: tuple[SignalType, ...]
    max_signals: int
    """Of each type."""
    now_ms: int

    def answer(self, state: ShardState) -> Tastes:
        """Under the versions this shard serves."""
        kinds = state.settings.shards.kinds
        versions: dict[str, str] = {}
        affine_ids, scores = _NO_IDS, _NO_SCORES
        version = state.active_version(REAL_GRAPH)
        if version != UNTRAINED_VERSION:
            versions[REAL_GRAPH] = version
            affine_ids, scores = state.models.real_graph(version).of(self.viewer_id)
        found = gather(
            state.graph,
            self.viewer_id,
            self.types,
            self.now_ms,
            stays=state.graph.stays,
            posts=state.posts.table if "posts" in kinds else None,
            scores=(affine_ids, scores.astype(np.float64)),
        )
        signals = finish(found, dict.fromkeys(self.types, self.max_signals)).lists
        if _QUALITY_VIEW in self.types:
            # Who watched 10 s watched a video that long, whatever its length is.
            views = found.lists[_QUALITY_VIEW]
            long = views.take(views.values >= _QUALITY_VIEW_MS)
            signals[_QUALITY_VIEW] = long.take(slice(self.max_signals))
        for kind in VISITS.intersection(self.types):
            # Which accounts are of adult content their own shards tell whoever seeks by them.
            signals[kind] = found.lists[kind].take(slice(self.max_signals))
        told = Tastes(versions, signals, affine_ids, scores)
        if "vectors" not in kinds:
            return told
        return _with_vectors(told, state, self.viewer_id)


def seeding(names: Sequence[str]) -> tuple[SignalType, ...]:
    """The signal types that settings name."""
    return tuple(SignalType[name.upper()] for name in names)


def _with_vectors(told: Tastes, state: ShardState, viewer_id: int) -> Tastes:
    version = state.vectors.version
    models = state.vectors.models(version)
    vectors, known = models.user_engagement.of(np.array([viewer_id], np.int64))
    communities, interests = state.vectors.interests(version, viewer_id)
    return Tastes(
        {**told.versions, VECTORS: version},
        told.signals,
        told.affine_ids,
        told.real_graph,
        communities,
        interests,
        vectors[0] if known[0] else _NO_SCORES,
    )

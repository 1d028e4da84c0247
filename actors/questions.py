"""What a timeline asks of shards; each question is answered where the data is."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from actors.features.age_decay import AgeDecay
from actors.features.reputation import Reputations
from actors.graph import Hidden, ViewerContext
from actors.posts import FoundInNetwork, FoundPosts
from actors.state import ShardState
from actors.stores.proof_ranking import Proofs
from cluster.events import Kind
from cluster.ids import Ids


@dataclass(frozen=True)
class AskContext:
    """The viewer's context; for the viewer's own shard."""

    viewer_id: int
    now_ms: int
    max_follows: int
    max_seen: int
    max_followed: int = 0

    def answer(self, state: ShardState) -> ViewerContext:
        """See `GraphKind.context`."""
        return state.graph.context(
            self.viewer_id, self.now_ms, self.max_follows, self.max_seen, self.max_followed
        )


@dataclass(frozen=True)
class AskHidden:
    """Who of given users is hidden from a viewer; for the viewer's own shard."""

    viewer_id: int
    user_ids: Ids

    def answer(self, state: ShardState) -> Hidden:
        """See `GraphKind.hidden`."""
        return state.graph.hidden(self.viewer_id, self.user_ids)


@dataclass(frozen=True)
class AskInNetwork:
    """The best recent posts of followed authors; for the authors' shards."""

    viewer_id: int
    author_ids: Ids
    """Sorted, without the viewer."""
    affinities: npt.NDArray[np.float32]
    language: str
    since_ms: int
    until_ms: int
    now_ms: int
    max_hits: int
    max_results: int
    model_version: str
    reputation_version: str = ""
    """Of Tweepcred; empty where there is none."""
    real_graph: npt.NDArray[np.float32] | None = None
    """Real Graph's scores of the authors; None where there are none."""
    excluded_ids: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    """Posts not to be found, nor reposts of them; sorted."""
    decay: AgeDecay | None = None

    def answer(self, state: ShardState) -> FoundInNetwork:
        """See `PostsKind.in_network`."""
        scores = self.real_graph
        return state.posts.in_network(
            self.author_ids,
            self.affinities,
            np.zeros(len(self.author_ids), np.float32) if scores is None else scores,
            viewer_id=self.viewer_id,
            language=self.language,
            since_ms=self.since_ms,
            until_ms=self.until_ms,
            now_ms=self.now_ms,
            max_hits=self.max_hits,
            max_results=self.max_results,
            excluded_ids=self.excluded_ids,
            model=state.models.light_ranker(self.model_version).in_network,
            reputations=reputations_of(state, self.reputation_version),
            decay=self.decay,
        )


@dataclass(frozen=True)
class AskRoots:
    """Whether posts begin conversations that anybody may read; for their authors' shards."""

    post_ids: Ids

    def answer(self, state: ShardState) -> npt.NDArray[np.bool_]:
        """See `PostsKind.roots`."""
        return state.posts.roots(self.post_ids)


@dataclass(frozen=True)
class AskSecondDegree:
    """What seeds engaged with; for the seeds' shards."""

    seed_ids: Ids
    seed_indices: npt.NDArray[np.int32]
    """What the proofs call the seeds: their places among the seeds of all shards."""
    since_ms: int
    kinds: tuple[Kind, ...]
    edges_per_seed: int

    def answer(self, state: ShardState) -> Proofs:
        """See `GraphKind.second_degree`."""
        return state.graph.second_degree(
            self.seed_ids, self.seed_indices, self.since_ms, self.kinds, self.edges_per_seed
        )


@dataclass(frozen=True)
class AskPopular:
    """Popular recent posts; for every shard."""

    language: str
    since_ms: int
    now_ms: int
    limit: int
    reputation_version: str = ""

    def answer(self, state: ShardState) -> FoundPosts:
        """See `PostsKind.popular`."""
        reputations = reputations_of(state, self.reputation_version)
        return state.posts.popular(
            self.language, self.since_ms, self.now_ms, self.limit, reputations
        )


@dataclass(frozen=True)
class AskPosts:
    """Facts and features of given posts; for their authors' shards."""

    post_ids: Ids
    language: str
    now_ms: int
    reputation_version: str = ""
    author_ids: Ids | None = None
    """Who is said to have written them; None where a post that never arrived is no use."""
    with_features: bool = True

    def answer(self, state: ShardState) -> FoundPosts:
        """See `PostsKind.hydrate`."""
        reputations = reputations_of(state, self.reputation_version)
        return state.posts.hydrate(
            *(self.post_ids, self.language, self.now_ms, reputations, self.author_ids),
            with_features=self.with_features,
        )


@dataclass(frozen=True)
class AskGone:
    """Whether posts that others repost may not be shown any more; for their authors' shards."""

    post_ids: Ids
    author_ids: Ids

    def answer(self, state: ShardState) -> npt.NDArray[np.bool_]:
        """See `PostsKind.gone`."""
        return state.posts.gone(self.post_ids, self.author_ids)


@dataclass(frozen=True)
class AskUris:
    """The external names of posts; for their authors' shards."""

    post_ids: Ids

    def answer(self, state: ShardState) -> list[str | None]:
        """See `PostsKind.uris`."""
        return state.posts.uris(self.post_ids)


@dataclass(frozen=True)
class AskLabels:
    """Safety labels of posts and of their authors; for the authors' shards."""

    post_ids: Ids
    author_ids: Ids

    def answer(self, state: ShardState) -> list[dict[str, float]]:
        """For each post its labels and values; those of its author are named `author:NAME`."""
        posts = state.posts
        pairs = zip(self.post_ids.tolist(), self.author_ids.tolist(), strict=True)
        return [
            posts.post_labels.of(post)
            | {f"author:{name}": value for name, value in posts.author_labels.of(author).items()}
            for post, author in pairs
        ]


@dataclass(frozen=True)
class PutTrace:
    """Keep what a request did; for the viewer's shard."""

    viewer_id: int
    request_id: str
    now_ms: int
    trace: bytes

    def answer(self, state: ShardState) -> None:
        """See `Traces.put`."""
        state.traces.put(self.viewer_id, self.request_id, self.now_ms, self.trace)


@dataclass(frozen=True)
class AskTrace:
    """What a request of the viewer did; for the viewer's shard."""

    viewer_id: int
    request_id: str
    since_ms: int

    def answer(self, state: ShardState) -> bytes | None:
        """See `Traces.get`."""
        return state.traces.get(self.viewer_id, self.request_id, self.since_ms)


@dataclass(frozen=True)
class AskApplied:
    """How far the log was applied when the questions beside this one were answered."""

    def answer(self, state: ShardState) -> dict[int, tuple[int, int]]:
        """See `ShardState.applied`."""
        return dict(state.applied)


def reputations_of(state: ShardState, version: str) -> Reputations | None:
    """The reputations of a version; None for "", where none is active."""
    return state.models.reputations(version) if version else None

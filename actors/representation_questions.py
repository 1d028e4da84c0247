"""What is asked of one user's or one post's representations, and of those like them.

The first question of a request finds its subject and says under which version of the models
it answered; what is asked after it names that version.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from actors.features.real_graph import REAL_GRAPH, RealGraphScores
from actors.features.reputation import TWEEPCRED
from actors.likeness import Representations, UsersLike, matrix_of, representations_of, users_like
from actors.posts import FoundPosts
from actors.state import ShardState
from actors.stores.sparse_embeddings import SparseEmbeddings
from actors.two_hop import EdgeType, LeftLists
from actors.vector_models import Float32s
from cluster.ids import Ids

MAX_LISTED = 2_000
"""Follows, followers and favoured authors of a user that are looked at."""
_LISTED = (EdgeType.FOLLOWING, EdgeType.FOLLOWED_BY, EdgeType.FAVORITE)


@dataclass(frozen=True)
class FoundUser:
    """A user as the user's own shard knows them."""

    version: str
    known: bool
    """Whether any event or model ever named this user."""
    gone: bool
    """Deactivated, suspended or deleted."""
    listed: LeftLists
    """Whom the user follows, is followed by, and favoured."""
    representations: Representations
    """One row."""


@dataclass(frozen=True)
class AskUser:
    """A user and their representations; for the user's own shard."""

    user_id: int
    now_ms: int
    version: str | None = None
    """None for the version that the shard serves."""

    def answer(self, state: ShardState) -> FoundUser:
        """Raises `LookupError` for a version that is not held."""
        one = np.array([self.user_id], np.int64)
        graph, models = state.graph, state.vectors.models(self.version or state.vectors.version)
        preferred, preferences = graph.affinities(self.user_id, self.now_ms)
        listed = graph.two_hop.left(
            self.user_id,
            _LISTED,
            limit=MAX_LISTED,
            preferred_ids=preferred,
            preferences=preferences,
            hides=partial(graph.hides, self.user_id),
        )
        found = representations_of(models, one)
        hiding = (graph.blocks, graph.blocked_by, graph.mutes)
        named = (
            state.users.rows_of(one)[0] >= 0
            or len(listed.ids) > 0
            or any(relation.degrees(one)[0] for relation in hiding)
        )
        posted = len(state.posts.table.of_authors(one, 0, self.now_ms + 1, 1)) > 0
        return FoundUser(
            models.version,
            bool(named or posted or found.any),
            bool(state.users.gone(one)[0]),
            listed,
            found,
        )


@dataclass(frozen=True)
class AskUsersLike:
    """Users like one by the trained representations; for the user's own shard."""

    user_id: int
    limit: int

    def answer(self, state: ShardState) -> UsersLike:
        """See `users_like`; under the version that the shard serves, without whom the user
        blocked or muted, or is blocked by."""
        models = state.vectors.models(state.vectors.version)
        hides = partial(state.graph.hides, self.user_id)
        return users_like(models, self.user_id, self.limit, hides)


@dataclass(frozen=True)
class AskShown:
    """Which users may be shown to anybody: not gone, not protected; for the users' shards."""

    user_ids: Ids

    def answer(self, state: ShardState) -> npt.NDArray[np.bool_]:
        """One answer for each user (n,); users who are only named by models may be shown."""
        rows = state.users.rows_of(self.user_ids)
        shown = ~state.users.gone(self.user_ids)
        shown[rows >= 0] &= ~state.users["protected"][rows[rows >= 0]]
        return shown


@dataclass(frozen=True)
class Proofs:
    """Why a user is interested in communities: of c communities, in their order."""

    followed: npt.NDArray[np.int64]
    """Producers known for each that the user follows now."""
    favoured: npt.NDArray[np.int64]
    """Producers known for each of whom the user favoured a post."""
    named_ids: list[list[int]]
    """A few of either, those nearest to the user first."""


@dataclass(frozen=True)
class AskProofs:
    """Why a user is interested in their communities; for the user's own shard."""

    user_id: int
    now_ms: int
    max_named: int

    def answer(self, state: ShardState) -> tuple[FoundUser, Proofs]:
        """The user, and the proofs in the order of the user's row of `interested_in`."""
        user = AskUser(self.user_id, self.now_ms).answer(state)
        known_for = matrix_of(state.vectors.models(user.version), "known_for")
        listed = user.listed
        tied = listed.types & ((1 << EdgeType.FOLLOWING) | (1 << EdgeType.FAVORITE)) > 0
        order = np.flatnonzero(tied)[np.argsort(listed.ranks[tied])]
        rows = known_for.rows_of(listed.ids[order])
        order, rows = order[rows >= 0], rows[rows >= 0]
        communities = known_for.take(rows).communities
        types, ids = listed.types[order], listed.ids[order]
        wanted = user.representations.sparse["interested_in"].communities
        of_each = communities[None, :] == wanted[:, None]
        return user, Proofs(
            (of_each & (types >> EdgeType.FOLLOWING & 1 > 0)).sum(axis=1),
            (of_each & (types >> EdgeType.FAVORITE & 1 > 0)).sum(axis=1),
            [ids[mine][: self.max_named].tolist() for mine in of_each],
        )


@dataclass(frozen=True)
class FoundPost:
    """A post as its author's shard knows it."""

    version: str
    post_id: int
    author_id: int
    newest_id: int
    """The edit that took its place, or itself."""
    public: bool
    """Neither deleted nor by an author who is gone or protected."""
    hidden_ids: Ids
    """Whom the author blocked or is blocked by."""
    embedding: SparseEmbeddings
    """One row, empty where there is none."""
    vector: Float32s
    """(D,)."""
    has_vector: bool


@dataclass(frozen=True)
class AskPost:
    """A post and its representations; for its author's shard, or all where nobody knows that."""

    post_id: int
    now_ms: int
    version: str | None = None
    """None for the version that the shard serves."""

    def answer(self, state: ShardState) -> FoundPost | None:
        """None where the post never came here. Raises `LookupError` as `AskUser`."""
        one = np.array([self.post_id], np.int64)
        facts = state.posts.hydrate(one, "", self.now_ms)
        if facts.created_ms[0] == 0:
            return None
        version = self.version or state.vectors.version
        vectors, known = state.vectors.vectors(version, one, self.now_ms)
        author_id = int(facts.author_ids[0])
        return FoundPost(
            version,
            self.post_id,
            author_id,
            int(facts.post_ids[0]),
            bool(may_be_public(facts)[0]),
            _hidden(state, author_id),
            state.vectors.embeddings(version, one, self.now_ms),
            vectors[0],
            bool(known[0]),
        )


@dataclass(frozen=True)
class Standing:
    """What is known of the two users of a pair beyond their representations."""

    reputations: tuple[float | None, float | None]
    """0–100, 0 where the model does not know the user; None where there is no model."""
    real_graph: tuple[float | None, float | None] | None
    """The left's score of the right and the right's of the left; None where there is none."""


@dataclass(frozen=True)
class AskStanding:
    """Reputations and, if wanted, real graph scores of a pair of users; for any one shard."""

    user_ids: tuple[int | None, int | None]
    real_graph: bool

    def answer(self, state: ShardState) -> Standing:
        """Under the versions that the shard serves."""
        active, (left, right) = state.active_versions(), self.user_ids
        reputations: list[float | None] = [None, None]
        if TWEEPCRED in active:
            model = state.models.reputations(active[TWEEPCRED])
            reputations = [
                None if user is None else float(model.of(np.array([user], np.int64))[0])
                for user in self.user_ids
            ]
        scores: list[float | None] = [None, None]
        if REAL_GRAPH in active:
            of_pairs = state.models.real_graph(active[REAL_GRAPH])
            scores = [_score(of_pairs, *pair) for pair in ((left, right), (right, left))]
        return Standing(
            (reputations[0], reputations[1]),
            (scores[0], scores[1]) if self.real_graph else None,
        )


def may_be_public(posts: FoundPosts) -> npt.NDArray[np.bool_]:
    """Which posts anybody may see: known, not deleted, of authors who are there and open."""
    public: npt.NDArray[np.bool_] = (posts.created_ms > 0) & ~posts.deleted
    return public & ~posts.author_gone & ~posts.author_protected


def _score(model: RealGraphScores, viewer_id: int | None, author_id: int | None) -> float | None:
    if viewer_id is None:
        return None
    ids, scores = model.of(viewer_id)
    found = np.flatnonzero(ids == author_id)
    return float(scores[found[0]]) if len(found) else None


def _hidden(state: ShardState, user_id: int) -> Ids:
    hiding = (state.graph.blocks, state.graph.blocked_by)
    return np.unique(np.concatenate([one.others(user_id)[0] for one in hiding]))

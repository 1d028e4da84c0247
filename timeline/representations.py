"""What the trained representations say, for people: who and what is like what, and why."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from actors.router import Router
from cluster.artifacts import ArtifactStore
from cluster.settings import Settings
from timeline.communities import CommunityBook
from timeline.pair_scoring import PairScores, Side, pair_scores
from timeline.query import Query
from timeline.similar_posts import SimilarPosts, similar_posts
from timeline.similar_users import SimilarUsers, UserCommunities, communities_of, similar_users

T = TypeVar("T")


@dataclass(frozen=True)
class Told(Generic[T]):
    """An answer, and what has to be said about it."""

    what: T
    now_ms: int
    degraded: list[str] = field(default_factory=list)
    """Shards of which something is missing."""
    reason: str | None = None
    """Why the answer is empty: `untrained`, `no_representation`."""


class Representations:
    """Answers questions about representations over a router's shards; thread-safe.

    Each method has until the deadline of a timeline, from `arrived_s` on the monotonic clock,
    and raises `ProblemError` (`unknown-user`, `unknown-post`) where nothing is known.
    """

    def __init__(
        self,
        settings: Settings,
        router: Router,
        artifacts: ArtifactStore,
        clock: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._router = router
        self._clock = clock
        self._book = CommunityBook(artifacts)

    def similar_users(self, user_id: int, limit: int, arrived_s: float) -> Told[SimilarUsers]:
        """See `similar_users.similar_users`."""
        query = self._query(limit, arrived_s, user_id)
        return _told(query, similar_users(query, user_id, limit, self._book))

    def similar_posts(
        self, post_id: int, author_id: int | None, limit: int, arrived_s: float
    ) -> Told[SimilarPosts]:
        """See `similar_posts.similar_posts`."""
        query = self._query(limit, arrived_s)
        return _told(query, similar_posts(query, post_id, author_id, limit, self._book))

    def score(self, left: Side, right: Side, arrived_s: float) -> Told[PairScores]:
        """See `pair_scoring.pair_scores`."""
        query = self._query(1, arrived_s)
        return _told(query, pair_scores(query, left, right, self._book))

    def communities(self, user_id: int, arrived_s: float) -> Told[UserCommunities]:
        """See `similar_users.communities_of`."""
        query = self._query(1, arrived_s, user_id)
        return _told(query, communities_of(query, user_id, self._book))

    def _query(self, limit: int, arrived_s: float, user_id: int = 0) -> Query:
        return Query(
            viewer_id=user_id,
            now_ms=self._clock(),
            limit=limit,
            request_id="",
            settings=self._settings,
            router=self._router,
            deadline_s=arrived_s + self._settings.http.deadline_ms / 1000,
        )


def _told(query: Query, what: T) -> Told[T]:
    return Told(what, query.now_ms, query.degraded, query.reason)

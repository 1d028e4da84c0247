"""Who to follow, for people: one answer of the whole service, with reasons."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from actors.router import Router
from cluster.problems import ProblemError
from cluster.settings import Settings
from timeline.findings import ask_together
from timeline.follow_recommendations.flow import WHO_TO_FOLLOW, Flow, recommend
from timeline.follow_recommendations.reasons import Because, reasons_of
from timeline.hydration import fetch_viewer
from timeline.query import Query
from timeline.representations import Told
from timeline.sources import first_questions

_SHARE = 0.6
_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Recommendation:
    """An account that a viewer may want to follow."""

    user_id: int
    score: float
    """How strongly the sources agree: the sum of 1 / (1 + rank) over them."""
    sources: list[str]
    reasons: list[Because]


class AccountRecommendations:
    """Answers who to follow over a router's shards; thread-safe."""

    def __init__(
        self,
        settings: Settings,
        router: Router,
        clock: Callable[[], int],
        flow: Flow = WHO_TO_FOLLOW,
    ) -> None:
        self._settings = settings
        self._router = router
        self._clock = clock
        self._flow = flow

    def of(
        self, user_id: int, limit: int, arrived_s: float, excluded_ids: tuple[int, ...] = ()
    ) -> Told[list[Recommendation]]:
        """Accounts for a user, best first: the same within an hour, as long as nothing happens.

        A user of whom nothing is known gets popular ones, and the reason `cold_start`. Has
        until the deadline of a timeline, from `arrived_s` on the monotonic clock. Raises
        `ProblemError` (`unknown-user`) for a user who is gone.
        """
        now_ms = self._clock()
        query = Query(
            viewer_id=user_id,
            now_ms=now_ms,
            limit=limit,
            request_id="",
            settings=self._settings,
            router=self._router,
            seed=now_ms // _HOUR_MS,
            deadline_s=arrived_s + self._settings.http.deadline_ms / 1000,
            recorded=True,
        )
        if not fetch_viewer(query, with_cached=False, beside=[first_questions.of_ties(query)]):
            if query.context is not None and query.viewer.gone:
                raise ProblemError("unknown-user", f"user {user_id} is gone")
            return _told(query, [])
        finding = recommend(query, self._flow, limit, np.array(excluded_ids, np.int64))
        found = ask_together(query, {"follow_recommendations": finding}, _SHARE)
        recommended = found["follow_recommendations"]
        if recommended is None:
            query.note("follow_recommendations")
            return _told(query, [])
        rows = zip(
            recommended.user_ids.tolist(),
            recommended.scores.tolist(),
            *reasons_of(recommended),
            strict=True,
        )
        return _told(query, [Recommendation(*row) for row in rows])


def _told(query: Query, items: list[Recommendation]) -> Told[list[Recommendation]]:
    return Told(items, query.now_ms, query.degraded, query.reason)

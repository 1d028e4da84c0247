"""Creator analytics and transparency: an author's reach, and what labels do to their posts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from actors.analytics import COUNTED
from actors.analytics_questions import (
    AskAuthor,
    AskOwnLabels,
    AuthorPosts,
    FoundAuthor,
    FoundLabels,
)
from actors.features.safety import MODEL_PREFIX
from actors.known_labels import counts_as
from actors.router import Router
from actors.state import Failed, Question
from cluster.events import ENGAGEMENTS, Kind
from cluster.problems import ProblemError
from cluster.settings import DAY_MS, Settings
from cluster.visibility_settings import VisibilitySettings
from timeline.query import Query
from timeline.representations import Told
from timeline.visibility_effects import Effect, effects_of

F = TypeVar("F", FoundAuthor, FoundLabels)
T = TypeVar("T")

Counts = npt.NDArray[np.integer]

_SHARE = 0.8
_IMPRESSIONS, _SERVED = COUNTED.index(Kind.IMPRESSION), COUNTED.index(Kind.SERVED)
_FOLLOWS, _UNFOLLOWS = COUNTED.index(Kind.FOLLOW), COUNTED.index(Kind.UNFOLLOW)


@dataclass(frozen=True)
class Reach:
    """What happened to an author's posts and account on one day, or on several together."""

    impressions: int = 0
    """Times that a post was on screen."""
    viewers: int = 0
    """Different users who had a post on screen, estimated (`actors.stores.distinct`)."""
    served: int = 0
    """Times that a post was in an answer, whether or not it came on screen."""
    served_by: Mapping[str, int] = field(default_factory=dict)
    """Candidate source → how many of these it had found."""
    engagements: Mapping[str, int] = field(default_factory=dict)
    """Kind → how many; kinds of which there were none are missing. Those taken back are
    counted down, on the day on which they were."""
    follows: int = 0
    unfollows: int = 0

    @property
    def rates(self) -> dict[str, float]:
        """Engagements of each kind for one impression; none where there were no impressions."""
        if not self.impressions:
            return {}
        return {kind: n / self.impressions for kind, n in self.engagements.items()}


@dataclass(frozen=True)
class TopPost:
    """A post, and all that happened to it since it was created."""

    post_id: int
    created_ms: int
    total: Reach


@dataclass(frozen=True)
class AuthorAnalytics:
    """An author's reach on some days, UTC, today included."""

    since_ms: int
    """From here on everything that came is counted."""
    followers: int
    """Now."""
    total: Reach
    by_day: list[tuple[int, Reach]]
    """(beginning of the day in ms, what happened on it), the oldest first."""
    top_posts: list[TopPost]
    """Created on these days, those engaged with most first."""


@dataclass(frozen=True)
class OwnLabel:
    """A label as its author may know it, with all that it does."""

    label: str
    """As written."""
    value: float
    by_model: bool
    effects: list[Effect]
    """What it does by itself on each surface, by which rule of `docs/visibility.md`."""


@dataclass(frozen=True)
class OwnPost:
    """A post and its labels."""

    post_id: int
    created_ms: int
    labels: list[OwnLabel]


@dataclass(frozen=True)
class OwnLabels:
    """The labels of an account, and of posts of it."""

    account: list[OwnLabel]
    posts: list[OwnPost]


class CreatorAnalytics:
    """Answers authors about themselves over a router's shards; thread-safe.

    Each method has until the deadline of a timeline, from `arrived_s` on the monotonic clock,
    and raises `ProblemError` (`unknown-user`) for a user who is gone or was never heard of.
    """

    def __init__(self, settings: Settings, router: Router, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._router = router
        self._clock = clock

    def of(self, user_id: int, days: int, limit: int, arrived_s: float) -> Told[AuthorAnalytics]:
        """An author's last days with at most `limit` top posts; days that are not kept any more
        are left out."""
        query = self._query(user_id, limit, arrived_s)
        days = min(days, self._settings.analytics.days)
        found = _of_home(query, AskAuthor(user_id, days, query.now_ms, limit), FoundAuthor)
        if found is None:
            return _told(query, AuthorAnalytics(0, 0, Reach(), [], []))
        return _told(query, _analytics(found))

    def labels(
        self, user_id: int, post_id: int | None, limit: int, arrived_s: float
    ) -> Told[OwnLabels]:
        """The labels of an account and of its newest labelled posts, or of one post of it.

        Raises `ProblemError` (`unknown-post`) also for a post that is another's.
        """
        query = self._query(user_id, limit, arrived_s)
        question = AskOwnLabels(user_id, post_id, query.now_ms, limit)
        found = _of_home(query, question, FoundLabels)
        if found is None:
            return _told(query, OwnLabels([], []))
        if post_id is not None and not found.posts:
            raise ProblemError("unknown-post", f"user {user_id} has no post {post_id}")
        told = _Effects(self._settings.visibility)
        posts = [
            OwnPost(post.post_id, post.created_ms, told.of(post.labels, of_author=False))
            for post in found.posts
        ]
        return _told(query, OwnLabels(told.of(found.account, of_author=True), posts))

    def _query(self, user_id: int, limit: int, arrived_s: float) -> Query:
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


def _of_home(query: Query, question: Question, _: type[F]) -> F | None:
    """What the user's own shard answers, or None, noted, where it does not."""
    home = query.viewer_shard
    reply = query.ask({home: [question]}, _SHARE).replies.get(home)
    if reply is None or isinstance(reply.answers[0], Failed):
        query.note(f"shard_{home}")
        return None
    found: F = reply.answers[0]
    if not found.known:
        raise ProblemError("unknown-user", f"nothing is known of user {query.viewer_id}")
    if found.gone:
        raise ProblemError("unknown-user", f"user {query.viewer_id} is gone")
    return found


def _analytics(found: FoundAuthor) -> AuthorAnalytics:
    days = found.days
    kept = range(max(found.complete_since_day - days.first_day, 0), len(days.counts))
    by_day = [
        (
            (days.first_day + at) * DAY_MS,
            _reach(
                days.counts[at],
                days.viewers[at],
                {name: int(counts[at]) for name, counts in days.served_by.items()},
            ),
        )
        for at in kept
    ]
    total = _reach(
        days.counts[kept.start :].sum(axis=0),
        days.reach,
        {name: int(counts[kept.start :].sum()) for name, counts in days.served_by.items()},
    )
    since_ms = (days.first_day + kept.start) * DAY_MS
    return AuthorAnalytics(since_ms, found.followers, total, by_day, _posts(found.top_posts))


def _reach(counts: Counts, viewers: float, served_by: dict[str, int]) -> Reach:
    return Reach(
        impressions=int(counts[_IMPRESSIONS]),
        viewers=round(float(viewers)),
        served=int(counts[_SERVED]),
        served_by={name: n for name, n in served_by.items() if n},
        engagements=_by_kind(counts),
        follows=int(counts[_FOLLOWS]),
        unfollows=int(counts[_UNFOLLOWS]),
    )


def _by_kind(counts: Counts) -> dict[str, int]:
    """The first columns, which are those of `ENGAGEMENTS`, by the kinds' names."""
    pairs = zip(ENGAGEMENTS, counts[: len(ENGAGEMENTS)].tolist(), strict=True)
    return {kind.label: n for kind, n in pairs if n}


def _posts(found: AuthorPosts) -> list[TopPost]:
    columns = (found.post_ids, found.created_ms, found.impressions)
    rows = zip(*(column.tolist() for column in columns), found.engagements, strict=True)
    return [
        TopPost(post, created, Reach(impressions=shown, engagements=_by_kind(counts)))
        for post, created, shown, counts in rows
    ]


class _Effects:
    """What labels do, asked of the rules once for all that count as the same."""

    def __init__(self, settings: VisibilitySettings) -> None:
        self._settings = settings
        self._known: dict[tuple[bool, str, tuple[str, ...]], list[Effect]] = {}

    def of(self, labels: Mapping[str, float], *, of_author: bool) -> list[OwnLabel]:
        """Labels by name with their values, of posts or of accounts."""
        found = []
        for name, value in labels.items():
            key = (of_author, name, counts_as(name, value))
            if key not in self._known:
                one = {name: value}
                both = ({}, one) if of_author else (one, {})
                self._known[key] = effects_of(*both, self._settings)
            found.append(OwnLabel(name, value, name.startswith(MODEL_PREFIX), self._known[key]))
        return found

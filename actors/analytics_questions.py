"""What authors may ask about themselves: their days, their best posts, and their labels."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.analytics import AuthorDays
from actors.known_labels import WRITTEN
from actors.state import ShardState
from actors.stores.posts import COUNTERS
from cluster.events import ENGAGEMENTS, Kind
from cluster.ids import Ids
from cluster.settings import DAY_MS

MAX_POSTS = 3_200
"""Newest posts of an author that are looked at."""

_N_ENGAGEMENTS = len(ENGAGEMENTS)
_IMPRESSION = COUNTERS.index(Kind.IMPRESSION)


@dataclass(frozen=True)
class AuthorPosts:
    """Posts with all that ever happened to them; arrays of shape (n,)."""

    post_ids: Ids
    created_ms: Ids
    impressions: npt.NDArray[np.int32]
    engagements: npt.NDArray[np.int32]
    """Shape (n, len(ENGAGEMENTS))."""


@dataclass(frozen=True)
class FoundAuthor:
    """What an author's shard knows of the author's reach."""

    known: bool
    """Whether any event ever named this user."""
    gone: bool
    followers: int
    days: AuthorDays
    complete_since_day: int
    """Before it, some of what came is forgotten."""
    top_posts: AuthorPosts
    """Of these days, those engaged with most first."""


@dataclass(frozen=True)
class AskAuthor:
    """An author's last `n_days` days, today included; for the author's own shard."""

    author_id: int
    n_days: int
    now_ms: int
    n_posts: int

    def answer(self, state: ShardState) -> FoundAuthor:
        """See `Analytics.of`; top posts are original ones, not deleted, created in these days."""
        first_day = self.now_ms // DAY_MS - self.n_days + 1
        author = np.array([self.author_id], np.int64)
        days = state.posts.analytics.of(self.author_id, first_day, self.n_days)
        followers = int(state.followers.degrees(author)[0])
        known = state.users.rows_of(author)[0] >= 0 or followers > 0 or days.counts.any()
        return FoundAuthor(
            bool(known or _posted(state, author, self.now_ms)),
            bool(state.users.gone(author)[0]),
            followers,
            days,
            state.posts.analytics.first_day,
            self._top(state, author, first_day * DAY_MS),
        )

    def _top(self, state: ShardState, author: Ids, since_ms: int) -> AuthorPosts:
        table = state.posts.table
        rows = table.of_authors(author, since_ms, self.now_ms + 1, MAX_POSTS)
        rows = rows[table["repost_of_id"][rows] == 0]
        counts = table["counts"][rows]
        total = counts[:, :_N_ENGAGEMENTS].sum(axis=1)
        best = np.lexsort((-table["post_ids"][rows], -counts[:, _IMPRESSION], -total))
        best = best[: self.n_posts]
        rows, counts = rows[best], counts[best]
        return AuthorPosts(
            table["post_ids"][rows],
            table["created_ms"][rows],
            counts[:, _IMPRESSION],
            counts[:, :_N_ENGAGEMENTS],
        )


@dataclass(frozen=True)
class Labelled:
    """A post and its labels."""

    post_id: int
    created_ms: int
    labels: dict[str, float]
    """Name as written → value."""


@dataclass(frozen=True)
class FoundLabels:
    """The labels of an account and of posts of it."""

    known: bool
    """Whether any event ever named this user."""
    gone: bool
    account: dict[str, float]
    """Name as written → value."""
    posts: list[Labelled]
    """Newest first; of one post that was asked for, that one if it is the author's."""


@dataclass(frozen=True)
class AskOwnLabels:
    """Labels of an author's account and posts; for the author's own shard."""

    author_id: int
    post_id: int | None
    """One post, labelled or not; None for the newest labelled ones."""
    now_ms: int
    limit: int

    def answer(self, state: ShardState) -> FoundLabels:
        """Looks at the author's `MAX_POSTS` newest posts, and at labels that a rule may know."""
        posts, author = state.posts, np.array([self.author_id], np.int64)
        account = posts.author_labels.of(self.author_id)
        rows = self._labelled(state, author) if self.post_id is None else self._one(state)
        found = [
            Labelled(post_id, created_ms, posts.post_labels.of(post_id))
            for post_id, created_ms in zip(
                posts.table["post_ids"][rows].tolist(),
                posts.table["created_ms"][rows].tolist(),
                strict=True,
            )
        ]
        known = state.users.rows_of(author)[0] >= 0 or bool(account) or bool(found)
        known = known or state.followers.degrees(author)[0] > 0
        return FoundLabels(
            bool(known or _posted(state, author, self.now_ms)),
            bool(state.users.gone(author)[0]),
            account,
            found,
        )

    def _labelled(self, state: ShardState, author: Ids) -> npt.NDArray[np.int64]:
        posts = state.posts
        rows = posts.table.of_authors(author, 1, self.now_ms + 1, MAX_POSTS)
        post_ids = posts.table["post_ids"][rows]
        labelled = np.zeros(len(rows), bool)
        for name in sorted({told.name for told in WRITTEN}):
            labelled |= posts.post_labels.values(post_ids, name) > 0
        return rows[labelled][: self.limit]

    def _one(self, state: ShardState) -> npt.NDArray[np.int64]:
        table = state.posts.table
        rows = table.rows_of(np.array([self.post_id], np.int64)).astype(np.int64)
        rows = rows[rows >= 0]
        mine = (table["author_ids"][rows] == self.author_id) & (table["created_ms"][rows] > 0)
        found: npt.NDArray[np.int64] = rows[mine & ~table["deleted"][rows]]
        return found


def _posted(state: ShardState, author: Ids, now_ms: int) -> bool:
    return len(state.posts.table.of_authors(author, 0, now_ms + 1, 1)) > 0

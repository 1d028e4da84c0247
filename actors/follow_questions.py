"""What account recommendations ask of shards about users other than the viewer."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.posts import FoundPosts, rank_within
from actors.questions import reputations_of
from actors.state import ShardState
from actors.stores.newest_related import Related, newest_related
from actors.stores.posts import COUNTERS
from actors.two_hop import FOLLOWED_BY_FOLLOWED, LeftLists
from cluster.events import Kind
from cluster.ids import Ids

Mask = npt.NDArray[np.bool_]

_FOLLOWS_PER_MUTUAL = 8
"""How many follows are looked at to find one that is returned."""


@dataclass(frozen=True)
class AskFollowees:
    """Whom users followed last; for those users' shards."""

    user_ids: Ids
    limit: int
    """Of each user."""

    def answer(self, state: ShardState) -> Related:
        """See `newest_related`."""
        return newest_related(state.graph.follows, self.user_ids, self.limit)


@dataclass(frozen=True)
class AskMutuals:
    """With whom users follow one another, by when they began to; for those users' shards."""

    user_ids: Ids
    limit: int
    """Of each user, among the newest follows."""

    def answer(self, state: ShardState) -> Related:
        """`degrees` are those of all follows."""
        looked_at = self.limit * _FOLLOWS_PER_MUTUAL
        found = newest_related(state.graph.follows, self.user_ids, looked_at)
        back = state.followers.holds(self.user_ids[found.places], found.other_ids)
        mutual = found.where(back)
        return mutual.where(rank_within(mutual.places) < self.limit)


@dataclass(frozen=True)
class AccountFacts:
    """What their own shards know of n accounts."""

    gone: Mask
    """Deactivated, suspended or deleted."""
    protected: Mask
    followed: Mask
    """By the viewer, however long ago."""
    hides: Mask
    """The account blocked or muted the viewer."""
    posted: Mask
    """There is a post of the account since the instant that was asked for."""
    labelled: Mask
    """Its author has one of the labels that were asked for."""
    between: npt.NDArray[np.int32]
    """Of those whom the viewer follows, how many follow the account."""
    named_ids: Ids
    """int64 (n, k): who they are, the viewer's nearest first; 0 where no more."""


@dataclass(frozen=True)
class AskAccounts:
    """Whether accounts may be recommended to a viewer, and who vouches for them; for the
    accounts' shards."""

    viewer_id: int
    user_ids: Ids
    listed: LeftLists
    max_named: int
    active_since_ms: int
    now_ms: int
    labels: tuple[str, ...]

    def answer(self, state: ShardState) -> AccountFacts:
        """In the order of `user_ids`."""
        ids, n = self.user_ids, len(self.user_ids)
        protected, labelled = np.zeros(n, bool), np.zeros(n, bool)
        rows = state.users.rows_of(ids)
        protected[rows >= 0] = state.users["protected"][rows[rows >= 0]]
        viewer = np.full(n, self.viewer_id, np.int64)
        for label in self.labels:
            labelled |= state.posts.author_labels.values(ids, label) > 0
        table = state.posts.table
        posts = table.of_authors(ids, self.active_since_ms, self.now_ms + 1, 1)
        counts = state.graph.two_hop.counts(
            self.listed, ids, FOLLOWED_BY_FOLLOWED, max_named=self.max_named
        )
        return AccountFacts(
            gone=state.users.gone(ids),
            protected=protected,
            followed=state.followers.holds(ids, viewer),
            hides=state.graph.blocks.holds(ids, viewer) | state.graph.mutes.holds(ids, viewer),
            posted=np.isin(ids, table["author_ids"][posts]),
            labelled=labelled,
            between=counts.counts[:, 0],
            named_ids=counts.named_ids,
        )


@dataclass(frozen=True)
class AskNewestOriginals:
    """The newest posts of authors that are neither replies nor reposts; for the authors'
    shards."""

    author_ids: Ids
    since_ms: int
    until_ms: int
    per_author: int
    limit: int
    language: str
    now_ms: int
    viewer_id: int
    """Whose follows are left out: their posts are no discovery."""
    reputation_version: str = ""

    def answer(self, state: ShardState) -> FoundPosts:
        """Complete candidates, newest first."""
        table = state.posts.table
        viewer = np.full(len(self.author_ids), self.viewer_id, np.int64)
        authors = self.author_ids[~state.followers.holds(self.author_ids, viewer)]
        rows = table.of_authors(authors, self.since_ms, self.until_ms, _WRITTEN_SCAN)
        rows = rows[(table["reply_to_id"][rows] == 0) & (table["repost_of_id"][rows] == 0)]
        rows = rows[rank_within(table["author_ids"][rows]) < self.per_author]
        newest = np.lexsort((-table["post_ids"][rows], -table["created_ms"][rows]))[: self.limit]
        post_ids = table["post_ids"][rows[newest]]
        reputations = reputations_of(state, self.reputation_version)
        return state.posts.hydrate(post_ids, self.language, self.now_ms, reputations)


_WRITTEN_SCAN = 1_000
"""Newest posts of an author among which originals are looked for."""
_TOPIC_SCAN = 20_000
"""Posts of one shard among which those on a topic are looked for."""


@dataclass(frozen=True)
class AskTopicAuthors:
    """Who lately wrote on topics, and how much others liked it; for every shard."""

    topic_ids: Ids
    since_ms: int
    now_ms: int
    limit: int

    def answer(self, state: ShardState) -> tuple[Ids, npt.NDArray[np.int64]]:
        """The `limit` best authors, and posts plus favourites of each, among the posts of this
        shard that were written last (`_TOPIC_SCAN`)."""
        table = state.posts.table
        rows = table.newest(self.since_ms, self.now_ms + 1, _TOPIC_SCAN)
        rows = rows[np.isin(table["topic_id"][rows], self.topic_ids)]
        favourites = table["counts"][rows, COUNTERS.index(Kind.FAVOURITE)].astype(np.int64)
        ids, at = np.unique(table["author_ids"][rows], return_inverse=True)
        totals = np.zeros(len(ids), np.int64)
        np.add.at(totals, at, 1 + np.maximum(favourites, 0))
        best = np.lexsort((ids, -totals))[: self.limit]
        return ids[best], totals[best]

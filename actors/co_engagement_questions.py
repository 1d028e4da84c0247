"""The three steps of co-engagement, each for the shards that hold what it reads.

Who engaged with posts, asked of their authors' shards; what those users engaged with, of the
users' own; and how many engaged with what came of it, of its authors' shards. Questions carry
arrays for all keys of a request, one for each shard and step.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.co_engagement import (
    WEIGHT_ONE,
    GraphName,
    Int64s,
    Normalisation,
    reader,
    user_weights,
)
from actors.state import ShardState
from actors.stores.co_counts import CoCounts, count_together
from actors.stores.newest_related import newest_related
from cluster.ids import Ids, mix64

_EDGES_PER_DEGREE = 2
"""How many times the greatest degree of users who count is read of each user's edges."""


class UserLists(NamedTuple):
    """A list of users for each of k keys."""

    offsets: Int64s
    """(k+1,): the users of key i are `offsets[i]` … `offsets[i+1]`."""
    user_ids: Ids
    degrees: Int64s
    """(k,): engagements with the post that is the key; 0 where the key is no post."""


class Degrees(NamedTuple):
    """Of n posts."""

    degrees: Int64s
    """Engagements within the window; 0 for a post too old, deleted or not known."""
    levels: npt.NDArray[np.uint8]
    """From which level on an engagement counts; see `CoCounts.counts`."""


@dataclass(frozen=True)
class AskEngagers:
    """Who engaged with posts; for the posts' authors' shards."""

    graph: GraphName
    post_ids: Ids
    since_ms: int
    max_users: int
    seed: int

    def answer(self, state: ShardState) -> UserLists:
        """At most `max_users` of each post, drawn without replacement, ascending.

        Who is drawn depends on the seed, the user and the post alone. (The original draws
        with replacement and then drops repeated ones.)
        """
        posts = state.posts if "posts" in state.settings.shards.kinds else None
        found, degrees = reader(state.graph, posts, self.graph).of_posts(
            self.post_ids, self.since_ms
        )
        keys = np.repeat(np.arange(len(self.post_ids)), np.diff(found.offsets))
        own = mix64(self.post_ids.astype(np.uint64) ^ np.uint64(self.seed % 2**64))
        lots = mix64(found.other_ids.astype(np.uint64) ^ own[keys])
        drawn = np.lexsort((lots, keys))
        nth = np.arange(len(drawn)) - found.offsets[keys]
        drawn = drawn[nth < self.max_users]
        keys, user_ids = keys[drawn], found.other_ids[drawn]
        order = np.lexsort((user_ids, keys))
        sizes = np.bincount(keys, minlength=len(self.post_ids))
        return UserLists(np.concatenate([[0], sizes.cumsum()]), user_ids[order], degrees)


@dataclass(frozen=True)
class AskFollowers:
    """Who followed accounts last; for the accounts' shards."""

    account_ids: Ids
    limit: int

    def answer(self, state: ShardState) -> UserLists:
        """The newest `limit` followers of each account."""
        found = newest_related(state.followers, self.account_ids, self.limit)
        none = np.zeros(len(self.account_ids), np.int64)
        return UserLists(found.offsets, found.other_ids, none)


@dataclass(frozen=True)
class AskCoCounts:
    """What users engaged with, counted for each key; for the users' shards."""

    graph: GraphName
    user_ids: Ids
    """Distinct, (u,)."""
    offsets: Int64s
    """(k+1,): the users of key i are `members[offsets[i]]` …"""
    members: npt.NDArray[np.int32]
    """Places in `user_ids`."""
    since_ms: int
    least_degrees: Int64s
    """(k,): users with fewer engagements do not count for key i."""
    below_degrees: Int64s
    """(k,): nor do those with as many or more."""
    normalisation: Normalisation | None = None
    """By what users weigh; None: all the same."""

    def answer(self, state: ShardState) -> CoCounts:
        """The counts of this shard's users.

        Twice the greatest `below_degrees` edges of any kind are read of each user; one who has
        as many in the window, or more, counts as having too many.
        """
        most = int(self.below_degrees.max(initial=1))
        limit = _EDGES_PER_DEGREE * most
        edges = reader(state.graph, None, self.graph)
        found, degrees = edges.of_users(self.user_ids, self.since_ms, limit)
        degrees = np.where(found.n_read < limit, degrees, most)
        weights = np.full(len(degrees), WEIGHT_ONE, np.int64)
        if self.normalisation is not None:
            weights = user_weights(self.normalisation, degrees)
        return count_together(
            found,
            degrees,
            weights,
            self.offsets,
            self.members,
            self.least_degrees,
            self.below_degrees,
            edges.n_levels,
        )


@dataclass(frozen=True)
class AskDegrees:
    """How many engaged with posts; for their authors' shards."""

    graph: GraphName
    post_ids: Ids
    since_ms: int

    def answer(self, state: ShardState) -> Degrees:
        """See `Degrees`."""
        edges = reader(state.graph, state.posts, self.graph)
        degrees = edges.candidate_degrees(self.post_ids, self.since_ms)
        return Degrees(degrees, edges.half_levels(self.post_ids))

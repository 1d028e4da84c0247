"""What shards tell of the newest posts of groups of authors."""

from dataclasses import dataclass

import numpy as np

from actors.state import ShardState
from actors.stores.newest_posts import NewestPosts, newest_of_groups
from cluster.ids import Ids


@dataclass(frozen=True)
class AskNewestOfGroups:
    """The newest posts of each group of authors, no replies; for the authors' shards.

    Not of accounts that are gone, whose posts would take the places of others. The newest of all
    shards together are among the newest of each (`merge_newest`).
    """

    author_ids: Ids
    offsets: Ids
    """Shape (n_groups + 1,): group i is `author_ids[offsets[i] : offsets[i + 1]]`."""
    since_ms: int
    until_ms: int
    """Created in [since_ms, until_ms)."""
    limit: int
    """Of each group."""
    reposts: bool = False

    def answer(self, state: ShardState) -> NewestPosts:
        """See `newest_of_groups`."""
        here = ~state.users.gone(self.author_ids)
        return newest_of_groups(
            state.posts.table,
            self.author_ids[here],
            np.concatenate([[0], np.cumsum(here)])[self.offsets],
            since_ms=self.since_ms,
            until_ms=self.until_ms,
            limit=self.limit,
            reposts=self.reposts,
        )

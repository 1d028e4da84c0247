"""What timelines ordered by time ask of shards: a part of time, and who writes in it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.posts import FoundPosts
from actors.state import ShardState
from actors.stores.newest_between import Place, Replies, newest_between
from cluster.ids import Ids

MAX_SCAN = 20_000
"""Posts that one question looks at, whatever is kept of them: bounds the cost of authors who
do nothing but reply."""


@dataclass(frozen=True)
class FoundBetween:
    """The newest posts of one shard in a part of time."""

    posts: FoundPosts
    """Newest first."""
    reached: Place | None
    """How far down the shard looked; None: to the end."""


@dataclass(frozen=True)
class AskNewestBetween:
    """The newest posts of authors in a part of time; for the authors' shards."""

    author_ids: Ids
    """(n,), each once."""
    followed: npt.NDArray[np.bool_]
    """(n,): who the viewer follows, and may read though they are protected."""
    before: Place
    after: Place
    """Both exclusive."""
    limit: int
    replies: Replies
    addressed_ids: Ids
    """Sorted: to whom replies may be, with `Replies.TO_GIVEN`."""
    hidden_ids: Ids
    """Sorted: what replies to them, quotes or reposts them is left out."""
    language: str
    now_ms: int

    def answer(self, state: ShardState) -> FoundBetween:
        """See `newest_between`; authors who are gone are left out."""
        users, posts = state.users, state.posts
        rows = users.rows_of(self.author_ids)
        readable = ~users.gone(self.author_ids)
        known = rows >= 0
        readable[known] &= ~users["protected"][rows[known]] | self.followed[known]
        found = newest_between(
            posts.table,
            self.author_ids[readable],
            before=self.before,
            after=self.after,
            limit=self.limit,
            replies=self.replies,
            addressed_ids=self.addressed_ids,
            hidden_ids=self.hidden_ids,
            max_scan=MAX_SCAN,
        )
        post_ids = posts.table["post_ids"][found.rows]
        return FoundBetween(posts.hydrate(post_ids, self.language, self.now_ms), found.reached)


@dataclass(frozen=True)
class AskListMembers:
    """Who is in a list; for its owner's shard."""

    owner_id: int
    list_id: int
    max_members: int

    def answer(self, state: ShardState) -> Ids | None:
        """Those added last, last added first; None where the owner has no such list."""
        return state.graph.lists.members(self.owner_id, self.list_id, self.max_members)

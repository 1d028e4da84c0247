"""What sources ask of a viewer's own shard, beside the viewer's context."""

from dataclasses import dataclass

import numpy as np

from actors.lists import ListMembers
from actors.scored_posts import ScoredPosts
from actors.state import ShardState
from cluster.ids import Ids


@dataclass(frozen=True)
class AskLists:
    """The viewer's own lists and their members."""

    viewer_id: int
    max_lists: int
    max_members: int
    """Of each list."""

    def answer(self, state: ShardState) -> ListMembers:
        """See `Lists.of`."""
        return state.graph.lists.of(self.viewer_id, self.max_lists, self.max_members)


@dataclass(frozen=True)
class AskLastServed:
    """When the viewer was served anything last."""

    viewer_id: int
    since_ms: int

    def answer(self, state: ShardState) -> int:
        """Milliseconds; 0 where nothing was since `since_ms`."""
        return state.graph.last_served_ms(self.viewer_id, self.since_ms)


@dataclass(frozen=True)
class AskCountry:
    """The country that the viewer is in."""

    viewer_id: int

    def answer(self, state: ShardState) -> str:
        """As the viewer's account says; "" where it does not."""
        row = state.users.rows_of(np.array([self.viewer_id], np.int64))
        if row[0] < 0:
            return ""
        return state.users.words.words(state.users["country"][row])[0].as_py() or ""


@dataclass(frozen=True)
class AskEngaged:
    """Posts that the viewer engaged with, as others may see."""

    viewer_id: int
    limit: int
    """Engagements, the newest."""

    def answer(self, state: ShardState) -> Ids:
        """Sorted, each once; what was taken back counts as well, as in GraphJet."""
        return np.unique(state.graph.engagements.user_edges(self.viewer_id, self.limit).ids)


@dataclass(frozen=True)
class AskScored:
    """What was scored for the viewer a moment ago."""

    viewer_id: int
    now_ms: int

    def answer(self, state: ShardState) -> ScoredPosts:
        """See `ScoredCache.get`."""
        return state.scored.get(self.viewer_id, self.now_ms)


@dataclass(frozen=True)
class PutScored:
    """Keep what was scored for a viewer."""

    viewer_id: int
    posts: ScoredPosts
    now_ms: int

    def answer(self, state: ShardState) -> None:
        """See `ScoredCache.put`."""
        state.scored.put(self.viewer_id, self.posts, self.now_ms)

"""UUG: whom users follow and mention, as edges from one account to another.

An edge has the original's code of its type. Of mentions only that of the account one replies to
is one here: `mention` events are counted, without their times, in the two-hop counts. Media tags
no event names.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.graph import PUBLIC_CODES
from actors.state import ShardState
from actors.stores.newest_related import newest_related
from actors.stores.standing import NO_KIND, standing_of_users
from cluster.events import Kind
from cluster.ids import Ids

Int32s = npt.NDArray[np.int32]


class UserEdge(IntEnum):
    """How one account is tied to another; the numbers are the original's."""

    FOLLOW = 0
    MENTION = 1
    """Replied to a post of the account, and did not take the reply back."""


class UserEdges(NamedTuple):
    """Edges from seeds to accounts, arrays of shape (n,), seed by seed; each edge once."""

    account_ids: Ids
    seed_indices: Int32s
    types: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class AskUserEdges:
    """Whom seeds follow and mention; for the seeds' shards."""

    seed_ids: Ids
    seed_indices: Int32s
    """What the answer calls them, ascending: their places among the seeds of all shards."""
    types: tuple[UserEdge, ...]
    since_ms: int
    """Of follows, when they began; of mentions, when the last was."""
    edges_per_seed: int
    """The newest follows; for mentions, the newest engagements, replies or not."""

    def answer(self, state: ShardState) -> UserEdges:
        """The edges of this shard's seeds."""
        parts = []
        if UserEdge.FOLLOW in self.types:
            follows = newest_related(state.graph.follows, self.seed_ids, self.edges_per_seed)
            recent = follows.where(follows.times_ms >= self.since_ms)
            parts.append((recent.other_ids, recent.places, UserEdge.FOLLOW))
        if UserEdge.MENTION in self.types:
            found = standing_of_users(
                state.graph.engagements,
                self.seed_ids,
                1 << PUBLIC_CODES[Kind.REPLY],
                _UNDO_OF,
                self.since_ms,
                self.edges_per_seed,
            )
            places = np.repeat(np.arange(len(self.seed_ids)), np.diff(found.offsets))
            pairs = np.stack([places, found.author_ids], axis=1)
            pairs = np.unique(pairs[found.author_ids != self.seed_ids[places]], axis=0)
            pairs = pairs[pairs[:, 1] > 0]
            parts.append((pairs[:, 1], pairs[:, 0], UserEdge.MENTION))
        none = np.empty(0, np.int64)
        account_ids, places = (
            np.concatenate([none, *(part[column] for part in parts)]) for column in (0, 1)
        )
        sizes = [len(accounts) for accounts, _, _ in parts]
        types = np.repeat(np.array([kind for _, _, kind in parts], np.uint8), sizes)
        order = np.argsort(places, kind="stable")
        return UserEdges(account_ids[order], self.seed_indices[places[order]], types[order])


_UNDO_OF = np.full(16, NO_KIND, np.uint8)
_UNDO_OF[PUBLIC_CODES[Kind.UNREPLY]] = PUBLIC_CODES[Kind.REPLY]

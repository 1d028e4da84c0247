"""Random walks from weighted users over what one shard holds of the interaction graph."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.state import ShardState
from actors.stores.random_walks import salsa
from actors.stores.standing import authors_known
from cluster.ids import Ids


class Walked(NamedTuple):
    """The posts that walks visited most."""

    post_ids: Ids
    author_ids: Ids
    visits: Ids
    total_visits: int
    """Of all posts."""
    known_ids: Ids
    """Posts that the user at whom walks restart engaged with, where that is asked for."""


@dataclass(frozen=True)
class AskWalks:
    """SALSA from users of this shard over this shard's edges."""

    home_id: int
    """Where walks restart."""
    seed_ids: Ids
    weights: npt.NDArray[np.float64]
    walks: int
    length: int
    reset: float
    max_posts: int
    seed: tuple[int, int]
    """Of the walks' randomness."""
    max_known: int = 0
    """So many of the home's own engagements, the newest, are told; their posts are walked
    over, and are not among those visited most."""

    def answer(self, state: ShardState) -> Walked:
        """See `random_walks.salsa`."""
        graph = state.graph.engagements
        known = np.empty(0, np.int64)
        if self.max_known:
            known = graph.user_edges(self.home_id, self.max_known).ids
        found = salsa(
            graph,
            self.home_id,
            self.seed_ids,
            self.weights,
            rng=np.random.default_rng(self.seed),
            walks=self.walks,
            length=self.length,
            reset=self.reset,
            k=self.max_posts,
            max_proofs=1,
            excluded_post_ids=known,
        )
        authors = authors_known(graph, found.post_ids)
        return Walked(found.post_ids, authors, found.visits, found.total_visits, known)

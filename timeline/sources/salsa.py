"""SALSA over the interaction graph of all shards: posts that random walks visit most."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.router import shards_of
from actors.walk_questions import AskWalks, Walked
from cluster.ids import Ids
from timeline.findings import Finding
from timeline.query import Query

QUERY_WEIGHT_FRACTION = 0.9
"""Of all weight, the viewer's own (GraphJet's default)."""


@dataclass(frozen=True, slots=True)
class WalkedPosts:
    """Posts, best first; of n rows."""

    post_ids: Ids
    author_ids: Ids
    weights: npt.NDArray[np.float64]
    """The share of all visits."""


def walked_posts(
    query: Query,
    seed_ids: Ids,
    weights: npt.NDArray[np.float64],
    *,
    walks: int = 1_000,
    length: int = 5,
    reset: float = 0.3,
    limit: int = 100,
    max_known: int = 0,
) -> Finding[WalkedPosts]:
    """Posts by how often walks from the viewer and weighted users visit them; one wave.

    The posts of the viewer's newest `max_known` engagements are left out.

    Every shard walks from those who live in it, as many walks as their share of the weights,
    over the edges that it holds: of a post whose author lives elsewhere it does not know who
    else engaged with it, and a walk restarts there, at the viewer or, where the viewer does
    not live, at the heaviest seed. Visits add up. So with more shards walks are shorter and
    what is near the seeds weighs more; one shard walks as GraphJet does. The same for the
    same state, number of shards and seed of the query. Engagements that were taken back are
    walked over too, as in GraphJet.
    """
    others = (seed_ids != query.viewer_id) & (weights > 0)
    total = float(weights[others].sum())
    own = total * QUERY_WEIGHT_FRACTION / (1 - QUERY_WEIGHT_FRACTION) if total else 1.0
    ids = np.append(seed_ids[others], query.viewer_id)
    shares = np.append(weights[others], own) / (total + own)
    homes = shards_of(ids, query.router.n_shards)
    wave = {}
    for shard in np.unique(homes).tolist():
        mine = np.flatnonzero(homes == shard)
        # The viewer, who is last, outweighs any seed.
        home_id = int(ids[mine][np.argmax(shares[mine])])
        wave[shard] = [
            AskWalks(
                home_id=home_id,
                seed_ids=ids[mine],
                weights=shares[mine],
                walks=int(np.ceil(walks * shares[mine].sum())),
                length=length,
                reset=reset,
                max_posts=limit * _SPARE,
                seed=(query.seed, shard),
                max_known=max_known if home_id == query.viewer_id else 0,
            )
        ]
    answers = yield wave
    parts: list[Walked] = [found for _, (found,) in sorted(answers.items())]
    return _merged(parts, limit)


_SPARE = 4
"""Posts of each shard for one that is returned: of another one's best, it may have a few."""


def _merged(parts: list[Walked], limit: int) -> WalkedPosts:
    none = np.empty(0, np.int64)
    every, authors, visits = (
        np.concatenate([none, *(part[column] for part in parts)]) for column in (0, 1, 2)
    )
    ids, first, at = np.unique(every, return_index=True, return_inverse=True)
    sums = np.bincount(at, visits, len(ids))
    known = authors[first] > 0
    known &= ~np.isin(ids, np.concatenate([none, *(part.known_ids for part in parts)]))
    best = np.flatnonzero(known)[np.lexsort((ids[known], -sums[known]))[:limit]]
    total = max(sum(part.total_visits for part in parts), 1)
    return WalkedPosts(ids[best], authors[first[best]], sums[best] / total)

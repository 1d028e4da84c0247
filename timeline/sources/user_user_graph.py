"""UUG: accounts that many of some weighted users follow or mention (top second degree)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.router import shards_of
from actors.stores.proof_ranking import Proofs, merge_proofs
from actors.user_user_graph import AskUserEdges, UserEdge, UserEdges
from cluster.ids import Ids
from timeline.findings import Finding
from timeline.query import Query

MAX_PROOFS = 10
EVERY_TYPE = tuple(UserEdge)


@dataclass(frozen=True, slots=True)
class ConnectedAccounts:
    """Accounts, best first, and through whom they were found; arrays of n rows."""

    user_ids: Ids
    scores: npt.NDArray[np.float64]
    """The summed weights of the seeds, once for each type of edge."""
    n_seeds: npt.NDArray[np.int32]
    """Seeds with an edge of any type."""
    proof_ids: Ids
    """Shape (n, MAX_PROOFS): the heaviest seeds, of equals the first given; 0 pads."""


def connected_accounts(
    query: Query,
    seed_ids: Ids,
    weights: npt.NDArray[np.float64],
    *,
    limit: int = 100,
    types: tuple[UserEdge, ...] = EVERY_TYPE,
    least_seeds: Mapping[UserEdge, int] | None = None,
    excluded_ids: Ids | None = None,
    since_ms: int = 0,
    edges_per_seed: int = 500,
) -> Finding[ConnectedAccounts]:
    """The `limit` accounts with the greatest weight of seeds tied to them; one wave.

    An account stays where any type of edge has as many distinct seeds as `least_seeds` says
    (1 where it says nothing, as in GraphJet). `excluded_ids` are left out; seeds are not
    unless they are among them. Edges are gathered over all shards before anything is
    dropped. `seed_ids` int64 (s,) are distinct.
    """
    homes = shards_of(seed_ids, query.router.n_shards)
    if not len(seed_ids) or not types:
        return _NONE
    answers = yield {
        shard: [
            AskUserEdges(
                seed_ids=seed_ids[homes == shard],
                seed_indices=np.flatnonzero(homes == shard).astype(np.int32),
                types=types,
                since_ms=since_ms,
                edges_per_seed=edges_per_seed,
            )
        ]
        for shard in np.unique(homes).tolist()
    }
    parts: list[UserEdges] = [found for _, (found,) in sorted(answers.items())]
    if not any(len(part.account_ids) for part in parts):
        return _NONE
    found = merge_proofs([_as_proofs(part) for part in parts])
    begins = found.offsets[:-1]
    # Within an account edges are in seed order, so that sums do not depend on the shards.
    scores = np.add.reduceat(weights[found.seed_indices], begins)
    stays = np.zeros(len(begins), bool)
    for kind in types:
        n_of_type = np.add.reduceat((found.kinds == kind).astype(np.int32), begins)
        stays |= n_of_type >= max((least_seeds or {}).get(kind, 1), 1)
    if excluded_ids is not None:
        stays &= ~np.isin(found.post_ids, excluded_ids)
    kept = np.flatnonzero(stays)
    best = kept[np.lexsort((found.post_ids[kept], -scores[kept]))[:limit]]
    n_seeds, proof_ids = _proofs(found, best, seed_ids, weights)
    return ConnectedAccounts(found.post_ids[best], scores[best], n_seeds, proof_ids)


def _as_proofs(edges: UserEdges) -> Proofs:
    """Every edge as a group of its own, with the account in the post's place."""
    n = len(edges.account_ids)
    offsets = np.arange(n + 1, dtype=np.int32)
    times_ms = np.zeros(n, np.int64)
    ids = edges.account_ids
    return Proofs(ids, ids, offsets, edges.seed_indices, edges.types, times_ms)


def _proofs(
    found: Proofs, best: npt.NDArray[np.int64], seed_ids: Ids, weights: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int32], Ids]:
    """How many seeds each of the best has, and the heaviest of them."""
    counts = np.diff(found.offsets)[best]
    rows = np.repeat(np.arange(len(best)), counts)
    within = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
    seeds = found.seed_indices[found.offsets[best][rows] + within].astype(np.int64)
    # Edges of one seed with one account stand together; the first stands for all.
    first = np.ones(len(rows), bool)
    first[1:] = (rows[1:] != rows[:-1]) | (seeds[1:] != seeds[:-1])
    rows, seeds = rows[first], seeds[first]
    order = np.lexsort((seeds, -weights[seeds], rows))
    rows, seeds = rows[order], seeds[order]
    n_seeds = np.bincount(rows, minlength=len(best))
    places = np.arange(len(rows)) - np.repeat(n_seeds.cumsum() - n_seeds, n_seeds)
    proof_ids = np.zeros((len(best), MAX_PROOFS), np.int64)
    shown = places < MAX_PROOFS
    proof_ids[rows[shown], places[shown]] = seed_ids[seeds[shown]]
    return n_seeds.astype(np.int32), proof_ids


_NONE = ConnectedAccounts(
    np.empty(0, np.int64),
    np.empty(0),
    np.empty(0, np.int32),
    np.empty((0, MAX_PROOFS), np.int64),
)

"""InterestedIn: which communities a consumer is interested in, U = A · V."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.stores.sparse_embeddings import SparseEmbeddings
from cluster.ids import Ids
from training.simclusters.consumers import (
    ConsumerGraph,
    Float64s,
    Floats,
    Int32s,
    inverse,
)
from training.simclusters.interest_kernels import (
    N_NORMS,
    N_SUMS,
    fill_interests,
    measure_interests,
)

FIELDS = (
    "follow_score",
    "follow_producer_normalized",
    "fav_score",
    "fav_producer_normalized",
    "log_fav_score",
    "follow_normalized",
    "fav_normalized",
    "log_fav_normalized",
)
"""Scores of an entry, Σ over the community's producers p of membership score k_p times: 1 if
followed; 1 / √followers if followed; favourites; those / the norm of p's favourites;
log₁₀(1 + favourites). `*_normalized` are the first, third and fifth, divided by the norm of
that score in the community over all its users."""

_CHUNKS = 32
"""Parts in which consumers are worked on. Not by the number of threads, so that sums do not
depend on it."""


@dataclass(frozen=True)
class InterestedIn:
    """Consumers × communities, and what is known of each community's consumers."""

    matrix: SparseEmbeddings
    """By consumer id; the score is `fav_score`, with further columns `FIELDS`, and `n_followed`
    and `n_favoured` (int32): proofs of either sort. `scored_by` gives the original's other
    types: 302 and 307 `follow_score`, 303 and 306 `log_fav_score` (301 is `fav_score`)."""
    interested: Ids
    """int64 (K,): consumers of each community before the cut to the best of each consumer."""
    norms: Float64s
    """(K, 3): norms of follow, favourite and log favourite scores, before that cut."""


def interested_in(
    graph: ConsumerGraph,
    communities: Int32s,
    memberships: Floats,
    n_communities: int,
    *,
    min_proofs: int = 2,
    max_communities: int = 50,
    threads: int = 2,
) -> InterestedIn:
    """U = A · V with the proofs and the cut of InterestedInFromKnownFor.

    `communities` (m,) int32 gives each producer of the graph its community, −1 for none, and
    `memberships` (m,) float32 the score k of that. A consumer is interested in a community of
    which it follows or favours `min_proofs` producers or more; the `max_communities` best by
    (favourites, their logarithm, follows, normalised logarithm, normalised follows) are kept.
    An entry whose score is 0, of a consumer who only follows, is kept too: other columns may
    serve as the score (`SparseEmbeddings.scored_by`).

    The answer does not depend on `threads`.
    """
    cuts = np.linspace(0, len(graph), _CHUNKS + 1).astype(np.int64)
    arrays = (
        *(graph.indptr, graph.producers, graph.followed, graph.favourites),
        *(communities, memberships, graph.follow_norms, inverse(graph.faver_norms)),
    )
    width = int(np.diff(graph.indptr).max(initial=0))
    counts = np.zeros(len(graph), np.int32)
    squares = np.zeros((_CHUNKS, n_communities, N_NORMS))
    interested = np.zeros((_CHUNKS, n_communities), np.int64)

    def measure(i: int) -> None:
        scratch = _scratch(n_communities, width)
        measure_interests(
            *(cuts[i], cuts[i + 1], *arrays, min_proofs, max_communities, *scratch),
            *(counts, squares[i], interested[i]),
        )

    _each(measure, threads)
    norms = np.sqrt(squares.sum(axis=0))
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    found = np.empty(offsets[-1], np.int32)
    fields = np.empty((len(FIELDS), offsets[-1]), np.float32)
    proofs = np.empty((2, offsets[-1]), np.int32)
    inverse_norms = inverse(norms)

    def fill(i: int) -> None:
        scratch = _scratch(n_communities, width)
        fill_interests(
            *(cuts[i], cuts[i + 1], *arrays, min_proofs, max_communities, *scratch),
            *(inverse_norms, offsets, found, fields, proofs),
        )

    _each(fill, threads)
    columns = dict(zip(FIELDS, fields, strict=True))
    columns |= {"n_followed": proofs[0], "n_favoured": proofs[1]}
    some = counts > 0
    offsets = np.concatenate([[0], offsets[1:][some]])
    matrix = SparseEmbeddings(graph.user_ids[some], offsets, found, columns["fav_score"], columns)
    return InterestedIn(matrix, interested.sum(axis=0), norms)


@dataclass(frozen=True)
class Proofs:
    """Producers that speak for each entry of a matrix; p in all."""

    offsets: Ids
    """int64 (entries + 1,)."""
    producer_ids: Ids
    """(p,): ascending within an entry."""
    followed: npt.NDArray[np.bool_]
    favoured: npt.NDArray[np.bool_]
    """(p,): whether the consumer follows the producer, and has favoured posts of it."""


def social_proofs(graph: ConsumerGraph, communities: Int32s, interests: SparseEmbeddings) -> Proofs:
    """The producers behind every entry of InterestedIn (usersBeingFollowed, usersThatWereFaved)."""
    width = np.int64(max(interests.n_communities, int(communities.max(initial=-1)) + 1, 1))
    rows = np.repeat(np.arange(len(interests)), np.diff(interests.offsets))
    entries = rows * width + interests.communities
    order = np.argsort(entries)
    of_edge = interests.rows_of(graph.user_ids)[graph.consumers()]
    found = communities[graph.producers].astype(np.int64)
    edges = np.flatnonzero((of_edge >= 0) & (found >= 0))
    keys = of_edge[edges] * width + found[edges]
    at = np.minimum(np.searchsorted(entries[order], keys), max(len(entries) - 1, 0))
    known = entries[order][at] == keys if len(entries) else np.zeros(0, np.bool_)
    edges, of_entry = edges[known], order[at[known]]
    by_entry = np.argsort(of_entry, kind="stable")
    edges = edges[by_entry]
    counts = np.bincount(of_entry, minlength=len(entries))
    return Proofs(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        graph.producer_ids[graph.producers[edges]],
        graph.followed[edges],
        graph.favourites[edges] > 0,
    )


def _each(work: Callable[[int], None], threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(_CHUNKS)))


def _scratch(n_communities: int, width: int) -> tuple[Int32s, Int32s, Int32s, Float64s]:
    """What one call works in: the slot of each community (−1: none), the community of each
    slot, and a slot's proofs (all, follows, favourites) and sums."""
    return (
        np.full(n_communities, -1, np.int32),
        np.empty(width, np.int32),
        np.empty((width, 3), np.int32),
        np.empty((width, N_SUMS)),
    )

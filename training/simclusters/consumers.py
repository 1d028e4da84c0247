"""The user–user graph A: whom consumers follow and favour, and how much each of it counts."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids
from training.simclusters.observed import Favourites

MAX_NEIGHBOURS = 2_000
"""Producers kept of a consumer (published)."""

Floats = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Int32s = npt.NDArray[np.int32]


@dataclass(frozen=True)
class ConsumerGraph:
    """Consumers × producers in CSR form; n consumers, m producers, e edges.

    An edge is a follow, or favourites, or both. The statistics of a producer are over all
    its edges, those included that the cut of a consumer's neighbours left out.
    """

    user_ids: Ids
    """int64 (n,), ascending."""
    producer_ids: Ids
    """int64 (m,), ascending."""
    indptr: Ids
    """int64 (n + 1,)."""
    producers: Int32s
    """(e,): rows of `producer_ids`; each consumer's ascend."""
    followed: npt.NDArray[np.bool_]
    """(e,)."""
    favourites: Floats
    """(e,): decayed count, 0 where only followed."""
    follower_counts: Ids
    """int64 (m,)."""
    faver_counts: Ids
    """int64 (m,)."""
    faver_norms: Float64s
    """(m,): √Σ favourites² over the producer's favourers."""
    log_faver_norms: Float64s
    """(m,): the same of `log_favourites`."""

    def __len__(self) -> int:
        return len(self.user_ids)

    @property
    def follow_norms(self) -> Float64s:
        """(m,): 1 / √followers, what a follow of each producer counts; 0 without followers."""
        return inverse(np.sqrt(self.follower_counts))

    @property
    def log_favourites(self) -> Floats:
        """(e,): log₁₀(1 + favourites), at least 0."""
        return log_favourites(self.favourites)

    def consumers(self) -> Int32s:
        """(e,): the consumer's row of each edge."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.indptr))


def consumer_graph(
    follower_ids: Ids,
    followed_ids: Ids,
    favourites: Favourites,
    max_neighbours: int = MAX_NEIGHBOURS,
) -> ConsumerGraph:
    """The graph of follow edges (n,), each given once, and of favourites (UserUserNormalizedGraph).

    Of a consumer the `max_neighbours` best producers are kept: by favourites, then by what
    the follow counts, then by id. Fastest with follows and favourites by (user, producer).
    """
    user_ids = np.union1d(follower_ids, favourites.user_ids)
    producer_ids = np.union1d(followed_ids, favourites.author_ids)
    m = len(producer_ids)

    def keys_of(users: Ids, producers: Ids) -> Ids:
        rows = np.searchsorted(user_ids, users)
        keys: Ids = rows * max(m, 1) + np.searchsorted(producer_ids, producers)
        return keys

    follow_keys = keys_of(follower_ids, followed_ids)
    favour_keys = keys_of(favourites.user_ids, favourites.author_ids)
    # A stable sort merges what is sorted already, as follows and favourites are.
    edges = np.sort(np.concatenate([follow_keys, favour_keys]), kind="stable")
    edges = edges[np.append(True, edges[1:] != edges[:-1])[: len(edges)]]
    followed = np.zeros(len(edges), np.bool_)
    followed[np.searchsorted(edges, follow_keys)] = True
    favoured = np.zeros(len(edges), np.float32)
    favoured[np.searchsorted(edges, favour_keys)] = favourites.counts
    users, producers = np.divmod(edges, max(m, 1))
    follower_counts = np.bincount(producers[followed], minlength=m)
    logs = log_favourites(favoured)
    norms = [
        np.sqrt(np.bincount(producers, weights=x.astype(np.float64) ** 2, minlength=m))
        for x in (favoured, logs)
    ]
    faver_counts = np.bincount(producers[favoured > 0], minlength=m)
    strengths = np.where(followed, inverse(np.sqrt(follower_counts))[producers], 0)
    kept = _best(users, favoured, strengths, max_neighbours)
    counts = np.bincount(users[kept], minlength=len(user_ids))
    return ConsumerGraph(
        user_ids,
        producer_ids,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        producers[kept].astype(np.int32),
        followed[kept],
        favoured[kept],
        follower_counts.astype(np.int64),
        faver_counts.astype(np.int64),
        *norms,
    )


def log_favourites(counts: Floats) -> Floats:
    """log₁₀(1 + count), at least 0."""
    logs: Floats = np.maximum(np.log10(1 + counts), 0).astype(np.float32)
    return logs


def inverse(values: npt.ArrayLike) -> Float64s:
    """1 / value; 0 where the value is 0."""
    given = np.asarray(values, np.float64)
    return np.divide(1, given, out=np.zeros_like(given), where=given > 0)


def _best(users: Ids, favoured: Floats, strengths: Float64s, max_neighbours: int) -> Ids:
    """Edges kept, ascending; `users` ascends, and within a user the producers do."""
    counts = np.bincount(users)
    many = np.flatnonzero((counts > max_neighbours)[users])
    kept = np.ones(len(users), np.bool_)
    kept[many] = False
    ranked = many[np.lexsort((-strengths[many], -favoured[many], users[many]))]
    begins = np.flatnonzero(np.append(True, users[ranked[1:]] != users[ranked[:-1]]))
    places = np.arange(len(ranked))
    if len(ranked):
        places -= np.repeat(begins, np.diff(np.append(begins, len(ranked))))
    kept[ranked[places < max_neighbours]] = True
    return np.flatnonzero(kept)

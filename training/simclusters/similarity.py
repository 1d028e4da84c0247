"""The producer-producer graph: how alike the audiences of two producers are."""

import queue
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from actors.stores.kernels import kernel, writable
from cluster.ids import Ids
from training.job import Progress, silent

Int32s = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]

_BATCH = 4_096
"""Producers whose neighbours are found in one call, which bounds what is kept before the cut."""


@dataclass(frozen=True)
class Similarity:
    """A weighted undirected graph of producers in CSR form: every edge is stored both ways.

    `producer_ids` int64 (n,) ascending; `indptr` int64 (n + 1,); `indices` int32 and `weights`
    float32 (nnz,), each row by neighbour ascending, without loops, all weights above 0.
    """

    producer_ids: Ids
    indptr: Ids
    indices: Int32s
    weights: Floats

    def __len__(self) -> int:
        return len(self.producer_ids)

    @property
    def n_edges(self) -> int:
        """Undirected edges: half of what is stored."""
        return len(self.indices) // 2

    def degrees(self) -> Ids:
        """Neighbours of each producer, int64 (n,)."""
        return np.diff(self.indptr)

    def strengths(self) -> Float64s:
        """Sum of the weights of each producer's edges, float64 (n,)."""
        return _row_sums(writable(self.indptr, np.int64), writable(self.weights, np.float32))

    def spread(self) -> "Similarity":
        """Weights as 10·w², which sets close producers further apart from distant ones."""
        return Similarity(self.producer_ids, self.indptr, self.indices, 10 * self.weights**2)


def producer_similarity(
    user_ids: Ids,
    producer_ids: Ids,
    node_ids: Ids,
    neighbours: int = 400,
    max_follows: int = 10_000,
    *,
    threads: int = 2,
    progress: Progress = silent,
) -> Similarity:
    """Cosines of follower sets among `node_ids`, exact, from the edges user → producer.

    `user_ids` and `producer_ids` (E,) are who follows whom; an edge given twice counts once.
    Of each node the `neighbours` best of all producers are kept (equal ones by id) *before*
    those that are no nodes are left out, then an edge that either end kept gets the greater
    of both weights (SimClusters, update of KnownFor). A user who follows more than
    `max_follows` says little about any of them and costs the square of it: such users are
    left out, of the norms too, so that what remains is the cosine of the remaining sets.

    The rows are those of `node_ids`, unique and ascending; a node without followers is kept,
    without edges. The answer does not depend on `threads`. Never holds more than the kept
    neighbours, and one counter per producer and thread.

    Raises `ValueError` where lengths differ or a limit is below 1.
    """
    if len(user_ids) != len(producer_ids):
        raise ValueError(f"{len(user_ids)} user_ids but {len(producer_ids)} producer_ids")
    for name, value in (("neighbours", neighbours), ("max_follows", max_follows)):
        if value < 1:
            raise ValueError(f"{name} is {value}: at least 1 is needed")
    nodes = np.unique(np.asarray(node_ids, np.int64))
    follows, everyone = _follows(user_ids, producer_ids, max_follows)
    followers = follows.T.tocsr()
    known = np.isin(nodes, everyone)
    sources = np.searchsorted(everyone, nodes[known])
    if not len(sources):
        return _symmetric(nodes, *(np.zeros(0, np.int32),) * 2, np.zeros(0, np.float32))
    # By place among all producers, the row of the node; −1 for who is none.
    rows = np.full(len(everyone), -1, np.int32)
    rows[sources] = np.flatnonzero(known)
    scratch: queue.SimpleQueue[_Scratch] = queue.SimpleQueue()
    for _ in range(threads):
        scratch.put(_Scratch.of(len(everyone)))
    arrays = (*_csr(followers), *_csr(follows))
    batches = np.split(sources, range(_BATCH, len(sources), _BATCH))

    def nearest(batch: Ids) -> tuple[Int32s, Int32s, Floats]:
        own = scratch.get()
        room = len(batch) * neighbours
        found, scores = np.empty(room, np.int32), np.empty(room, np.float32)
        ends = _nearest(batch, *arrays, neighbours, own.counts, own.touched, found, scores)
        scratch.put(own)
        lengths = np.diff(ends, prepend=0)
        starts, ends_at = np.repeat(rows[batch], lengths), rows[found[: ends[-1]]]
        kept = ends_at >= 0
        return starts[kept], ends_at[kept], scores[: ends[-1]][kept]

    parts = []
    with ThreadPoolExecutor(threads) as pool:
        for i, part in enumerate(pool.map(nearest, batches)):
            parts.append(part)
            progress("similarity of producers", (i + 1) / len(batches))
    return _symmetric(nodes, *(np.concatenate(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True)
class _Scratch:
    """What one thread counts in: zero counts (producers,) and room to note which are not."""

    counts: Int32s
    touched: Int32s

    @classmethod
    def of(cls, n_producers: int) -> "_Scratch":
        return cls(np.zeros(n_producers, np.int32), np.empty(n_producers, np.int32))


def _follows(user_ids: Ids, producer_ids: Ids, max_follows: int) -> tuple[sparse.csr_matrix, Ids]:
    """Users × producers without the users of too many follows, and the ids of the columns."""
    users = np.unique(user_ids, return_inverse=True)[1]
    everyone, producers = np.unique(np.asarray(producer_ids, np.int64), return_inverse=True)
    width = max(1, len(everyone))
    edges = np.unique(users.astype(np.int64) * width + producers)
    users, producers = np.divmod(edges, width)
    counts = np.bincount(users, minlength=1)
    kept = counts[users] <= max_follows
    n_users = len(counts)
    indptr = np.zeros(n_users + 1, np.int64)
    np.cumsum(np.where(counts <= max_follows, counts, 0), out=indptr[1:])
    data = np.ones(int(indptr[-1]), np.bool_)
    matrix = sparse.csr_matrix(
        (data, producers[kept].astype(np.int32), indptr), shape=(n_users, len(everyone))
    )
    return matrix, everyone


def _csr(matrix: sparse.csr_matrix) -> tuple[Ids, Int32s]:
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)


def _symmetric(nodes: Ids, rows: Int32s, columns: Int32s, weights: Floats) -> Similarity:
    one_way = sparse.csr_matrix((weights, (rows, columns)), shape=(len(nodes), len(nodes)))
    both = one_way.maximum(one_way.T).tocsr()
    both.sort_indices()
    return Similarity(nodes, *_csr(both), both.data.astype(np.float32))


@kernel
def _nearest(
    batch: Ids,
    follower_starts: Ids,
    followers: Int32s,
    follow_starts: Ids,
    follows: Int32s,
    k: int,
    counts: Int32s,
    touched: Int32s,
    found: Int32s,
    scores: Floats,
) -> Ids:
    """The k best neighbours of each producer of the batch; returns where each one's end.

    Counts the wedges producer ← user → other: as many as the users they share.
    """
    ends = np.empty(len(batch), np.int64)
    end = 0
    for i in range(len(batch)):
        producer = batch[i]
        own = follower_starts[producer + 1] - follower_starts[producer]
        n = 0
        for at in range(follower_starts[producer], follower_starts[producer + 1]):
            user = followers[at]
            for step in range(follow_starts[user], follow_starts[user + 1]):
                other = follows[step]
                if counts[other] == 0:
                    touched[n] = other
                    n += 1
                counts[other] += 1
        cosines = np.empty(n, np.float64)
        for j in range(n):
            other = touched[j]
            norm = np.sqrt(float(own) * (follower_starts[other + 1] - follower_starts[other]))
            # The producer itself is no neighbour: below every cosine.
            cosines[j] = counts[other] / norm if other != producer else -1.0
            counts[other] = 0
        least = 0.0
        if n - 1 > k:
            least = np.partition(cosines, n - k)[n - k]
        tied = np.empty(n, np.int32)
        n_tied = 0
        begin = end
        for j in range(n):
            if cosines[j] > least:
                found[end], scores[end] = touched[j], cosines[j]
                end += 1
            elif cosines[j] == least:
                tied[n_tied] = touched[j]
                n_tied += 1
        tied = np.sort(tied[:n_tied])
        for j in range(min(n_tied, k - (end - begin))):
            found[end], scores[end] = tied[j], least
            end += 1
        ends[i] = end
    return ends


@kernel
def _row_sums(indptr: Ids, weights: Floats) -> Float64s:
    sums = np.zeros(len(indptr) - 1, np.float64)
    for row in range(len(sums)):
        total = 0.0
        for at in range(indptr[row], indptr[row + 1]):
            total += weights[at]
        sums[row] = total
    return sums

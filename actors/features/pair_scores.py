"""Scores of pairs of embeddings: how alike two sparse or two dense ones are.

The operations of the original's SimClusters embedding type, for whole batches of pairs. A
pair with an embedding that is empty or zero scores 0 in every one of them.
"""

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel, writable
from actors.stores.sparse_embeddings import SparseEmbeddings
from cluster.ids import Ids

Float32s = npt.NDArray[np.float32]

PAIR_SCORES = (
    "dot",
    "cosine",
    "log_cosine",
    "exp_scaled",
    "jaccard",
    "fuzzy_jaccard",
    "max_product",
)
"""Columns of `sparse_pair_scores`, with Σa² and Σb² the squared norms of the two rows:

dot Σ a·b; cosine dot / √(Σa²·Σb²); log_cosine dot / (ln(1 + Σa²)·ln(1 + Σb²)); exp_scaled
dot / (Σa²·Σb²)^0.3; jaccard, shared communities / communities of either; fuzzy_jaccard
Σ min(a, b) / Σ max(a, b); max_product, the greatest a·b of one community.
"""

_EXPONENT = 0.3


def sparse_pair_scores(
    a: SparseEmbeddings, rows_of_a: Ids, b: SparseEmbeddings, rows_of_b: Ids
) -> Float32s:
    """Scores of pair i, row `rows_of_a[i]` of `a` with `rows_of_b[i]` of `b`.

    Row −1 is an empty embedding. Entries are positive. Returns (n, len(PAIR_SCORES)).
    """
    if len(rows_of_a) != len(rows_of_b):
        raise ValueError(f"{len(rows_of_a)} rows of one side, {len(rows_of_b)} of the other")
    found_a, at_a = np.unique(rows_of_a, return_inverse=True)
    found_b, at_b = np.unique(rows_of_b, return_inverse=True)
    scores = np.zeros((len(rows_of_a), len(PAIR_SCORES)), np.float32)
    _score_pairs(
        *_by_community(a.take(found_a)),
        writable(at_a, np.int64),
        *_by_community(b.take(found_b)),
        writable(at_b, np.int64),
        scores,
    )
    return scores


def sparse_matrix_scores(a: SparseEmbeddings, b: SparseEmbeddings) -> Float32s:
    """Scores of every row of `a` with every row of `b`: (len(a), len(b), len(PAIR_SCORES))."""
    rows_of_a = np.repeat(np.arange(len(a)), len(b))
    rows_of_b = np.tile(np.arange(len(b)), len(a))
    scores = sparse_pair_scores(a, rows_of_a, b, rows_of_b)
    return scores.reshape(len(a), len(b), len(PAIR_SCORES))


def dense_pair_scores(a: Float32s, b: Float32s) -> Float32s:
    """Dot product and cosine of row i of `a` with row i of `b`, both (n, D): (n, 2).

    A side with one row only stands for that row repeated.
    """
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    dots = np.einsum("ij,ij->i", *np.broadcast_arrays(wide_a, wide_b))
    norms = np.linalg.norm(wide_a, axis=1) * np.linalg.norm(wide_b, axis=1)
    cosines = np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)
    return np.stack([dots, cosines], axis=1).astype(np.float32)


def _by_community(
    rows: SparseEmbeddings,
) -> tuple[Ids, npt.NDArray[np.int32], Float32s]:
    """Offsets, communities and scores, each row by community."""
    row = np.repeat(np.arange(len(rows)), np.diff(rows.offsets))
    order = np.argsort(row << 32 | rows.communities, kind="stable")
    return (
        writable(rows.offsets, np.int64),
        writable(rows.communities[order], np.int32),
        writable(rows.scores[order], np.float32),
    )


@kernel
def _score_pairs(
    offsets_a: Ids,
    communities_a: npt.NDArray[np.int32],
    scores_a: Float32s,
    at_a: Ids,
    offsets_b: Ids,
    communities_b: npt.NDArray[np.int32],
    scores_b: Float32s,
    at_b: Ids,
    scores: Float32s,
) -> None:
    for pair in range(len(at_a)):
        i, end_a = offsets_a[at_a[pair]], offsets_a[at_a[pair] + 1]
        j, end_b = offsets_b[at_b[pair]], offsets_b[at_b[pair] + 1]
        n_either = (end_a - i) + (end_b - j)
        n_shared = 0
        dot = norm2_a = norm2_b = least = most = greatest = 0.0
        while i < end_a or j < end_b:
            take_a = i < end_a and (j == end_b or communities_a[i] <= communities_b[j])
            take_b = j < end_b and (i == end_a or communities_b[j] <= communities_a[i])
            x = y = 0.0
            if take_a:
                x = float(scores_a[i])
                i += 1
            if take_b:
                y = float(scores_b[j])
                j += 1
            if take_a and take_b:
                n_shared += 1
                greatest = max(greatest, x * y)
            dot += x * y
            norm2_a += x * x
            norm2_b += y * y
            least += min(x, y)
            most += max(x, y)
        if norm2_a <= 0 or norm2_b <= 0:
            continue
        scores[pair, 0] = dot
        scores[pair, 1] = dot / np.sqrt(norm2_a * norm2_b)
        scores[pair, 2] = dot / (np.log1p(norm2_a) * np.log1p(norm2_b))
        scores[pair, 3] = dot / (norm2_a * norm2_b) ** _EXPONENT
        scores[pair, 4] = n_shared / (n_either - n_shared)
        scores[pair, 5] = least / most
        scores[pair, 6] = greatest

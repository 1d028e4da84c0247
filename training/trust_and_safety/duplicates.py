"""Texts that say nearly the same, so that no text is judged by a model that learned its twin."""

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from actors.features.safety_ngrams import BLOCKS, Ngrams
from actors.stores.kernels import kernel

Int64s = npt.NDArray[np.int64]

HASHES, BANDS = 60, 10
"""Bands of six: texts of Jaccard similarity 0.9 meet with chance 0.9995, of 0.5 with 0.15."""
SIMILAR = 0.7


def near_duplicates(texts: Ngrams) -> Int64s:
    """A group number for each text; those of near-exact copies are the same.

    MinHash over the n-grams (Broder, 1997): texts that agree in a whole band and in `SIMILAR`
    of all hashes are copies; copies of copies too.
    """
    n = len(texts)
    sketches = _sketches(texts.offsets, texts.buckets)
    firsts, seconds = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for band in np.split(sketches, BANDS, axis=1):
        _, first, code = np.unique(band, axis=0, return_index=True, return_inverse=True)
        leader = first[code.ravel()]
        rows = np.flatnonzero(leader != np.arange(n))
        same = (sketches[rows] == sketches[leader[rows]]).mean(axis=1) >= SIMILAR
        firsts.append(rows[same])
        seconds.append(leader[rows[same]])
    i, j = np.concatenate(firsts), np.concatenate(seconds)
    graph = sparse.coo_matrix((np.ones(len(i)), (i, j)), shape=(n, n))
    groups: Int64s = connected_components(graph, directed=False)[1].astype(np.int64)
    return groups


def folds_of(groups: Int64s, n_folds: int, rng: np.random.Generator) -> Int64s:
    """A fold 0 … `n_folds` − 1 for each text, one for a whole group, of about equal size."""
    sizes = np.bincount(groups)
    drawn = rng.permutation(len(sizes))
    middle = np.cumsum(sizes[drawn]) - sizes[drawn] / 2
    fold_of_group = np.empty(len(sizes), np.int64)
    fold_of_group[drawn] = (middle * n_folds / max(len(groups), 1)).astype(np.int64)
    return fold_of_group[groups]


@kernel
def _sketches(
    offsets: npt.NDArray[np.int64], buckets: npt.NDArray[np.int32]
) -> npt.NDArray[np.uint32]:
    n = (len(offsets) - 1) // BLOCKS
    sketches = np.full((n, HASHES), np.uint32(0xFFFFFFFF))
    for i in range(n):
        for at in range(offsets[BLOCKS * i], offsets[BLOCKS * i + BLOCKS]):
            x = np.uint64(buckets[at]) + np.uint64(1)
            for k in range(HASHES):
                # The next of a SplitMix64 sequence that begins at the n-gram.
                x += np.uint64(0x9E3779B97F4A7C15)
                y = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                hashed = np.uint32((y ^ (y >> np.uint64(31))) >> np.uint64(32))
                if hashed < sketches[i, k]:
                    sketches[i, k] = hashed
    return sketches

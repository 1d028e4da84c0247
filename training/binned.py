"""Fitting a logistic regression over binned features (the form of Earlybird's light ranker)."""

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from actors.features.binned import BinnedModel

Floats = npt.NDArray[np.float32]

INVERSE_L2 = 0.03
"""scikit-learn's C: bins into which few examples fall stay near zero."""
TOLERANCE = 1e-4
MAX_ITERATIONS = 1_000
PAD = np.finfo(np.float32).max
"""In the place of edges that are not used."""


def fit(
    features: Floats,
    labels: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float32],
    names: tuple[str, ...],
    n_bins: int,
) -> BinnedModel:
    """The model of least weighted log loss with an L2 penalty; features of shape (n, names)."""
    edges = bin_edges(features, n_bins)
    bins = _bins(features, edges)
    n, k = bins.shape
    columns = (bins + np.arange(k) * n_bins).astype(np.int32)
    hot = sparse.csr_matrix(
        (np.ones(n * k), columns.ravel(), np.arange(0, n * k + 1, k)), shape=(n, k * n_bins)
    )
    regression = LogisticRegression(C=INVERSE_L2, max_iter=MAX_ITERATIONS, tol=TOLERANCE)
    regression.fit(hot, labels, sample_weight=weights.astype(np.float64))
    found = regression.coef_.reshape(k, n_bins).astype(np.float32)
    n_edges = (edges < PAD).sum(axis=1)
    # Values beyond the last edge, infinity among them, stay in the last real bin.
    last = np.minimum(np.arange(n_bins)[None, :], n_edges[:, None])
    found = np.take_along_axis(found, last, axis=1)
    # Rounded as an artifact keeps it, so that what was judged is what will serve.
    return BinnedModel(names, edges, found, float(np.float32(regression.intercept_[0])))


def bin_edges(features: Floats, n_bins: int) -> Floats:
    """Edges of shape (features, n_bins − 1): quantiles of what is above 0, and 0 apart.

    Edges lie halfway between values that occur, so that a count rounded to float16, as
    served, stays in its bin. Features of few values get a bin a value. Unused edges are the
    largest float32.
    """
    edges = np.full((features.shape[1], n_bins - 1), PAD, np.float32)
    for i in range(features.shape[1]):
        column = features[:, i].astype(np.float64)
        values, counts = np.unique(column[np.isfinite(column)], return_counts=True)
        if len(values) < 2:
            continue
        middles = (values[1:] + values[:-1]) / 2
        if len(middles) >= n_bins:
            starts = int(values[0] == 0)
            below = np.cumsum(counts)[starts:]
            already = below[0] - counts[starts]
            n_quantiles = n_bins - starts
            wanted = already + (below[-1] - already) * np.arange(1, n_quantiles) / n_quantiles
            at = np.minimum(np.searchsorted(below, wanted), len(below) - 2) + starts
            middles = middles[np.unique(np.concatenate([np.arange(starts), at]))]
        found = np.unique(middles.astype(np.float32))
        edges[i, : len(found)] = found
    return edges


def _bins(features: Floats, edges: Floats) -> npt.NDArray[np.int64]:
    bins = np.empty(features.shape, np.int64)
    for i in range(features.shape[1]):
        # An infinite value passes even the padding: into the last real bin with it.
        found = np.searchsorted(edges[i], features[:, i], side="right")
        bins[:, i] = np.minimum(found, (edges[i] < PAD).sum())
    return bins

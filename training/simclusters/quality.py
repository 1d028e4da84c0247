"""How good communities are, and what each member is worth to its own (KnownFor)."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.metrics import normalized_mutual_info_score

from actors.stores.kernels import kernel, writable
from cluster.ids import Ids
from training.simclusters.similarity import Float64s, Floats, Int32s, Similarity

Classes = npt.NDArray[np.int32] | npt.NDArray[np.int64]

SAMPLED_EDGES = 5_000
"""Edges of which the correlation is taken (SimClusters' ClusterEvaluation)."""


@dataclass(frozen=True)
class KnownFor:
    """Producers and the one community each is known for: all (m,), by producer id ascending.

    `scores` float32 in 0 … 1, as of `membership_scores`. Upstream assumes columns of unit norm
    in one place and does not see to it; nor does this.
    """

    producer_ids: Ids
    communities: Int32s
    scores: Floats

    def __len__(self) -> int:
        return len(self.producer_ids)


def known_for(
    similarity: Similarity, memberships: Int32s, excluded_ids: Collection[int] | Ids = ()
) -> KnownFor:
    """The members of all communities with their scores.

    `excluded_ids` (deactivated, suspended, opted out) are cleaned away after scoring: they
    still were neighbours of those who stay.
    """
    scores = membership_scores(similarity, memberships)
    excluded = np.isin(similarity.producer_ids, np.fromiter(excluded_ids, np.int64))
    kept = (memberships >= 0) & ~excluded
    communities = memberships[kept].astype(np.int32)
    return KnownFor(similarity.producer_ids[kept], communities, scores[kept])


def membership_scores(similarity: Similarity, memberships: Int32s) -> Floats:
    """How far each vertex and its community are one neighbourhood, float32 (n,), 0 … 1.

    W_in / (W_in + W_out + ḡ·missing), much like a weighted Jaccard index: W_in and W_out are
    the weights of its edges inside and out, `missing` counts the other members that are no
    neighbours, ḡ is the mean weight of the graph's edges. The only member of a community has
    1; who belongs to none, or has no edge to the others, 0.
    """
    inside, n_inside = _inside(similarity, memberships)
    sizes = _sizes(memberships)[memberships]
    mean = float(similarity.weights.mean()) if len(similarity.weights) else 0.0
    whole = similarity.strengths() + mean * np.maximum(0, sizes - 1 - n_inside)
    scores: Float64s = np.divide(inside, whole, out=np.zeros_like(inside), where=whole > 0)
    scores[sizes == 1] = 1.0
    scores[memberships < 0] = 0.0
    return scores.astype(np.float32)


def quality(
    similarity: Similarity, memberships: Int32s, rng: np.random.Generator
) -> dict[str, float]:
    """What `memberships` (n,) say of the edges; every figure exact but the correlation.

    - `recall`, `weighted_recall`: share of the edges, and of their weight, inside communities;
    - `precision`: share of the pairs inside communities that are edges; `weighted_precision`
      their weight over itself plus the mean weight of an edge for each pair that is none;
    - `relative_precision`: precision over the share of all pairs that are edges;
    - `f1`, `weighted_f1`: harmonic means of the respective two;
    - `weight_correlation`: Pearson's, over 5,000 edges drawn by `rng`, of the weight and what
      V·Vᵀ predicts for it (the product of both ends' scores in one community, 0 across);
    - `unassigned`, `orphans`: share of the vertices without a community, and of the members
      that have no neighbour in theirs;
    - `communities` that have members, and the `smallest` and `largest` of their sizes.

    Figures without anything to measure are 0.
    """
    n = len(similarity)
    inside, n_inside = _inside(similarity, memberships)
    sizes = _sizes(memberships)[:-1]
    sizes = sizes[sizes > 0]
    n_edges, weight = float(len(similarity.indices)), float(similarity.weights.sum(dtype=float))
    pairs = float((sizes * (sizes - 1)).sum())
    missing = _ratio(weight, n_edges) * (pairs - n_inside.sum())
    recall = _ratio(n_inside.sum(), n_edges)
    precision = _ratio(n_inside.sum(), pairs)
    weighted_recall = _ratio(inside.sum(), weight)
    weighted_precision = _ratio(inside.sum(), inside.sum() + missing)
    members = memberships >= 0
    return {
        "recall": recall,
        "weighted_recall": weighted_recall,
        "precision": precision,
        "weighted_precision": weighted_precision,
        "relative_precision": _ratio(precision, _ratio(n_edges, n * (n - 1.0))),
        "f1": _ratio(2 * recall * precision, recall + precision),
        "weighted_f1": _ratio(
            2 * weighted_recall * weighted_precision, weighted_recall + weighted_precision
        ),
        "weight_correlation": _weight_correlation(similarity, memberships, rng),
        "unassigned": _ratio(n - members.sum(), n),
        "orphans": _ratio((members & (n_inside == 0)).sum(), members.sum()),
        "communities": float(len(sizes)),
        "smallest": float(sizes.min(initial=n)) if len(sizes) else 0.0,
        "largest": float(sizes.max(initial=0)),
    }


def agreement(before: KnownFor, after: KnownFor, min_members: int = 10) -> tuple[Ids, Float64s]:
    """Communities of at least `min_members` in both, and the cosine of their two columns.

    What the update of KnownFor reports to people (SimClusters' CompareClusters).
    """
    producers = np.unique(np.concatenate([before.producer_ids, after.producer_ids]))
    width = 1 + int(max(side.communities.max(initial=-1) for side in (before, after)))
    columns = []
    for side in (before, after):
        rows = np.searchsorted(producers, side.producer_ids)
        entries = (side.scores.astype(np.float64), (rows, side.communities))
        columns.append(sparse.csc_matrix(entries, shape=(len(producers), width)))
    both = np.ones(width, np.bool_)
    for column in columns:
        both &= np.diff(column.indptr) >= min_members
    dots = np.asarray(columns[0].multiply(columns[1]).sum(axis=0)).ravel()
    norms = [np.sqrt(np.asarray(column.power(2).sum(axis=0)).ravel()) for column in columns]
    norm = norms[0] * norms[1]
    cosines = np.divide(dots, norm, out=np.zeros_like(dots), where=norm > 0)
    return np.flatnonzero(both), cosines[both]


def normalized_mutual_information(found: Classes, truth: Classes) -> float:
    """Of two partitions (n,), 0 … 1, by the mean of both entropies; −1 is a class like others."""
    return float(normalized_mutual_info_score(truth, found))


def weighted_f1(found: Classes, truth: Classes) -> float:
    """Each true community's best F1 with any found one, weighted by its size; −1 is none."""
    true_sizes, found_sizes = _sizes(truth)[:-1], _sizes(found)[:-1]
    both = (truth >= 0) & (found >= 0)
    shape = (len(true_sizes), len(found_sizes))
    overlap = sparse.csr_matrix((np.ones(both.sum()), (truth[both], found[both])), shape=shape)
    overlap = overlap.tocoo()
    f1 = 2 * overlap.data / (true_sizes[overlap.row] + found_sizes[overlap.col])
    best = np.zeros(len(true_sizes))
    np.maximum.at(best, overlap.row, f1)
    return _ratio((best * true_sizes).sum(), true_sizes.sum())


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _sizes(classes: Classes) -> Ids:
    """Members of each class from 0 on; one more entry, the last, is for −1: always 0."""
    width = int(classes.max(initial=-1)) + 1
    return np.bincount(classes[classes >= 0], minlength=width + 1)


def _weight_correlation(
    similarity: Similarity, memberships: Int32s, rng: np.random.Generator
) -> float:
    n_edges = len(similarity.indices)
    at = rng.choice(n_edges, min(n_edges, SAMPLED_EDGES), replace=False, shuffle=False)
    rows = np.searchsorted(similarity.indptr, at, side="right") - 1
    columns, weights = similarity.indices[at], similarity.weights[at].astype(np.float64)
    scores = membership_scores(similarity, memberships).astype(np.float64)
    together = (memberships[rows] >= 0) & (memberships[rows] == memberships[columns])
    predicted = np.where(together, scores[rows] * scores[columns], 0.0)
    if not len(at) or weights.std() == 0 or predicted.std() == 0:
        return 0.0
    return float(np.corrcoef(weights, predicted)[0, 1])


def _inside(similarity: Similarity, memberships: Int32s) -> tuple[Float64s, Ids]:
    """Weight and number of each vertex's edges within its community, (n,)."""
    return _count_inside(
        writable(similarity.indptr, np.int64),
        writable(similarity.indices, np.int32),
        writable(similarity.weights, np.float32),
        writable(memberships, np.int32),
    )


@kernel
def _count_inside(
    indptr: Ids, indices: Int32s, weights: Floats, memberships: Int32s
) -> tuple[Float64s, Ids]:
    inside = np.zeros(len(memberships), np.float64)
    n_inside = np.zeros(len(memberships), np.int64)
    for v in range(len(memberships)):
        if memberships[v] < 0:
            continue
        for at in range(indptr[v], indptr[v + 1]):
            if memberships[indices[at]] == memberships[v]:
                inside[v] += weights[at]
                n_inside[v] += 1
    return inside, n_inside

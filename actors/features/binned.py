"""A logistic model over binned features: the form of the light ranker."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.features.age_decay import AgeDecay
from actors.features.light import ENGLISH_POST, OTHER_LANGUAGE, READS_ENGLISH
from actors.features.real_graph import home_weight
from actors.stores.kernels import kernel, writable

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BinnedModel:
    """A logistic regression in which each feature contributes the weight of its bin.

    Earlybird's light ranker discretises every continuous feature and gives every
    (feature, bin) a weight. Here each feature has its own row of weights instead of a slot
    in a hashed table, so no two share one.
    """

    names: tuple[str, ...]
    edges: Floats
    """Shape (features, bins − 1), ascending; padded with +inf, or with the largest number
    (an artifact holds no infinities) and the last real bin's weight again."""
    weights: Floats
    """Shape (features, bins); bin b holds edges[b − 1] ≤ x < edges[b]."""
    bias: float
    version: str = ""

    def __post_init__(self) -> None:
        n = len(self.names)
        if self.edges.shape[0] != n or self.weights.shape != (n, self.edges.shape[1] + 1):
            raise ValueError(
                f"{n} features need edges ({n}, b) and weights ({n}, b + 1), "
                f"got {self.edges.shape} and {self.weights.shape}"
            )
        if not (np.isfinite(self.weights).all() and np.isfinite(self.bias)):
            raise ValueError("weights must be finite")

    def logits(self, features: Floats, first: int = 0) -> Floats:
        """Logits of shape (n,) from features `first`, `first + 1`, … of shape (n, k).

        Features not given count as their lowest bin, which shifts all rows alike.
        """
        end = first + features.shape[1]
        missing = self.weights[:first, 0].sum() + self.weights[end:, 0].sum()
        return _sum_of_bins(
            writable(features, np.float32),
            writable(self.edges[first:end], np.float32),
            writable(self.weights[first:end], np.float32),
            float(self.bias + missing),
        )

    def contributions(self, features: Floats) -> Floats:
        """What each feature adds to the logit, of the shape of `features` (n, all)."""
        added = np.empty_like(features)
        for i in range(features.shape[1]):
            bins = np.searchsorted(self.edges[i], features[:, i], side="right")
            added[:, i] = self.weights[i, bins]
        return added


_BLOCK = 256
"""Rows taken together: one feature of theirs, and their bins, stay in the fastest cache."""


@kernel
def _sum_of_bins(features: Floats, edges: Floats, weights: Floats, bias: float) -> Floats:
    n, k = features.shape
    n_edges = edges.shape[1]
    result = np.empty(n, np.float32)
    totals = np.empty(_BLOCK, np.float64)
    values = np.empty(_BLOCK, np.float32)
    bins = np.empty(_BLOCK, np.int32)
    for start in range(0, n, _BLOCK):
        size = min(_BLOCK, n - start)
        totals[:size] = bias
        for j in range(k):
            for i in range(size):
                values[i] = features[start + i, j]
                bins[i] = 0
            # Counting the edges below is slower than a search on paper, and four times
            # faster here: it has no branches, so eight or sixteen rows go at once.
            for b in range(n_edges):
                edge = edges[j, b]
                for i in range(size):
                    bins[i] += values[i] >= edge
            for i in range(size):
                totals[i] += weights[j, bins[i]]
        for i in range(size):
            result[start + i] = totals[i]
    return result


@dataclass(frozen=True)
class LightRanker:
    """The pair of models: of posts by authors whom the viewer follows, and of all others.

    The original calls them recap and rectweet. Both read the same features.
    """

    in_network: BinnedModel
    out_of_network: BinnedModel

    def __post_init__(self) -> None:
        if self.in_network.names != self.out_of_network.names:
            raise ValueError("the models of the two sides read different features")

    @property
    def names(self) -> tuple[str, ...]:
        """The features that both read."""
        return self.in_network.names

    @property
    def version(self) -> str:
        """The version of both."""
        return self.in_network.version

    def of(self, followed: bool) -> BinnedModel:
        """The model for a post whose author is, or is not, followed."""
        return self.in_network if followed else self.out_of_network

    def logits(self, features: Floats, followed: npt.NDArray[np.bool_]) -> Floats:
        """Logits (n,) of features (n, all), each row by the model of its side."""
        logits = np.empty(len(features), np.float32)
        for side in (True, False):
            rows = followed == side
            if rows.any():
                logits[rows] = self.of(side).logits(features[rows])
        return logits


UNTRAINED_VERSION = "untrained"
_MATCHES = (OTHER_LANGUAGE, READS_ENGLISH, ENGLISH_POST, 1.0)
"""What `language_match` may be, ascending."""
OUT_OF_NETWORK_HALF_LIFE_H = 8.0
"""In which a stranger's post has half the odds, untrained. Not published."""
_BIASES = (-3.0, -6.0)
"""In network and out of it: of posts of which nothing else is known the odds are the same when
they are about six hours old."""
_BINS = 16
_RISING = (
    {
        "favourites": 0.3,
        "reposts": 0.3,
        "replys": 0.2,
        "author_affinity": 0.8,
        "is_followed": 0.5,
        "proof_weight": 0.3,
    },
    {
        "favourites": 1.0,
        "reposts": 0.5,
        "replys": 0.5,
        "author_affinity": 0.8,
        "proof_weight": 1.0,
        "show_lesss": -1.0,
        "not_interesteds": -1.0,
        "reports": -1.0,
    },
)
"""What a feature adds to the untrained logit for each 1 of it, in network and out of it."""


def untrained_pair(names: tuple[str, ...]) -> LightRanker:
    """Hand-set models for a system that has not been trained: recency and popularity.

    Of whom one follows one wants the news: weights fall with age like Earlybird's default age
    decay, and rise a little with favourites, replies, reposts, affinity and social proof. That a
    stranger's post is new says nothing for it: there what others made of it decides, for better
    and for worse, and its age slowly.

    In both Real Graph's score of an author multiplies the odds as Home does an author's posts,
    and a language that is not the viewer's as Earlybird does.
    """
    ages = np.geomspace(0.25, 24 * 28, _BINS - 1)
    since = np.append(0.0, ages)
    decay = 10.0 * np.log(AgeDecay().factors(since * 60)) - 0.3 * np.arange(_BINS)
    halved = -np.log(2) / OUT_OF_NETWORK_HALF_LIFE_H * since
    return LightRanker(
        _by_hand(names, ages, decay, _RISING[0], _BIASES[0]),
        _by_hand(names, ages, halved, _RISING[1], _BIASES[1]),
    )


def _by_hand(
    names: tuple[str, ...],
    ages_h: npt.NDArray[np.float64],
    of_age: npt.NDArray[np.float64],
    rising: dict[str, float],
    bias: float,
) -> BinnedModel:
    edges = np.full((len(names), _BINS - 1), np.inf, np.float32)
    weights = np.zeros((len(names), _BINS), np.float32)
    for i, name in enumerate(names):
        if name == "age_hours":
            edges[i], weights[i] = ages_h, of_age
        elif name == "author_real_graph":
            edges[i] = np.linspace(0, 1, _BINS + 1)[1:-1]
            weights[i] = np.log(home_weight(np.append(np.float32(0), edges[i])))
        elif name == "language_match":
            # Between the values, which are logged with less precision.
            between = (np.array(_MATCHES[1:]) + _MATCHES[:-1]) / 2
            edges[i, : len(between)] = between
            weights[i] = np.log(np.append(_MATCHES, np.ones(_BINS - len(_MATCHES))))
        elif name in rising:
            edges[i] = np.linspace(0.4, 6.0, _BINS - 1)
            weights[i] = rising[name] * np.append(0.0, edges[i])
    return BinnedModel(names, edges, weights, bias, UNTRAINED_VERSION)

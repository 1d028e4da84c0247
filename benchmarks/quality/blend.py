"""One order of all sources' candidates, learnt from what users went on to engage with."""

from collections.abc import Callable
from dataclasses import dataclass

import lightgbm
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from actors.features.light import FEATURES
from benchmarks.quality.metrics import DEPTH, judge
from benchmarks.quality.ours import Found
from benchmarks.quality.splits import Problem
from cluster.ids import Ids, mix64
from timeline.candidates import ENGINES

Floats = npt.NDArray[np.float32]

FOLDS = 4
HALF_LIVES = (np.inf, 0.3, 0.1, 0.03)
"""Of a post's popularity, as shares of the time from the first known positive to now."""
_LIGHT = (
    *("favourites", "recent_favourites", "engagements_per_hour", "author_affinity", "is_followed"),
    *("author_real_graph", "proof_weight", "favourite_proofs", "author_followers"),
    "author_reputation",
)
"""Features of the light ranker that the blend is given, of which more never counts against."""
_TREES = {
    "objective": "lambdarank",
    "lambdarank_truncation_level": DEPTH,
    "learning_rate": 0.05,
    "num_leaves": 6,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "verbosity": -1,
    "num_threads": 2,
}
_ROUNDS = 100

Scorer = Callable[[Floats], npt.NDArray[np.float64]]
Fit = Callable[[Floats, npt.NDArray[np.bool_], npt.NDArray[np.int64], int], Scorer]


@dataclass(frozen=True)
class Blend:
    """Where, by whom and how high a post was found, and what it is, as one score.

    Fitted on one problem's candidates and positives (the validation part) by the kind of model
    that does best on posts it was not fitted on, and applied to another's (the test part).
    """

    kind: str
    score: Scorer

    def lists(self, found: Found, problem: Problem) -> Ids:
        """Ranked lists of shape (users, DEPTH), best first, 0 where one has ended."""
        return lists_by(self.score(inputs(found, problem)), found, problem)


def fitted(found: Found, problem: Problem, target: str, seed: int) -> Blend:
    """The blend that cross-validation chooses by the metric `target`, fitted on all of it."""
    values, labels = inputs(found, problem), wanted(found, problem)
    held_out = mix64(found.post_ids.astype(np.uint64)) % np.uint64(FOLDS)
    judged = {}
    for kind, fit in _KINDS.items():
        scores = np.zeros(len(labels))
        for fold in range(FOLDS):
            learn = held_out != fold
            model = fit(values[learn], labels[learn], found.rows[learn].astype(np.int64), seed)
            scores[~learn] = model(values[~learn])
        judged[kind] = judge(lists_by(scores, found, problem), problem)[target]
    best = max(judged, key=lambda kind: judged[kind])
    return Blend(best, _KINDS[best](values, labels, found.rows.astype(np.int64), seed))


def _linear(
    values: Floats, labels: npt.NDArray[np.bool_], rows: npt.NDArray[np.int64], seed: int
) -> Scorer:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=300))
    model.fit(values, labels)
    return lambda wanted: np.asarray(model.decision_function(wanted), np.float64)


def _trees(
    values: Floats, labels: npt.NDArray[np.bool_], rows: npt.NDArray[np.int64], seed: int
) -> Scorer:
    sizes = np.bincount(rows)
    data = lightgbm.Dataset(values, labels, group=sizes[sizes > 0])
    parameters = {**_TREES, "seed": seed, "monotone_constraints": [1] * values.shape[1]}
    model = lightgbm.train(parameters, data, _ROUNDS)
    return lambda wanted: np.asarray(model.predict(wanted), np.float64)


_KINDS: dict[str, Fit] = {"linear": _linear, "monotone trees": _trees}


def lists_by(scores: npt.NDArray[np.floating], found: Found, problem: Problem) -> Ids:
    """The merged candidates of each user by scores (n,), ties by post id; (users, DEPTH)."""
    order = np.lexsort((found.post_ids, -scores, found.rows))
    rows = found.rows[order]
    places = np.arange(len(rows)) - np.searchsorted(rows, rows)
    lists = np.zeros((len(problem.users), DEPTH), np.int64)
    kept = places < DEPTH
    lists[rows[kept], places[kept]] = found.post_ids[order][kept]
    return lists


def wanted(found: Found, problem: Problem) -> npt.NDArray[np.bool_]:
    """Which rows of the table are positives, (n,)."""
    n = len(problem.post_ids)
    at = np.searchsorted(problem.post_ids, found.post_ids)
    users = np.searchsorted(problem.users, problem.wanted.user_ids)
    positives = users * n + np.searchsorted(problem.post_ids, problem.wanted.post_ids)
    return np.isin(found.rows.astype(np.int64) * n + at, positives)


def inputs(found: Found, problem: Problem) -> Floats:
    """What the blend is given, one row a candidate; of each column more is never worse."""
    columns: list[npt.NDArray[np.floating]] = []
    for name, ranks in found.ranks.items():
        there = ranks >= 0
        if there.any():
            columns += [
                np.where(there, 1 / np.sqrt(1.0 + np.maximum(ranks, 0)), 0),
                there.astype(np.float64),
                np.where(there, np.log1p(np.maximum(found.scores[name], 0)), 0),
            ]
    columns += [(found.engines >> np.uint32(i) & 1).astype(float) for i in range(len(ENGINES))]
    for name, close in found.affinities.items():
        scale = {"walk": 1e4, "co_engagement": 1.0}.get(name)
        some = np.maximum(close, 0)
        columns.append(some if scale is None else np.log1p(scale * some))
    columns += _popularity(found, problem)
    columns += [found.features[:, FEATURES.index(name)] for name in _LIGHT]
    return np.column_stack([*columns, found.light]).astype(np.float32)


def _popularity(found: Found, problem: Problem) -> list[npt.NDArray[np.floating]]:
    span_ms = max(problem.now_ms - int(problem.known.times_ms.min()), 1)
    age = (problem.now_ms - problem.known.times_ms) / span_ms
    posts = np.searchsorted(problem.post_ids, problem.known.post_ids)
    at, n = np.searchsorted(problem.post_ids, found.post_ids), len(problem.post_ids)
    return [np.log1p(np.bincount(posts, 0.5 ** (age / h), n))[at] for h in HALF_LIVES]

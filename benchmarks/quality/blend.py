"""One order of all sources' candidates, learnt from what users went on to engage with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

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
    "num_threads": 1,
}
_ROUNDS = 100
_NEGATIVES = 100
"""Candidates that were not wanted, for each that was: more teach little and take long."""

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
    validation: Mapping[str, float]
    """By kind of model, the metric on posts it was not fitted on."""

    def lists(self, found: Found, problem: Problem) -> Ids:
        """Ranked lists of shape (users, DEPTH), best first, 0 where one has ended."""
        return lists_by(self.score(inputs(found, problem)), found, problem)


def fitted(found: Found, problem: Problem, target: str, seeds: int) -> list[Blend]:
    """The blend that cross-validation chooses by the metric `target`, fitted on all of it.

    Once for each seed, with another choice of candidates that were not wanted.
    """
    values, labels = inputs(found, problem), wanted(found, problem)
    held_out = mix64(found.post_ids.astype(np.uint64)) % np.uint64(FOLDS)
    chances = np.array([np.random.default_rng(seed).random(len(labels)) for seed in range(seeds)])
    learnt = labels | (chances < _NEGATIVES * labels.mean())

    def model_of(kind: str, learn: npt.NDArray[np.bool_], seed: int) -> Scorer:
        rows = found.rows[learn].astype(np.int64)
        return _KINDS[kind](values[learn], labels[learn], rows, seed)

    judged = {}
    for kind in _KINDS:
        scores = np.zeros(len(labels))
        for fold in range(FOLDS):
            mine = held_out == fold
            scores[mine] = model_of(kind, learnt[0] & ~mine, 0)(values[mine])
        judged[kind] = judge(lists_by(scores, found, problem), problem)[target]
    best = max(judged, key=lambda kind: judged[kind])
    return [Blend(best, model_of(best, learnt[seed], seed), judged) for seed in range(seeds)]


def _linear(
    strength: float,
    values: Floats,
    labels: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.int64],
    seed: int,
) -> Scorer:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200))
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


_KINDS: dict[str, Fit] = {
    "linear": partial(_linear, 1e-3),
    "linear, loosely": partial(_linear, 1e-2),
    "monotone trees": _trees,
}


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
        columns += [_scaled(name, close), -np.log1p(places(close, found.rows))]
    columns += _popularity(found, problem)
    columns += [found.features[:, FEATURES.index(name)] for name in _LIGHT]
    return np.column_stack([column.astype(np.float32) for column in [*columns, found.light]])


def _scaled(name: str, close: Floats) -> Floats:
    if name.startswith("twhin_"):
        # A product may be below 0; of a cosine only likeness counts.
        return close
    factor = {"walk": 1e4, "far_walk": 1e4, "co_engagement": 1.0}.get(name)
    some: Floats = np.maximum(close, 0)
    if factor is not None:
        some = np.log1p(factor * some).astype(np.float32)
    return some


def places(close: Floats, rows: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """The place of each among its user's candidates, the closest first; equal ones share it."""
    order = np.lexsort((-close, rows))
    new = np.append(True, (np.diff(rows[order]) != 0) | (np.diff(close[order]) != 0))[: len(order)]
    first = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    places = np.empty(len(order), np.int64)
    places[order] = first - np.searchsorted(rows[order], rows[order])
    return places


def _popularity(found: Found, problem: Problem) -> list[npt.NDArray[np.floating]]:
    span_ms = max(problem.now_ms - int(problem.known.times_ms.min()), 1)
    age = (problem.now_ms - problem.known.times_ms) / span_ms
    posts = np.searchsorted(problem.post_ids, problem.known.post_ids)
    at, n = np.searchsorted(problem.post_ids, found.post_ids), len(problem.post_ids)
    return [np.log1p(np.bincount(posts, 0.5 ** (age / h), n))[at] for h in HALF_LIVES]

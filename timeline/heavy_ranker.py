"""The heavy ranker as a stage: features of the candidates, ten probabilities, one score."""

import numpy as np
import numpy.typing as npt

from actors.features.tasks import TASK_NAMES
from actors.features.weighted_score import weighted_score
from actors.models import HEAVY_RANKER
from actors.ranker import NO_RANKER, Ranker, RankerUnavailable
from timeline.candidates import Candidates, Floats
from timeline.mixing import best_first
from timeline.predictions import LightScores, Predictions
from timeline.query import Query
from timeline.ranker_inputs import fetch_inputs
from timeline.sources.cached import known_scores

_LEAST_S = 0.02
"""With less time left than this there is no point in beginning."""


def best_by_light_ranker(query: Query, candidates: Candidates) -> npt.NDArray[np.int64]:
    """The rows that the heavy ranker scores, in their order: the best of all."""
    most = query.width(HEAVY_RANKER, query.settings.heavy_ranker.max_scored)
    return np.sort(best_first(candidates)[:most])


def heavy_ranker(ranker: Ranker, query: Query, candidates: Candidates) -> Floats:
    """The weighted sum of what viewers are predicted to do with each post.

    What the same version scored a moment ago keeps its score. Without a model, or where it
    fails or says what is not a number, the light ranker's scores stand; a failure is noted.
    Where it does not, the query keeps the light ranker's, for the factor that mixes both.
    """
    active = query.versions.get(HEAVY_RANKER)
    version = ranker.serving(active) if active else None
    if version is None or not len(candidates):
        if active and ranker is not NO_RANKER:
            query.note(HEAVY_RANKER)
        return candidates.scores
    known, scores = known_scores(query.cached, candidates.post_ids, version)
    if not known.all():
        rest = candidates.take(~known) if known.any() else candidates
        predictions = _predict(ranker, version, query, rest)
        if predictions is None:
            query.note(HEAVY_RANKER)
            return candidates.scores
        weights = query.settings.heavy_ranker.weights
        scores[~known] = weighted_score(predictions.probabilities, weights)
        query.predictions = predictions
    query.light_scores = LightScores(candidates.post_ids, candidates.scores)
    query.ranked_by = version
    return scores


def _predict(
    ranker: Ranker, version: str, query: Query, candidates: Candidates
) -> Predictions | None:
    """Probabilities by `version`; None where there are none."""
    if query.left_s() < _LEAST_S:
        return None
    inputs = fetch_inputs(query, candidates)
    if query.left_s() < _LEAST_S:
        return None
    try:
        found = ranker.score(version, inputs, query.left_s() - _LEAST_S)
    except RankerUnavailable:
        return None
    if found.shape != (len(candidates), len(TASK_NAMES)) or not np.isfinite(found).all():
        return None
    return Predictions(version, candidates.post_ids, found, inputs, tuple(query.applied))

"""Scores: the light ranker, and the heuristics that rescore what it says."""

import numpy as np

from actors.models import LIGHT_RANKER, Models
from actors.posts import rank_within
from timeline.candidates import Candidates, Floats
from timeline.mixing import best_first
from timeline.query import Query
from timeline.sources.cached import known_scores


def light_ranker(models: Models, query: Query, candidates: Candidates) -> Floats:
    """The probability of an engagement, by the version this request began with.

    Posts of followed authors are judged by the in-network model, others by the other one.
    What the same version scored a moment ago keeps its score.
    """
    version = query.versions[LIGHT_RANKER]
    known, scores = known_scores(query.cached, candidates.post_ids, version)
    rest = candidates if not known.any() else candidates.take(~known)
    ranker = models.light_ranker(version)
    logits = ranker.logits(rest.features, rest.feature("is_followed") > 0)
    scores[~known] = 1.0 / (1.0 + np.exp(-logits))
    return scores


def author_diversity(query: Query, candidates: Candidates) -> Floats:
    """Factors (1 − floor)·decay^k + floor, k the rank of a post within its author's.

    The published heuristic with its values: 1, 0.625, 0.4375 … → 0.25.
    """
    settings = query.settings.for_you
    order = best_first(candidates)
    rank = np.empty(len(candidates), np.int64)
    rank[order] = rank_within(candidates.author_ids[order])
    floor = settings.diversity_floor
    factors = (1 - floor) * settings.diversity_decay**rank + floor
    return factors.astype(np.float32)

"""Scores: the light ranker, and the heuristics that rescore what it says."""

import numpy as np

from actors.models import LIGHT_RANKER, Models
from actors.posts import rank_within
from timeline.candidates import Candidates, Floats
from timeline.mixing import best_first
from timeline.query import Query


def light_ranker(models: Models, query: Query, candidates: Candidates) -> Floats:
    """The probability of an engagement, by the version this request began with."""
    logits = models.light_ranker(query.versions[LIGHT_RANKER]).logits(candidates.features)
    return (1.0 / (1.0 + np.exp(-logits))).astype(np.float32)


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

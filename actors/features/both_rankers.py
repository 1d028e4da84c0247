"""One score of both rankers, by which serving ranks and training judges.

A heavy ranker that has seen some thousands of examples is sure of much that is not so, above all
of posts unlike any that were shown; the light ranker, which has a few parameters, knows less and
errs elsewhere. The geometric mean needs no common scale of the two, depends on no other candidate,
and lets either of them condemn a post.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

LEAST = 1e-6
"""Scores count as no less, so that no factor is 0 or without bound."""


def light_factor(heavy: Floats, light: Floats, share: float) -> Floats:
    """By what the heavy ranker's scores are multiplied to become heavy^(1 − share) · light^share.

    `heavy` are weighted sums above 0 and `light` probabilities, both (n,), as is what returns.
    A heavy score of 0 stays one.
    """
    if share == 0:
        return np.ones(len(heavy), np.float32)
    ratio = np.maximum(light, LEAST).astype(np.float64) / np.maximum(heavy, LEAST)
    factors: Floats = (ratio**share).astype(np.float32)
    return factors

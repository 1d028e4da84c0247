"""Posts younger than the model: a vector formed from those who engaged, and how well that fits.

Training pulls a post's vector towards its engagers' and pushes it from those of negatives, which
are near the average engager. So it points from the *centre* of engagers towards its own. The
translation takes no part in that: in the score `x_l · (x_r + t)` it is added to the post, and no
gradient carries it into the post's vector.
"""

import numpy as np

from training.twhin.edges import Edges
from training.twhin.evaluate import Floats, Vectors
from training.twhin.relations import ENGAGEMENT_RELATIONS, POSTS, RELATIONS, USER_ENGAGEMENT

MIN_ENGAGERS = 5
"""Posts of fewer say little about how well a mean fits."""
_JUDGED_EDGES = 1_000_000


def engager_centres(edges: Edges, vectors: Vectors) -> Floats:
    """By relation, the mean engager's vector over its edges; zeros for other relations.

    Shape (relations, D). Subtracted from an engager's vector, it gives what the engagement says
    about the post's.
    """
    dimensions = next(iter(vectors.values())).shape[1]
    centres = np.zeros((len(RELATIONS), dimensions), np.float32)
    for i in ENGAGEMENT_RELATIONS.values():
        counts = edges.frequencies(RELATIONS[i].name, "lhs").astype(np.float64)
        if counts.sum():
            centres[i] = counts @ vectors[USER_ENGAGEMENT] / counts.sum()
    return centres


def formed_cosine(edges: Edges, vectors: Vectors, centres: Floats) -> tuple[float, int]:
    """Mean cosine of trained post vectors with those formed from engagers; number of posts.

    Of posts with `MIN_ENGAGERS` engagements or more, in shards of a million edges at most.
    """
    if POSTS not in vectors or USER_ENGAGEMENT not in vectors:
        return 0.0, 0
    posts, users = vectors[POSTS], vectors[USER_ENGAGEMENT]
    formed, counts, n_edges = np.zeros_like(posts), np.zeros(len(posts), np.int64), 0
    for name, n in edges.shards:
        shard = edges.shard(name)
        shard = shard.take(np.isin(shard.rel, list(ENGAGEMENT_RELATIONS.values())))
        np.add.at(formed, shard.rhs, users[shard.lhs] - centres[shard.rel])
        counts += np.bincount(shard.rhs, minlength=len(posts))
        n_edges += n
        if n_edges >= _JUDGED_EDGES:
            break
    chosen = counts >= MIN_ENGAGERS
    if not chosen.any():
        return 0.0, 0
    ours, theirs = formed[chosen], posts[chosen]
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosines = (ours * theirs).sum(1) / np.maximum(norms, 1e-12)
    return float(cosines.mean()), int(chosen.sum())

"""Embeddings of pictures that nobody ever took: drawn as an image model might place them.

A world has no pictures. What stands for their embeddings is noise around a point for the topic,
moved in one direction where the post is adult; a model that learns from them shows that the way
from events to labels works, and nothing of how well it would know real pictures.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.events import COLUMNS, MEDIA_DIMENSIONS
from cluster.ids import Ids

Bools = npt.NDArray[np.bool_]

_TOPIC_LENGTH, _ADULT_LENGTH, _NOISE_LENGTH = 0.6, 0.4, 1.0
_SPACE_SEED = 256
"""The same space in all worlds: as if one image model had made the embeddings of all."""


def embeddings_of(
    topics: Ids,
    adult: npt.NDArray[np.bool_],
    shown: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> pa.Array:
    """`media_embedding` of n posts, null for those that show nothing; all arguments are (n,)."""
    topics, adult = topics[shown], adult[shown]
    space = np.random.default_rng(_SPACE_SEED)
    directions = space.standard_normal((int(topics.max(initial=0)) + 2, MEDIA_DIMENSIONS))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    noise = rng.standard_normal((len(topics), MEDIA_DIMENSIONS)) / np.sqrt(MEDIA_DIMENSIONS)
    found = (
        _TOPIC_LENGTH * directions[1 + topics]
        + _ADULT_LENGTH * adult[:, None] * directions[0]
        + _NOISE_LENGTH * noise
    ).astype(np.float32)
    ends = np.cumsum(np.append(0, shown * MEDIA_DIMENSIONS)).astype(np.int32)
    kind, numbers = COLUMNS["media_embedding"], pa.array(found.ravel())
    return pa.ListArray.from_arrays(pa.array(ends), numbers, type=kind, mask=pa.array(~shown))

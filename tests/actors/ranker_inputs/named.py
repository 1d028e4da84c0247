"""Inputs by name, as a test wants to compare them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.features.families import Selection
from actors.features.inputs import RankerInputs
from actors.ranker_inputs.as_of import inputs_as_of
from actors.ranker_inputs.found import source_codes
from actors.state import ShardState


def by_name(inputs: RankerInputs) -> dict[str, npt.NDArray[Any]]:
    """Every candidate's value of every input, and its vectors."""
    continuous, binary, discrete, vectors = inputs.dense()
    named: dict[str, npt.NDArray[Any]] = dict(vectors)
    for of_sort, values in (
        (inputs.schema.continuous, continuous),
        (inputs.schema.binary, binary),
        (inputs.schema.discrete, discrete),
    ):
        assert values.shape == (len(inputs), len(of_sort))
        named |= {given.name: values[:, k] for k, given in enumerate(of_sort)}
    return named


def told(
    state: ShardState,
    viewer_id: int,
    post_ids: Sequence[int],
    now_ms: int,
    *,
    sources: Sequence[str | None] | None = None,
    selection: Selection = "twitter",
    dimensions: int = 3,
) -> dict[str, list[float]]:
    """What is told of posts by one state, rounded to five digits."""
    codes = source_codes(sources or [None] * len(post_ids))
    posts = np.array(post_ids, np.int64)
    found = inputs_as_of(state, viewer_id, posts, codes, now_ms, selection, dimensions)
    return {name: np.round(values, 5).tolist() for name, values in by_name(found).items()}

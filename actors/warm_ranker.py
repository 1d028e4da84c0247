"""What compiles the kernels behind the heavy ranker's inputs."""

import numpy as np

from actors.features.families import Place
from actors.features.inputs import RankerInputs
from actors.ranker_inputs import links
from actors.ranker_inputs.aggregates import groups_at, merged_engagers
from actors.ranker_inputs.as_of import inputs_as_of
from actors.state import ShardState
from cluster.ids import Ids


def warm_inputs(state: ShardState, viewer_id: int, post_ids: Ids, now_ms: int) -> RankerInputs:
    """Make the inputs of a few posts, and merge the counters of a few engagers."""
    selection = state.settings.heavy_ranker.features
    engagers = links.Engagers(np.array([0, 1, 3]), np.array([1, 1, 2]))
    for group in groups_at(selection, Place.REQUEST):
        rows = np.ones((2, len(group.columns)), np.float32)
        merged_engagers(group, rows, np.array([1, 2]), engagers)
    sources = np.zeros(len(post_ids), np.int64)
    return inputs_as_of(state, viewer_id, post_ids, sources, now_ms, selection)

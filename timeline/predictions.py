"""What the rankers said of a request's candidates, and from what."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.features.inputs import RankerInputs
from actors.features.logged import Applied
from cluster.ids import Ids

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LightScores:
    """What the light ranker said of n candidates."""

    post_ids: Ids
    scores: Floats
    """Shape (n,)."""

    def of(self, post_ids: Ids) -> Floats:
        """Scores of posts (m,), each of which must be one of these."""
        order = np.argsort(self.post_ids)
        found: Floats = self.scores[order[np.searchsorted(self.post_ids, post_ids, sorter=order)]]
        return found


@dataclass(frozen=True)
class Predictions:
    """Probabilities of n candidates by one version of the model."""

    version: str
    post_ids: Ids
    probabilities: Floats
    """Shape (n, len(TASK_NAMES)), calibrated."""
    inputs: RankerInputs
    """What they were predicted from."""
    applied: tuple[Applied, ...] = ()
    """How far the log was applied where the inputs came from, wave by wave."""

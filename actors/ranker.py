"""Where the heavy ranker runs: what a timeline asks of it, in this process or elsewhere."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from actors.features.inputs import RankerInputs

Floats = npt.NDArray[np.float32]


class RankerUnavailable(RuntimeError):
    """The model cannot score now: it is overloaded, late, or gone."""


class Ranker(Protocol):
    """Versions of the heavy ranker, one of which scores; thread-safe."""

    @property
    def ready(self) -> bool:
        """Whether any version scores: then the viewer's inputs are asked for at once."""

    def serving(self, version: str) -> str | None:
        """The version that scores in place of `version`: itself as soon as it is loaded and
        found sound, until then the one that served before; None where there is none."""

    def score(self, version: str, inputs: RankerInputs, timeout_s: float) -> Floats:
        """Probabilities (n, len(TASK_NAMES)). Raises `RankerUnavailable`."""


class NoRanker:
    """The ranker of a system without one: the light ranker's order stands."""

    ready = False

    def serving(self, version: str) -> str | None:
        """Nothing."""
        return None

    def score(self, version: str, inputs: RankerInputs, timeout_s: float) -> Floats:
        """Never."""
        raise RankerUnavailable("there is no heavy ranker")


NO_RANKER = NoRanker()

"""What a request did, stage by stage: enough to say of every post why it is there or is not."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids
from timeline.candidates import NONE, Candidates, Floats


@dataclass
class StageTrace:
    """What one stage did."""

    name: str
    ms: float
    n_in: int
    n_out: int
    dropped: Ids | None = None
    """Posts that the stage removed."""
    post_ids: Ids | None = None
    """For a stage that scores: the posts it scored, beside `values`."""
    values: Floats | None = None
    """Scores set, or the product of the factors applied."""
    factors: Mapping[str, Floats] = field(default_factory=dict)
    """For a stage that applies several factors: each of `post_ids`, by the factor's name."""
    judged_ids: Ids | None = None
    """For a filter that gives reasons: the posts it has one for, beside `reasons`."""
    reasons: npt.NDArray[np.int16] | None = None
    """Places in `reason_names`."""
    reason_names: tuple[str, ...] = ()
    ordered: Ids | None = None
    """For a stage that put the posts into an order of its own: all that it left, in order."""
    skipped: str = ""
    """Why the stage did not run."""
    failed: str = ""
    """The type of the error that ended it."""
    late: bool = False
    """Whether it took longer than its budget."""

    def drop(self, post_ids: Ids) -> None:
        """Add posts to those that the stage removed."""
        if len(post_ids):
            before = self.dropped
            self.dropped = post_ids if before is None else np.concatenate([before, post_ids])

    def judge(
        self, post_ids: Ids, reasons: npt.NDArray[np.integer], names: tuple[str, ...]
    ) -> None:
        """Add the reasons of posts (n,) that have one, −1 being none."""
        has = reasons >= 0
        codes = reasons[has].astype(np.int16)
        if self.judged_ids is not None and self.reasons is not None:
            self.judged_ids = np.concatenate([self.judged_ids, post_ids[has]])
            self.reasons = np.concatenate([self.reasons, codes])
        else:
            self.judged_ids, self.reasons = post_ids[has], codes
        self.reason_names = names


@dataclass(frozen=True)
class FoundBy:
    """What one source found."""

    found: int
    only: int
    """Posts that no other source found: its unique contribution."""
    ms: float | None = field(default=None, compare=False)
    """Until it was found, waves shared with others included; None for a source that failed."""


@dataclass
class Trace:
    """What a request did."""

    stages: list[StageTrace] = field(default_factory=list)
    found: Candidates = NONE
    """Every candidate as merged and completed, before the first was dropped."""
    sources: dict[str, FoundBy] = field(default_factory=dict)
    """What each source found, before copies were merged."""

    def timings_ms(self) -> dict[str, float]:
        """Milliseconds by stage; those of late filters are part of their stage's."""
        return {stage.name: round(stage.ms, 3) for stage in self.stages}

    def funnel(self) -> list[tuple[str, int, int]]:
        """(stage, candidates in, candidates out) of every stage that may change them."""
        return [(s.name, s.n_in, s.n_out) for s in self.stages if s.n_in or s.n_out]

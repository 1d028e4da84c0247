"""The parts that a product is made of: what each kind of stage does, may take, and may fail at."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from timeline.candidates import Candidates, Floats, Mask
from timeline.findings import Finding
from timeline.mixing import best_first
from timeline.query import Query
from timeline.trace import StageTrace

Rows = npt.NDArray[np.int64]

_LOG = logging.getLogger(__name__)


class Source(Protocol):
    """Finds candidates; `name` says which system of the original it is."""

    name: str
    gated: bool
    """Whether it need not be asked while enough of its posts are cached for the viewer."""

    def find(self, query: Query) -> Finding[Candidates]:
        """A generator that yields what it asks, and returns candidates, best first.

        What all sources ask at once travels in one wave; see `timeline.findings`. Scores are
        the source's own. The pipeline says which source found what, so that need not.
        """


@dataclass(frozen=True)
class Stage:
    """What every stage has, and may declare."""

    name: str
    _: KW_ONLY
    needs: tuple[str, ...] = ()
    """What earlier stages must have given: names of anything the query or the candidates hold."""
    gives: tuple[str, ...] = ()
    """What later stages may need."""
    optional: bool = False
    """Whether a request goes on without the stage where it fails, has no time left or lacks what
    it needs: `degraded` then names it. A failure of any other stage is the request's."""
    budget_ms: float = math.inf
    """The stage sees a deadline no later than this after its start. A request without a deadline
    has no budgets either, so that it can be repeated."""


@dataclass(frozen=True)
class Gate(Stage):
    """Asks the query something; on False the stages that it is `over` are skipped."""

    opens: Callable[[Query], bool]
    over: tuple[str, ...]


@dataclass(frozen=True)
class Prepare(Stage):
    """A stage that learns something about the query; False ends the pipeline, empty."""

    run: Callable[[Query], bool]


@dataclass(frozen=True)
class Retrieve(Stage):
    """A stage that asks all sources' questions in common waves and merges what they find.

    Of a post that several find the first source's copy is kept, and all of them as evidence.
    """

    sources: Sequence[Source]
    share: float = 0.6
    """Of the time then left, what each wave may take."""
    beside: Callable[[Query], Mapping[str, Finding[Any]]] | None = None
    """What else travels with the sources' questions; found, it is in `Query.beside`."""


@dataclass(frozen=True)
class Extend(Stage):
    """A stage that completes candidates: the same posts, with more known of them."""

    run: Callable[[Query, Candidates], Candidates]


@dataclass(frozen=True)
class Judged:
    """What a filter decided of n candidates, and by what rule."""

    keep: Mask
    reasons: npt.NDArray[np.integer]
    """(n,): places in `names`, −1 for none. What stays may have a reason too."""
    names: tuple[str, ...]


@dataclass(frozen=True)
class Filter(Stage):
    """A stage that keeps candidates: True stays."""

    keep: Callable[[Query, Candidates], Mask | Judged]
    safety: bool = field(default=False, kw_only=True)
    """Whether nothing may be shown where it fails."""


@dataclass(frozen=True)
class Score(Stage):
    """A stage that sets every score."""

    run: Callable[[Query, Candidates], Floats]


@dataclass(frozen=True)
class Rescore(Stage):
    """A stage that multiplies scores by factors: one, or several that have names."""

    factors: Callable[[Query, Candidates], Floats | Sequence[tuple[str, Floats]]]


@dataclass(frozen=True)
class Select(Stage):
    """A stage that chooses and orders: the rows to go on with."""

    rows: Callable[[Query, Candidates], Rows]


def by_score(query: Query, candidates: Candidates) -> Rows:
    """All rows, the best first."""
    return best_first(candidates)


@dataclass(frozen=True)
class Refine(Stage):
    """A stage that does for the best what would cost too much for all.

    It takes the `width` first by `order`, prepares them and filters all that it has so far; while
    these are not `enough` it takes as many again, `rounds` times at most and as long as there is
    time. Filters here must be idempotent. What was not taken counts as dropped by the stage.
    """

    prepare: Callable[[Query, Candidates], Candidates]
    """Given the newly taken, in order; may leave some out, and must keep the others' ids."""
    filters: Sequence[Filter]
    enough: Callable[[Query, Candidates], bool]
    width: Callable[[Query], int]
    order: Callable[[Query, Candidates], Rows] = by_score
    rounds: int = 4


def excuse(stage: Stage, query: Query, record: StageTrace, error: Exception) -> None:
    """Note that a stage failed and that the request goes on."""
    _LOG.error("stage %s failed", stage.name, exc_info=error)
    record.failed = type(error).__name__
    query.note(stage.name)


def shaped(stage: Stage, what: npt.NDArray[np.generic], n: int) -> None:
    """Check that a stage said one thing of each of n candidates; raises `ValueError`."""
    if what.shape != (n,):
        raise ValueError(f"{stage.name} said {what.shape} of {n} candidates, not ({n},)")

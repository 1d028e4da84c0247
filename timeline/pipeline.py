"""A product is a list of named stages; the framework runs, times and traces them.

What a stage dropped or rescored is recorded here and nowhere else, so *why is this post
here*, and *why is that one not*, need no code of their own in any stage.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from actors.scored_posts import NOTHING_SCORED
from cluster.ids import Ids
from timeline.candidates import NONE, Candidates, Floats, Mask, concatenate, first_copies
from timeline.facts_ahead import FactsAhead
from timeline.findings import Finding, ask_together
from timeline.query import Query
from timeline.sources.cached import gate


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
class Prepare:
    """A stage that learns something about the query; False ends the pipeline, empty."""

    name: str
    run: Callable[[Query], bool]


@dataclass(frozen=True)
class Retrieve:
    """A stage that asks all sources' questions in common waves and merges what they find.

    Of a post that several find the first source's copy is kept, and all of them as evidence.
    """

    name: str
    sources: Sequence[Source]
    share: float = 0.6


@dataclass(frozen=True)
class Extend:
    """A stage that completes candidates: the same posts, with more known of them."""

    name: str
    run: Callable[[Query, Candidates], Candidates]


@dataclass(frozen=True)
class Filter:
    """A stage that keeps candidates: True stays."""

    name: str
    keep: Callable[[Query, Candidates], Mask]


@dataclass(frozen=True)
class Score:
    """A stage that sets every score."""

    name: str
    run: Callable[[Query, Candidates], Floats]


@dataclass(frozen=True)
class Rescore:
    """A stage that multiplies scores by factors."""

    name: str
    factors: Callable[[Query, Candidates], Floats]


@dataclass(frozen=True)
class Select:
    """A stage that chooses and orders: the rows to go on with."""

    name: str
    rows: Callable[[Query, Candidates], npt.NDArray[np.int64]]


Stage = Prepare | Retrieve | Extend | Filter | Score | Rescore | Select


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
    """Scores set, or factors applied."""


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
    """What a request did, stage by stage."""

    stages: list[StageTrace] = field(default_factory=list)
    found: Candidates = NONE
    """Every candidate as merged and completed, before the first filter."""
    sources: dict[str, "FoundBy"] = field(default_factory=dict)
    """What each source found, before copies were merged."""

    def timings_ms(self) -> dict[str, float]:
        """Milliseconds by stage."""
        return {stage.name: round(stage.ms, 3) for stage in self.stages}

    def funnel(self) -> list[tuple[str, int, int]]:
        """(stage, candidates in, candidates out) of every stage that may change them."""
        return [(s.name, s.n_in, s.n_out) for s in self.stages if s.n_in or s.n_out]


@dataclass(frozen=True)
class Pipeline:
    """A product: its name and its stages, in order."""

    name: str
    stages: Sequence[Stage]

    @property
    def source_names(self) -> list[str]:
        """Names of all sources, in the order in which the product numbers them."""
        return [
            source.name
            for stage in self.stages
            if isinstance(stage, Retrieve)
            for source in stage.sources
        ]

    def run(self, query: Query) -> tuple[Candidates, Trace]:
        """Run all stages; what is left at the end is the answer, in order."""
        trace = Trace()
        candidates = NONE
        for stage in self.stages:
            started = time.perf_counter()
            before = candidates
            record = StageTrace(stage.name, 0.0, len(before), 0)
            go_on = True
            match stage:
                case Prepare():
                    go_on = stage.run(query)
                case Retrieve():
                    candidates = _retrieve(stage, query, trace)
                case Extend():
                    candidates = stage.run(query, candidates)
                    trace.found = candidates
                case Filter():
                    kept = stage.keep(query, candidates)
                    if not kept.all():
                        record.dropped = candidates.post_ids[~kept]
                        candidates = candidates.take(kept)
                case Score():
                    scores = stage.run(query, candidates)
                    record.post_ids, record.values = candidates.post_ids, scores
                    candidates = candidates.with_scores(scores)
                case Rescore():
                    factors = stage.factors(query, candidates)
                    changed = factors != 1
                    record.post_ids = candidates.post_ids[changed]
                    record.values = factors[changed]
                    candidates = candidates.with_scores(candidates.scores * factors)
                case Select():
                    rows = stage.rows(query, candidates)
                    left_out = np.ones(len(candidates), bool)
                    left_out[rows] = False
                    record.dropped = candidates.post_ids[left_out]
                    candidates = candidates.take(rows)
            record.ms = (time.perf_counter() - started) * 1000
            record.n_out = len(candidates)
            trace.stages.append(record)
            if not go_on:
                return NONE, trace
        return candidates, trace


def _retrieve(stage: Retrieve, query: Query, trace: Trace) -> Candidates:
    names = tuple(source.name for source in stage.sources)
    if query.cached.source_names != names:
        query.cached = NOTHING_SCORED  # made by another version of the product
    enough = query.settings.sources.cached.enough
    asked = {
        source.name: number
        for number, source in enumerate(stage.sources)
        if not source.gated or gate(query.cached, source.name, enough)
    }
    took_ms: dict[str, float] = {}
    versions, n_shards = query.versions, query.router.n_shards
    query.ahead = FactsAhead(query.viewer.language, query.now_ms, versions, n_shards)
    named = {
        name: _noted(query, stage.sources[number].find(query), name, took_ms)
        for name, number in asked.items()
    }
    found = ask_together(query, named, stage.share)
    parts = {n: part.of_source(asked[n]) for n, part in found.items() if part is not None}
    merged = first_copies(concatenate(list(parts.values()))) if parts else NONE
    for name, number in asked.items():
        only = int(np.count_nonzero(merged.sources == 1 << number))
        n_found = len(parts[name]) if name in parts else 0
        trace.sources[name] = FoundBy(n_found, only, took_ms.get(name))
    return merged


def _noted(
    query: Query, finding: Finding[Candidates], name: str, took_ms: dict[str, float]
) -> Finding[Candidates]:
    """A finding, timed; facts of what it found travel with what others ask next."""
    started = time.perf_counter()
    found = yield from finding
    took_ms[name] = (time.perf_counter() - started) * 1000
    if query.ahead is not None:
        query.ahead.note(found)
    return found

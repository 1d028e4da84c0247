"""A product is a list of named stages; the framework runs, bounds, times and traces them.

What a stage dropped or rescored is recorded here and nowhere else, so *why is this post
here*, and *why is that one not*, need no code of their own in any stage.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from timeline.candidates import NONE, Candidates, Floats
from timeline.query import Query
from timeline.refining import refine
from timeline.retrieval import retrieve
from timeline.stages import (
    Extend,
    Filter,
    Gate,
    Judged,
    Prepare,
    Refine,
    Rescore,
    Retrieve,
    Score,
    Select,
    Source,
    Stage,
    excuse,
    shaped,
)
from timeline.survivors import chosen, settled, sift
from timeline.trace import FoundBy, StageTrace, Trace

__all__ = [
    "Extend",
    "Filter",
    "FoundBy",
    "Gate",
    "Judged",
    "Misbuilt",
    "Pipeline",
    "Prepare",
    "Refine",
    "Rescore",
    "Retrieve",
    "Score",
    "Select",
    "Source",
    "Stage",
    "StageTrace",
    "Trace",
]

NO_DEADLINE_S = 1e9
"""A deadline this late is none, as in `Query`."""


class Misbuilt(ValueError):
    """A product whose stages do not fit together; the message names product and stage."""


@dataclass(frozen=True)
class Pipeline:
    """A product: its name and its stages, in order. Raises `Misbuilt` where these do not fit."""

    name: str
    stages: Sequence[Stage]
    given: Collection[str] = ()
    """What stages may need though no stage gives it: what comes with the request."""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def source_names(self) -> list[str]:
        """Names of all sources, in the order in which the product numbers them."""
        return [
            source.name
            for stage in self.stages
            if isinstance(stage, Retrieve)
            for source in stage.sources
        ]

    @property
    def steps(self) -> Iterator[Stage]:
        """All stages in the order in which a trace names them: a `Refine`, then its filters."""
        for stage in self.stages:
            yield stage
            if isinstance(stage, Refine):
                yield from stage.filters

    def run(self, query: Query) -> tuple[Candidates, Trace]:
        """Run all stages; what is left at the end is the answer, in order."""
        run = _Run(query, self.given)
        for stage in self.stages:
            if not run.go_on(stage):
                return NONE, run.trace
        return settled(run.candidates), run.trace


class _Run:
    """One request on its way through the stages."""

    def __init__(self, query: Query, given: Collection[str]) -> None:
        self.query = query
        self.trace = Trace()
        self.candidates = NONE
        self._complete = True
        """Whether nothing was dropped yet."""
        self._given = set(given)
        self._closed: dict[str, str] = {}
        """Stage → the gate that is closed over it."""

    def go_on(self, stage: Stage) -> bool:
        """Run one stage; False where the request ends with it."""
        query = self.query
        record = StageTrace(stage.name, 0.0, len(self.candidates), -1)
        self.trace.stages.append(record)
        if self._skips(stage, record):
            record.n_out = record.n_in
            return True
        started, deadline_s = time.perf_counter(), query.deadline_s
        if deadline_s < NO_DEADLINE_S:
            query.deadline_s = min(deadline_s, time.monotonic() + stage.budget_ms / 1000)
        more = True
        try:
            more = self._run(stage, record)
            self._given.update(stage.gives)
        except Exception as error:
            if not stage.optional:
                raise
            excuse(stage, query, record, error)
        finally:
            query.deadline_s = deadline_s
        record.ms = (time.perf_counter() - started) * 1000
        record.late = record.ms > stage.budget_ms
        if record.n_out < 0:
            record.n_out = len(self.candidates)
        if not isinstance(stage, Retrieve | Extend):
            self._complete &= len(self.candidates) == record.n_in
        return more

    def _skips(self, stage: Stage, record: StageTrace) -> bool:
        """Whether the stage is not to run, and why."""
        lacking = [name for name in stage.needs if name not in self._given]
        if stage.name in self._closed:
            record.skipped = f"{self._closed[stage.name]} is closed"
        elif lacking:
            record.skipped = f"there is no {lacking[0]}"
            self.query.note(stage.name)
        elif stage.optional and self.query.left_s() <= 0:
            record.skipped = "no time was left"
            self.query.note(stage.name)
        return bool(record.skipped)

    def _run(self, stage: Stage, record: StageTrace) -> bool:
        query = self.query
        if isinstance(stage, Filter):
            self.candidates = sift(stage, query, self.candidates, record)
            return True
        candidates = self.candidates
        if not isinstance(stage, Select | Refine):
            candidates = self.candidates = settled(candidates)
        match stage:
            case Gate():
                if not stage.opens(query):
                    self._closed |= dict.fromkeys(stage.over, stage.name)
            case Prepare():
                return stage.run(query)
            case Retrieve():
                self.candidates, self.trace.sources = retrieve(stage, query)
                self.trace.found = self.candidates
            case Extend():
                self._extend(stage.run(query, candidates), record)
            case Score():
                scores = stage.run(query, candidates)
                shaped(stage, scores, len(candidates))
                record.post_ids, record.values = candidates.post_ids, scores
                self.candidates = candidates.with_scores(scores)
            case Rescore():
                self.candidates = _rescored(stage, query, candidates, record)
            case Select():
                rows = stage.rows(query, candidates)
                left_out = np.ones(len(candidates), bool)
                left_out[rows] = False
                self.candidates = chosen(candidates, rows)
                record.drop(candidates.post_ids[left_out])
                if (np.diff(rows) < 0).any():
                    record.ordered = self.candidates.post_ids
            case Refine():
                refined = refine(stage, query, candidates, self._closed)
                self.candidates = refined.kept
                record.drop(refined.left_out_ids)
                record.n_out = len(refined.prepared_ids)
                record.ordered = refined.prepared_ids
                self.trace.stages += refined.filters
            case _:
                raise TypeError(f"{stage.name} is no kind of stage: {type(stage).__name__}")
        return True

    def _extend(self, extended: Candidates, record: StageTrace) -> None:
        before = self.candidates
        self.candidates = extended
        if self._complete:
            self.trace.found = extended
        elif len(extended) < len(before):
            record.drop(before.post_ids[~np.isin(before.post_ids, extended.post_ids)])


def _rescored(
    stage: Rescore, query: Query, candidates: Candidates, record: StageTrace
) -> Candidates:
    """Candidates with other scores; one rounding, however many the factors are."""
    said = stage.factors(query, candidates)
    named = {} if isinstance(said, np.ndarray) else dict(said)
    factors = [said] if isinstance(said, np.ndarray) else [of_name for _, of_name in said]
    if not isinstance(said, np.ndarray) and len(named) < len(factors):
        raise ValueError(f"{stage.name} names a factor twice: {[name for name, _ in said]}")
    product, changed = np.ones(len(candidates)), np.zeros(len(candidates), bool)
    for one in factors:
        shaped(stage, one, len(candidates))
        product *= one
        changed |= one != 1
    record.post_ids = candidates.post_ids[changed]
    record.values = product[changed].astype(np.float32)
    record.factors = {name: _single(one[changed]) for name, one in named.items()}
    return candidates.with_scores(candidates.scores * product)


def _single(values: Floats) -> Floats:
    return values.astype(np.float32, copy=False)


def _check(pipeline: Pipeline) -> None:
    """Raise `Misbuilt` unless names are unique and stages have what they need."""
    steps = list(pipeline.steps)
    names = [stage.name for stage in steps]
    guards: dict[str, frozenset[str]] = dict.fromkeys(names, frozenset())
    givers: dict[str, list[Stage]] = {}

    def wrong(stage: Stage, what: str) -> Misbuilt:
        return Misbuilt(f"{pipeline.name}: stage {stage.name!r} {what}")

    for number, stage in enumerate(steps):
        if stage.name in names[:number]:
            raise wrong(stage, "has the name of an earlier one")
        inner = stage.filters if isinstance(stage, Refine) else ()
        safety = [one for one in (stage, *inner) if isinstance(one, Filter) and one.safety]
        if safety and stage.optional:
            raise wrong(stage, f"may not be optional: {safety[0].name!r} is a filter of safety")
        if isinstance(stage, Gate):
            for name in stage.over:
                if name not in names[number + 1 :]:
                    raise wrong(stage, f"is over {name!r}, which is no later stage")
                guards[name] |= {stage.name}
        for one in inner:
            guards[one.name] |= guards[stage.name]
        for need in stage.needs:
            if need in pipeline.given:
                continue
            if not givers.get(need):
                raise wrong(stage, f"needs {need!r}, which no earlier stage gives")
            sure = [
                giver
                for giver in givers[need]
                if guards[giver.name] <= guards[stage.name] and stage.optional >= giver.optional
            ]
            if not sure:
                giver = givers[need][-1].name
                raise wrong(stage, f"needs {need!r}, but {giver!r}, which gives it, may not run")
        for gift in stage.gives:
            givers.setdefault(gift, []).append(stage)

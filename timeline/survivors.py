"""What filters leave of candidates: rows first, columns only when somebody reads them.

A run of filters gathers the few columns that each of them reads, and all columns once, at its
end; every filter still sees no more than what the one before it left.
"""

from dataclasses import fields
from functools import cached_property
from typing import Any

import numpy as np

from actors.features.light import FEATURES
from timeline.candidates import Candidates, Floats, Mask
from timeline.query import Query
from timeline.stages import Filter, Judged, Rows, excuse, shaped
from timeline.trace import StageTrace


def sift(stage: Filter, query: Query, candidates: Candidates, record: StageTrace) -> Candidates:
    """What a filter leaves, with what it dropped and why added to its record.

    Where it fails, a filter of safety leaves nothing and an optional one everything; the failure
    of any other is raised.
    """
    n = len(candidates)
    try:
        said = stage.keep(query, candidates)
        kept = said.keep if isinstance(said, Judged) else said
        shaped(stage, kept, n)
        if kept.dtype != np.bool_:
            raise ValueError(f"{stage.name} said {kept.dtype} of candidates, not bool")
        if isinstance(said, Judged):
            shaped(stage, said.reasons, n)
            record.judge(candidates.post_ids, said.reasons, tuple(said.names))
    except Exception as error:
        if not (stage.optional or stage.safety):
            raise
        excuse(stage, query, record, error)
        kept = np.full(n, not stage.safety)
    if kept.all():
        return candidates
    record.drop(candidates.post_ids[~kept])
    return chosen(candidates, np.flatnonzero(kept))


def chosen(candidates: Candidates, rows: Rows) -> Candidates:
    """Candidates at the given rows, in their order, each column gathered when it is read."""
    if isinstance(candidates, _Survivors) and candidates.pending:
        rows, candidates = candidates.rows[rows], candidates.whole
    return _Survivors.of(candidates, rows)


def settled(candidates: Candidates) -> Candidates:
    """The same candidates with all columns gathered."""
    if isinstance(candidates, _Survivors) and candidates.pending:
        return candidates.whole.take(candidates.rows)
    return candidates


class _Survivors(Candidates):
    """Some rows of a whole, each column gathered when it is first read."""

    @staticmethod
    def of(candidates: Candidates, rows: Rows) -> "_Survivors":
        made = object.__new__(_Survivors)
        vars(made).update(whole=candidates, rows=rows)
        return made

    whole: Candidates
    rows: Rows

    @property
    def pending(self) -> bool:
        """Whether there is a whole to gather from: a copy made by `replace` has its columns."""
        return "whole" in vars(self)

    def __len__(self) -> int:
        return len(self.rows) if self.pending else super().__len__()

    def take(self, rows: Rows | Mask) -> Candidates:
        return self.whole.take(self.rows[rows]) if self.pending else super().take(rows)

    def feature(self, name: str) -> Floats:
        if "features" in vars(self):
            return super().feature(name)
        column: Floats = self.whole.features[self.rows, FEATURES.index(name)]
        return column


def _column(name: str) -> Any:
    def gathered(survivors: _Survivors) -> Any:
        return getattr(survivors.whole, name)[survivors.rows]

    column = cached_property(gathered)
    column.__set_name__(_Survivors, name)
    return column


for _field in fields(Candidates):
    setattr(_Survivors, _field.name, _column(_field.name))

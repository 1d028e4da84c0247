"""Costly checks of the best only, with more taken from below in the place of what they drop."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cluster.ids import Ids
from timeline.candidates import NONE, Candidates, concatenate
from timeline.query import Query
from timeline.stages import Refine
from timeline.survivors import settled, sift
from timeline.trace import StageTrace

_LEAST_S = 0.01
"""With less time left than this nothing more is prepared."""


@dataclass(frozen=True)
class Refined:
    """What a `Refine` stage made of candidates."""

    kept: Candidates
    """In the stage's order."""
    prepared_ids: Ids
    """All that was prepared, in that order too."""
    left_out_ids: Ids
    """Not taken, or left out by what prepares."""
    filters: list[StageTrace]
    """What each of the stage's filters did, in all rounds together."""


def refine(
    stage: Refine, query: Query, candidates: Candidates, closed: Mapping[str, str]
) -> Refined:
    """Run a `Refine` stage. Short of time it stops early, and says so if it had not enough.

    Filters that `closed` names a gate for are left out.
    """
    order = stage.order(query, candidates)
    width = max(stage.width(query), 1)
    records = [StageTrace(one.name, 0.0, 0, 0) for one in stage.filters]
    kept, prepared_ids = NONE, NONE.post_ids
    prepared = np.zeros(len(candidates), bool)
    for number in range(stage.rounds):
        rows = order[number * width : (number + 1) * width]
        if number and query.left_s() < _LEAST_S:
            query.note(stage.name)
            break
        taken = candidates.take(rows)
        fresh = stage.prepare(query, taken)
        prepared[rows] = np.isin(taken.post_ids, fresh.post_ids)
        prepared_ids = np.concatenate([prepared_ids, fresh.post_ids])
        kept = concatenate([kept, fresh]) if len(kept) else fresh
        for one, record in zip(stage.filters, records, strict=True):
            if one.name in closed:
                record.skipped = f"{closed[one.name]} is closed"
                continue
            started = time.perf_counter()
            kept = sift(one, query, kept, record)
            record.ms += (time.perf_counter() - started) * 1000
        kept = settled(kept)
        supply = (number + 1) * width < len(order)
        unsafe = any(r.failed and f.safety for f, r in zip(stage.filters, records, strict=True))
        if not supply or unsafe or stage.enough(query, kept):
            break
    n = len(prepared_ids)
    for record in records:
        record.n_in = n
        n -= 0 if record.dropped is None else len(record.dropped)
        record.n_out = n
    return Refined(kept, prepared_ids, candidates.post_ids[~prepared], records)

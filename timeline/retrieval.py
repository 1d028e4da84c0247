"""All sources asked at once, and what they found merged."""

import time
from typing import Any

import numpy as np

from actors.scored_posts import NOTHING_SCORED
from timeline.candidates import NONE, Candidates, concatenate, first_copies
from timeline.facts_ahead import FactsAhead
from timeline.findings import Finding, ask_together
from timeline.query import Query
from timeline.sources.cached import gate
from timeline.stages import Retrieve
from timeline.trace import FoundBy


def retrieve(stage: Retrieve, query: Query) -> tuple[Candidates, dict[str, FoundBy]]:
    """What the stage's sources found, without copies, and what each of them did."""
    names = tuple(source.name for source in stage.sources)
    settings = query.settings.sources
    if query.cached.source_names != names or not settings.caches:
        # Made by another version of the product, or fetched before the viewer's arm said no.
        query.cached = NOTHING_SCORED
    off, enough = settings.off, settings.cached.enough
    asked = {
        source.name: number
        for number, source in enumerate(stage.sources)
        if source.name not in off and (not source.gated or gate(query.cached, source.name, enough))
    }
    took_ms: dict[str, float] = {}
    versions, n_shards = query.versions, query.router.n_shards
    query.ahead = FactsAhead(query.viewer.language, query.now_ms, versions, n_shards)
    named: dict[str, Finding[Any]] = {
        name: _noted(query, stage.sources[number].find(query), name, took_ms)
        for name, number in asked.items()
    }
    beside = stage.beside(query) if stage.beside else {}
    found = ask_together(query, {**named, **beside}, stage.share)
    query.beside = {name: found.pop(name) for name in beside}
    parts = {n: part.of_source(asked[n]) for n, part in found.items() if part is not None}
    merged = first_copies(concatenate(list(parts.values()))) if parts else NONE
    did: dict[str, FoundBy] = {}
    for name, number in asked.items():
        only = int(np.count_nonzero(merged.sources == 1 << number))
        n_found = len(parts[name]) if name in parts else 0
        did[name] = FoundBy(n_found, only, took_ms.get(name))
    return merged, did


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

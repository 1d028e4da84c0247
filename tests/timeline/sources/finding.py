"""Running one source, as the pipeline runs it."""

from typing import Any

from timeline.candidates import NONE, Candidates
from timeline.findings import ask_together
from timeline.query import Query


def run(source: Any, query: Query) -> Candidates:
    """What a source finds, on its own."""
    found = ask_together(query, {source.name: source.find(query)}, 1.0)[source.name]
    return (found or NONE).of_source(3)


def unanswered(source: Any, query: Query) -> Candidates:
    """What a source finds when no shard answers it anything."""
    finding = source.find(query)
    try:
        next(finding)
        while True:
            finding.send({})
    except StopIteration as done:
        found: Candidates = done.value
        return found

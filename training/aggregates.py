"""Batch aggregates: what people did over weeks, counted from the archive by the shards' own code.

Runs once a day, as the original's, but over the whole archive each time: with half-lives of
weeks what is old weighs little, and nothing has to be carried from one version to the next.
The archive streams; tables of counters and the facts that events are joined with are in memory,
the tables under a cap (`aggregates.batch_bytes`) beyond which the rows used least recently go.
"""

import time
from typing import Any

import numpy as np

from actors.features.aggregate_groups import batch_groups
from actors.features.aggregation import AggregateGroup
from actors.features.batch_aggregates import (
    AGGREGATES,
    AGGREGATES_SCHEMA,
    GROUPS,
    table_of,
)
from actors.stores.aggregates import AggregateTable
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.settings import Settings
from training.history import History
from training.job import Progress, Trained, TrainingError, silent
from training.joined_events import JoinedEvents


def train(
    settings: Settings,
    archive: Archive,
    artifacts: ArtifactStore,
    *,
    until_ms: int | None = None,
    progress: Progress = silent,
) -> Trained:
    """Count everything archived before `until_ms`, and write a new `aggregates`.

    Raises `TrainingError` where nothing happened that anything is counted of.
    """
    began_s = time.perf_counter()
    groups = batch_groups(settings.heavy_ranker.features)
    tables = {g.name: g.table(settings.aggregates.batch_bytes // len(groups)) for g in groups}
    history, joined = History(archive, until_ms), JoinedEvents()
    n_records, n_events = 0, 0
    progress("counting", 0.0)
    for batch in history:
        records = joined.records(batch)
        n_records += len(records)
        n_events += batch.num_rows
        for group in groups:
            group.count(tables[group.name], records, records.times_ms)
    if not n_records:
        raise TrainingError(f"none of the {n_events:,} archived events is anything to count")
    counted_s = time.perf_counter()
    progress("writing", 0.9)
    as_of_ms = history.last_ms + 1
    metrics: dict[str, Any] = {
        "events": n_events,
        "records": n_records,
        "records_per_s": round(n_records / (counted_s - began_s)),
        "rows": {name: len(table) for name, table in tables.items()},
        "evicted_rows": sum(table.evicted for table in tables.values()),
        "memory_bytes": sum(table.memory_bytes for table in tables.values()),
    }
    with artifacts.writing(
        AGGREGATES,
        schema_version=AGGREGATES_SCHEMA,
        metrics=metrics,
        data_range_ms=(history.first_ms, as_of_ms),
    ) as draft:
        for group in groups:
            draft.write_table(f"{group.name}.arrow", _rows(group, tables[group.name], as_of_ms))
        told = {g.name: {"keys": g.keys, "columns": g.column_names} for g in groups}
        draft.write_json(GROUPS, {"as_of_ms": as_of_ms, "groups": told})
    seconds = {"count": counted_s - began_s, "write": time.perf_counter() - counted_s}
    progress("writing", 1.0)
    return Trained(AGGREGATES, draft.written, metrics, seconds)


def _rows(group: AggregateGroup, table: AggregateTable, as_of_ms: int) -> Any:
    """The rows of a group that are not all 0 by now."""
    ids = table.rows()["ids"]
    values = table.read(tuple(ids.T), as_of_ms)
    some = values.any(axis=1)
    return table_of(ids[some], group.keys, np.ascontiguousarray(values[some]))

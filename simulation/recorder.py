"""From columns to event batches in time order."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.events import COLUMNS, CORE, Kind
from cluster.ids import Ids
from cluster.validation import check_batch

NEVER_MS = np.iinfo(np.int64).max


class Recorder:
    """Collects events and gives them back sorted by time, as valid batches.

    What happens after the time asked for stays until a later call: a reply drawn at ten
    to eight may be written at five past.
    """

    def __init__(self) -> None:
        self._tables: list[pa.Table] = []

    def add(self, kind: Kind, times_ms: Ids, **columns: Any) -> None:
        """Record one event of `kind` per time.

        A column is an array or list of the same length, or one value for every row.
        """
        n_events = len(times_ms)
        if not n_events:
            return
        data = {
            "kind": pa.array(np.full(n_events, kind, np.uint8)),
            "time_ms": pa.array(times_ms, pa.int64()),
        }
        for name in CORE.names[3:]:
            data[name] = _column(name, columns.pop(name, 0), n_events)
        for name, values in columns.items():
            data[name] = _column(name, values, n_events)
        self._tables.append(pa.table(data))

    def take(self, until_ms: int | None = None) -> pa.RecordBatch | None:
        """The events before `until_ms` (all, if None) in time order, or None if there are none.

        Raises `ValueError` if an event breaks a rule of the schema, which is a bug here.
        """
        if not self._tables:
            return None
        events = pa.concat_tables(self._tables, promote_options="default").combine_chunks()
        times_ms: npt.NDArray[np.int64] = events.column("time_ms").to_numpy()
        order = np.argsort(times_ms, kind="stable")
        end_ms = NEVER_MS if until_ms is None else until_ms
        n_due = int(np.searchsorted(times_ms[order], end_ms))
        self._tables = [events.take(order[n_due:])] if n_due < len(order) else []
        if not n_due:
            return None
        due = order[:n_due]
        checked = check_batch(events.take(due), now_ms=int(times_ms[due[-1]]))
        if checked.problems:
            raise ValueError(f"the simulation made an invalid event: {checked.problems[0]}")
        return checked.batch


def _column(name: str, values: Any, n_events: int) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    if isinstance(values, str):
        return pa.repeat(values, n_events)
    if np.isscalar(values):
        values = np.full(n_events, values)
    return pa.array(values, COLUMNS[name])

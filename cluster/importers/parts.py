"""Events made of rows, a kind at a time, and put back into the order of the rows."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.events import COLUMNS
from cluster.ids import Ids
from cluster.importers.stages import Piece

_DENSE = ("kind", "time_ms", "actor_id", "post_id", "author_id", "target_id", "value")


class EventParts:
    """Collects the events that rows give; events of one row keep the order they came in."""

    def __init__(self, lines: npt.NDArray[np.int64]) -> None:
        self._lines = lines
        self._rows: list[Ids] = []
        self._columns: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _DENSE}
        self._uris: list[pa.Array] = []

    def add(self, rows: Ids, *, uri: pa.ChunkedArray | None = None, **columns: Any) -> None:
        """Events of `rows`, one each: arrays of their length, or one value for all."""
        n_rows = len(rows)
        if not n_rows:
            return
        self._rows.append(rows)
        for name in _DENSE:
            values = columns.get(name)
            kind = COLUMNS[name].to_pandas_dtype()
            full = np.broadcast_to(np.asarray(0 if values is None else values, kind), n_rows)
            self._columns[name].append(full)
        missing = pa.nulls(n_rows, pa.string())
        self._uris.append(missing if uri is None else uri.combine_chunks())

    def piece(self) -> Piece:
        """All events, in the order of their rows."""
        if not self._rows:
            return Piece(pa.table({"kind": pa.array([], pa.uint8())}), np.empty(0, np.int64))
        rows = np.concatenate(self._rows)
        order = np.argsort(rows, kind="stable")
        columns = {
            name: pa.array(np.concatenate(values)[order], COLUMNS[name])
            for name, values in self._columns.items()
        }
        if any(uris.null_count < len(uris) for uris in self._uris):
            columns["uri"] = pa.concat_arrays(self._uris).take(pa.array(order))
        return Piece(pa.table(columns), self._lines[rows[order]])


class FirstSeen:
    """Which ids have not been met before."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def rows(self, ids: Ids) -> Ids:
        """The rows, ascending, at which an id stands for the first time."""
        distinct, first = np.unique(ids, return_index=True)
        seen = self._seen
        new = [
            row for i, row in zip(distinct.tolist(), first.tolist(), strict=True) if i not in seen
        ]
        seen.update(distinct.tolist())
        return np.sort(np.array(new, np.int64))

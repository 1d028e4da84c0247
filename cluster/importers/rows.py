"""Events gathered one at a time into columns: core columns dense, the others where used."""

from array import array
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.events import COLUMNS
from cluster.importers.stages import Piece

_DENSE = ("event_id", "kind", "time_ms", "actor_id", "post_id", "author_id", "target_id")
_WIDTH = len(_DENSE) + 1  # and the line


class Rows:
    """A growing batch of unchecked events, each with the line it came from."""

    def __init__(self) -> None:
        self._dense = array("q")
        self._others: list[tuple[int, dict[str, Any]]] = []

    def __len__(self) -> int:
        return len(self._dense) // _WIDTH

    def add(
        self,
        line: int,
        event_id: int,
        kind: int,
        time_ms: int,
        *,
        actor_id: int = 0,
        post_id: int = 0,
        author_id: int = 0,
        target_id: int = 0,
        others: dict[str, Any] | None = None,
    ) -> None:
        """Append an event; `others` holds its optional columns."""
        if others:
            self._others.append((len(self), others))
        self._dense.extend((event_id, kind, time_ms, actor_id, post_id, author_id, target_id, line))

    def piece(self) -> Piece:
        """The events as columns."""
        values = np.array(self._dense, np.int64).reshape(-1, _WIDTH)
        columns = {
            name: pa.array(np.ascontiguousarray(values[:, i])).cast(COLUMNS[name])
            for i, name in enumerate(_DENSE)
        }
        sparse: dict[str, list[Any]] = {}
        for index, others in self._others:
            for name, value in others.items():
                if name not in sparse:
                    sparse[name] = [None] * len(self)
                sparse[name][index] = value
        for name, column in sparse.items():
            columns[name] = pa.array(column, COLUMNS[name])
        return Piece(pa.table(columns), values[:, -1])

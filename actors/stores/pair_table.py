"""A table with one row for each (owner, other) pair, whose columns add up what happened."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.stores.columns import Array, Columns
from actors.stores.relations import Relations
from cluster.ids import Ids


class PairTable:
    """Rows of pairs, found by pair and by owner; `spec` names columns as `Columns` does."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.pairs = Relations()
        """Every pair, on since its first event; a pair's edge is its row."""
        self._columns = Columns(spec)

    def __len__(self) -> int:
        return len(self._columns)

    def __getitem__(self, name: str) -> Array:
        """A column over all rows."""
        return self._columns[name]

    @property
    def memory_bytes(self) -> int:
        """Memory held by pairs and columns."""
        return self.pairs.memory_bytes + self._columns.memory_bytes

    def rows_for(self, owner_ids: Ids, other_ids: Ids) -> npt.NDArray[np.int32]:
        """Rows of pairs, int32 (n,); zeroed ones are added for pairs not seen before.

        Columns taken before do not show rows added since.
        """
        rows = self.pairs.edges_of(owner_ids, other_ids)
        fresh = rows < 0
        if fresh.any():
            owners, others = owner_ids[fresh], other_ids[fresh]
            n = len(owners)
            self.pairs.write(owners, others, np.ones(n, np.int64), np.ones(n, bool))
            self._columns.extend(len(self.pairs) - len(self._columns))
            rows[fresh] = self.pairs.edges_of(owners, others)
        return rows

    def rows_of(self, owner_id: int) -> tuple[npt.NDArray[np.int32], Ids]:
        """Rows of an owner, and the other end of each."""
        others, _ = self.pairs.others(owner_id)
        return self.pairs.edges_of(np.full(len(others), owner_id), others), others

    def columns(self) -> dict[str, Array]:
        """What `restore` needs; copies."""
        pairs = self.pairs.columns()
        named = {name: pairs[name] for name in ("owner_ids", "other_ids")}
        return named | self._columns.copy()

    def restore(self, columns: Mapping[str, Array]) -> npt.NDArray[np.int32]:
        """Take back rows that `columns` gave, of pairs not in the table; returns their places."""
        rows = self.rows_for(columns["owner_ids"], columns["other_ids"])
        for name in self._columns.names:
            self._columns[name][rows] = columns[name]
        return rows

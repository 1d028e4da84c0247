"""How a shard's users are tied beyond single follows: engagements counted, mutual follows."""

import threading

import numpy as np
import numpy.typing as npt

from actors.stores.columns import Array, Columns
from actors.stores.id_map import IdMap
from actors.stores.kernels import kernel
from actors.stores.pair_table import PairTable
from actors.stores.relations import Relations
from cluster.ids import Ids

Int32s = npt.NDArray[np.int32]

N_TYPES = 4
"""Types of engagement that tie: favourite, repost or quote, reply, mention."""


class EngagementTies:
    """How often each owner engaged with each other user (or was engaged with), by type.

    A favourite counts up and its undo down, so neither their order nor the number of shards
    matters; a pair is tied while more stands than was taken back.
    """

    def __init__(self) -> None:
        self.table = PairTable({"counts": (np.int32, N_TYPES)})
        self._degrees = Columns({"degrees": (np.int32, N_TYPES)})

    @property
    def memory_bytes(self) -> int:
        """Memory held."""
        return self.table.memory_bytes + self._degrees.memory_bytes

    def add(self, owner_ids: Ids, other_ids: Ids, changes: Int32s) -> None:
        """Add to the counts of pairs: `changes` is (n, N_TYPES); a pair may come more than once."""
        rows, first, at = np.unique(
            self.table.rows_for(owner_ids, other_ids), return_index=True, return_inverse=True
        )
        counts = self.table["counts"]
        before = counts[rows] > 0
        np.add.at(counts, rows[at], changes)
        change = (counts[rows] > 0).astype(np.int32) - before
        owners = self.table.pairs.owners_of(owner_ids[first])
        self._degrees.extend(max(0, int(owners.max(initial=-1)) + 1 - len(self._degrees)))
        np.add.at(self._degrees["degrees"], owners, change)

    def of(self, owner_id: int, column: int) -> tuple[Ids, Int32s]:
        """Whom an owner is tied to by one type, and how often."""
        rows, others = self.table.rows_of(owner_id)
        counts = self.table["counts"][rows, column]
        return others[counts > 0], counts[counts > 0]

    def degrees(self, owner_ids: Ids, column: int) -> Int32s:
        """With how many others each owner is tied by one type."""
        owners = self.table.pairs.owners_of(owner_ids)
        degrees = np.zeros(len(owner_ids), np.int32)
        known = owners >= 0
        degrees[known] = self._degrees["degrees"][owners[known], column]
        return degrees

    def columns(self) -> dict[str, Array]:
        """What `restore` needs; copies."""
        return self.table.columns()

    def restore(self, columns: dict[str, Array]) -> None:
        """Take back what `columns` gave, of pairs that are not held; older programs gave no
        mentions."""
        counts = columns["counts"]
        missing = np.zeros((len(counts), N_TYPES - counts.shape[1]), np.int32)
        together = np.concatenate([counts, missing], axis=1)
        self.add(columns["owner_ids"], columns["other_ids"], together)


class MutualDegrees:
    """How many follow each owner back: counted when asked for, until a follow changes."""

    def __init__(self, follows: Relations, followers: Relations) -> None:
        self._follows, self._followers = follows, followers
        self._row_of_id = IdMap()
        self._rows = Columns({"degree": np.int32})
        self._counting = threading.Lock()

    @property
    def memory_bytes(self) -> int:
        """Memory held."""
        return self._row_of_id.memory_bytes + self._rows.memory_bytes

    def forget(self, owner_ids: Ids) -> None:
        """Count these owners anew; for whoever wrote their follows."""
        rows = self._row_of_id.get(owner_ids)
        self._rows["degree"][rows[rows >= 0]] = -1

    def of(self, owner_ids: Ids) -> Int32s:
        """With how many others each owner follows one another."""
        with self._counting:
            rows = self._row_of_id.get_or_insert(owner_ids)
            fresh = self._rows.extend(len(self._row_of_id) - len(self._rows))
            self._rows["degree"][fresh] = -1
            unknown = np.unique(rows[self._rows["degree"][rows] < 0])
            if len(unknown):
                self._rows["degree"][unknown] = self._count(self._row_of_id.keys[unknown])
            found: Int32s = self._rows["degree"][rows]
            return found

    def _count(self, owner_ids: Ids) -> npt.NDArray[np.int64]:
        owners = self._follows.owners_of(owner_ids)
        at, others = _active_of(owners, *self._follows.chains())
        back = self._followers.holds(owner_ids[at], others)
        return np.bincount(at[back], minlength=len(owner_ids))


@kernel
def _active_of(
    owners: Int32s,
    heads: Int32s,
    nexts: Int32s,
    other_ids: Ids,
    active: npt.NDArray[np.bool_],
) -> tuple[Ids, Ids]:
    """(place of the owner, other) of all edges that are on."""
    places, others = np.empty(1024, np.int64), np.empty(1024, np.int64)
    count = 0
    for i in range(len(owners)):
        edge = heads[owners[i]] if owners[i] >= 0 else -1
        while edge >= 0:
            if active[edge]:
                if count == len(places):
                    wider, longer = np.empty(2 * count, np.int64), np.empty(2 * count, np.int64)
                    wider[:count] = places
                    longer[:count] = others
                    places, others = wider, longer
                places[count], others[count] = i, other_ids[edge]
                count += 1
            edge = nexts[edge]
    return places[:count].copy(), others[:count].copy()

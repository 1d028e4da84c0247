"""One kind of relation between users (follow, block or mute), seen from one side."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.stores.columns import Array, Columns
from actors.stores.id_map import IdMap
from actors.stores.kernels import kernel
from actors.stores.versions import times_of, winners
from cluster.ids import Ids, mix64

MAX_SCAN = 50_000
"""Relations of one user looked at by one query: bounds the cost of a user who follows half a
million; the ones written last are looked at first."""


class Chains(NamedTuple):
    """The arrays in which edges lie, for kernels; read only, and valid until the next write.

    An owner's edges are `heads[owner]`, then `nexts` of each, the newest first, −1 at the
    end; an edge's row never changes, and edges that were switched off stay.
    """

    heads: npt.NDArray[np.int32]
    nexts: npt.NDArray[np.int32]
    other_ids: Ids
    active: npt.NDArray[np.bool_]


class Register(NamedTuple):
    """Every pair ever written, on or off, by row; read only, and valid until the next write."""

    owner_ids: Ids
    other_ids: Ids
    versions: Ids
    active: npt.NDArray[np.bool_]


class Relations:
    """A dynamic directed adjacency: owner → others, each on or off.

    Every (owner, other) pair is a register that the newest write wins, so a follow and its
    undo may arrive in any order, and any number of times.
    """

    def __init__(self) -> None:
        self._edges = Columns(
            {
                "owner_ids": np.int64,
                "other_ids": np.int64,
                "versions": np.int64,
                "active": np.bool_,
                "next": np.int32,
            }
        )
        self._edge_of_pair = IdMap()
        self._owner_of_id = IdMap()
        self._owners = Columns({"head": np.int32, "degree": np.int32})
        self.n_writes = 0
        """How often anything was written: for those who keep what they made of it."""

    def __len__(self) -> int:
        return len(self._edges)

    @property
    def memory_bytes(self) -> int:
        """Memory held by edges, owners and the maps that find them."""
        return (
            self._edges.memory_bytes
            + self._owners.memory_bytes
            + self._edge_of_pair.memory_bytes
            + self._owner_of_id.memory_bytes
        )

    def write(
        self, owner_ids: Ids, other_ids: Ids, versions: Ids, active: npt.NDArray[np.bool_]
    ) -> None:
        """Set pairs on or off; all arguments are of shape (n,)."""
        edges = self._find_or_add(owner_ids, other_ids)
        table = self._edges
        won = winners(edges, versions, table["versions"])
        edges, on = edges[won], active[won]
        change = on.astype(np.int32) - table["active"][edges]
        table["versions"][edges] = versions[won]
        table["active"][edges] = on
        owners = self._owner_of_id.get(owner_ids[won])
        np.add.at(self._owners["degree"], owners, change)
        self.n_writes += 1

    def others(self, owner_id: int, limit: int = MAX_SCAN) -> tuple[Ids, Ids]:
        """Who `owner_id` is related to now, and since when (ms): newest first."""
        owner = self._owner_of_id.get(np.array([owner_id], np.int64))[0]
        if owner < 0:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        found = self._edges_of_owner(owner, on=True)
        versions = self._edges["versions"][found]
        newest = np.argsort(versions, kind="stable")[::-1][:limit]
        return self._edges["other_ids"][found[newest]], times_of(versions[newest])

    def degrees(self, owner_ids: Ids) -> npt.NDArray[np.int32]:
        """How many others each owner is related to now."""
        owners = self._owner_of_id.get(owner_ids)
        degrees = np.zeros(len(owner_ids), np.int32)
        known = owners >= 0
        degrees[known] = self._owners["degree"][owners[known]]
        return degrees

    def holds(self, owner_ids: Ids, other_ids: Ids) -> npt.NDArray[np.bool_]:
        """Whether each pair is on."""
        keys = _pair_keys(owner_ids, other_ids)
        edges = self._edge_of_pair.get(keys)
        held = np.zeros(len(owner_ids), bool)
        known = edges >= 0
        held[known] = self._edges["active"][edges[known]]
        return held

    def owners_of(self, owner_ids: Ids) -> npt.NDArray[np.int32]:
        """Dense numbers of owners, by which `chains` has their heads; −1 where unknown."""
        return self._owner_of_id.get(owner_ids)

    def edges_of(self, owner_ids: Ids, other_ids: Ids) -> npt.NDArray[np.int32]:
        """Rows of pairs, switched on or off, that no later write moves; −1 where unknown."""
        return self._edge_of_pair.get(_pair_keys(owner_ids, other_ids))

    def chains(self) -> Chains:
        """The arrays of all edges."""
        edges = self._edges
        return Chains(self._owners["head"], edges["next"], edges["other_ids"], edges["active"])

    def register(self) -> Register:
        """All pairs, in the rows that `chains` and `edges_of` name."""
        edges = self._edges
        return Register(*(edges[name] for name in Register._fields))

    def dropped(self, owner_id: int) -> Ids:
        """Who `owner_id` was related to and is no more, sorted."""
        owner = self._owner_of_id.get(np.array([owner_id], np.int64))[0]
        if owner < 0:
            return np.empty(0, np.int64)
        return np.sort(self._edges["other_ids"][self._edges_of_owner(owner, on=False)])

    def columns(self) -> dict[str, Array]:
        """What `write` needs to make the same relations again."""
        copied = self._edges.copy()
        del copied["next"]
        return copied

    def _edges_of_owner(self, owner: int, *, on: bool) -> npt.NDArray[np.int64]:
        edges = self._edges
        head = self._owners["head"][owner]
        return _walk(head, edges["next"], edges["active"], on, MAX_SCAN)

    def _find_or_add(self, owner_ids: Ids, other_ids: Ids) -> npt.NDArray[np.int32]:
        known = len(self._edge_of_pair)
        edges = self._edge_of_pair.get_or_insert(_pair_keys(owner_ids, other_ids))
        n_new = len(self._edge_of_pair) - known
        if not n_new:
            return edges
        self._edges.extend(n_new)
        fresh = edges >= known
        rows = edges[fresh]
        self._edges["owner_ids"][rows] = owner_ids[fresh]
        self._edges["other_ids"][rows] = other_ids[fresh]
        owners = self._owner_of_id.get_or_insert(self._edges["owner_ids"][known:])
        added = self._owners.extend(len(self._owner_of_id) - len(self._owners))
        self._owners["head"][added] = -1
        _link(owners, known, self._owners["head"], self._edges["next"])
        return edges


def _pair_keys(owner_ids: Ids, other_ids: Ids) -> Ids:
    """63-bit keys of pairs; at 100 M pairs two share a key with probability 0.0005."""
    mixed = mix64(mix64(owner_ids) + other_ids.astype(np.uint64))
    return np.maximum((mixed >> np.uint64(1)).astype(np.int64), 1)


@kernel
def _link(
    owners: npt.NDArray[np.int32],
    first_edge: int,
    heads: npt.NDArray[np.int32],
    nexts: npt.NDArray[np.int32],
) -> None:
    for i in range(len(owners)):
        nexts[first_edge + i] = heads[owners[i]]
        heads[owners[i]] = first_edge + i


@kernel
def _walk(
    head: int, nexts: npt.NDArray[np.int32], active: npt.NDArray[np.bool_], on: bool, limit: int
) -> npt.NDArray[np.int64]:
    found = np.empty(limit, np.int64)
    n = 0
    edge = head
    scanned = 0
    while edge >= 0 and scanned < limit:
        if active[edge] == on:
            found[n] = edge
            n += 1
        edge = nexts[edge]
        scanned += 1
    return found[:n].copy()

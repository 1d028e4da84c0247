"""Lists: which lists a user made, and who their members are; kept with their owner."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.rows import Rows
from actors.stores.columns import Array
from actors.stores.kernels import kernel
from actors.stores.relations import Relations
from actors.stores.versions import versions_of
from cluster.events import Kind
from cluster.ids import Ids

_FOR_GOOD = np.iinfo(np.int64).max
"""The version of a deletion: ids are not used again, so it wins at any time."""


class ListMembers(NamedTuple):
    """Lists of one owner, the newest first, with their members, those added last first."""

    list_ids: Ids
    """Shape (n,)."""
    offsets: Ids
    """Shape (n + 1,): the members of list i are `member_ids[offsets[i] : offsets[i + 1]]`."""
    member_ids: Ids


class Lists:
    """Lists of the users of one shard.

    A list and each of its members are registers that the newest write wins, so a removal may
    come before the addition, and a member before the list itself; a deleted list is gone for
    good. Only what a list's owner wrote counts: a list is found by its owner and its id.
    """

    def __init__(self) -> None:
        self._owned = Relations()
        """Owner → list. A list's row never moves, and so numbers it."""
        self._members = Relations()
        """1 + the row of a list → member."""

    def __len__(self) -> int:
        return len(self._owned)

    @property
    def memory_bytes(self) -> int:
        """Memory held."""
        return self._owned.memory_bytes + self._members.memory_bytes

    def apply(self, rows: Rows) -> None:
        """Apply admitted rows, for whose actors this shard is."""
        made = rows.of(Kind.LIST_CREATE, Kind.LIST_DELETE)
        made = made.where(made.concern("actor_id"))
        if len(made):
            on = made["kind"] == Kind.LIST_CREATE
            versions = np.where(on, versions_of(made["time_ms"], made["event_id"]), _FOR_GOOD)
            self._owned.write(made["actor_id"], made["target_id"], versions, on)
        changed = rows.of(Kind.LIST_ADD, Kind.LIST_REMOVE)
        changed = changed.where(changed.concern("actor_id"))
        if len(changed):
            self._members.write(
                self._numbers_of(changed["actor_id"], changed["target_id"]),
                changed["author_id"],
                versions_of(changed["time_ms"], changed["event_id"]),
                changed["kind"] == Kind.LIST_ADD,
            )

    def of(self, owner_id: int, max_lists: int, max_members: int) -> ListMembers:
        """At most `max_lists` lists of a user, with `max_members` members each."""
        list_ids, _ = self._owned.others(owner_id, max_lists)
        rows = self._owned.edges_of(np.full(len(list_ids), owner_id), list_ids)
        members = [self._members.others(1 + row, max_members)[0] for row in rows.tolist()]
        offsets = np.cumsum([0, *map(len, members)], dtype=np.int64)
        return ListMembers(list_ids, offsets, np.concatenate([*members, _NO_IDS]))

    def members(self, owner_id: int, list_id: int, most: int) -> Ids | None:
        """The `most` members of a list that were added last; None where its owner has none such."""
        owner, listed = np.array([owner_id], np.int64), np.array([list_id], np.int64)
        if not self._owned.holds(owner, listed)[0]:
            return None
        return self._members.others(1 + int(self._owned.edges_of(owner, listed)[0]), most)[0]

    def holding(self, owner_ids: Ids, member_ids: Ids) -> tuple[Ids, Ids]:
        """For each of n pairs the owner's lists that hold the member: offsets (n + 1,), ids."""
        owners = self._owned.owners_of(owner_ids)
        chains = self._owned.chains()
        lengths, rows = _chained(owners, chains.heads, chains.nexts, chains.active)
        pairs = np.repeat(np.arange(len(owner_ids)), lengths)
        held = self._members.holds(1 + rows, member_ids[pairs])
        counts = np.bincount(pairs[held], minlength=len(owner_ids))
        return np.concatenate([_ONE_ZERO, np.cumsum(counts)]), chains.other_ids[rows[held]]

    def columns(self) -> dict[str, Array]:
        """What `restore` needs; copies. A row without a member is the list itself."""
        lists, members = self._owned.columns(), self._members.columns()
        of_list = members["owner_ids"] - 1
        return {
            "owner_ids": np.concatenate([lists["owner_ids"], lists["owner_ids"][of_list]]),
            "list_ids": np.concatenate([lists["other_ids"], lists["other_ids"][of_list]]),
            "member_ids": np.concatenate(
                [np.zeros(len(lists["active"]), np.int64), members["other_ids"]]
            ),
            "versions": np.concatenate([lists["versions"], members["versions"]]),
            "active": np.concatenate([lists["active"], members["active"]]),
        }

    def restore(self, columns: dict[str, Array]) -> None:
        """Add rows that `columns` gave, of owners that are not held."""
        names = ("owner_ids", "list_ids", "member_ids", "versions", "active")
        owners, lists, members, versions, on = (columns[name] for name in names)
        listed = members == 0
        self._owned.write(owners[listed], lists[listed], versions[listed], on[listed])
        numbers = self._numbers_of(owners[~listed], lists[~listed])
        self._members.write(numbers, members[~listed], versions[~listed], on[~listed])

    def _numbers_of(self, owner_ids: Ids, list_ids: Ids) -> Ids:
        """Numbers of lists, from 1; a list that was not created yet gets one and stays off."""
        n = len(owner_ids)
        self._owned.write(owner_ids, list_ids, np.zeros(n, np.int64), np.zeros(n, bool))
        rows: npt.NDArray[np.int32] = self._owned.edges_of(owner_ids, list_ids)
        return 1 + rows.astype(np.int64)


@kernel
def _chained(
    owners: npt.NDArray[np.int32],
    heads: npt.NDArray[np.int32],
    nexts: npt.NDArray[np.int32],
    active: npt.NDArray[np.bool_],
) -> tuple[Ids, Ids]:
    """How many active edges each owner (−1: none) has, and their rows one after the other."""
    lengths = np.zeros(len(owners), np.int64)
    for i in range(len(owners)):
        edge = heads[owners[i]] if owners[i] >= 0 else -1
        while edge >= 0:
            lengths[i] += active[edge]
            edge = nexts[edge]
    rows = np.empty(lengths.sum(), np.int64)
    at = 0
    for i in range(len(owners)):
        edge = heads[owners[i]] if owners[i] >= 0 else -1
        while edge >= 0:
            if active[edge]:
                rows[at] = edge
                at += 1
            edge = nexts[edge]
    return lengths, rows


_NO_IDS = np.empty(0, np.int64)
_ONE_ZERO = np.zeros(1, np.int64)

"""What the viewers of a shard chose: subscriptions, mutes, preferences, and modules put away."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.rows import Rows
from actors.stores.columns import Array
from actors.stores.kernels import kernel
from actors.stores.pair_table import PairTable
from actors.stores.versions import times_of, versions_of, winners
from cluster.events import Kind
from cluster.ids import Ids, mix64

Float32s = npt.NDArray[np.float32]


class Sort(IntEnum):
    """What a choice is about. The number is stored in snapshots."""

    SUBSCRIPTION = 1
    MUTED_TOPIC = 2
    MUTED_KEYWORD = 3
    PREFERENCE = 4
    DISMISSED = 5
    """The value counts how often."""
    MODULE = 6
    """A module that was served, and when last."""


class Chosen(NamedTuple):
    """Choices of one viewer, arrays of shape (n,)."""

    sorts: npt.NDArray[np.uint8]
    things: Ids
    """A user or a topic; of the sorts that have names, what `Choices.name` takes."""
    values: Float32s
    """Of a subscription or a mute 1, or 0 where it was taken back."""
    times_ms: Ids
    """When last."""


class Choices:
    """Choices by viewer, sort and thing.

    Each is a register that the newest write wins, so a choice and its undoing may arrive in any
    order, and any number of times. Dismissals are counted, each event once.
    """

    def __init__(self) -> None:
        self._table = PairTable(
            {"sorts": np.uint8, "things": np.int64, "versions": np.int64, "values": np.float32}
        )
        self._names: list[str] = []
        self._code_of_name: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._table)

    @property
    def memory_bytes(self) -> int:
        """Memory held, without the names, which viewers share."""
        return self._table.memory_bytes

    def apply(self, rows: Rows) -> None:
        """Apply admitted rows, for whose actors this shard is."""
        rows = rows.of(*_KINDS)
        if not len(rows):
            return
        rows = rows.where(rows.concern("actor_id"))
        for sort, kinds in _KINDS_OF.items():
            found = rows.of(*kinds)
            if len(found):
                self._apply(sort, found)

    def of(self, viewer_id: int) -> Chosen:
        """Everything that a viewer ever chose, what was taken back included; in no order."""
        table, chains = self._table, self._table.pairs.chains()
        owner = self._table.pairs.owners_of(np.array([viewer_id], np.int64))[0]
        rows = _chained(int(chains.heads[owner]) if owner >= 0 else -1, chains.nexts)
        versions = table["versions"][rows]
        sorts, things, values = (table[name][rows] for name in ("sorts", "things", "values"))
        return Chosen(sorts, things, values, times_of(versions))

    def name(self, thing: int) -> str:
        """The keyword, preference or module of a thing."""
        return self._names[thing - 1]

    def columns(self) -> dict[str, Array | pa.Array]:
        """What `restore` needs; copies."""
        columns: dict[str, Array | pa.Array] = dict(self._table.columns())
        del columns["other_ids"]
        things = columns["things"]
        named = _NAMED[columns["sorts"]]
        # A null comes last; the code of the first name is 1.
        codes = np.where(named, things - 1, len(self._names))
        columns["names"] = pa.array([*self._names, None], pa.string()).take(pa.array(codes))
        columns["things"] = np.where(named, 0, things)
        return columns

    def restore(self, columns: dict[str, Array | pa.Array]) -> None:
        """Take back what `columns` gave, of viewers that are not held."""
        sorts, things, names = columns["sorts"], columns["things"].copy(), columns["names"]
        named = _NAMED[sorts]
        things[named] = self._codes(names.take(pa.array(np.flatnonzero(named))))
        rows = self._table.rows_for(columns["owner_ids"], _keys(sorts, things))
        for name, values in (
            *(("sorts", sorts), ("things", things)),
            *(("versions", columns["versions"]), ("values", columns["values"])),
        ):
            self._table[name][rows] = values

    def _apply(self, sort: Sort, found: Rows) -> None:
        n = len(found)
        sorts = np.full(n, sort, np.uint8)
        things = found["target_id"] if not _NAMED[sort] else self._codes(_names_in(found, sort))
        rows = self._table.rows_for(found["actor_id"], _keys(sorts, things))
        table = self._table
        table["sorts"][rows], table["things"][rows] = sorts, things
        versions = versions_of(found["time_ms"], found["event_id"])
        if sort is Sort.DISMISSED:
            np.add.at(table["values"], rows, np.float32(1))
            np.maximum.at(table["versions"], rows, versions)
            return
        won = winners(rows, versions, table["versions"])
        rows = rows[won]
        on = found["kind"] == _KINDS_OF[sort][0]
        table["values"][rows] = (found["value"] if sort is Sort.PREFERENCE else on)[won]
        table["versions"][rows] = versions[won]

    def _codes(self, names: pa.Array) -> Ids:
        encoded = names.dictionary_encode()
        codes = np.array([self._code(name) for name in encoded.dictionary.to_pylist()], np.int64)
        found: Ids = codes[encoded.indices.to_numpy(zero_copy_only=False)]
        return found

    def _code(self, name: str) -> int:
        code = self._code_of_name.get(name)
        if code is None:
            self._names.append(name)
            code = self._code_of_name[name] = len(self._names)
        return code


def _names_in(found: Rows, sort: Sort) -> pa.Array:
    names = found.column("keyword" if sort is Sort.MUTED_KEYWORD else "name")
    assert names is not None, "validated events of these kinds have one"
    if sort is Sort.MUTED_KEYWORD:
        # However it is written: who mutes Rain and unmutes rain reads of it again.
        return pa.array([name.lower() for name in names.to_pylist()], pa.string())
    return names


def _keys(sorts: npt.NDArray[np.uint8], things: Ids) -> Ids:
    mixed = mix64(mix64(things) + sorts.astype(np.uint64))
    return np.maximum((mixed >> np.uint64(1)).astype(np.int64), 1)


@kernel
def _chained(edge: int, nexts: npt.NDArray[np.int32]) -> Ids:
    """The edges of one chain, from its head (−1: none) on."""
    count = 0
    at = edge
    while at >= 0:
        count += 1
        at = nexts[at]
    found = np.empty(count, np.int64)
    for i in range(count):
        found[i] = edge
        edge = nexts[edge]
    return found


_KINDS_OF: dict[Sort, tuple[Kind, ...]] = {
    Sort.SUBSCRIPTION: (Kind.SUBSCRIBE, Kind.UNSUBSCRIBE),
    Sort.MUTED_TOPIC: (Kind.TOPIC_MUTE, Kind.TOPIC_UNMUTE),
    Sort.MUTED_KEYWORD: (Kind.KEYWORD_MUTE, Kind.KEYWORD_UNMUTE),
    Sort.PREFERENCE: (Kind.PREFERENCE,),
    Sort.DISMISSED: (Kind.DISMISS,),
    Sort.MODULE: (Kind.MODULE_SERVED,),
}
"""Of each sort the kind that writes it, and the one that takes it back."""
_KINDS = tuple(kind for kinds in _KINDS_OF.values() for kind in kinds)
_NAMED = np.zeros(256, bool)
_NAMED[[Sort.MUTED_KEYWORD, Sort.PREFERENCE, Sort.DISMISSED, Sort.MODULE]] = True

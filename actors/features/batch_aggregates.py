"""Aggregates that a job counted from the archive, as serving reads them."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.features.aggregation import AggregateGroup
from actors.stores.aggregates import NOTHING, tuple_keys
from actors.stores.kernels import kernel
from cluster.artifacts import ArtifactStore
from cluster.ids import Ids

Floats = npt.NDArray[np.float32]

AGGREGATES = "aggregates"
AGGREGATES_SCHEMA = 1
GROUPS = "groups.json"
"""What the artifact holds: `as_of_ms`, and for each group its `keys` and `columns` by name. The
group's own file has a row for each tuple of keys: `key` (of `tuple_keys`) ascending, the keys
themselves, and `values`, a fixed-size list of float32 as of `as_of_ms`."""


class _Group(NamedTuple):
    keys: Ids
    values: Floats
    """Shape (n, columns), where they are mapped."""
    place_of: dict[str, int]


class BatchAggregates:
    """Batch aggregates of one version, whose columns stay where they are mapped."""

    def __init__(self, as_of_ms: int, groups: dict[str, _Group]) -> None:
        self.as_of_ms = as_of_ms
        self._groups = groups

    def __len__(self) -> int:
        return sum(len(group.keys) for group in self._groups.values())

    def read(self, group: AggregateGroup, keys: tuple[Ids, ...], now_ms: int) -> Floats:
        """The columns of n tuples of a group's keys as of `now_ms`, float32 (n, columns).

        Zeros for tuples and columns that the version does not know. Before the end of what
        was counted, the values are as of that end.
        """
        found = np.zeros((len(keys[0]), len(group.columns)), np.float32)
        held = self._groups.get(group.name)
        if held is None or not len(held.keys):
            return found
        wanted = tuple_keys(*keys)
        at = np.minimum(np.searchsorted(held.keys, wanted), len(held.keys) - 1)
        at[held.keys[at] != wanted] = -1
        places = np.array([held.place_of.get(name, -1) for name in group.column_names])
        half_lives_ms = np.array([column.half_life_ms for column in group.columns])
        factors = np.exp2(-max(now_ms - self.as_of_ms, 0) / half_lives_ms)
        _gather(held.values, at, places, factors.astype(np.float32), found)
        return found


@kernel
def _gather(values: Floats, rows: Ids, places: Ids, factors: Floats, found: Floats) -> None:
    """Places of rows, times factors; rows and places of −1 stay what they are."""
    for i in range(len(rows)):
        if rows[i] < 0:
            continue
        held, shown = values[rows[i]], found[i]
        for column in range(len(places)):
            if places[column] >= 0:
                value = held[places[column]] * factors[column]
                shown[column] = value if abs(value) >= NOTHING else np.float32(0)


def table_of(ids: Ids, key_names: tuple[str, ...], values: Floats) -> pa.Table:
    """Rows of a group as they stand in the artifact; `ids` (n, keys), `values` (n, columns)."""
    keys = tuple_keys(*ids.T)
    order = np.argsort(keys)
    flat = pa.array(np.ascontiguousarray(values[order]).reshape(-1))
    columns: dict[str, Any] = {"key": keys[order]}
    columns |= {name: ids[order, at] for at, name in enumerate(key_names)}
    columns["values"] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return pa.table(columns)


def read_batch_aggregates(artifacts: ArtifactStore, version: str) -> BatchAggregates:
    """Read and check one version from the artifact store."""
    artifact = artifacts.open(AGGREGATES, version, schema_version=AGGREGATES_SCHEMA)
    told = artifact.json(GROUPS)
    groups: dict[str, _Group] = {}
    for name, group in told["groups"].items():
        table = artifact.table(f"{name}.arrow").combine_chunks()
        keys = table.column("key").to_numpy()
        if (keys[1:] <= keys[:-1]).any():
            raise ValueError(f"{AGGREGATES} {version}: the keys of {name} do not strictly ascend")
        n_columns = len(group["columns"])
        values = np.zeros((0, n_columns), np.float32)
        if len(table):
            flat = table.column("values").chunk(0).flatten().to_numpy()
            values = flat.reshape(len(table), n_columns)
        # Mapped values are read-only, for which the kernel is then compiled once.
        values.setflags(write=False)
        places = {column: at for at, column in enumerate(group["columns"])}
        groups[name] = _Group(keys, values, places)
    return BatchAggregates(int(told["as_of_ms"]), groups)

"""Prepared edges on disk: vocabularies, shards to learn from, edges held out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.durable import write_file
from cluster.ids import Ids
from training.twhin.relations import RELATIONS

_FORMAT = 1
_DONE = "edges.json"
_LATER = "later.parquet"
_SCHEMA = pa.schema([("lhs", pa.int32()), ("rel", pa.uint8()), ("rhs", pa.int32())])

Rows = npt.NDArray[np.int32]


@dataclass(frozen=True)
class EdgeColumns:
    """Edges as rows of their relations' tables; arrays of shape (n,)."""

    lhs: Rows
    rel: npt.NDArray[np.uint8]
    rhs: Rows

    def __len__(self) -> int:
        return len(self.rel)

    def take(self, at: npt.NDArray[Any] | slice) -> "EdgeColumns":
        """The edges at given places."""
        return EdgeColumns(self.lhs[at], self.rel[at], self.rhs[at])


@dataclass(frozen=True)
class Edges:
    """A folder of prepared edges: vocabularies, shards to learn from, edges held out."""

    folder: Path
    rows: dict[str, int]
    """Table → how many nodes it has; 0 where none is left."""
    shards: tuple[tuple[str, int], ...]
    """File name and number of edges of each."""
    counts: dict[str, int]
    """Relation → edges to learn from."""
    later_counts: dict[str, int]
    """Relation → edges held out, before a part of them was drawn."""
    cut_ms: int
    """Edges made from here on are held out."""
    data_range_ms: tuple[int, int]

    @property
    def n_edges(self) -> int:
        """Edges to learn from."""
        return sum(n for _, n in self.shards)

    def vocabulary(self, table: str) -> Ids:
        """The id of each row of a table, in an order that says nothing: by hash."""
        found: Ids = np.load(self.folder / f"{table}.npy")
        return found

    def frequencies(self, relation: str, side: str) -> Rows:
        """By row of the relation's table on a side (`lhs`, `rhs`), its edges to learn from."""
        found: Rows = np.load(self.folder / f"{relation}-{side}.npy")
        return found

    def shard(self, name: str) -> EdgeColumns:
        """The edges of a shard."""
        return _read_edges(self.folder / name)

    def later(self) -> EdgeColumns:
        """Edges held out, both of whose nodes are known from earlier ones."""
        return _read_edges(self.folder / _LATER)


def open_edges(folder: Path) -> Edges:
    """Edges that `prepare` has finished; raises `FileNotFoundError` where it has not."""
    told = json.loads((folder / _DONE).read_bytes())
    if told["format"] != _FORMAT:
        raise FileNotFoundError(f"{folder / _DONE} has format {told['format']}, not {_FORMAT}")
    return Edges(
        folder,
        told["rows"],
        tuple((name, n) for name, n in told["shards"]),
        told["counts"],
        told["later_counts"],
        told["cut_ms"],
        (told["data_range_ms"][0], told["data_range_ms"][1]),
    )


class EdgeWriter:
    """Writes a folder of edges; it can be opened once `finish` has returned."""

    def __init__(self, folder: Path, rows: dict[str, int]) -> None:
        self._folder, self._rows = folder, rows
        self._frequencies = {
            (i, side): np.zeros(rows[getattr(relation, side)], np.int32)
            for i, relation in enumerate(RELATIONS)
            for side in ("lhs", "rhs")
        }
        self._shards: list[tuple[str, int]] = []

    def shard(self, edges: EdgeColumns) -> None:
        """Write a shard of edges to learn from, which should be in no order."""
        for (i, side), counted in self._frequencies.items():
            ends = getattr(edges, side)[edges.rel == i]
            counted += np.bincount(ends, minlength=len(counted)).astype(np.int32)
        name = f"train-{len(self._shards):05d}.parquet"
        _write_edges(self._folder / name, edges)
        self._shards.append((name, len(edges)))

    def finish(
        self,
        vocabularies: dict[str, Ids],
        later: EdgeColumns,
        later_counts: dict[str, int],
        cut_ms: int,
        data_range_ms: tuple[int, int],
    ) -> Edges:
        """Write all but the shards: the id of each row, held-out edges, times in ms."""
        counts = {}
        for (i, side), found in self._frequencies.items():
            np.save(self._folder / f"{RELATIONS[i].name}-{side}.npy", found)
            counts[RELATIONS[i].name] = int(found.sum())
        for table, ids in vocabularies.items():
            np.save(self._folder / f"{table}.npy", ids)
        _write_edges(self._folder / _LATER, later)
        told = {
            "format": _FORMAT,
            "rows": self._rows,
            "shards": self._shards,
            "counts": counts,
            "later_counts": later_counts,
            "cut_ms": cut_ms,
            "data_range_ms": data_range_ms,
        }
        write_file(self._folder / _DONE, json.dumps(told).encode())
        return open_edges(self._folder)


def concatenated(parts: list[EdgeColumns]) -> EdgeColumns:
    """All edges of some parts, in their order."""
    if not parts:
        return EdgeColumns(np.empty(0, np.int32), np.empty(0, np.uint8), np.empty(0, np.int32))
    columns = [[getattr(part, name) for part in parts] for name in ("lhs", "rel", "rhs")]
    return EdgeColumns(*(np.concatenate(column) for column in columns))


def _write_edges(path: Path, edges: EdgeColumns) -> None:
    table = pa.table([edges.lhs, edges.rel, edges.rhs], schema=_SCHEMA)
    # Random numbers neither repeat nor compress.
    pq.write_table(table, path, use_dictionary=False, compression="none")


def _read_edges(path: Path) -> EdgeColumns:
    table = pq.read_table(path, schema=_SCHEMA, use_threads=False)
    return EdgeColumns(*(table.column(name).to_numpy() for name in _SCHEMA.names))

"""Inputs of examples as they were served, from the pages in the archive."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from actors.features.inputs import RankerInputs, Schema
from actors.features.light import positions_in
from actors.features.logged import LoggedPage, chosen, pages_of, schema_of
from cluster.archive import Archive
from training.heavy_ranker.labels import Shown

CLOCKS_MS = 600_000
"""How far a client's clock may be behind the server's for its impression to find its page."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Dense:
    """The inputs of n examples, filled in part by part; columns in the order of the schema."""

    schema: Schema
    continuous: npt.NDArray[np.float32]
    binary: npt.NDArray[np.uint8]
    discrete: npt.NDArray[np.int64]
    embeddings: dict[str, npt.NDArray[np.float32]]
    _columns: dict[str, "Columns | None"] = field(default_factory=dict)

    @classmethod
    def empty(cls, schema: Schema, n: int) -> "Dense":
        """Zeros everywhere."""
        return cls(
            schema,
            np.zeros((n, len(schema.continuous)), np.float32),
            np.zeros((n, len(schema.binary)), np.uint8),
            np.zeros((n, len(schema.discrete)), np.int64),
            {e.name: np.zeros((n, e.dimensions), np.float32) for e in schema.embeddings},
        )

    def columns_of(self, given: Schema) -> "Columns | None":
        """See the function of this name."""
        found = given.fingerprint
        if found not in self._columns:
            self._columns[found] = columns_of(given, self.schema)
        return self._columns[found]

    def fill(self, rows: Rows, inputs: RankerInputs) -> None:
        """Write the inputs of as many candidates, which have all of the schema's, into rows.

        What is no number is written as 0, for which the model takes it. Raises `ValueError`
        where one of the schema's inputs is missing.
        """
        columns = self.columns_of(inputs.schema)
        if columns is None:
            raise ValueError(f"inputs {inputs.schema.fingerprint} lack some of the schema's")
        continuous, binary, discrete, vectors = inputs.dense()
        continuous = continuous[:, columns.continuous]
        self.continuous[rows] = np.where(np.isfinite(continuous), continuous, np.float32(0))
        self.binary[rows] = binary[:, columns.binary] > 0
        self.discrete[rows] = discrete[:, columns.discrete]
        for name, values in self.embeddings.items():
            values[rows] = np.where(np.isfinite(vectors[name]), vectors[name], np.float32(0))


@dataclass(frozen=True)
class Columns:
    """Where a schema's inputs stand in another's order, by sort."""

    continuous: Rows
    binary: Rows
    discrete: Rows


def columns_of(given: Schema, wanted: Schema) -> Columns | None:
    """By name, where the inputs of `wanted` stand among those of `given`; None if one does not.

    An input that was served under another level, default or size of table is the same.
    """
    vectors = {e.name: e.dimensions for e in given.embeddings}
    if any(vectors.get(e.name) != e.dimensions for e in wanted.embeddings):
        return None
    found: dict[str, Rows] = {}
    for sort in ("continuous", "binary", "discrete"):
        there = {i.name: at for at, i in enumerate(getattr(given, sort))}
        names = [i.name for i in getattr(wanted, sort)]
        if not there.keys() >= set(names):
            return None
        found[sort] = np.array([there[name] for name in names], np.int64)
    return Columns(**found)


def fill_as_served(archive: Archive, shown: Shown, into: Dense) -> npt.NDArray[np.bool_]:
    """Fill in what was served of examples (n,) in order of time; returns of which it was.

    An example has the inputs of the page of its request and viewer on which the post stood, or
    was scored. Reads the pages of the time of the examples, one after the other.
    """
    done = np.zeros(len(shown), bool)
    named = np.flatnonzero(shown.request_ids.is_valid().to_numpy(zero_copy_only=False))
    if not len(named):
        return done
    order, codes, requests = _by_request(shown, named)
    since_ms, until_ms = int(shown.asked_ms[0]), int(shown.asked_ms[-1]) + CLOCKS_MS + 1
    for code, page in _pages(archive, since_ms, until_ms, requests, into):
        rows = order[np.searchsorted(codes, code) : np.searchsorted(codes, code, side="right")]
        rows = rows[(shown.viewer_ids[rows] == page.viewer_id) & ~done[rows]]
        by_id = np.argsort(page.post_ids, kind="stable")
        at = positions_in(page.post_ids[by_id], shown.post_ids[rows])
        rows, at = rows[at >= 0], at[at >= 0]
        if len(rows):
            into.fill(rows, chosen(page.inputs, by_id[at]))
            done[rows] = True
    return done


def _by_request(shown: Shown, named: Rows) -> tuple[Rows, Rows, pa.Array]:
    """(rows in order of their request's number, these numbers, the requests' names)."""
    names = shown.request_ids.take(pa.array(named)).dictionary_encode()
    codes = names.indices.to_numpy().astype(np.int64)
    order = np.argsort(codes, kind="stable")
    return named[order], codes[order], names.dictionary


def _pages(
    archive: Archive, since_ms: int, until_ms: int, requests: pa.Array, into: Dense
) -> Iterator[tuple[int, LoggedPage]]:
    """(request's number, page) of those pages that have all inputs that are wanted."""
    for table in archive.served_pages(since_ms, until_ms):
        if into.columns_of(schema_of(table)) is None:
            continue
        codes: Any = pc.index_in(table.column("request_id").combine_chunks(), requests)
        found = codes.is_valid()
        yield from zip(codes.drop_null().to_pylist(), pages_of(table.filter(found)), strict=True)

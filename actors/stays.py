"""How long a viewer stayed with what was opened: the values of clicks and video watches.

The graphs keep that an engagement happened and when; what it measured is kept here, once for
each viewer and post (or visited profile).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.rows import Rows
from actors.stores.columns import Array
from actors.stores.pair_table import PairTable
from cluster.events import Kind
from cluster.ids import Ids

_NAMES = {Kind.CLICK: "click", Kind.PROFILE_CLICK: "profile", Kind.VIDEO_WATCH: "watch"}


class Stayed(NamedTuple):
    """Posts (or profiles) and how long one viewer stayed; arrays of shape (n,)."""

    ids: Ids
    author_ids: Ids
    stays_ms: Ids
    """In all; of videos, the longest single watch."""
    times_ms: Ids
    """When last."""


class Stays:
    """Stays of the viewers of one shard, from events whose `value` is milliseconds.

    Sums are of whole milliseconds, so that they depend on no order. A post and a profile may
    share a number, and then a row, but no column.
    """

    def __init__(self) -> None:
        self._table = self._empty()

    def __len__(self) -> int:
        return len(self._table)

    @property
    def memory_bytes(self) -> int:
        """Memory held."""
        return self._table.memory_bytes

    def record(self, rows: Rows) -> None:
        """Add admitted rows, for whose actors this shard is."""
        for kind in _NAMES:
            found = rows.of(kind)
            found = found.where(found.concern("actor_id") & (found["author_id"] > 0))
            if kind is not Kind.PROFILE_CLICK:
                found = found.where(found["post_id"] > 0)
            if len(found):
                self._add(kind, found)

    def of(self, viewer_id: int, kind: Kind) -> Stayed:
        """What a viewer clicked, visited (`PROFILE_CLICK`: ids are users) or watched."""
        rows, ids = self._table.rows_of(viewer_id)
        name = _NAMES[kind]
        times_ms = self._table[f"{name}_at_ms"][rows]
        some = times_ms > 0
        rows, ids = rows[some], ids[some]
        authors = ids if kind is Kind.PROFILE_CLICK else self._table["author_ids"][rows]
        return Stayed(ids, authors, self._table[f"{name}_ms"][rows], times_ms[some])

    def expire(self, before_ms: int) -> None:
        """Drop pairs whose last stay is older, once they are a quarter of all.

        Sums begin anew for a pair that was dropped.
        """
        last = np.max([self._table[f"{name}_at_ms"] for name in _NAMES.values()], axis=0)
        kept = last >= before_ms
        if 4 * int(kept.sum()) <= 3 * len(kept) and len(kept):
            columns = {name: values[kept] for name, values in self.columns().items()}
            self._table = self._empty()
            self.restore(columns)

    def columns(self) -> dict[str, Array]:
        """What `restore` needs; copies."""
        return self._table.columns()

    def restore(self, columns: dict[str, Array]) -> None:
        """Take back what `columns` gave, of pairs that are not held."""
        self._table.restore(columns)

    def _add(self, kind: Kind, found: Rows) -> None:
        others = found["author_id"] if kind is Kind.PROFILE_CLICK else found["post_id"]
        rows = self._table.rows_for(found["actor_id"], others)
        name, table = _NAMES[kind], self._table
        stays_ms = _whole_ms(found["value"])
        if kind is Kind.VIDEO_WATCH:
            np.maximum.at(table["watch_ms"], rows, stays_ms)
        else:
            np.add.at(table[f"{name}_ms"], rows, stays_ms)
        if kind is not Kind.PROFILE_CLICK:
            np.maximum.at(table["author_ids"], rows, found["author_id"])
        np.maximum.at(table[f"{name}_at_ms"], rows, found["time_ms"])

    @staticmethod
    def _empty() -> PairTable:
        columns = [f"{name}{end}" for name in _NAMES.values() for end in ("_ms", "_at_ms")]
        return PairTable(dict.fromkeys(["author_ids", *columns], np.int64))


def _whole_ms(values: npt.NDArray[np.float32]) -> Ids:
    """Values as whole milliseconds, from 0 to a day."""
    return np.clip(np.rint(values), 0, 86_400_000).astype(np.int64)

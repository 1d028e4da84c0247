"""The user table: what each user of a shard says of themselves, and whether they are there."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.stores.columns import Array, Columns
from actors.stores.id_map import IdMap
from actors.stores.texts import Texts
from actors.stores.versions import winners
from actors.stores.words import Words
from cluster.events import Kind
from cluster.ids import Ids

FIELDS = (
    *("language", "country", "age_years"),
    *("verified", "protected", "creator", "allow_sensitive"),
)
"""Attributes kept as numbers, each with a version of its own; names and URIs are texts."""
_TEXTS = ("name", "uri")
_STATES = {
    Kind.USER_DEACTIVATE: ("deactivated", True),
    Kind.USER_REACTIVATE: ("deactivated", False),
    Kind.USER_SUSPEND: ("suspended", True),
    Kind.USER_UNSUSPEND: ("suspended", False),
}
_VERSIONED = (*FIELDS, *_TEXTS, "deactivated", "suspended")


class UserTable:
    """Users of one shard, each attribute a register that its newest write wins."""

    def __init__(self) -> None:
        self._row_of_id = IdMap()
        self._table = Columns(
            {
                "user_ids": np.int64,
                "created_ms": np.int64,
                "language": np.int16,
                "country": np.int16,
                "age_years": np.int16,
                "verified": np.bool_,
                "protected": np.bool_,
                "creator": np.bool_,
                "allow_sensitive": np.bool_,
                "deactivated": np.bool_,
                "suspended": np.bool_,
                "deleted": np.bool_,
                **{f"{name}_start": np.int64 for name in _TEXTS},
                **{f"{name}_bytes": np.int32 for name in _TEXTS},
                **{f"{name}_version": np.int64 for name in _VERSIONED},
            }
        )
        self._texts = Texts()
        self.words = Words()
        self.n_writes = 0
        """How often anything was written: for those who keep what they made of it."""

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, name: str) -> Array:
        """A column over all rows; read only."""
        return self._table[name]

    @property
    def memory_bytes(self) -> int:
        """Memory held by columns, texts and the map."""
        return self._row_of_id.memory_bytes + self._table.memory_bytes + self._texts.memory_bytes

    def rows_of(self, user_ids: Ids) -> npt.NDArray[np.int32]:
        """Rows of users, −1 where nothing is known of them."""
        return self._row_of_id.get(user_ids)

    def gone(self, user_ids: Ids) -> npt.NDArray[np.bool_]:
        """Whether each user is deactivated, suspended or deleted."""
        rows = self.rows_of(user_ids)
        gone = np.zeros(len(user_ids), bool)
        known = rows >= 0
        rows = rows[known]
        table = self._table
        gone[known] = table["deactivated"][rows] | table["suspended"][rows] | table["deleted"][rows]
        return gone

    def write(self, users: pa.RecordBatch, versions: Ids) -> None:
        """Apply user events (`user_create` … `user_delete`), in any order."""
        self.n_writes += 1
        rows = self._rows_for(users.column("actor_id").to_numpy())
        kinds = users.column("kind").to_numpy()
        table = self._table
        created = np.flatnonzero(kinds == Kind.USER_CREATE)
        times_ms = users.column("time_ms").to_numpy()
        # Latest first, so that the earliest of one batch is what stays.
        created = created[np.argsort(-times_ms[created])]
        known_ms, times_ms = table["created_ms"][rows[created]], times_ms[created]
        table["created_ms"][rows[created]] = np.where(
            known_ms == 0, times_ms, np.minimum(known_ms, times_ms)
        )
        table["deleted"][rows[kinds == Kind.USER_DELETE]] = True
        for kind, (state, on) in _STATES.items():
            chosen = np.flatnonzero(kinds == kind)
            won = chosen[winners(rows[chosen], versions[chosen], table[f"{state}_version"])]
            table[state][rows[won]] = on
            table[f"{state}_version"][rows[won]] = versions[won]
        for name in (*FIELDS, *_TEXTS):
            if name in users.schema.names:
                self._write_field(name, users.column(name), rows, versions)

    def language_of(self, row: int) -> str:
        """The language the user of a row reads; the empty string where unknown."""
        return self.words.words(self._table["language"][row : row + 1])[0].as_py() or ""

    def texts(self, name: str, rows: npt.NDArray[np.int64]) -> pa.Array:
        """The `name` or `uri` of rows, null where there is none."""
        table = self._table
        return self._texts.gather(table[f"{name}_start"][rows], table[f"{name}_bytes"][rows])

    def columns(self) -> dict[str, Array | pa.Array]:
        """Everything `restore` needs, one entry a column; copies."""
        copied: dict[str, Array | pa.Array] = self._table.copy()
        rows = np.arange(len(self))
        for name in _TEXTS:
            copied[name] = self.texts(name, rows)
            del copied[f"{name}_start"], copied[f"{name}_bytes"]
        for name in ("language", "country"):
            copied[name] = self.words.words(self._table[name])
        return copied

    def restore(self, columns: dict[str, Array | pa.Array]) -> None:
        """Add rows exported by `columns`, of users that this table does not hold."""
        self.n_writes += 1
        rows = self._rows_for(columns["user_ids"])
        for name, values in columns.items():
            if name in _TEXTS:
                starts, lengths = self._texts.add(values)
                self._table[f"{name}_start"][rows] = starts
                self._table[f"{name}_bytes"][rows] = lengths
            elif name in ("language", "country"):
                self._table[name][rows] = self.words.codes(values)
            else:
                self._table[name][rows] = values

    def _write_field(
        self, name: str, column: pa.Array, rows: npt.NDArray[np.int32], versions: Ids
    ) -> None:
        given = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        won = given[winners(rows[given], versions[given], self._table[f"{name}_version"])]
        values = column.take(pa.array(won))
        rows = rows[won]
        if name in _TEXTS:
            starts, lengths = self._texts.add(values)
            self._table[f"{name}_start"][rows] = starts
            self._table[f"{name}_bytes"][rows] = lengths
        elif name in ("language", "country"):
            self._table[name][rows] = self.words.codes(values)
        else:
            self._table[name][rows] = values.to_numpy(zero_copy_only=False)
        self._table[f"{name}_version"][rows] = versions[won]

    def _rows_for(self, user_ids: Ids) -> npt.NDArray[np.int32]:
        known = len(self._row_of_id)
        rows = self._row_of_id.get_or_insert(user_ids)
        if len(self._row_of_id) > known:
            added = self._table.extend(len(self._row_of_id) - known)
            self._table["user_ids"][added] = self._row_of_id.keys[known:]
        return rows

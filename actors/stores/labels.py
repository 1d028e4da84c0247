"""Safety labels of posts or of users: by subject and name, the newest word counts."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.stores.columns import Array
from actors.stores.pair_table import PairTable
from actors.stores.versions import winners
from actors.stores.words import Words
from cluster.ids import Ids

Float32s = npt.NDArray[np.float32]


class Labels:
    """What subjects are labelled, and how strongly.

    Every (subject, name) is a register that the newest write wins, so a label and its removal
    may arrive in any order, and any number of times. Subjects are ids of one kind.
    """

    def __init__(self) -> None:
        self._names = Words()
        self._table = PairTable(
            {"author_ids": np.int64, "versions": np.int64, "on": np.bool_, "values": np.float32}
        )

    def __len__(self) -> int:
        return len(self._table)

    @property
    def memory_bytes(self) -> int:
        """Memory held."""
        return self._table.memory_bytes

    def write(
        self,
        subject_ids: Ids,
        author_ids: Ids,
        names: pa.Array,
        values: Float32s,
        versions: Ids,
        on: npt.NDArray[np.bool_],
    ) -> None:
        """Set labels on or off; `author_ids` say in whose partition each subject is.

        A label given without a value has the value 1. What derives something of labels is told
        by `_changed`.
        """
        rows = self._table.rows_for(subject_ids, self._names.codes(names).astype(np.int64))
        won = winners(rows, versions, self._table["versions"])
        rows = rows[won]
        self._table["author_ids"][rows] = author_ids[won]
        self._table["versions"][rows] = versions[won]
        self._table["on"][rows] = on[won]
        self._table["values"][rows] = np.where(values[won] > 0, values[won], 1.0)
        changed, first = np.unique(subject_ids, return_index=True)
        self._changed(changed, author_ids[first])

    def _changed(self, subject_ids: Ids, author_ids: Ids) -> None:
        """Derive again what follows from the labels of subjects, each named once."""

    def of(self, subject_id: int) -> dict[str, float]:
        """The labels of one subject and their values, by name."""
        rows, others = self._table.rows_of(subject_id)
        on = self._table["on"][rows]
        names = self._names.words(others[on].astype(np.int16)).to_pylist()
        return dict(sorted(zip(names, self._table["values"][rows[on]].tolist(), strict=True)))

    def values(self, subject_ids: Ids, name: str) -> Float32s:
        """How strongly each subject has a label: float32 (n,), 0 where it does not."""
        values = np.zeros(len(subject_ids), np.float32)
        code = self._names.find(name)
        if code < 0:
            return values
        others = np.full(len(subject_ids), code, np.int64)
        rows = self._table.pairs.edges_of(subject_ids, others)
        known = rows >= 0
        rows = rows[known]
        values[known] = np.where(self._table["on"][rows], self._table["values"][rows], 0.0)
        return values

    def columns(self) -> dict[str, Array | pa.Array]:
        """What `restore` needs; copies."""
        columns: dict[str, Array | pa.Array] = dict(self._table.columns())
        codes = columns.pop("other_ids").astype(np.int16)
        return columns | {"names": self._names.words(codes)}

    def restore(self, columns: Mapping[str, Array | pa.Array]) -> None:
        """Take back what `columns` gave."""
        self.write(
            *(columns["owner_ids"], columns["author_ids"], columns["names"]),
            *(columns["values"], columns["versions"], columns["on"]),
        )

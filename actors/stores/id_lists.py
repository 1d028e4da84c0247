"""Many short lists of ids in one growing array."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.stores.columns import Columns
from cluster.ids import Ids


class IdLists:
    """Lists addressed by (start, length); replaced lists stay until a restore."""

    def __init__(self) -> None:
        self._table = Columns({"ids": np.int64})

    @property
    def memory_bytes(self) -> int:
        """Memory held."""
        return self._table.memory_bytes

    def add(self, column: pa.Array) -> tuple[Ids, npt.NDArray[np.int32]]:
        """Append an Arrow column of lists; returns starts and lengths (0 for null)."""
        lengths = column.value_lengths().fill_null(0).to_numpy().astype(np.int32)
        added = self._table.extend(int(lengths.sum()))
        self._table["ids"][added] = column.flatten().to_numpy()
        return added.start + np.cumsum(lengths, dtype=np.int64) - lengths, lengths

    def gather(self, starts: Ids, lengths: npt.NDArray[np.int32]) -> tuple[Ids, Ids]:
        """The lists at n places: where each begins (n + 1,), and all their ids."""
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        at = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return offsets, self._table["ids"][at]

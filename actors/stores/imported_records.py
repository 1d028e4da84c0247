"""Which records of imported history were applied already, however old their events are."""

import sys
from itertools import islice

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids

KEPT = 16_384
"""Records remembered of a lane, the newest by offset: at most 2 MB. A copy comes within the
seconds for which an append is tried again; later ones are found in the archive."""
_ENTRY_BYTES = 64
"""Of two Python integers."""


class ImportedRecords:
    """Tells the records of one lane from copies of them, which stand later in the log.

    A record is known by what its rows are, all of them and in any order, so that an append that
    was made again and a request that was sent again are known alike.
    """

    def __init__(self) -> None:
        self._first: dict[int, int] = {}
        """Record → the offset at which it came first, in the order of offsets.

        Kept since partitions restored from an older snapshot than others of their lane read
        that record once more."""

    @property
    def memory_bytes(self) -> int:
        """Memory held."""
        return sys.getsizeof(self._first) + _ENTRY_BYTES * len(self._first)

    def copies(self, keys: Ids, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which rows are of copies of earlier records.

        `keys` and `offsets` (n,) say what each row is and where in the log its record stands;
        all rows of a record come in one call, those of other shards' partitions included.
        """
        at, of_row = np.unique(offsets, return_inverse=True)
        records = np.zeros(len(at), np.int64)
        np.add.at(records, of_row, keys)
        copies = np.zeros(len(at), np.bool_)
        for k, (record, offset) in enumerate(zip(records.tolist(), at.tolist(), strict=True)):
            copies[k] = self._first.setdefault(record, offset) < offset
        self._trim()
        return copies[of_row]

    def columns(self) -> dict[str, Ids]:
        """Records and their offsets, for `restore`; copies."""
        n = len(self._first)
        return {
            "records": np.fromiter(self._first.keys(), np.int64, n),
            "offsets": np.fromiter(self._first.values(), np.int64, n),
        }

    def restore(self, columns: dict[str, Ids]) -> None:
        """Add what `columns` gave, of this shard or of another."""
        given = zip(columns["records"].tolist(), columns["offsets"].tolist(), strict=True)
        for record, offset in given:
            self._first[record] = min(offset, self._first.get(record, offset))
        self._first = dict(sorted(self._first.items(), key=lambda entry: entry[1]))
        self._trim()

    def _trim(self) -> None:
        for record in list(islice(self._first, max(len(self._first) - KEPT, 0))):
            del self._first[record]

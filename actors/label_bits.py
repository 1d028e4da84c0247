"""Safety labels that rules know by name, as one bit each, beside who has them."""

import numpy as np
import numpy.typing as npt

from actors.known_labels import masks_of
from actors.stores.columns import Columns
from actors.stores.id_map import IdMap
from actors.stores.labels import Labels
from cluster.ids import Ids


class KnownLabels(Labels):
    """Labels of which the known ones are also held as bits; only labelled subjects have any."""

    def __init__(self) -> None:
        super().__init__()
        self._subjects = IdMap()
        self._bits = Columns({"bits": np.uint64})

    @property
    def memory_bytes(self) -> int:
        """Memory held."""
        return super().memory_bytes + self._subjects.memory_bytes + self._bits.memory_bytes

    def _changed(self, subject_ids: Ids, author_ids: Ids) -> None:
        super()._changed(subject_ids, author_ids)
        rows = self._subjects.get_or_insert(subject_ids)
        self._bits.extend(len(self._subjects) - len(self._bits))
        self._bits["bits"][rows] = masks_of(
            lambda name: self.values(subject_ids, name), len(subject_ids)
        )

    def bits_of(self, subject_ids: Ids) -> npt.NDArray[np.uint64]:
        """Masks (n,) as `actors.known_labels` says: bit i for `KNOWN_LABELS[i]`."""
        bits = np.zeros(len(subject_ids), np.uint64)
        if len(self._subjects):
            rows = self._subjects.get(subject_ids)
            known = rows >= 0
            bits[known] = self._bits["bits"][rows[known]]
        return bits

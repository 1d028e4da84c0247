"""Ids of columns: numbers are shifted, names are hashed and told apart."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.ids import MAX_ID, Ids, id_of_string


def ids_of(column: pa.ChunkedArray, offset: int, names: "NamesById | None" = None) -> Ids:
    """Ids of a column: text is hashed, integers are shifted.

    0 where the result is no id, or that of another of `names`.
    """
    if pa.types.is_string(column.type):
        names = NamesById() if names is None else names
        distinct = column.combine_chunks().dictionary_encode()
        hashed = np.array([names.id_of(name) for name in distinct.dictionary.to_pylist()], np.int64)
        return hashed[distinct.indices.to_numpy()] if len(column) else hashed
    values: npt.NDArray[np.int64] = column.to_numpy()
    good = (values >= max(1 - offset, -(2**63))) & (values <= min(MAX_ID - offset, MAX_ID))
    return np.where(good, np.where(good, values, 0) + offset, 0)


class Names:
    """The names that an import has met: users and posts may have the same ones."""

    def __init__(self) -> None:
        self.users = NamesById()
        self.posts = NamesById()


class NamesById(dict[int, int]):
    """What tells the name behind an id from any other: another hash of it, 64 bits.

    Some 150 bytes for each name, for as long as the import reads.
    """

    def id_of(self, name: str) -> int:
        """The id of a name; 0 where another name came first with the same id."""
        name_id = id_of_string(name)
        return name_id if self.setdefault(name_id, hash(name)) == hash(name) else 0

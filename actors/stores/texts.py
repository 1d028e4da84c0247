"""Many strings in one growing byte buffer."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.stores.columns import Columns
from actors.stores.kernels import kernel


class Texts:
    """UTF-8 strings addressed by (start, length); replaced strings stay until a restore."""

    def __init__(self) -> None:
        self._bytes = Columns({"bytes": np.uint8}, capacity=1 << 16)

    @property
    def memory_bytes(self) -> int:
        """Memory held."""
        return self._bytes.memory_bytes

    @property
    def buffer(self) -> npt.NDArray[np.uint8]:
        """All bytes, for kernels."""
        return self._bytes["bytes"]

    def add(self, column: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Append an Arrow string column; returns starts and lengths (0 for null)."""
        column = column.cast(pa.large_string())
        offsets = np.frombuffer(column.buffers()[1], np.int64)
        offsets = offsets[column.offset : column.offset + len(column) + 1]
        lengths = np.diff(offsets).astype(np.int32)
        if column.null_count:
            lengths[~column.is_valid().to_numpy(zero_copy_only=False)] = 0
        data = column.buffers()[2]
        n_bytes = int(offsets[-1] - offsets[0]) if len(offsets) else 0
        added = self._bytes.extend(n_bytes)
        if n_bytes:
            self._bytes["bytes"][added] = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
        return added.start + offsets[:-1] - offsets[0], lengths

    def gather(self, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int32]) -> pa.Array:
        """The strings at the given places, as an Arrow array; null where the length is 0."""
        offsets = np.zeros(len(starts) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        data = np.empty(int(offsets[-1]), np.uint8)
        _gather(self._bytes["bytes"], starts, offsets, data)
        valid = np.packbits(lengths > 0, bitorder="little")
        buffers = [pa.py_buffer(valid), pa.py_buffer(offsets), pa.py_buffer(data)]
        return pa.Array.from_buffers(pa.large_string(), len(starts), buffers)


@kernel
def _gather(
    source: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    target: npt.NDArray[np.uint8],
) -> None:
    for i in range(len(starts)):
        for k in range(offsets[i + 1] - offsets[i]):
            target[offsets[i] + k] = source[starts[i] + k]

"""The events of an archive in order of time, read as often as a job needs them."""

from collections.abc import Iterator

import pyarrow as pa

from cluster.archive import Archive

KEPT_ROWS = 4_000_000
"""An archive of fewer events is read once and kept in memory: about a gigabyte at most."""
CHUNK_ROWS = 65_536


class History:
    """Everything that happened before `until_ms` (None: everything), again at each iteration.

    Gives batches of `CHUNK_ROWS` rows or a few more, in order of (time, event id), without
    the optional columns that no row of a batch uses.
    """

    def __init__(self, archive: Archive, until_ms: int | None = None) -> None:
        self._archive = archive
        self._until_ms = until_ms
        self._kept: list[pa.RecordBatch] | None = None
        self.first_ms = 0
        self.last_ms = 0
        """Time of the first and the last event, once iterated; 0 where there was none."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[pa.RecordBatch] | None = []
        n_rows = 0
        for batch in self._read():
            n_rows += batch.num_rows
            if kept is not None:
                kept.append(batch)
            if n_rows > KEPT_ROWS:
                kept = None
            times_ms = batch.column("time_ms").to_numpy()
            self.first_ms = self.first_ms or int(times_ms[0])
            self.last_ms = max(self.last_ms, int(times_ms[-1]))
            yield batch
        self._kept = kept

    def _read(self) -> Iterator[pa.RecordBatch]:
        """The archive's batches, which may be as small as a day, put together."""
        parts: list[pa.RecordBatch] = []
        n_rows = 0
        for batch in self._archive.batches(until_ms=self._until_ms):
            parts.append(batch)
            n_rows += batch.num_rows
            if n_rows >= CHUNK_ROWS:
                yield _together(parts)
                parts, n_rows = [], 0
        if n_rows:
            yield _together(parts)


def _together(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    table = pa.Table.from_batches(parts)
    fields = [f.name for f in table.schema if not f.nullable]
    used = [n for n in table.schema.names if table.column(n).null_count < len(table) or n in fields]
    arrays = [_one_array(table.column(name)) for name in used]
    return pa.RecordBatch.from_arrays(arrays, schema=table.select(used).schema)


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)

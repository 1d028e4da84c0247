"""Where the archive's files lie (a disk or an object store), and how rows become files."""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from cluster.durable import replace_file, sync_folder, write_file
from cluster.events import COLUMNS, CORE, OPTIONAL

ROW_GROUP_ROWS = 131_072
ROW_GROUP_BYTES = 64 * 1024 * 1024
"""Bounds a row group of served features, whose rows are large."""
EVENTS = pa.schema([*CORE, *OPTIONAL])

# Page checksums are verified whenever rows are read: a flipped bit is an error, not a label.
_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)
# Ids repeat too little for a dictionary; the few values of these columns repeat all the time.
_DICTIONARY = [
    *("kind", "language", "country", "label", "surface", "source", "request_id"),
    *("viewer_id", "model_version", "settings_version", "experiment_arm"),
]


class ArchiveCorrupt(RuntimeError):
    """A file of the archive is missing or damaged; the message names it."""


@dataclass(frozen=True)
class Storage:
    """A folder on a local disk or in an object store; paths are relative to it."""

    filesystem: pafs.FileSystem
    root: str

    @classmethod
    def at(cls, root_uri: str | Path) -> "Storage":
        """The folder at a path or a URI (`file:///…`, `s3://bucket/…`)."""
        if "://" not in str(root_uri):
            return cls(pafs.LocalFileSystem(), str(Path(root_uri).resolve()))
        filesystem, root = pafs.FileSystem.from_uri(str(root_uri))
        return cls(filesystem, root.rstrip("/"))

    def full(self, path: str) -> str:
        """The path within the file system."""
        return f"{self.root}/{path}"

    def read(self, path: str) -> bytes | None:
        """The content of a file; None where there is none."""
        try:
            with self.filesystem.open_input_stream(self.full(path)) as file:
                return file.read()  # type: ignore[no-any-return]
        except FileNotFoundError:
            return None

    def write(self, path: str, content: pa.Buffer) -> None:
        """Write a file nobody reads yet; on return it is durable."""
        if isinstance(self.filesystem, pafs.LocalFileSystem):
            local = Path(self.full(path))
            _make_folder(local.parent)
            write_file(local, memoryview(content))
            sync_folder(local.parent)
        else:
            self._put(path, content)

    def replace(self, path: str, content: bytes) -> None:
        """Give a file new content in one step, durably; readers see the old or the new."""
        if isinstance(self.filesystem, pafs.LocalFileSystem):
            local = Path(self.full(path))
            _make_folder(local.parent)
            replace_file(local, content)
        else:
            self._put(path, pa.py_buffer(content))

    def delete(self, path: str) -> None:
        """Delete a file; that it is gone already is no error."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self.full(path))

    def files(self, folder: str) -> dict[str, int]:
        """All files below a folder → when they were written, ms UTC."""
        selector = pafs.FileSelector(self.full(folder), recursive=True, allow_not_found=True)
        found = self.filesystem.get_file_info(selector)
        return {
            os.path.relpath(info.path, self.root): (info.mtime_ns or 0) // 1_000_000
            for info in found
            if info.type == pafs.FileType.File
        }

    def _put(self, path: str, content: pa.Buffer) -> None:
        # An object appears when its upload completes: closing after a failed write would complete
        # half of it, so no `with` here, and the whole content in one call.
        stream = self.filesystem.open_output_stream(self.full(path))
        stream.write(content)
        stream.close()


def to_parquet(table: pa.Table) -> pa.Buffer:
    """The table as a Parquet file: zstd, page checksums, statistics per row group."""
    options: dict[str, Any] = {}
    n_rows = ROW_GROUP_ROWS
    if "features" in table.column_names:
        # Byte k of all rows together: the values of one feature lie side by side.
        options["column_encoding"] = {"features": "BYTE_STREAM_SPLIT"}
        row_bytes = table.schema.field("features").type.byte_width
        n_rows = max(1, min(n_rows, ROW_GROUP_BYTES // row_bytes))
    elif table.num_rows:
        n_rows = max(1, min(n_rows, ROW_GROUP_BYTES * table.num_rows // max(table.nbytes, 1)))
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=n_rows,
        compression="zstd",
        use_dictionary=[name for name in _DICTIONARY if name in table.column_names],
        write_page_checksum=True,
        **options,
    )
    return sink.getvalue()


def read_parquet(
    storage: Storage,
    paths: Sequence[str],
    schema: pa.Schema,
    columns: Sequence[str],
    filter: ds.Expression | None = None,
) -> pa.Table:
    """Rows of several files in their order; a column that a file lacks is null there.

    Raises `ArchiveCorrupt` naming the file that is missing or damaged.
    """

    def read(some: Sequence[str]) -> pa.Table:
        dataset = ds.FileSystemDataset.from_paths(
            [storage.full(path) for path in some], schema, _FORMAT, storage.filesystem
        )
        return dataset.to_table(columns=list(columns), filter=filter)

    try:
        return read(paths)
    except (OSError, pa.ArrowException):
        _name_the_culprit(paths, read)
        raise


def schema_of_file(storage: Storage, path: str) -> pa.Schema:
    """The schema a Parquet file was written with, metadata included."""
    try:
        return pq.read_schema(storage.full(path), filesystem=storage.filesystem)
    except (OSError, pa.ArrowException) as error:
        raise ArchiveCorrupt(f"{path} cannot be read: {error}") from error


def used_columns(events: pa.Table) -> pa.Table:
    """Events without the optional columns that no row uses, in the order of the schema."""
    return events.select(
        [
            name
            for name in COLUMNS
            if name in events.column_names
            and (name in CORE.names or events.column(name).null_count < events.num_rows)
        ]
    )


def first_of_each(
    event_ids: npt.NDArray[np.int64], times_ms: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Rows in order of (time, event id), of each event the earliest only."""
    order = np.lexsort((event_ids, times_ms))
    _, first = np.unique(event_ids[order], return_index=True)
    return order[np.sort(first)]


def _name_the_culprit(paths: Sequence[str], read: Callable[[Sequence[str]], pa.Table]) -> None:
    for path in paths:
        try:
            read([path])
        except (OSError, pa.ArrowException) as error:
            raise ArchiveCorrupt(f"{path} cannot be read: {error}") from error


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        sync_folder(new.parent)

"""From the log to the archive: every event once, in immutable Parquet files.

A step writes its files first and then commits them together with the new positions by replacing
one small file. A crash between the two leaves files that no reader sees and that `sweep` removes;
the next step reads the same records again.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.archive_catalog import (
    FEATURES,
    KIND_GROUPS,
    PAGES,
    Catalog,
    Entry,
    dates_of,
    events_folder,
    served_folder,
)
from cluster.archive_files import (
    EVENTS,
    Storage,
    first_of_each,
    read_parquet,
    schema_of_file,
    to_parquet,
    used_columns,
)
from cluster.events import Kind
from cluster.ids import partitions_of
from cluster.log import EventLog, Record
from cluster.routing import PARTITION, UnreadableBatch, decode

STEP_BYTES = 64 * 1024 * 1024
"""Log payload archived by one step at most; it is held in memory uncompressed."""
SMALL_BYTES = 64 * 1024 * 1024
"""Compaction leaves files of this size alone."""
MERGED_BYTES = 256 * 1024 * 1024
"""What compaction merges into one file at most, which bounds its memory."""
KEEP_RETIRED_MS = 24 * 3_600_000
"""Files replaced by a compaction stay for readers that began before it."""

_NAMES = list(KIND_GROUPS)
_GROUP_OF_KIND = np.array(
    [
        next((i for i, kinds in enumerate(KIND_GROUPS.values()) if code in kinds), -1)
        for code in range(256)
    ]
)


class ArchiveGap(RuntimeError):
    """The log no longer holds records that the archive has not read."""


class UnreadableFeatures(ValueError):
    """A record of the served-features lane that is not what the archive stores."""


class Archiver:
    """The one writer of an archive; all its state is in the archive itself.

    `lanes` are the event lanes to archive. A record of `features_lane` is one Arrow IPC stream
    after the other, of two forms. One has a row a post, with columns `request_id` (string),
    `viewer_id`, `post_id` (int64), `features` (fixed-size list of float16, names in the metadata)
    and whatever else the caller adds; `time_ms` (int64) says when it was served and is the
    append's time where it is missing. The other has the metadata `form` = `served_pages` and a row
    a page, with columns `request_id` (string), `viewer_id`, `time_ms` (int64) and others that are
    the caller's business and stored as they are.

    With `skip_gaps` records trimmed from the log before they were archived are given up;
    otherwise a step raises `ArchiveGap`.
    """

    def __init__(
        self,
        log: EventLog,
        root_uri: str | Path,
        lanes: Iterable[int],
        *,
        features_lane: int | None = None,
        step_bytes: int = STEP_BYTES,
        skip_gaps: bool = False,
    ) -> None:
        self._log = log
        self._storage = Storage.at(root_uri)
        self._features_lane = features_lane
        self._lanes = sorted({*lanes, *([] if features_lane is None else [features_lane])})
        self._step_bytes = step_bytes
        self._skip_gaps = skip_gaps

    def positions(self) -> dict[int, int]:
        """Lane → offset of its last archived record; the log may be trimmed up to there."""
        committed = Catalog.load(self._storage).positions
        return {lane: committed.get(lane, 0) for lane in self._lanes}

    def step(self) -> int:
        """Archive what is new, up to `step_bytes` of it; returns the number of log records.

        0 means that the archive has caught up. Raises `ArchiveGap`, `ArchiveConflict`,
        `UnreadableBatch`, `UnreadableFeatures` and the log's errors; the archive is then as
        before the step.
        """
        catalog = Catalog.load(self._storage)
        begin = {lane: catalog.positions.get(lane, 0) for lane in self._lanes}
        self._check_gaps(begin)
        records = self._log.read(begin, self._step_bytes)
        if not records:
            return 0
        end = begin | {record.lane: record.offset for record in records}
        stem = _stem(catalog.generation, {lane: [begin[lane], end[lane]] for lane in end})
        events = [r for r in records if r.lane != self._features_lane]
        features = [r for r in records if r.lane == self._features_lane]
        for folder, table in (*_split_events(events), *_split_features(features)):
            self._write(catalog, folder, f"{stem}.parquet", table)
        catalog.positions |= end
        catalog.commit(self._storage)
        return len(records)

    def fragmented(self, min_files: int = 16) -> list[str]:
        """Dates with a folder of at least `min_files` small files, oldest first."""
        catalog = Catalog.load(self._storage)
        return sorted(
            {
                folder.rpartition("date=")[2]
                for folder, files in catalog.folders.items()
                if sum(entry.bytes < SMALL_BYTES for entry in files.values()) >= min_files
            }
        )

    def compact(self, date: str, now_ms: int) -> int:
        """Merge the small files of a date; returns how many files fewer there are.

        Readers see the date's old files or its new ones. The old ones stay until `sweep`.
        """
        catalog = Catalog.load(self._storage)
        n_before = sum(map(len, catalog.folders.values()))
        for folder in [f for f in catalog.folders if f.endswith(f"/date={date}")]:
            for names in _merges(catalog.folders[folder]):
                table = self._merged(folder, names)
                stem = _stem(catalog.generation, names)
                for name in names:
                    del catalog.folders[folder][name]
                    catalog.retired[f"{folder}/{name}"] = now_ms
                self._write(catalog, folder, f"{stem}.parquet", table)
        n_fewer = n_before - sum(map(len, catalog.folders.values()))
        if n_fewer:
            catalog.commit(self._storage)
        return n_fewer

    def sweep(self, now_ms: int, keep_ms: int = KEEP_RETIRED_MS) -> int:
        """Delete files no longer or never committed and older than `keep_ms`; returns how many."""
        catalog = Catalog.load(self._storage)
        committed = {f"{f}/{name}" for f, names in catalog.folders.items() for name in names}
        roots = ("events", FEATURES, PAGES)
        written = {path: at for root in roots for path, at in self._storage.files(root).items()}
        since_ms = {path: at_ms for path, at_ms in written.items() if path not in committed}
        since_ms |= catalog.retired
        due = [path for path, at_ms in since_ms.items() if at_ms + keep_ms <= now_ms]
        for path in due:
            self._storage.delete(path)
        if forgotten := catalog.retired.keys() & due:
            for path in forgotten:
                del catalog.retired[path]
            catalog.commit(self._storage)
        return len(due)

    def _check_gaps(self, begin: Mapping[int, int]) -> None:
        if self._skip_gaps:
            return
        for lane, first in self._log.first_offsets().items():
            if lane in begin and begin[lane] < first - 1:
                raise ArchiveGap(
                    f"lane {lane}: the archive ends at offset {begin[lane]}, the log begins at "
                    f"{first}; what lies between was trimmed (skip_gaps gives it up)"
                )

    def _write(self, catalog: Catalog, folder: str, name: str, table: pa.Table) -> None:
        content = to_parquet(table)
        self._storage.write(f"{folder}/{name}", content)
        catalog.add(folder, name, Entry(table.num_rows, content.size))

    def _merged(self, folder: str, names: list[str]) -> pa.Table:
        paths = [f"{folder}/{name}" for name in names]
        is_events = folder.startswith("events/")
        schema = EVENTS if is_events else schema_of_file(self._storage, paths[0])
        table = read_parquet(self._storage, paths, schema, schema.names)
        if not is_events:
            return table.sort_by("time_ms")
        rows = first_of_each(
            table.column("event_id").to_numpy(), table.column("time_ms").to_numpy()
        )
        return used_columns(table.take(pa.array(rows)))


def _stem(generation: int, content: Any) -> str:
    """A file name that says when it was committed and what went into it.

    The same step tried again after a crash gives the same name, and overwrites.
    """
    digest = hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=6)
    return f"{generation:010d}-{digest.hexdigest()}"


def _merges(files: Mapping[str, Entry]) -> Iterator[list[str]]:
    """Runs of small files, in the order of writing, each to become one file."""
    run: list[str] = []
    n_bytes = 0
    for name, entry in sorted(files.items()):
        if entry.bytes >= SMALL_BYTES:
            continue
        if run and n_bytes + entry.bytes > MERGED_BYTES:
            yield run
            run, n_bytes = [], 0
        run.append(name)
        n_bytes += entry.bytes
    if len(run) > 1:
        yield run


def _split_events(records: list[Record]) -> Iterator[tuple[str, pa.Table]]:
    """(folder, rows in time order) of the events at home in these records."""
    homes = [home for record in records if (home := _at_home(record)).num_rows]
    if not homes:
        return
    table = pa.concat_tables(homes, promote_options="default").combine_chunks()
    ids, times_ms = table.column("event_id").to_numpy(), table.column("time_ms").to_numpy()
    kinds = table.column("kind").to_numpy()
    groups = _GROUP_OF_KIND[kinds]
    if (groups < 0).any():
        unknown = np.unique(kinds[groups < 0]).tolist()
        raise UnreadableBatch(f"kinds {unknown} are not known to this version")
    dates, date_codes = dates_of(times_ms)
    for group in np.unique(groups).tolist():
        for code in np.unique(date_codes[groups == group]).tolist():
            rows = np.flatnonzero((groups == group) & (date_codes == code))
            rows = rows[first_of_each(ids[rows], times_ms[rows])]
            yield (
                events_folder(_NAMES[group], dates[code]),
                used_columns(table.take(pa.array(rows))),
            )


def _at_home(record: Record) -> pa.Table:
    """The rows meant for the first partition their event concerns: each event has one."""
    try:
        batch = decode(record.payload)
    except ValueError as error:
        error.add_note(f"in lane {record.lane} at offset {record.offset}")
        raise
    actors, authors = batch.column("actor_id").to_numpy(), batch.column("author_id").to_numpy()
    homes = partitions_of(np.where(actors != 0, actors, authors))
    # An activation is in every lane and belongs to nobody: the copy of lane 0 is kept.
    homes[batch.column("kind").to_numpy() == Kind.ARTIFACT_ACTIVATE] = 0
    mask: npt.NDArray[np.bool_] = batch.column(PARTITION).to_numpy() == homes
    table = pa.Table.from_batches([batch]).replace_schema_metadata(None)
    return table.drop_columns(PARTITION).filter(pa.array(mask))


def _split_features(records: list[Record]) -> Iterator[tuple[str, pa.Table]]:
    """(folder, rows in time order) of what was served, apart by form and schema."""
    by_schema: dict[tuple[str, str], list[pa.Table]] = {}
    for record in records:
        where = f"lane {record.lane}, offset {record.offset}"
        for stream in _streams(record.payload, where):
            is_pages = (stream.schema.metadata or {}).get(b"form") == PAGES.encode()
            root = PAGES if is_pages else FEATURES
            table = _pages(stream, where) if is_pages else _features(stream, record, where)
            digest = hashlib.blake2b(table.schema.serialize(), digest_size=6).hexdigest()
            by_schema.setdefault((root, digest), []).append(table)
    for (root, digest), tables in by_schema.items():
        table = pa.concat_tables(tables).sort_by("time_ms")
        dates, codes = dates_of(table.column("time_ms").to_numpy())
        for code, date in enumerate(dates):
            yield served_folder(root, digest, date), table.filter(pa.array(codes == code))


def _streams(payload: bytes, where: str) -> Iterator[pa.Table]:
    """The Arrow IPC streams that a record is, one after the other."""
    source = pa.BufferReader(payload)
    while True:
        try:
            with pa.ipc.open_stream(source) as stream:
                table = stream.read_all().combine_chunks()
        except (pa.ArrowInvalid, OSError) as error:
            raise UnreadableFeatures(f"{where}: not an Arrow IPC stream: {error}") from error
        yield table
        if source.tell() >= source.size():
            return


def _pages(table: pa.Table, where: str) -> pa.Table:
    """Rows of pages, which are stored as they are; what readers go by is checked."""
    expected = {"request_id": pa.string(), "viewer_id": pa.int64(), "time_ms": pa.int64()}
    for name, kind in expected.items():
        found = table.schema.field(name).type if name in table.column_names else None
        if found != kind or table.column(name).null_count:
            raise UnreadableFeatures(f"{where}: {name} of pages is {found}, expected {kind}")
    return table


def _features(table: pa.Table, record: Record, where: str) -> pa.Table:
    """Rows of posts as they are stored: features as fixed-size bytes.

    Parquet has no fixed-size lists: as lists, the same rows take seven times longer to read.
    """
    if missing := {"request_id", "viewer_id", "post_id", "features"} - set(table.column_names):
        raise UnreadableFeatures(f"{where}: no column {sorted(missing)}")
    at = table.column_names.index("features")
    found = table.schema.field(at)
    is_list = pa.types.is_fixed_size_list(found.type) and found.type.list_size > 0
    if not (is_list and found.type.value_type == pa.float16()):
        raise UnreadableFeatures(
            f"{where}: features are {found.type}, expected a fixed-size list of halffloat"
        )
    values = pa.concat_arrays(table.column(at).chunks or [pa.array([], found.type)])
    if values.null_count or values.flatten().null_count:
        raise UnreadableFeatures(f"{where}: features hold nulls")
    content = np.ascontiguousarray(values.flatten().to_numpy())
    stored = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(2 * found.type.list_size), len(values), [None, pa.py_buffer(content)]
    )
    table = table.set_column(at, pa.field("features", stored.type, False, found.metadata), stored)
    if "time_ms" not in table.column_names:
        times_ms = np.full(table.num_rows, record.appended_ms, np.int64)
        table = table.append_column(pa.field("time_ms", pa.int64(), False), pa.array(times_ms))
    return table

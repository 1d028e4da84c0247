"""Reading the archive: events in time order, each once, a date at a time."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from cluster.archive_catalog import (
    DAY_MS,
    FEATURES,
    KIND_GROUPS,
    PAGES,
    Catalog,
    Entry,
    dates_of,
    groups_of,
    start_of_date_ms,
)
from cluster.archive_files import (
    EVENTS,
    Storage,
    first_of_each,
    read_parquet,
    schema_of_file,
)
from cluster.archiver import Archiver
from cluster.events import COLUMNS, Kind
from cluster.ids import Ids

__all__ = ["Archive", "Archiver"]

WINDOW_ROWS = 4_000_000
"""A date with more events than this is read in several windows of time."""
WINDOW_BYTES = 512 * 1024 * 1024
"""The same for served features, by the size of their rows."""
_EXPANDED = 8
"""How many times larger pages are in memory than in their files, at most about."""
BATCH_ROWS = 65_536
CACHED_IDS = 64_000_000
"""Event ids that `contains` keeps in memory: half a gigabyte."""


class Archive:
    """A reader of an archive; every call sees what was committed when it was made.

    The log gives an event at least once. Readers give it once, as the appliers do: a copy is
    dropped where another with its event id stands earlier on its date or on the date before.
    """

    def __init__(self, root_uri: str | Path) -> None:
        self._storage = Storage.at(root_uri)
        self._ids_of_date: OrderedDict[str, _DateIds] = OrderedDict()

    def dates(self, kinds: Collection[Kind] | None = None) -> list[str]:
        """UTC dates on which events of the groups of these kinds happened, oldest first."""
        return Catalog.load(self._storage).dates(groups_of(kinds))

    def positions(self) -> dict[int, int]:
        """Lane → offset of its last archived record."""
        return Catalog.load(self._storage).positions

    def scan(
        self,
        kinds: Collection[Kind] | None = None,
        since_ms: int | None = None,
        until_ms: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """All that `batches` gives, as one table."""
        schema = _schema_of(columns)
        return pa.Table.from_batches(self.batches(kinds, since_ms, until_ms, columns), schema)

    def batches(
        self,
        kinds: Collection[Kind] | None = None,
        since_ms: int | None = None,
        until_ms: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Events of some kinds (None: all) in `[since_ms, until_ms)`, by (time_ms, event_id).

        `columns` of the event schema, in the order given (None: all of them; one that no event
        uses is null). Holds one date, or one window of a large date, in memory. Raises
        `ArchiveCorrupt` naming the file, `KeyError` for an unknown column.
        """
        schema = _schema_of(columns)
        return self._batches(Catalog.load(self._storage), kinds, since_ms, until_ms, schema)

    def whole(self, until_ms: int | None = None) -> tuple[dict[int, int], Iterator[pa.RecordBatch]]:
        """`positions` and all events before `until_ms`, as one commit left them."""
        catalog = Catalog.load(self._storage)
        return catalog.positions, self._batches(catalog, None, None, until_ms, EVENTS)

    def contains(self, event_ids: Ids, times_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which events (ids and times, int64) the archive holds already.

        Reads the ids of the dates concerned, and keeps them for the next call.
        """
        catalog = Catalog.load(self._storage)
        held = np.zeros(len(event_ids), np.bool_)
        dates, codes = dates_of(times_ms)
        for code, date in enumerate(dates):
            rows = np.flatnonzero(codes == code)
            held[rows] = _among(event_ids[rows], self._ids_of(catalog, date))
        return held

    def served_features(
        self, since_ms: int | None = None, until_ms: int | None = None
    ) -> Iterator[pa.Table]:
        """Features as they were served in `[since_ms, until_ms)`, date by date.

        A table holds rows of one schema, in order of time; feature names are in its metadata as
        they were written, `features` is a fixed-size list of float16. Of the copies of one
        (request_id, post_id, time_ms) one is given.
        """
        return self._served_features(Catalog.load(self._storage), since_ms, until_ms)

    def served_pages(
        self, since_ms: int | None = None, until_ms: int | None = None
    ) -> Iterator[pa.Table]:
        """What the heavy ranker was given in `[since_ms, until_ms)`: a row a page, date by date.

        A table holds rows of one schema (its metadata are as they were written), in order of
        time. Of the copies of one (request_id, viewer_id, time_ms) one is given.
        """
        return self._served_pages(Catalog.load(self._storage), since_ms, until_ms)

    def files(
        self,
        kinds: Collection[Kind] | None = None,
        since_ms: int | None = None,
        until_ms: int | None = None,
    ) -> list[str]:
        """Parquet files of the dates and groups concerned, for readers such as Ray Data.

        They also hold other kinds and times of these dates, and duplicates.
        """
        catalog = Catalog.load(self._storage)
        groups = groups_of(kinds)
        return [
            self._storage.full(path)
            for date in catalog.dates(groups)
            if next(_windows_of_date(date, {}, since_ms, until_ms, WINDOW_ROWS), None)
            for path in catalog.event_files(date, groups)
        ]

    def _batches(
        self,
        catalog: Catalog,
        kinds: Collection[Kind] | None,
        since_ms: int | None,
        until_ms: int | None,
        schema: pa.Schema,
    ) -> Iterator[pa.RecordBatch]:
        groups = groups_of(kinds)
        needed = list(dict.fromkeys([*schema.names, "event_id", "time_ms"]))
        earlier = _Earlier()
        for begin_ms, end_ms, files in _windows(catalog, groups, since_ms, until_ms):
            if not earlier.primed:
                earlier.add(begin_ms, *self._ids_before(catalog, groups, kinds, begin_ms))
            wanted = _between(begin_ms, end_ms) & _of_kinds(kinds)
            table = read_parquet(self._storage, list(files), EVENTS, needed, wanted)
            ids, times_ms = table.column("event_id").to_numpy(), table.column("time_ms").to_numpy()
            rows = first_of_each(ids, times_ms)
            held = earlier.holds(ids[rows])
            # Copies too: what a reader drops must not depend on where it began.
            earlier.add(end_ms, ids, times_ms)
            rows = rows[~held]
            table = table.select(schema.names).take(pa.array(rows)).cast(schema)
            yield from table.combine_chunks().to_batches(max_chunksize=BATCH_ROWS)

    def _served_features(
        self, catalog: Catalog, since_ms: int | None, until_ms: int | None
    ) -> Iterator[pa.Table]:
        for date, _, files in catalog.served_files(FEATURES):
            stored = schema_of_file(self._storage, next(iter(files)))
            n_rows = WINDOW_BYTES // stored.field("features").type.byte_width
            for begin_ms, end_ms in _windows_of_date(date, files, since_ms, until_ms, n_rows):
                table = read_parquet(
                    self._storage, list(files), stored, stored.names, _between(begin_ms, end_ms)
                )
                if table.num_rows:
                    yield _as_served(table)

    def _served_pages(
        self, catalog: Catalog, since_ms: int | None, until_ms: int | None
    ) -> Iterator[pa.Table]:
        for date, _, files in catalog.served_files(PAGES):
            stored = schema_of_file(self._storage, next(iter(files)))
            n_bytes = sum(entry.bytes for entry in files.values()) * _EXPANDED
            n_rows = sum(entry.rows for entry in files.values())
            rows = max(1, n_rows * WINDOW_BYTES // max(n_bytes, 1))
            for begin_ms, end_ms in _windows_of_date(date, files, since_ms, until_ms, rows):
                table = read_parquet(
                    self._storage, list(files), stored, stored.names, _between(begin_ms, end_ms)
                )
                if table.num_rows:
                    keys = (table.column(name) for name in ("viewer_id", "request_id"))
                    yield table.take(_once(table, *keys))

    def _ids_before(
        self,
        catalog: Catalog,
        groups: Collection[str],
        kinds: Collection[Kind] | None,
        before_ms: int,
    ) -> tuple[Ids, npt.NDArray[np.int64]]:
        """Ids and times of the events up to an instant, of its date and of the one before."""
        begin_ms = (before_ms // DAY_MS - 1) * DAY_MS
        dates, _ = dates_of(np.array([begin_ms, before_ms]))
        files = [p for date in dates for p in catalog.event_files(date, groups)]
        wanted = _between(begin_ms, before_ms) & _of_kinds(kinds)
        table = read_parquet(self._storage, files, EVENTS, ["event_id", "time_ms"], wanted)
        return table.column("event_id").to_numpy(), table.column("time_ms").to_numpy()

    def _ids_of(self, catalog: Catalog, date: str) -> Ids:
        files = catalog.event_files(date, KIND_GROUPS)
        known = self._ids_of_date.pop(date, None)
        if known is None or not known.files <= files.keys():
            known = _DateIds(frozenset(), np.empty(0, np.int64))
        if new := files.keys() - known.files:
            table = read_parquet(self._storage, sorted(new), EVENTS, ["event_id"])
            ids = np.sort(np.concatenate([known.ids, table.column("event_id").to_numpy()]))
            known = _DateIds(frozenset(files), ids)
        self._ids_of_date[date] = known
        while sum(len(k.ids) for k in self._ids_of_date.values()) > CACHED_IDS:
            if len(self._ids_of_date) == 1:
                break
            self._ids_of_date.popitem(last=False)
        return known.ids


@dataclass(frozen=True)
class _DateIds:
    files: frozenset[str]
    ids: Ids
    """Sorted."""


class _Earlier:
    """Ids of the events read so far, of this date and the one before."""

    def __init__(self) -> None:
        self.primed = False
        self._ids: list[Ids] = []
        self._last_ms: list[int] = []

    def add(self, now_ms: int, ids: Ids, times_ms: npt.NDArray[np.int64]) -> None:
        self.primed = True
        if len(ids):
            self._ids.append(np.sort(ids))
            self._last_ms.append(int(times_ms.max()))
        first_ms = (now_ms // DAY_MS - 1) * DAY_MS
        while self._last_ms and self._last_ms[0] < first_ms:
            del self._ids[0], self._last_ms[0]

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        held = np.zeros(len(ids), np.bool_)
        for some in self._ids:
            held |= _among(ids, some)
        return held


def _among(ids: Ids, ordered: Ids) -> npt.NDArray[np.bool_]:
    """Which ids are in a sorted array."""
    if not len(ordered):
        return np.zeros(len(ids), np.bool_)
    at = np.minimum(np.searchsorted(ordered, ids), len(ordered) - 1)
    found: npt.NDArray[np.bool_] = ordered[at] == ids
    return found


def _windows(
    catalog: Catalog, groups: Collection[str], since_ms: int | None, until_ms: int | None
) -> Iterator[tuple[int, int, dict[str, Entry]]]:
    for date in catalog.dates(groups):
        files = catalog.event_files(date, groups)
        for begin_ms, end_ms in _windows_of_date(date, files, since_ms, until_ms, WINDOW_ROWS):
            yield begin_ms, end_ms, files


def _windows_of_date(
    date: str,
    files: dict[str, Entry],
    since_ms: int | None,
    until_ms: int | None,
    window_rows: int,
) -> Iterator[tuple[int, int]]:
    """The part of a date that is asked for, in windows of about so many rows."""
    first_ms = start_of_date_ms(date)
    n_windows = 1 + sum(entry.rows for entry in files.values()) // window_rows
    for window in range(n_windows):
        begin_ms = first_ms + DAY_MS * window // n_windows
        end_ms = first_ms + DAY_MS * (window + 1) // n_windows
        begin_ms = begin_ms if since_ms is None else max(begin_ms, since_ms)
        end_ms = end_ms if until_ms is None else min(end_ms, until_ms)
        if begin_ms < end_ms:
            yield begin_ms, end_ms


def _between(begin_ms: int, end_ms: int) -> ds.Expression:
    return (pc.field("time_ms") >= begin_ms) & (pc.field("time_ms") < end_ms)


def _of_kinds(kinds: Iterable[Kind] | None) -> ds.Expression:
    if kinds is None:
        return pc.scalar(True)
    return pc.field("kind").isin(pa.array(sorted(map(int, kinds)), pa.uint8()))


def _schema_of(columns: Sequence[str] | None) -> pa.Schema:
    if columns is None:
        return EVENTS
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise KeyError(f"no column {unknown} in the event schema; it has {list(COLUMNS)}")
    return pa.schema([EVENTS.field(name) for name in columns])


def _once(table: pa.Table, ids: pa.ChunkedArray, requests: pa.ChunkedArray) -> pa.Array:
    """Rows in order of time, one of the copies of one (time, id, request)."""
    codes = requests.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
    times_ms, id_values = table.column("time_ms").to_numpy(), ids.to_numpy()
    order = np.lexsort((codes, id_values, times_ms))
    keys = np.stack([times_ms, id_values, codes])[:, order]
    new = np.r_[True, np.any(keys[:, 1:] != keys[:, :-1], axis=0)]
    # Rows of one instant stay in the order in which they were written: that of the ranking.
    rows = np.sort(order[new])
    return pa.array(rows[np.argsort(times_ms[rows], kind="stable")])


def _as_served(table: pa.Table) -> pa.Table:
    """Stored rows as they were written: without copies, features as float16."""
    table = table.take(_once(table, table.column("post_id"), table.column("request_id")))
    at = table.column_names.index("features")
    stored = pa.concat_arrays(table.column(at).chunks)
    values = np.frombuffer(stored.buffers()[1], np.float16)
    width = stored.type.byte_width // 2
    begin = stored.offset * width
    values = values[begin : begin + len(stored) * width]
    lists = pa.FixedSizeListArray.from_arrays(pa.array(values), width)
    field = pa.field("features", lists.type, False, table.schema.field(at).metadata)
    return table.set_column(at, field, lists)

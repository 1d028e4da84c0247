"""The heavy ranker's inputs as served, packed for the log: a row a page, values by level.

A page's viewer row, author rows and post rows are kept once each, as the model was given them.
Continuous values are kept as float16 of their signed logarithm (`sign(x) · log1p(|x|)`), which
is the first thing the model does with them, so that counts of any size fit; binary ones as
bits, discrete ones as int64, vectors as float16. Values of one input lie side by side.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.features.inputs import Embedding, Input, Level, RankerInputs, Schema, Sort
from cluster.archive_catalog import PAGES
from cluster.ids import Ids

Floats = npt.NDArray[np.float32]

NOT_SHOWN = -1
"""The position of a candidate that was scored but not shown."""

_FORM = 1
_HALF_MAX = 65_504.0
_LOG_MAX = 88.6875
"""The largest half-precision logarithm of what float32 can hold."""


class UnreadablePages(ValueError):
    """Bytes or rows that are not pages this version can read."""


Applied = Mapping[int, tuple[int, int]]
"""Lane → (offset of the last log record of which a shard had applied rows, how many of them)."""


@dataclass(frozen=True)
class LoggedPage:
    """What the model was given for n candidates of one request; arrays of shape (n,)."""

    request_id: str
    viewer_id: int
    time_ms: int
    """As of when the inputs are."""
    model_version: str
    settings_version: str
    applied: tuple[Applied, ...]
    """How far the log was applied in the shards that answered, wave by wave, which is what a
    replay needs to make the same inputs again."""
    post_ids: Ids
    author_ids: Ids
    positions: npt.NDArray[np.int16]
    """Place on the page; `NOT_SHOWN` for a sample of the rest."""
    sources: tuple[str, ...]
    """Candidate source of each."""
    inputs: RankerInputs


def pack_pages(pages: Sequence[LoggedPage]) -> bytes:
    """Pages for the features lane: an Arrow IPC stream, zstd, for each schema among them.

    Streams of other forms may precede or follow them in one record. No pages give no bytes.
    """
    by_schema: dict[str, list[LoggedPage]] = {}
    for page in pages:
        by_schema.setdefault(page.inputs.schema.fingerprint, []).append(page)
    return b"".join(_pack(some) for some in by_schema.values())


def read_pages(payload: bytes) -> Iterator[LoggedPage]:
    """The pages of a record; streams of other forms in it are passed over.

    Raises `UnreadablePages`.
    """
    source = pa.BufferReader(payload)
    while source.tell() < source.size():
        try:
            with pa.ipc.open_stream(source) as stream:
                table = stream.read_all()
        except (pa.ArrowInvalid, OSError) as error:
            raise UnreadablePages(f"not an Arrow IPC stream: {error}") from error
        if is_of_pages(table):
            yield from pages_of(table)


def is_of_pages(table: pa.Table) -> bool:
    """Whether the rows of a table are pages."""
    return (table.schema.metadata or {}).get(b"form") == PAGES.encode()


def pages_of(table: pa.Table) -> Iterator[LoggedPage]:
    """The pages that are rows of a table, as packed or as the archive gives them back.

    Raises `UnreadablePages`.
    """
    schema = schema_of(table)
    for batch in table.to_batches():
        columns = {name: batch.column(name) for name in batch.schema.names}
        for row in range(batch.num_rows):
            yield _page({name: column[row] for name, column in columns.items()}, schema)


def schema_of(table: pa.Table) -> Schema:
    """The schema of the inputs in a table of pages: names, sorts, levels and sizes.

    Raises `UnreadablePages`.
    """
    told = (table.schema.metadata or {}).get(b"inputs")
    if not is_of_pages(table) or told is None:
        raise UnreadablePages("a table that says nothing of the heavy ranker's inputs")
    return _read_schema(told)


def chosen(inputs: RankerInputs, rows: npt.NDArray[np.int64]) -> RankerInputs:
    """The inputs of candidates at given places, with the authors that these still have."""
    authors, author_rows = np.unique(inputs.author_rows[rows], return_inverse=True)
    of_level: dict[Level, npt.NDArray[np.int64] | slice] = {
        Level.VIEWER: slice(None),
        Level.AUTHOR: authors,
        Level.POST: rows,
    }
    return RankerInputs(
        inputs.schema,
        (
            inputs.values[Level.VIEWER],
            inputs.values[Level.AUTHOR][authors],
            inputs.values[Level.POST][rows],
        ),
        (
            inputs.discrete[Level.VIEWER],
            inputs.discrete[Level.AUTHOR][authors],
            inputs.discrete[Level.POST][rows],
        ),
        {
            given.name: inputs.embeddings[given.name][of_level[given.level]]
            for given in inputs.schema.embeddings
        },
        author_rows.astype(np.int64),
    )


def _pack(pages: Sequence[LoggedPage]) -> bytes:
    schema = pages[0].inputs.schema
    blobs: dict[str, list[bytes]] = {name: [] for name in _blob_names(schema)}
    for page in pages:
        for name, content in _blobs(page.inputs).items():
            blobs[name].append(content)
    applied = [
        np.array(
            [
                (k, lane, *at)
                for k, wave in enumerate(p.applied)
                for lane, at in sorted(wave.items())
            ]
            or np.empty((0, 4)),
            np.int64,
        ).tobytes()
        for p in pages
    ]
    table = pa.table(
        {
            "request_id": pa.array([p.request_id for p in pages], pa.string()),
            "viewer_id": pa.array([p.viewer_id for p in pages], pa.int64()),
            "time_ms": pa.array([p.time_ms for p in pages], pa.int64()),
            "model_version": pa.array([p.model_version for p in pages], pa.string()),
            "settings_version": pa.array([p.settings_version for p in pages], pa.string()),
            "applied": pa.array(applied, pa.large_binary()),
            "post_ids": pa.array([p.post_ids for p in pages], pa.list_(pa.int64())),
            "author_ids": pa.array([p.author_ids for p in pages], pa.list_(pa.int64())),
            "positions": pa.array([p.positions for p in pages], pa.list_(pa.int16())),
            "sources": pa.array([p.sources for p in pages], pa.list_(pa.string())),
            "author_rows": pa.array([p.inputs.author_rows for p in pages], pa.list_(pa.int32())),
            "n_authors": pa.array([len(p.inputs.values[Level.AUTHOR]) for p in pages], pa.int32()),
            **{name: pa.array(content, pa.large_binary()) for name, content in blobs.items()},
        },
        metadata={"form": PAGES, "inputs": _written_schema(schema)},
    )
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def _blob_names(schema: Schema) -> list[str]:
    return [
        *(f"{sort.name.lower()}_{level.name.lower()}" for level in Level for sort in Sort),
        *(f"vector_{given.name}" for given in schema.embeddings),
    ]


def _blobs(inputs: RankerInputs) -> dict[str, bytes]:
    """The values of one page, of each input those of all rows together."""
    blobs = {}
    for level in Level:
        values = inputs.values[level].T
        n_continuous = len(inputs.schema.of(Sort.CONTINUOUS, level))
        of_level: dict[Sort, npt.NDArray[Any]] = {
            Sort.CONTINUOUS: _logarithms(values[:n_continuous]),
            Sort.BINARY: np.packbits(values[n_continuous:] > 0),
            Sort.DISCRETE: np.ascontiguousarray(inputs.discrete[level].T, np.int64),
        }
        for sort, packed in of_level.items():
            blobs[f"{sort.name.lower()}_{level.name.lower()}"] = packed.tobytes()
    for given in inputs.schema.embeddings:
        vectors = np.nan_to_num(inputs.embeddings[given.name].T, nan=0.0, posinf=0.0, neginf=0.0)
        halves = np.clip(vectors, -_HALF_MAX, _HALF_MAX).astype(np.float16)
        blobs[f"vector_{given.name}"] = np.ascontiguousarray(halves).tobytes()
    return blobs


def _logarithms(values: Floats) -> npt.NDArray[np.float16]:
    """Signed logarithms; of what is no number 0, for which the model takes it."""
    finite = np.where(np.isfinite(values), values, np.float32(0))
    halves = np.copysign(np.minimum(np.log1p(np.abs(finite)), _LOG_MAX), finite)
    packed: npt.NDArray[np.float16] = np.ascontiguousarray(halves, np.float16)
    return packed


def _page(row: Mapping[str, Any], schema: Schema) -> LoggedPage:
    try:
        author_rows = _list(row["author_rows"], np.int64)
        n_rows = {
            Level.VIEWER: 1,
            Level.AUTHOR: row["n_authors"].as_py(),
            Level.POST: len(author_rows),
        }
        values, discrete = [], []
        for level in Level:
            read = _Level(row, schema, level, n_rows[level])
            values.append(read.values())
            discrete.append(read.discrete())
        vectors = {
            given.name: _halves(
                row[f"vector_{given.name}"], given.dimensions, n_rows[given.level]
            ).T.astype(np.float32)
            for given in schema.embeddings
        }
        applied = np.frombuffer(row["applied"].as_buffer(), np.int64).reshape(-1, 4)
        n_waves = int(applied[:, 0].max(initial=-1)) + 1
        return LoggedPage(
            request_id=row["request_id"].as_py(),
            viewer_id=row["viewer_id"].as_py(),
            time_ms=row["time_ms"].as_py(),
            model_version=row["model_version"].as_py(),
            settings_version=row["settings_version"].as_py(),
            applied=tuple(
                {lane: (offset, n) for _, lane, offset, n in applied[applied[:, 0] == k].tolist()}
                for k in range(n_waves)
            ),
            post_ids=_list(row["post_ids"], np.int64),
            author_ids=_list(row["author_ids"], np.int64),
            positions=_list(row["positions"], np.int16),
            sources=tuple(row["sources"].as_py()),
            inputs=RankerInputs(schema, _three(values), _three(discrete), vectors, author_rows),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise UnreadablePages(f"a page that is not as its schema says: {error!r}") from error


@dataclass(frozen=True)
class _Level:
    """The values of one level of a page."""

    row: Mapping[str, Any]
    schema: Schema
    level: Level
    n_rows: int

    def values(self) -> Floats:
        """Continuous inputs, then binary ones; shape (n_rows, ·)."""
        n_continuous, n_binary = self._n(Sort.CONTINUOUS), self._n(Sort.BINARY)
        logarithms = _halves(self._blob(Sort.CONTINUOUS), n_continuous, self.n_rows)
        logarithms = logarithms.astype(np.float32)
        bits = np.frombuffer(self._blob(Sort.BINARY).as_buffer(), np.uint8)
        n_bits = n_binary * self.n_rows
        if len(bits) != -(-n_bits // 8):
            raise ValueError(f"{8 * len(bits)} bits for {n_bits} binary values")
        values = np.empty((self.n_rows, n_continuous + n_binary), np.float32)
        values[:, :n_continuous] = np.copysign(np.expm1(np.abs(logarithms)), logarithms).T
        binary = np.unpackbits(bits, count=n_bits).reshape(n_binary, self.n_rows)
        values[:, n_continuous:] = binary.T
        return values

    def discrete(self) -> npt.NDArray[np.int64]:
        """Shape (n_rows, ·)."""
        found = np.frombuffer(self._blob(Sort.DISCRETE).as_buffer(), np.int64)
        return np.ascontiguousarray(found.reshape(self._n(Sort.DISCRETE), self.n_rows).T)

    def _n(self, sort: Sort) -> int:
        return len(self.schema.of(sort, self.level))

    def _blob(self, sort: Sort) -> Any:
        return self.row[f"{sort.name.lower()}_{self.level.name.lower()}"]


def _halves(blob: Any, n_inputs: int, n_rows: int) -> npt.NDArray[np.float16]:
    return np.frombuffer(blob.as_buffer(), np.float16).reshape(n_inputs, n_rows)


def _list(scalar: Any, dtype: type[np.integer[Any]]) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = scalar.values.to_numpy(zero_copy_only=False).astype(dtype)
    return values


def _three(parts: list[Any]) -> tuple[Any, Any, Any]:
    viewer, author, post = parts
    return viewer, author, post


@lru_cache(maxsize=8)
def _written_schema(schema: Schema) -> bytes:
    told = {
        "version": _FORM,
        "inputs": [
            [i.name, int(i.sort), int(i.level), i.default, i.buckets, i.dimensions]
            for i in schema.inputs
        ],
        "embeddings": [[e.name, int(e.level), e.dimensions] for e in schema.embeddings],
    }
    raw = json.dumps(told).encode()
    # Thousands of names in every record: metadata is not compressed by the stream itself.
    packed = pa.Codec("zstd").compress(raw, asbytes=True)
    return f"{len(raw)}:".encode() + base64.b64encode(packed)


@lru_cache(maxsize=8)
def _read_schema(written: bytes) -> Schema:
    try:
        size, _, packed = written.partition(b":")
        raw = pa.Codec("zstd").decompress(base64.b64decode(packed), int(size), asbytes=True)
        told = json.loads(raw)
        if told["version"] != _FORM:
            raise UnreadablePages(f"pages of form {told['version']}; this program reads {_FORM}")
        inputs = tuple(
            Input(name, Sort(sort), Level(level), "", "", default, buckets, dimensions)
            for name, sort, level, default, buckets, dimensions in told["inputs"]
        )
        vectors = tuple(
            Embedding(name, Level(level), dimensions, "")
            for name, level, dimensions in told["embeddings"]
        )
        return Schema(inputs, vectors)
    except (ValueError, KeyError, TypeError, OSError) as error:
        if isinstance(error, UnreadablePages):
            raise
        raise UnreadablePages(f"a schema that cannot be read: {error!r}") from error

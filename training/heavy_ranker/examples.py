"""The heavy ranker's examples as Parquet files: labels beside inputs, as served or replayed.

A data set is a folder that never changes once it is there: `part-00000.parquet`, … in order of
time, and `manifest.json`. An example has the inputs that the model was given when its page was
served, where these were logged; the others get theirs by a replay of the log up to the instant
of their request, by the code that serving uses.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from actors.features.inputs import Schema
from actors.features.tasks import TASK_NAMES
from cluster.archive import Archive
from cluster.durable import sync_folder, write_file
from cluster.settings import Settings
from training.heavy_ranker.labelled import Labelled
from training.heavy_ranker.past import InputsAsOf, Past, could_be_shown
from training.heavy_ranker.served_inputs import Dense, fill_as_served
from training.history import History
from training.job import Progress, silent

Features = Literal["served", "replay"]

BLOCK_BYTES = 64 * 1024 * 1024
"""Of the examples that are put together, and become a row group, at a time."""
PART_BYTES = 512 * 1024 * 1024
"""Of a file, before compression."""

_MANIFEST = "manifest.json"
_ROW_GROUP_ROWS = 8_192


@dataclass(frozen=True)
class Part:
    """A file of a data set."""

    name: str
    rows: int
    first_ms: int
    last_ms: int
    """Times of its requests."""


@dataclass(frozen=True)
class Manifest:
    """What a data set holds."""

    schema: str
    """Fingerprint of the inputs."""
    tasks: tuple[str, ...]
    examples: int
    positives: dict[str, int]
    known: dict[str, int]
    """By task: examples whose label is known."""
    served: int
    """Examples with inputs as they were served."""
    replayed: int
    left_out: int
    """Examples of which neither is known, and which a replay did not find either."""
    negatives_kept: float
    range_ms: tuple[int, int]
    """Half-open range of the times of requests; of no examples (0, 0)."""
    parts: tuple[Part, ...]
    not_replayed: int = 0
    """Examples of which nothing was logged, too few to replay the log for."""

    def paths(self, folder: Path) -> list[Path]:
        """The files, in order of time."""
        return [folder / part.name for part in self.parts]


def write_examples(
    folder: Path,
    settings: Settings,
    archive: Archive,
    schema: Schema,
    examples: Labelled,
    *,
    until_ms: int,
    negatives_kept: float,
    inputs_as_of: InputsAsOf | None = None,
    replayed_from: float = 0.0,
    features: Features = "served",
    progress: Progress = silent,
) -> Manifest:
    """Write labelled examples with their inputs into a new folder, whole or not at all.

    With `features="served"` inputs are those that were logged; where there are none they are
    replayed, as all are with `features="replay"`. A replay reads the archive from its beginning,
    since a state is made of everything before: where fewer than the share `replayed_from` of
    examples need it they are left out instead, and counted. Replayed examples whose post could
    not have been shown are left out, and without `inputs_as_of` all that would have to be
    replayed. A folder that is there already is taken for the outcome of the same call.

    Columns are `viewer_id`, `author_id`, `post_id`, `time_ms` (of the request), `request_id`,
    `source`, `as_served`, lists `continuous`, `binary`, `discrete` and one for each embedding,
    lists `labels` and `mask` of ten, and `weight`; the metadata name `tasks`, the `schema` and
    `negatives_kept`.
    """
    if (folder / _MANIFEST).exists():
        return read_manifest(folder)
    writing = folder.with_name(f".writing-{folder.name}")
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    wanted = _Wanted(archive, schema, examples, features == "served", negatives_kept, progress)
    manifest = None
    if features == "served" and (replayed_from > 0 or inputs_as_of is None):
        # At first without a replay: only then it is known how many would need one.
        manifest = _write(writing, wanted, None)
        missing = manifest.left_out
        if inputs_as_of is not None and missing >= max(replayed_from * len(examples), 1):
            manifest = None
            shutil.rmtree(writing)
            writing.mkdir()
        elif inputs_as_of is not None:
            manifest = replace(manifest, left_out=0, not_replayed=missing)
    if manifest is None:
        replay = None
        if inputs_as_of is not None:
            replay = _Replay(Past(settings, History(archive, until_ms)), inputs_as_of)
        manifest = _write(writing, wanted, replay)
    write_file(writing / _MANIFEST, json.dumps(asdict(manifest), indent=1).encode())
    sync_folder(writing)
    os.rename(writing, folder)
    sync_folder(folder.parent)
    progress("examples", 1.0)
    return manifest


def written_before(folder: Path) -> Manifest | None:
    """What the data set of a folder holds, if there is one."""
    return read_manifest(folder) if (folder / _MANIFEST).exists() else None


def read_manifest(folder: Path) -> Manifest:
    """What a data set holds."""
    told = json.loads((folder / _MANIFEST).read_bytes())
    told["parts"] = tuple(Part(**part) for part in told["parts"])
    told["tasks"], told["range_ms"] = tuple(told["tasks"]), tuple(told["range_ms"])
    return Manifest(**told)


@dataclass(frozen=True)
class _Wanted:
    """What is to be written."""

    archive: Archive
    schema: Schema
    examples: Labelled
    as_served: bool
    """Whether inputs that were logged are taken."""
    negatives_kept: float
    progress: Progress


@dataclass(frozen=True)
class _Replay:
    past: Past
    inputs_as_of: InputsAsOf


def _write(folder: Path, wanted: _Wanted, replay: _Replay | None) -> Manifest:
    """Write the parts of a data set into an empty folder."""
    counts = {"served": 0, "replayed": 0, "left_out": 0}
    schema, n = wanted.schema, len(wanted.examples)
    with _Writer(folder, schema, wanted.negatives_kept) as writer:
        for begin, rows in _blocks(n, schema):
            wanted.progress("examples", begin / max(n, 1))
            block = wanted.examples.take(rows)
            inputs = Dense.empty(schema, len(block))
            served, replayed = np.zeros(len(block), bool), np.zeros(len(block), bool)
            if wanted.as_served:
                served = fill_as_served(wanted.archive, block.shown, inputs)
            if replay is not None:
                replayed = _replayed(replay.past, replay.inputs_as_of, block, ~served, inputs)
            writer.write(block, inputs, served, served | replayed)
            counts["served"] += int(served.sum())
            counts["replayed"] += int(replayed.sum())
            counts["left_out"] += int((~served & ~replayed).sum())
    return writer.manifest(**counts)


def _blocks(n: int, schema: Schema) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """(first, places) of so many examples as are put together at a time."""
    step = max(BLOCK_BYTES // _row_bytes(schema), 1)
    for begin in range(0, n, step):
        yield begin, np.arange(begin, min(begin + step, n))


def _row_bytes(schema: Schema) -> int:
    vectors = sum(given.dimensions for given in schema.embeddings)
    numbers = 4 * (len(schema.continuous) + vectors) + 8 * len(schema.discrete)
    return numbers + len(schema.binary) + 128


def _replayed(
    past: Past,
    inputs_as_of: InputsAsOf,
    block: Labelled,
    wanted: npt.NDArray[np.bool_],
    into: Dense,
) -> npt.NDArray[np.bool_]:
    """Fill in what would have been served of the wanted examples; returns of which it could."""
    shown, done = block.shown, np.zeros(len(block), bool)
    rows = np.flatnonzero(wanted)
    if not len(rows):
        return done
    times_ms, viewers = shown.asked_ms[rows], shown.viewer_ids[rows]
    new = (times_ms[1:] != times_ms[:-1]) | (viewers[1:] != viewers[:-1])
    for mine in np.split(rows, np.flatnonzero(new) + 1):
        now_ms, viewer_id = int(shown.asked_ms[mine[0]]), int(shown.viewer_ids[mine[0]])
        state = past.before(now_ms)
        mine = mine[could_be_shown(state, shown.post_ids[mine], shown.author_ids[mine])]
        if len(mine):
            sources = shown.sources.take(pa.array(mine)).to_pylist()
            posts = shown.post_ids[mine]
            into.fill(mine, inputs_as_of(state, viewer_id, posts, sources, now_ms))
            done[mine] = True
    return done


class _Writer:
    """Writes parts, and counts what it writes."""

    def __init__(self, folder: Path, schema: Schema, negatives_kept: float) -> None:
        self._folder, self._schema, self._negatives_kept = folder, schema, negatives_kept
        self._part_rows = max(PART_BYTES // _row_bytes(schema), 1)
        self._group_rows = max(min(BLOCK_BYTES // 4 // _row_bytes(schema), _ROW_GROUP_ROWS), 1)
        self._file: pq.ParquetWriter | None = None
        self._parts: list[Part] = []
        self._positives = np.zeros(len(TASK_NAMES), np.int64)
        self._known = np.zeros(len(TASK_NAMES), np.int64)

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def write(
        self,
        block: Labelled,
        inputs: Dense,
        served: npt.NDArray[np.bool_],
        chosen: npt.NDArray[np.bool_],
    ) -> None:
        """Write the chosen examples of a block."""
        rows = np.flatnonzero(chosen)
        if not len(rows):
            return
        table = _table(block, inputs, served, self._metadata()).take(pa.array(rows))
        self._positives += block.labels[rows].sum(axis=0, dtype=np.int64)
        self._known += block.known[rows].sum(axis=0, dtype=np.int64)
        times_ms = block.shown.asked_ms[rows]
        if self._file is None:
            name = f"part-{len(self._parts):05d}.parquet"
            self._parts.append(Part(name, 0, int(times_ms[0]), 0))
            self._file = pq.ParquetWriter(
                self._folder / name,
                table.schema,
                compression="zstd",
                use_dictionary=["request_id", "source"],
                write_page_checksum=True,
            )
        self._file.write_table(table, row_group_size=self._group_rows)
        part = self._parts[-1]
        grown = Part(part.name, part.rows + len(rows), part.first_ms, int(times_ms[-1]))
        self._parts[-1] = grown
        if grown.rows >= self._part_rows:
            self._close()

    def manifest(self, served: int, replayed: int, left_out: int) -> Manifest:
        """What was written."""
        parts = self._parts
        return Manifest(
            schema=self._schema.fingerprint,
            tasks=TASK_NAMES,
            examples=sum(part.rows for part in parts),
            positives=dict(zip(TASK_NAMES, self._positives.tolist(), strict=True)),
            known=dict(zip(TASK_NAMES, self._known.tolist(), strict=True)),
            served=served,
            replayed=replayed,
            left_out=left_out,
            negatives_kept=self._negatives_kept,
            range_ms=(parts[0].first_ms, parts[-1].last_ms + 1) if parts else (0, 0),
            parts=tuple(parts),
        )

    def _metadata(self) -> dict[str, str]:
        return {
            "tasks": ",".join(TASK_NAMES),
            "schema": self._schema.fingerprint,
            "negatives_kept": repr(self._negatives_kept),
        }

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            with open(self._folder / self._parts[-1].name, "rb") as written:
                os.fsync(written.fileno())
            self._file = None


def _table(
    block: Labelled, inputs: Dense, served: npt.NDArray[np.bool_], metadata: dict[str, str]
) -> pa.Table:
    shown = block.shown
    columns: dict[str, Any] = {
        "viewer_id": shown.viewer_ids,
        "author_id": shown.author_ids,
        "post_id": shown.post_ids,
        "time_ms": shown.asked_ms,
        "request_id": shown.request_ids,
        "source": shown.sources,
        "as_served": served,
        "continuous": _lists(inputs.continuous),
        "binary": _lists(inputs.binary),
        "discrete": _lists(inputs.discrete),
        **{name: _lists(values) for name, values in inputs.embeddings.items()},
        "labels": _lists(block.labels),
        "mask": _lists(block.known),
        "weight": block.weights,
    }
    present = {name: column for name, column in columns.items() if column is not None}
    return pa.table(present, metadata=metadata)


def _lists(values: npt.NDArray[Any]) -> pa.Array | None:
    """Rows as lists of a fixed size; None where they are empty."""
    if not values.shape[1]:
        return None
    return pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1]
    )

"""Snapshots of a shard: a manifest of immutable per-lane files, and how a shard is rebuilt."""

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.models import PROBLEMS
from actors.state import Activation, ShardState
from actors.stores.columns import Array
from actors.stores.relations import Relations
from actors.stores.sparse_embeddings import SIMCLUSTERS
from actors.vector_models import TWHIN, VectorModels, version_of
from actors.vectors import VECTOR_TABLES
from cluster.durable import sha256_of, sync_file, sync_folder, write_file
from cluster.ids import N_PARTITIONS, Ids, owners_of, partitions_of

SCHEMA_VERSION = 2
"""Of 2 are all topics of posts, where 1 has the first alone, and mentions."""
_MANIFEST = "manifest.json"
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
"""A third of the bytes, written and read again in less time than they are as they stand. By the
writer's thread alone: others of Arrow's would not yield to questions."""
_LOG = logging.getLogger(__name__)

Exported = dict[str, Array | pa.Array]

_OWNERS = {
    "users": "user_ids",
    **dict.fromkeys(("posts", "post_labels", "author_labels"), "author_ids"),
    **dict.fromkeys(VECTOR_TABLES, "author_ids"),
}
"""The column that says whose partition a row is in; the other tables have `owner_ids`."""


class SnapshotCorrupt(ValueError):
    """A snapshot whose files are not what its manifest says."""


@dataclass(frozen=True)
class Captured:
    """A consistent copy of a shard's state, ready to be written by another thread."""

    first_partition: int
    end_partition: int
    n_lanes: int
    offsets: dict[int, int]
    watermarks_ms: dict[int, int]
    active: dict[str, Activation]
    tables: dict[str, list[Callable[[], Exported]]]
    lanes: dict[str, dict[int, dict[str, Ids]]]
    """What is kept by lane, not by partition."""


def capture(state: ShardState, offsets: dict[int, int]) -> Captured:
    """Copy the state; the caller sees to it that nothing changes meanwhile.

    Queries go on: closed segments of the graphs are shared, the rest is copied column by
    column, which holds no lock.
    """
    tables: dict[str, list[Callable[[], Exported]]] = {"users": [_given(state.users.columns())]}
    for name, store in _relations(state).items():
        tables[name] = [_given(store.columns())]
    for name, graph in _graphs(state).items():
        tables[name] = list(graph.segments_columns())
    for name, kept in _stores(state).items():
        tables[name] = [_given(kept.columns())]
    if state._vectors:
        tables |= {name: [_given(one)] for name, one in state.vectors.columns().items()}
    if state._aggregates is not None:
        # Made of copies when they are written, since only what is not 0 is.
        tables["aggregates"] = [*state.aggregates.exports()]
    return Captured(
        *(state.first_partition, state.end_partition, state.settings.log.lanes, dict(offsets)),
        {lane: recent.watermark_ms for lane, recent in state.recent.items()},
        dict(state.active),
        tables,
        {
            "recent": {lane: recent.columns() for lane, recent in state.recent.items()},
            "imported": {lane: records.columns() for lane, records in state.imported.items()},
        },
    )


def write(captured: Captured, root: Path) -> Path:
    """Write a snapshot under `root`: complete, checksummed and durable, or not at all."""
    root.mkdir(parents=True, exist_ok=True)
    span = f"{captured.first_partition:04d}-{captured.end_partition:04d}"
    name = f"{time.time_ns() // 1_000_000:015d}-{span}"
    draft = root / f".{name}-{uuid.uuid4().hex[:8]}"
    draft.mkdir()
    try:
        files: list[dict[str, Any]] = []
        for table, exports in captured.tables.items():
            for part, export in enumerate(exports):
                for lane, columns in _by_lane(table, export(), captured.n_lanes):
                    files.append(_write_file(draft, table, part, lane, columns))
        for table, of_lanes in captured.lanes.items():
            for lane, kept in of_lanes.items():
                files.append(_write_file(draft, table, 0, lane, dict(kept)))
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "first_partition": captured.first_partition,
            "end_partition": captured.end_partition,
            "n_lanes": captured.n_lanes,
            "offsets": captured.offsets,
            "watermarks_ms": captured.watermarks_ms,
            "active": {k: [a.version, a.time_ms] for k, a in captured.active.items()},
            "files": files,
        }
        manifest["sha256"] = _digest(manifest)
        write_file(draft / _MANIFEST, json.dumps(manifest, indent=1).encode())
        sync_folder(draft)
        os.rename(draft, root / name)
        sync_folder(root)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return root / name


def prune(root: Path, kept: int) -> None:
    """Delete snapshots whose partitions all have `kept` newer ones."""
    covered = np.zeros(N_PARTITIONS, np.int64)
    for folder in _folders(root):
        try:
            manifest = _manifest(folder)
        except SnapshotCorrupt:
            continue
        span = slice(manifest["first_partition"], manifest["end_partition"])
        if covered[span].min() >= kept:
            shutil.rmtree(folder, ignore_errors=True)
        covered[span] += 1


def safe_offsets(root: Path) -> dict[int, int]:
    """By lane, the offset that every snapshot kept has passed: the log may be trimmed so far.

    Empty where some partition has no snapshot yet.
    """
    covered = np.zeros(N_PARTITIONS, bool)
    safe: dict[int, int] = {}
    for folder in _folders(root):
        try:
            manifest = _manifest(folder)
        except SnapshotCorrupt:
            continue
        covered[manifest["first_partition"] : manifest["end_partition"]] = True
        for lane, offset in manifest["offsets"].items():
            safe[int(lane)] = min(safe.get(int(lane), offset), offset)
    return safe if covered.all() else {}


def restore(state: ShardState, root: Path, until_ms: int | None = None) -> dict[int, int]:
    """Fill an empty state from the newest snapshots that together hold its partitions.

    They may have been taken by another number of shards; partitions that no readable
    snapshot holds start empty. With `until_ms` only snapshots that hold no later event
    count. Returns the offset by lane after which the log must be read; `state.skip_until`
    says per partition what the snapshots already hold.
    """
    wanted = np.zeros(N_PARTITIONS, bool)
    wanted[state.first_partition : state.end_partition] = True
    state.skip_until[:] = 0
    vectors: list[tuple[str, dict[str, list[Exported]]]] = []
    now_ms = 0
    for folder in _folders(root):
        if not wanted.any():
            break
        try:
            manifest = _manifest(folder)
            latest_ms = max(manifest["watermarks_ms"].values(), default=0)
            if until_ms is not None and latest_ms > until_ms:
                continue
            take = np.zeros(N_PARTITIONS, bool)
            take[manifest["first_partition"] : manifest["end_partition"]] = True
            take &= wanted
            if take.any():
                _check(folder, manifest)
                active = {name: version for name, (version, _) in manifest["active"].items()}
                of_vectors = version_of(active.get(SIMCLUSTERS), active.get(TWHIN))
                vectors.append((of_vectors, _load(state, folder, manifest, take)))
                now_ms = max(now_ms, latest_ms)
                wanted &= ~take
        except SnapshotCorrupt as problem:
            _LOG.error("snapshot %s is left out: %s", folder.name, problem)
    if state._vectors and vectors:
        _restore_vectors(state, vectors, now_ms)
    return end_of(state)


def end_of(state: ShardState) -> dict[int, int]:
    """By lane, the offset up to which all of the state's partitions hold their rows."""
    lanes = owners_of(np.arange(N_PARTITIONS), state.settings.log.lanes)
    mine = slice(state.first_partition, state.end_partition)
    return {lane: int(state.skip_until[mine][lanes[mine] == lane].min()) for lane in state.lanes}


def is_even(state: ShardState, positions: Mapping[int, int]) -> bool:
    """Whether no partition holds more of the log than was read of it by `positions`.

    Until then, after a restore from snapshots of several ends, `capture` would say less than it
    holds, and the rows between would be applied twice.
    """
    lanes = owners_of(np.arange(N_PARTITIONS), state.settings.log.lanes)
    read = np.array([positions.get(lane, 0) for lane in range(state.settings.log.lanes)])
    mine = slice(state.first_partition, state.end_partition)
    return bool((state.skip_until[mine] <= read[lanes[mine]]).all())


def _relations(state: ShardState) -> dict[str, Relations]:
    found: dict[str, Relations] = {}
    if state._graph:
        graph = state.graph
        found |= {"follows": graph.follows, "blocks": graph.blocks, "topics": graph.topics}
        found |= {"blocked_by": graph.blocked_by, "mutes": graph.mutes}
    found["followers"] = state.followers
    return found


class _Store(Protocol):
    """What is exported by `columns` and taken back by `restore`."""

    def columns(self) -> Exported:
        """Everything `restore` needs."""

    def restore(self, columns: Exported) -> Any:
        """Add exported rows."""


def _stores(state: ShardState) -> dict[str, _Store]:
    found: dict[str, Any] = {}
    if state._graph:
        graph = state.graph
        found |= {"engaged": graph.engaged, "engaged_by": graph.engaged_by, "stays": graph.stays}
        found |= {"lists": graph.lists, "choices": graph.choices, "activity": graph.activity}
    if state._posts:
        posts = state.posts
        found |= {"posts": posts.table, "post_labels": posts.post_labels}
        found["author_labels"] = posts.author_labels
        found |= posts.analytics.stores
    return found


def _graphs(state: ShardState) -> dict[str, Any]:
    if not state._graph:
        return {}
    graph = state.graph
    return {
        "engagements": graph.engagements,
        "signals": graph.signals,
        "feedback": graph.feedback,
        "views": graph.views,
        # Snapshots of before this graph was kept have no file of it, and restore without.
        "videos": graph.videos,
    }


def _given(columns: Exported) -> Callable[[], Exported]:
    return lambda: columns


def _partitions(table: str, columns: Exported) -> npt.NDArray[np.uint16]:
    if "sides" in columns:
        # An edge only in the right index is there for its post's author.
        right_only = columns["sides"] == 2
        return partitions_of(np.where(right_only, columns["author_ids"], columns["user_ids"]))
    return partitions_of(columns[_OWNERS.get(table, "owner_ids")])


def _by_lane(table: str, columns: Exported, n_lanes: int) -> Iterator[tuple[int, Exported]]:
    lanes = owners_of(_partitions(table, columns), n_lanes)
    order = np.argsort(lanes, kind="stable")
    ends = np.searchsorted(lanes[order], np.arange(n_lanes + 1))
    # Arrow takes rows without holding the interpreter, for which queries would wait.
    arrow = {name: _arrow_of(values) for name, values in columns.items()}
    for lane in np.flatnonzero(np.diff(ends)).tolist():
        rows = order[ends[lane] : ends[lane + 1]]
        chosen = pa.array(rows)
        yield lane, {name: values.take(chosen) for name, values in arrow.items()}


def _taken(values: Array | pa.Array, rows: Ids) -> Array | pa.Array:
    return values.take(pa.array(rows)) if isinstance(values, pa.Array) else values[rows]


def _write_file(
    folder: Path, table: str, part: int, lane: int, columns: Exported
) -> dict[str, Any]:
    name = f"{table}-{part:03d}-lane-{lane:04d}.arrow"
    arrays = {key: _arrow_of(values) for key, values in columns.items()}
    content = pa.table(arrays)
    sink = pa.OSFile(str(folder / name), "wb")
    with sink, pa.ipc.new_file(sink, content.schema, options=_COMPRESSED) as writer:
        writer.write_table(content)
    sync_file(folder / name)
    return {
        "name": name,
        "table": table,
        "lane": lane,
        "rows": content.num_rows,
        "sha256": sha256_of(folder / name),
    }


def _arrow_of(values: Array | pa.Array) -> pa.Array:
    if isinstance(values, np.ndarray) and values.ndim == 2:
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return values if isinstance(values, pa.Array) else pa.array(values)


def _numpy_of(column: pa.ChunkedArray) -> Array | pa.Array:
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy().reshape(-1, array.type.list_size)
    if any(holds(array.type) for holds in _KEPT_AS_ARROW):
        return array
    return array.to_numpy(zero_copy_only=False)


_KEPT_AS_ARROW = (pa.types.is_string, pa.types.is_large_string, pa.types.is_large_list)


def _folders(root: Path) -> list[Path]:
    """Complete snapshots, the newest first."""
    if not root.is_dir():
        return []
    return sorted((p for p in root.iterdir() if not p.name.startswith(".")), reverse=True)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = dict(json.loads((folder / _MANIFEST).read_bytes()))
        version, digest = int(manifest["schema_version"]), manifest.pop("sha256")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SnapshotCorrupt(f"its manifest cannot be read: {error}") from error
    if digest != _digest(manifest):
        raise SnapshotCorrupt("its manifest was changed after it was written")
    if version > SCHEMA_VERSION:
        raise SnapshotCorrupt(
            f"schema version {version}; this version reads up to {SCHEMA_VERSION}"
        )
    return manifest


def _digest(manifest: dict[str, Any]) -> str:
    """The checksum of a manifest's content, whatever way it is laid out."""
    content = json.loads(json.dumps(manifest))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check(folder: Path, manifest: dict[str, Any]) -> None:
    for entry in manifest["files"]:
        path = folder / entry["name"]
        if not path.exists():
            raise SnapshotCorrupt(f"{entry['name']} is missing")
        if (found := sha256_of(path)) != entry["sha256"]:
            raise SnapshotCorrupt(
                f"{entry['name']} has checksum {found[:12]}…, expected {entry['sha256'][:12]}…"
            )


def _load(
    state: ShardState, folder: Path, manifest: dict[str, Any], take: npt.NDArray[np.bool_]
) -> dict[str, list[Exported]]:
    """Load what a snapshot holds of some partitions; returns the tables of `vectors`, which
    need the models that all snapshots together say are active."""
    lanes = owners_of(np.arange(N_PARTITIONS), manifest["n_lanes"])
    needed = set(np.unique(lanes[take]).tolist())
    relations, graphs, stores = _relations(state), _graphs(state), _stores(state)
    vectors: dict[str, list[Exported]] = {}
    for entry in manifest["files"]:
        if entry["lane"] not in needed:
            continue
        with pa.memory_map(str(folder / entry["name"])) as source:
            content = pa.ipc.open_file(source).read_all()
            columns = {n: _numpy_of(content.column(n)) for n in content.column_names}
            table = entry["table"]
            if table in ("recent", "imported"):
                if manifest["n_lanes"] == state.settings.log.lanes:
                    _restore_lane(state, entry, manifest, columns)
                continue
            kept = np.flatnonzero(take[_partitions(table, columns)])
            columns = {name: _taken(values, kept) for name, values in columns.items()}
            if not len(kept):
                continue
            if table == "users":
                state.users.restore(columns)
            elif table in stores:
                stores[table].restore(columns)
            elif table in VECTOR_TABLES:
                vectors.setdefault(table, []).append(columns)
            elif table in relations:
                relations[table].write(*(columns[n] for n in _RELATION_COLUMNS))
            elif table in graphs:
                graphs[table].insert(*(columns[n] for n in _EDGE_COLUMNS))
                graphs[table].close_segments()
            elif table == "aggregates" and state._aggregates is not None:
                state.aggregates.restore(columns)
    offsets = {int(lane): offset for lane, offset in manifest["offsets"].items()}
    for partition in np.flatnonzero(take).tolist():
        state.skip_until[partition] = offsets.get(int(lanes[partition]), 0)
    for name, (version, time_ms) in manifest["active"].items():
        if name not in state.active or state.active[name].time_ms < time_ms:
            state.active[name] = Activation(version, time_ms)
    return vectors


def _restore_lane(
    state: ShardState, entry: dict[str, Any], manifest: dict[str, Any], columns: dict[str, Ids]
) -> None:
    lane = entry["lane"]
    if entry["table"] == "imported":
        state.imported[lane].restore(columns)
    else:
        state.recent[lane].restore(columns, manifest["watermarks_ms"].get(str(lane), 0))


def _restore_vectors(
    state: ShardState, parts: list[tuple[str, dict[str, list[Exported]]]], now_ms: int
) -> None:
    """Take back (version, tables) of each snapshot, under the version that is active now.

    Embeddings of another version are made anew from the engagements of the last two days.
    """
    try:
        models = state.models.vectors(state.active_versions())
    except PROBLEMS as error:
        _LOG.error("models of the snapshot cannot be read, vectors start without: %s", error)
        state.counters["refused_activations"] += 1
        models = VectorModels(version_of(None, None))
    fits = all(version == models.version for version, _ in parts)
    state.start_vectors(models if fits else None)
    for _, tables in parts:
        for name in VECTOR_TABLES if fits else VECTOR_TABLES[:2]:
            for columns in tables.get(name, []):
                state.vectors.restore({name: columns})
    if not fits:
        state.vectors.prepare(models, now_ms)
        state.vectors.activate(models.version)


_RELATION_COLUMNS = ("owner_ids", "other_ids", "versions", "active")
_EDGE_COLUMNS = ("user_ids", "post_ids", "author_ids", "kinds", "times_ms", "sides")

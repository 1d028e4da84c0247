"""Which lanes an event goes to, and the wire form it travels in."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.events import REFERENCES, RULES, SCHEMA_VERSION, Kind
from cluster.ids import N_PARTITIONS, Ids, owners_of, partitions_of

PARTITION = "partition"
"""Column a routed row carries: the virtual partition for whose state it is meant."""

_VERSION_KEY = b"murmuration.events"
_IMPORTED_KEY = b"murmuration.imported"
_USER_TARGET = np.isin(np.arange(256), [k for k, rule in RULES.items() if rule.user_target])


class UnreadableBatch(ValueError):
    """A log record that is not an event batch this version can read."""


def route(batch: pa.RecordBatch, n_lanes: int) -> dict[int, pa.RecordBatch]:
    """Split a validated batch into one batch per lane concerned.

    An event concerns the partitions of its actor, its post's author, the user it points
    at, and the authors its post links to. It goes once to each of these partitions, as a
    row that names the partition; an activation goes once to every lane.
    """
    rows, partitions = _concerned(batch, n_lanes)
    lanes = owners_of(partitions, n_lanes)
    order = np.argsort(lanes, kind="stable")
    routed = batch.take(pa.array(rows[order])).append_column(
        pa.field(PARTITION, pa.uint16(), nullable=False), pa.array(partitions[order])
    )
    ends = np.searchsorted(lanes[order], np.arange(n_lanes + 1))
    return {
        lane: routed.slice(ends[lane], ends[lane + 1] - ends[lane])
        for lane in range(n_lanes)
        if ends[lane + 1] > ends[lane]
    }


def encode(batch: pa.RecordBatch, *, imported: bool = False) -> bytes:
    """An Arrow IPC stream that holds the batch and the version of its schema.

    `imported` says that the archive was checked: no event of the batch came before, however
    old it is, so that appliers refuse none outside their deduplication window, but in copies of
    this very record.
    """
    metadata = {_VERSION_KEY: str(SCHEMA_VERSION).encode(), _IMPORTED_KEY: b"01"[imported:][:1]}
    batch = batch.replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def decode(payload: bytes) -> pa.RecordBatch:
    """The batch in an Arrow IPC stream; raises `UnreadableBatch` for anything else."""
    try:
        with pa.ipc.open_stream(payload) as reader:
            table = reader.read_all().combine_chunks()
    except (pa.ArrowInvalid, OSError) as error:
        raise UnreadableBatch(f"not an Arrow IPC stream: {error}") from error
    found = (table.schema.metadata or {}).get(_VERSION_KEY, b"missing").decode()
    if not found.isdecimal() or int(found) > SCHEMA_VERSION:
        raise UnreadableBatch(
            f"event schema version {found}; this version reads up to {SCHEMA_VERSION}"
        )
    batches = table.to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def is_imported(batch: pa.RecordBatch) -> bool:
    """Whether a decoded batch was encoded with `imported`."""
    return bool((batch.schema.metadata or {}).get(_IMPORTED_KEY) == b"1")


def _concerned(batch: pa.RecordBatch, n_lanes: int) -> tuple[Ids, npt.NDArray[np.uint16]]:
    """(row, partition) of every partition each row concerns, without repetition."""
    found_rows: list[Ids] = []
    found_partitions: list[npt.NDArray[np.uint16]] = []
    earlier: list[tuple[Ids, npt.NDArray[np.uint16]]] = []
    for users in _concerned_users(batch):
        partitions = partitions_of(users)
        concerned = users != 0
        for other_users, other_partitions in earlier:
            concerned &= (other_users == 0) | (other_partitions != partitions)
        earlier.append((users, partitions))
        rows = np.flatnonzero(concerned)
        found_rows.append(rows)
        found_partitions.append(partitions[rows])
    everywhere = np.flatnonzero(batch.column("kind").to_numpy() == Kind.ARTIFACT_ACTIVATE)
    first_of_lane = -(-np.arange(n_lanes) * N_PARTITIONS // n_lanes)
    found_rows.append(np.repeat(everywhere, n_lanes))
    found_partitions.append(np.tile(first_of_lane, len(everywhere)).astype(np.uint16))
    return np.concatenate(found_rows), np.concatenate(found_partitions)


def _concerned_users(batch: pa.RecordBatch) -> Iterator[Ids]:
    yield batch.column("actor_id").to_numpy()
    yield batch.column("author_id").to_numpy()
    kinds = batch.column("kind").to_numpy()
    yield np.where(_USER_TARGET[kinds], batch.column("target_id").to_numpy(), 0)
    for name in REFERENCES.values():
        if name in batch.schema.names:
            yield batch.column(name).fill_null(0).to_numpy()

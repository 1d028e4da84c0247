"""Events for the tests of the archive, and what is done with them in each of these tests."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.archive import Archiver
from cluster.routing import encode, route
from cluster.sqlite_log import SqliteLog
from cluster.validation import check_objects

DAY_MS = 86_400_000
JANUARY_1_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
NOW_MS = JANUARY_1_MS + 30 * DAY_MS
N_LANES = 4
LANES = range(N_LANES)
FEATURES_LANE = N_LANES

Event = dict[str, Any]


def follow(event_id: int, time_ms: int, actor_id: int = 1, target_id: int = 2) -> Event:
    ids = {"event_id": event_id, "actor_id": actor_id, "target_id": target_id}
    return {"kind": "follow", "time_ms": time_ms, **ids}


def favourite(event_id: int, time_ms: int, actor_id: int = 1) -> Event:
    ids = {"event_id": event_id, "actor_id": actor_id, "post_id": 70, "author_id": 7}
    return {"kind": "favourite", "time_ms": time_ms, **ids}


def append(log: SqliteLog, events: Iterable[Event], now_ms: int = NOW_MS) -> int:
    checked = check_objects(list(events), now_ms=now_ms)
    assert not checked.problems
    return log.append({k: encode(b) for k, b in route(checked.batch, N_LANES).items()})


def archive_all(log: SqliteLog, root: Path, **options: Any) -> Archiver:
    archiver = Archiver(log, root, LANES, **options)
    while archiver.step():
        pass
    return archiver


def event_ids(table: pa.Table) -> list[int]:
    return table.column("event_id").to_pylist()  # type: ignore[no-any-return]


def served(
    request_id: str, post_ids: list[int], features: Any, names: str = "a,b", **more: Any
) -> bytes:
    values = np.asarray(features, np.float16)
    table = pa.table(
        {
            "request_id": [request_id] * len(post_ids),
            "viewer_id": pa.array([5] * len(post_ids), pa.int64()),
            "post_id": pa.array(post_ids, pa.int64()),
            "features": pa.FixedSizeListArray.from_arrays(
                pa.array(values.ravel()), values.shape[1]
            ),
            **more,
        }
    ).replace_schema_metadata({"names": names})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]

"""Features as they were served: the form in which they go to the log's own lane and come back."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.ids import Ids

NAMES = b"names"
"""Key of the schema's metadata: the feature names, separated by commas."""


def to_table(
    request_id: str,
    viewer_id: int,
    now_ms: int,
    post_ids: Ids,
    features: npt.NDArray[np.float32],
    names: Sequence[str],
) -> pa.Table:
    """Rows for the archive: `features` of shape (n, len(names)) beside `post_ids` of shape (n,).

    Values beyond the range of float16 become its largest.
    """
    n, limit = len(post_ids), float(np.finfo(np.float16).max)
    values = np.clip(features, -limit, limit).astype(np.float16)
    columns = {
        "request_id": pa.array([request_id] * n, pa.string()),
        "viewer_id": pa.array(np.full(n, viewer_id, np.int64)),
        "post_id": pa.array(post_ids, pa.int64()),
        "time_ms": pa.array(np.full(n, now_ms, np.int64)),
        "features": pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), len(names)),
    }
    return pa.table(columns).replace_schema_metadata({NAMES: ",".join(names).encode()})


def from_table(table: pa.Table, names: Sequence[str]) -> npt.NDArray[np.float32] | None:
    """The named features of rows read from the archive, or None where one was not served."""
    stored = (table.schema.metadata or {}).get(NAMES, b"").decode().split(",")
    if not set(names) <= set(stored):
        return None
    lists = table.column("features").combine_chunks()
    values = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1)
    wanted: npt.NDArray[np.float32] = values[:, [stored.index(n) for n in names]].astype(np.float32)
    return wanted

"""The state that serving works on, as it was at one past instant after another."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.features.inputs import RankerInputs
from actors.models import Models
from actors.state import ShardState
from cluster.artifacts import ArtifactStore
from cluster.ids import Ids
from cluster.routing import route
from cluster.settings import DAY_MS, Settings
from training.replay import apply

InputsAsOf = Callable[[ShardState, int, Ids, Sequence[str | None], int], RankerInputs]
"""What the ranker would have been given: of a state that holds every user, a viewer, posts
(n,), the candidate source of each (None: not known) and the instant."""

_EXPIRE_EVERY_MS = DAY_MS


class Past:
    """A log replayed through one shard that holds everybody, as far as was asked for.

    Unlike `training.replay`, which keeps to what the light ranker reads, it holds every kind
    of state, and serves every artifact that was activated then.
    """

    def __init__(self, settings: Settings, batches: Iterable[pa.RecordBatch]) -> None:
        """`batches` are events in order of time; they are read as far as they are needed."""
        self._state = _whole(settings)
        self._batches = iter(batches)
        self._rows: pa.RecordBatch | None = None
        self._begin = 0
        self._until_ms = 0
        self._expired_ms = 0

    def before(self, now_ms: int) -> ShardState:
        """The state made of everything before an instant; always the same object.

        Raises `ValueError` for an instant before the last one asked for.
        """
        if now_ms < self._until_ms:
            raise ValueError(f"{now_ms} ms is before {self._until_ms} ms, to which time has gone")
        self._until_ms = now_ms
        while True:
            if self._rows is None:
                batch = next(self._batches, None)
                if batch is None:
                    return self._state
                self._rows, self._begin = _routed(batch), 0
            times_ms = self._rows.column("time_ms").to_numpy()
            end = int(np.searchsorted(times_ms, now_ms))
            if end > self._begin:
                apply(self._state, self._rows.slice(self._begin, end - self._begin))
                self._begin = end
                self._expire(int(times_ms[end - 1]))
            if end < len(times_ms):
                return self._state
            self._rows = None

    def _expire(self, now_ms: int) -> None:
        if now_ms - self._expired_ms >= _EXPIRE_EVERY_MS:
            self._state.expire(now_ms)
            self._expired_ms = now_ms


def could_be_shown(state: ShardState, post_ids: Ids, author_ids: Ids) -> npt.NDArray[np.bool_]:
    """Whether each post (n,) was there, and neither deleted nor by an author who was gone."""
    known = state.posts.table.rows_of(post_ids) >= 0
    there: npt.NDArray[np.bool_] = known & ~state.posts.gone(post_ids, author_ids)
    return there


def _whole(settings: Settings) -> ShardState:
    """An empty state that takes every user's events, of the capacity of all shards together."""
    shards, graph, vectors = settings.shards, settings.graph, settings.vectors
    whole = settings.model_copy(
        update={
            "log": settings.log.model_copy(update={"lanes": 1}),
            "shards": shards.model_copy(update={"count": 1, "slice_rows": 65_536}),
            "graph": graph.model_copy(
                update={"edges_per_segment": graph.edges_per_segment * shards.count}
            ),
            "aggregates": settings.aggregates.model_copy(
                update={"bytes": settings.aggregates.bytes * shards.count}
            ),
            "vectors": vectors.model_copy(
                update={
                    name: getattr(vectors, name) * shards.count
                    for name in ("max_recent", "max_posts", "max_entries")
                }
            ),
        }
    )
    return ShardState(whole, Models(ArtifactStore(settings.data_dir / "artifacts")))


def _routed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows for one lane that holds every partition, in order of time again."""
    rows = route(batch, 1).get(0)
    if rows is None:
        return batch.slice(0, 0)
    return rows.take(pa.array(np.argsort(rows.column("time_ms").to_numpy(), kind="stable")))

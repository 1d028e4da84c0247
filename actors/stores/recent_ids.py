"""Which events were applied already: their ids, for as long as they may come again."""

import numpy as np
import numpy.typing as npt

from actors.stores.id_map import IdMap
from cluster.ids import Ids, mix64

_BUCKETS_PER_WINDOW = 4


class RecentIds:
    """Admits each (event, partition) of one lane once within a window of event time.

    Ids are kept in buckets of event time, so that a redelivered event is looked for in one
    small map, and old ids go a bucket at a time.
    """

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._width_ms = max(window_ms // _BUCKETS_PER_WINDOW, 1)
        self._buckets: dict[int, IdMap] = {}
        self.watermark_ms = 0
        """The latest event time seen, 0 before the first."""

    @property
    def memory_bytes(self) -> int:
        """Memory held."""
        return sum(bucket.memory_bytes for bucket in self._buckets.values())

    def admit(
        self,
        event_ids: Ids,
        partitions: npt.NDArray[np.uint16],
        times_ms: Ids,
        mine: npt.NDArray[np.bool_],
        imported: npt.NDArray[np.bool_],
    ) -> tuple[npt.NDArray[np.bool_], int]:
        """Which rows of `mine` are new, and how many were refused as too old to tell.

        All rows of the lane come, in the order of the log: each is as old as those before it
        say, however many come in one call and whatever the number of shards. `imported` rows
        were checked against the archive and are of no copied record (`imported_records`), so
        the old ones are new too.
        """
        latest_ms = np.maximum.accumulate(np.maximum(times_ms, self.watermark_ms))
        if len(latest_ms):
            self.watermark_ms = int(latest_ms[-1])
        too_old = times_ms < latest_ms - self._window_ms
        admitted = mine & too_old & imported
        n_late = int(np.count_nonzero(mine & too_old & ~imported))
        recent = mine & ~too_old
        keys = keys_of(event_ids, partitions)
        buckets = times_ms // self._width_ms
        for bucket in np.unique(buckets[recent]).tolist():
            rows = np.flatnonzero(recent & (buckets == bucket))
            admitted[rows] = _first_seen(self._buckets.setdefault(bucket, IdMap()), keys[rows])
        oldest_ms = self.watermark_ms - self._window_ms
        for bucket in [b for b in self._buckets if (b + 1) * self._width_ms <= oldest_ms]:
            del self._buckets[bucket]
        return admitted, n_late

    def columns(self) -> dict[str, Ids]:
        """Keys and their buckets, for `restore`; copies."""
        keys = [bucket.keys.copy() for bucket in self._buckets.values()]
        numbers = [np.full(len(k), b, np.int64) for b, k in zip(self._buckets, keys, strict=True)]
        empty = [np.empty(0, np.int64)]
        return {"keys": np.concatenate(keys or empty), "buckets": np.concatenate(numbers or empty)}

    def restore(self, columns: dict[str, Ids], watermark_ms: int) -> None:
        """Take back what `columns` gave, of this shard or of another.

        Where they had read the log to different ends, it is read on from the first of them,
        and so the earliest watermark holds.
        """
        self.watermark_ms = min(self.watermark_ms or watermark_ms, watermark_ms)
        for bucket in np.unique(columns["buckets"]).tolist():
            keys = columns["keys"][columns["buckets"] == bucket]
            self._buckets.setdefault(bucket, IdMap(len(keys))).get_or_insert(keys)


def keys_of(event_ids: Ids, partitions: npt.NDArray[np.uint16]) -> Ids:
    """What stands for each (event, partition): positive, int64."""
    mixed = mix64(mix64(event_ids) + partitions.astype(np.uint64))
    return np.maximum((mixed >> np.uint64(1)).astype(np.int64), 1)


def _first_seen(seen: IdMap, keys: Ids) -> npt.NDArray[np.bool_]:
    n_before = len(seen)
    numbers = seen.get_or_insert(keys)
    first = np.zeros(len(keys), bool)
    _, once = np.unique(numbers, return_index=True)
    first[once] = True
    return first & (numbers >= n_before)

"""Posts scored for a viewer a moment ago, kept beside the viewer's state for a few minutes."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from actors.stores.columns import Array
from cluster.ids import Ids
from cluster.source_settings import CachedPostsSettings


@dataclass(frozen=True)
class ScoredPosts:
    """Posts of one viewer and what the model said of them; arrays of n rows, no post twice."""

    source_names: tuple[str, ...] = ()
    """The product's sources, in the order in which it numbers them."""
    model_version: str = ""
    """What gave the scores."""
    post_ids: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    author_ids: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    source: npt.NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    """The source that each counts under."""
    scores: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    """The model's, before any heuristics."""
    scored_ms: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    """When it said so."""
    evidence: Mapping[str, Array] = field(default_factory=dict)
    """Further columns, which say how each was found."""

    def __len__(self) -> int:
        return len(self.post_ids)

    @property
    def memory_bytes(self) -> int:
        """Memory held by the columns."""
        return sum(values.nbytes for values in self._columns().values())

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "ScoredPosts":
        """The posts at given rows, or of a mask."""
        return self._with({name: values[rows] for name, values in self._columns().items()})

    def rows_of(self, post_ids: Ids) -> npt.NDArray[np.int64]:
        """Where each post stands, −1 where it does not."""
        if not len(self):
            return np.full(len(post_ids), -1, np.int64)
        order = np.argsort(self.post_ids)
        at = np.searchsorted(self.post_ids, post_ids, sorter=order)
        rows: npt.NDArray[np.int64] = order[np.minimum(at, len(self) - 1)]
        return np.where(self.post_ids[rows] == post_ids, rows, -1)

    def joined(self, other: "ScoredPosts") -> "ScoredPosts":
        """With what another adds; of a post in both the copy scored last stays.

        Other sources, columns or models are those of another version: then this one alone.
        """
        same = other.source_names == self.source_names
        same &= other.model_version == self.model_version
        if not (same and other.evidence.keys() == self.evidence.keys() and len(other)):
            return self
        theirs = other._columns()
        if not len(self):
            return other
        both = self._with({n: np.concatenate([v, theirs[n]]) for n, v in self._columns().items()})
        order = np.lexsort((np.arange(len(both)), -both.scored_ms, both.post_ids))
        ordered = both.post_ids[order]
        return both.take(np.sort(order[np.r_[True, ordered[1:] != ordered[:-1]]]))

    def _columns(self) -> dict[str, Array]:
        named = ("post_ids", "author_ids", "source", "scores", "scored_ms")
        return {name: getattr(self, name) for name in named} | dict(self.evidence)

    def _with(self, columns: dict[str, Array]) -> "ScoredPosts":
        own = {name: columns[name] for name in columns if name not in self.evidence}
        evidence = {name: columns[name] for name in self.evidence}
        return ScoredPosts(self.source_names, self.model_version, **own, evidence=evidence)


class ScoredCache:
    """What was scored for each viewer of a shard, as long as it is worth something.

    Not part of the log, nor of a snapshot: what is lost with its process is scored again.
    """

    def __init__(self, settings: CachedPostsSettings) -> None:
        self._settings = settings
        self._by_viewer: OrderedDict[int, ScoredPosts] = OrderedDict()
        self._bytes = 0
        # Written while other queries read, so the shard's lock does not guard it.
        self._lock = threading.Lock()

    @property
    def memory_bytes(self) -> int:
        """Memory held by all columns."""
        return self._bytes

    def put(self, viewer_id: int, posts: ScoredPosts, now_ms: int) -> None:
        """Keep the best of these and of what is held, and forget what is beyond the limits.

        A post keeps the time at which the model scored it, however often it is put.
        """
        with self._lock:
            held = self._by_viewer.pop(viewer_id, NOTHING_SCORED)
            self._bytes -= held.memory_bytes
            kept = self._fresh(posts.joined(held), now_ms)
            best = np.lexsort((kept.post_ids, -kept.scores))[: self._settings.max_posts]
            if len(best):
                # Rows chosen are copied, so that a message is not held for a part of it.
                self._by_viewer[viewer_id] = kept = kept.take(best)
                self._bytes += kept.memory_bytes
            while self._by_viewer and self._bytes > self._settings.max_bytes:
                self._bytes -= self._by_viewer.popitem(last=False)[1].memory_bytes
            self._drop_expired(now_ms)

    def get(self, viewer_id: int, now_ms: int) -> ScoredPosts:
        """What is held of a viewer and not yet expired, the best first."""
        with self._lock:
            held = self._by_viewer.get(viewer_id, NOTHING_SCORED)
        return self._fresh(held, now_ms)

    def _fresh(self, posts: ScoredPosts, now_ms: int) -> ScoredPosts:
        age_ms = now_ms - posts.scored_ms
        fresh = (age_ms >= 0) & (age_ms < self._settings.ttl_ms)
        return posts if fresh.all() else posts.take(fresh)

    def _drop_expired(self, now_ms: int) -> None:
        """Forget whole viewers, those first who were put first."""
        while self._by_viewer:
            viewer_id, oldest = next(iter(self._by_viewer.items()))
            if int(oldest.scored_ms.max()) + self._settings.ttl_ms > now_ms:
                return
            self._bytes -= oldest.memory_bytes
            del self._by_viewer[viewer_id]


NOTHING_SCORED = ScoredPosts()

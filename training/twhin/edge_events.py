"""Events that make or undo edges, spilled to disk by the hash of the pair they concern."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.rows import Engagements, Rows
from cluster.archive import Archive
from cluster.events import UNDONE_BY, Kind
from cluster.ids import Ids, mix64
from cluster.routing import PARTITION
from training.twhin.relations import AUTHOR_OF, ENGAGEMENT_RELATIONS, FOLLOW

N_BUCKETS = 64
"""Each is held in memory alone: a billion events make buckets of 400 MB."""
EVENT = np.dtype(
    [(name, "<i8") for name in ("lhs", "rhs", "owner", "time_ms")]
    + [("rel", "u1"), ("undone", "?")]
)
Events = npt.NDArray[np.void]
"""Structured arrays of `EVENT`, of shape (n,); `owner` is the author of a post on the right."""

_COLUMNS = (
    *("kind", "time_ms", "actor_id", "post_id", "author_id", "target_id"),
    *("reply_to_id", "reply_to_author_id", "quote_of_id", "quote_of_author_id"),
    *("repost_of_id", "repost_of_author_id"),
)
_ENGAGED = {kind: (relation, False) for kind, relation in ENGAGEMENT_RELATIONS.items()}
_ENGAGED |= {
    undo: (ENGAGEMENT_RELATIONS[kind], True)
    for undo, kind in UNDONE_BY.items()
    if kind in ENGAGEMENT_RELATIONS
}
_KINDS = (
    *(Kind.FOLLOW, Kind.UNFOLLOW, Kind.POST_CREATE, Kind.POST_DELETE, Kind.USER_DELETE),
    *_ENGAGED,
)
_MINUTE_MS = 60_000


@dataclass(frozen=True)
class EdgeEvents:
    """All edge events of an archive, in buckets on disk, and what was deleted."""

    buckets: tuple[Path, ...]
    n_rows: int
    first_ms: int
    last_ms: int
    minutes: Counter[int]
    """Minute → edge events in it."""
    deleted_users: Ids
    deleted_posts: Ids

    @classmethod
    def spill(cls, archive: Archive, folder: Path, until_ms: int | None) -> "EdgeEvents":
        """Read an archive once, in order of time, holding one batch in memory."""
        folder.mkdir()
        buckets = tuple(folder / f"{i:02d}" for i in range(N_BUCKETS))
        files = [open(path, "wb") for path in buckets]  # noqa: SIM115 - closed below
        minutes: Counter[int] = Counter()
        times_ms: list[int] = []
        users, posts = [], []
        n_rows = 0
        try:
            for batch in archive.batches(_KINDS, until_ms=until_ms, columns=_COLUMNS):
                found = _edge_events(batch)
                n_rows += len(found)
                seen = batch.column("time_ms").to_numpy()
                times_ms = [*times_ms[:1], int(seen[0]), int(seen[-1])]
                values, counts = np.unique(found["time_ms"] // _MINUTE_MS, return_counts=True)
                minutes.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
                rows = Rows(batch)
                users.append(rows.of(Kind.USER_DELETE)["actor_id"])
                posts.append(rows.of(Kind.POST_DELETE)["post_id"])
                bucket = _buckets_of(found)
                order = np.argsort(bucket, kind="stable")
                ends = np.searchsorted(bucket[order], np.arange(N_BUCKETS + 1))
                for i, file in enumerate(files):
                    found[order[ends[i] : ends[i + 1]]].tofile(file)
        finally:
            for file in files:
                file.close()
        return cls(
            *(buckets, n_rows, times_ms[0] if times_ms else 0, times_ms[-1] if times_ms else 0),
            *(minutes, _ids(users), _ids(posts)),
        )

    def read(self, path: Path) -> Events:
        """Events of a bucket, those of a pair in order of time and event id.

        What concerns a deleted post, user or author is left out.
        """
        events: Events = np.fromfile(path, EVENT)
        gone = np.isin(events["lhs"], self.deleted_users)
        gone |= np.isin(events["owner"], self.deleted_users)
        gone |= (events["rel"] != FOLLOW) & np.isin(events["rhs"], self.deleted_posts)
        return events[~gone]

    def time_of_share(self, share: float) -> int:
        """The minute before which at least this share of the edge events happened, ms."""
        wanted = share * self.n_rows
        for minute in sorted(self.minutes):
            if wanted <= 0:
                return minute * _MINUTE_MS
            wanted -= self.minutes[minute]
        return self.last_ms + 1


def _edge_events(batch: pa.RecordBatch) -> Events:
    # Nothing is routed here: which partition a row is meant for does not matter.
    batch = batch.append_column(PARTITION, pa.array(np.zeros(len(batch), np.uint16)))
    rows = Rows(batch)
    follows = rows.of(Kind.FOLLOW, Kind.UNFOLLOW)
    engaged = Engagements.of(rows)
    engaged = engaged.where(np.isin(engaged.kinds, list(_ENGAGED)))
    created = rows.of(Kind.POST_CREATE)
    reposts = created.column("repost_of_id")
    if reposts is not None:
        # A repost is an edge to the original, not a post that anybody can be shown.
        created = created.where(reposts.fill_null(0).to_numpy() == 0)
    relations, undone = np.zeros(256, np.uint8), np.zeros(256, bool)
    for kind, (relation, undoes) in _ENGAGED.items():
        relations[kind], undone[kind] = relation, undoes
    parts = [
        _rows(follows["actor_id"], follows["target_id"], follows["target_id"], follows["time_ms"]),
        _rows(engaged.actor_ids, engaged.post_ids, engaged.author_ids, engaged.times_ms),
        _rows(created["author_id"], created["post_id"], created["author_id"], created["time_ms"]),
    ]
    parts[0]["rel"], parts[0]["undone"] = FOLLOW, follows["kind"] == Kind.UNFOLLOW
    parts[1]["rel"], parts[1]["undone"] = relations[engaged.kinds], undone[engaged.kinds]
    parts[2]["rel"], parts[2]["undone"] = AUTHOR_OF, False
    return np.concatenate(parts)


def _rows(lhs: Ids, rhs: Ids, owners: Ids, times_ms: Ids) -> Events:
    rows = np.empty(len(lhs), EVENT)
    rows["lhs"], rows["rhs"], rows["owner"], rows["time_ms"] = lhs, rhs, owners, times_ms
    return rows


def _buckets_of(events: Events) -> npt.NDArray[np.uint8]:
    mixed = mix64(mix64(events["lhs"]) + events["rhs"].astype(np.uint64) + events["rel"])
    return (mixed >> np.uint64(58)).astype(np.uint8)


def _ids(parts: list[npt.NDArray[np.int64]]) -> Ids:
    found: Ids = np.unique(np.concatenate([np.empty(0, np.int64), *parts]))
    return found

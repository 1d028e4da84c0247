"""The kind `aggregates`: real-time counters of viewers, authors, posts and topics of one shard.

An event is counted where its actor lives by what is known there (the event itself, the actor,
the actor's lists), and where its author lives by what is known of the post. Groups by topic
have a part in every shard; their sum is what is meant. An undo takes nothing back, as in the
original. Facts are those of when an event is applied: a topic that an edit gives a post counts
from then on.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.aggregate_events import Happenings
from actors.features.aggregate_groups import Selection, real_time_groups
from actors.features.aggregate_records import (
    BIT_OF,
    FEATURES,
    Floats,
    Ragged,
    Records,
)
from actors.features.aggregation import FOREVER, AggregateGroup
from actors.features.post_facts import post_features, seen
from actors.lists import Lists
from actors.rows import Engagements, Rows
from actors.stores.columns import Array
from actors.stores.posts import PostTable
from actors.stores.users import UserTable
from cluster.events import Kind
from cluster.ids import Ids, id_of_string
from cluster.settings import AggregateSettings

NEW_ACCOUNT_MS = 30 * 86_400_000
_EXPORTED_BYTES = 64 * 2**20
_HALF = np.uint64(1 << BIT_OF["is_video_watched_half"])
_STAYS = np.isin(np.arange(256), (Kind.CLICK, Kind.DWELL, Kind.PROFILE_CLICK, Kind.VIDEO_WATCH))


class AggregatesKind:
    """The real-time aggregates of the users of one shard, and their posts."""

    def __init__(
        self,
        settings: AggregateSettings,
        selection: Selection,
        users: UserTable,
        posts: PostTable | None,
        lists: Lists | None,
    ) -> None:
        """`users`, `posts` and `lists` are written by other kinds of the shard, before this one
        sees the same rows; without posts nothing is known of topics and media."""
        self._users, self._posts, self._lists = users, posts, lists
        self.groups = {group.name: group for group in real_time_groups(selection)}
        parts = [_part(group) for group in self.groups.values() if group.home == "all"]
        counted = [*self.groups.values(), *parts]
        share = settings.bytes // len(counted)
        # A part must not end before the others, or their sum would depend on the shards.
        ages_ms = {g.name: FOREVER if g.home == "all" else settings.max_age_ms for g in counted}
        self.tables = {g.name: g.table(share, ages_ms[g.name]) for g in counted}
        self._parts = {group.name: group for group in parts}
        self._exported = {g.name: g for g in counted if g.home != "all" or g.name in self._parts}
        names = [(name, at) for name, g in self._exported.items() for at in range(len(g.columns))]
        ids = [id_of_string(slot) for g in self._exported.values() for slot in g.column_names]
        order = np.argsort(ids)
        self._slot_ids = np.array(ids)[order]
        places = list(self._exported)
        self._slot_groups = np.array([places.index(name) for name, _ in names])[order]
        self._slot_places = np.array([at for _, at in names])[order]
        asked = {name for g in self.groups.values() for name in (*g.features, g.only) if name}
        self._of_posts = [name for name in asked if FEATURES[name].known == "post"]

    @property
    def memory_bytes(self) -> int:
        """Memory held by all tables."""
        return sum(table.memory_bytes for table in self.tables.values())

    @property
    def evicted(self) -> int:
        """Rows that had to go for others since the shard started."""
        return sum(table.evicted for table in self.tables.values())

    def __len__(self) -> int:
        return sum(len(self.tables[name]) for name in self.groups)

    def apply(self, rows: Rows, engagements: Engagements) -> None:
        """Count admitted rows; `engagements` do not say how long anybody stayed."""
        happened = Happenings.of(rows)
        if not len(happened):
            return
        mine, theirs = happened.of_actors(), happened.of_authors()
        viewer_side, author_side = self._of_viewers(mine), self._of_authors(theirs)
        for group in (*self.groups.values(), *self._parts.values()):
            if group.home == "viewer":
                group.count(self.tables[group.name], viewer_side, mine.actor_ids)
            else:
                group.count(self.tables[group.name], author_side, theirs.author_ids)

    def read(self, group: str, keys: tuple[Ids, ...], now_ms: int) -> Floats:
        """The columns of n tuples of a group's keys as of `now_ms`, float32 (n, columns).

        Zeros where nothing is known. Of a group at home in all shards this is a part, to be
        added to those of the others. Raises `KeyError` for a group that is not counted.
        """
        return self.tables[group].read(keys, now_ms)

    def exports(self) -> list[Callable[[], dict[str, Array]]]:
        """Copies of all tables, in parts; each call makes columns of what `restore` needs.

        A row for each counter that is not 0, named by the hash of its name, so that a snapshot
        may be taken and restored with different groups.
        """
        parts: list[list[tuple[AggregateGroup, dict[str, Array]]]] = []
        room = 0
        for name, group in self._exported.items():
            rows = self.tables[name].rows()
            n_bytes = rows["values"].nbytes
            if not len(rows["owner_ids"]):
                continue
            if not parts or n_bytes > room:
                parts.append([])
                room = _EXPORTED_BYTES
            parts[-1].append((group, rows))
            room -= n_bytes
        return [_exporter(part) for part in parts]

    def restore(self, columns: Mapping[str, Array]) -> None:
        """Take back rows that `exports` gave, of counters that are still kept."""
        if not len(self._slot_ids):
            return
        at = np.minimum(
            np.searchsorted(self._slot_ids, columns["slot_ids"]), len(self._slot_ids) - 1
        )
        known = self._slot_ids[at] == columns["slot_ids"]
        for place, name in enumerate(self._exported):
            cells = np.flatnonzero(known & (self._slot_groups[at] == place))
            if not len(cells):
                continue
            table, group = self.tables[name], self._exported[name]
            ids = np.stack([columns["first_ids"][cells], columns["second_ids"][cells]], axis=1)
            ids = ids[:, : len(group.keys)]
            ids, first, row_of = np.unique(ids, axis=0, return_index=True, return_inverse=True)
            values = np.zeros((len(ids), table.n_slots))
            values[row_of.reshape(-1), self._slot_places[at[cells]]] = columns["values"][cells]
            rows = {
                "ids": ids,
                "owner_ids": columns["owner_ids"][cells[first]],
                "last_ms": columns["last_ms"][cells[first]],
                "values": values,
            }
            table.merge(rows)
            if name in self._parts:
                self.tables[_whole_name(name)].merge(rows | {"ids": ids[:, :-1]})

    def _of_viewers(self, happened: Happenings) -> Records:
        """What the actors' shard knows of what they did."""
        n = len(happened)
        lists = np.zeros(n + 1, np.int64), np.empty(0, np.int64)
        if self._lists:
            lists = self._lists.holding(happened.actor_ids, happened.author_ids)
        keys = _keys(happened) | {"lists": Ragged(*lists)}
        rows = self._users.rows_of(happened.actor_ids)
        created_ms = _taken(self._users["created_ms"], rows)
        new = (created_ms > 0) & (happened.times_ms - created_ms < NEW_ACCOUNT_MS)
        features = events_features(happened) | {
            "is_viewer_new": new.astype(np.float32),
            "is_viewer_verified": _taken(self._users["verified"], rows).astype(np.float32),
        }
        return Records(happened.times_ms, happened.labels, keys, features)

    def _of_authors(self, happened: Happenings) -> Records:
        """What the authors' shard knows of what others did to their posts."""
        features, labels = events_features(happened), happened.labels
        topics = np.zeros(len(happened), np.int64)
        if self._posts is not None:
            rows = self._posts.rows_of(happened.post_ids)
            rows[happened.post_ids == 0] = -1
            there = seen(self._posts, rows, happened.times_ms)
            topics[there] = self._posts["topic_id"][rows[there]]
            features |= post_features(self._posts, rows, happened.times_ms, self._of_posts)
            video_ms = _taken(self._posts["video_duration_ms"], np.where(there, rows, -1))
            labels = labels | watched_half(happened, video_ms)
        keys = _keys(happened) | {"topics": topics}
        return Records(happened.times_ms, labels, keys, features)


def watched_half(happened: Happenings, video_ms: Ids) -> npt.NDArray[np.uint64]:
    """The bit of a watch of half a video, for n events on videos of some lengths (0: unknown)."""
    watched = (happened.kinds == Kind.VIDEO_WATCH) & (video_ms > 0)
    return np.where(watched & (2 * happened.values >= video_ms), _HALF, np.uint64(0))


def _keys(happened: Happenings) -> dict[str, Any]:
    return {
        "viewer_id": happened.actor_ids,
        "author_id": happened.author_ids,
        "post_id": happened.post_ids,
        # From 1, since 0 is no key.
        "partition": happened.partitions.astype(np.int64) + 1,
    }


def events_features(happened: Happenings) -> dict[str, Floats]:
    """What events themselves say: how long somebody stayed, and where in the timeline."""
    stays = np.where(_STAYS[happened.kinds], happened.values / np.float32(1e3), np.float32(0))
    return {"stay_s": stays, "position": happened.positions}


def _part(group: AggregateGroup) -> AggregateGroup:
    """The same group by partition, so that a snapshot can be divided among other shards."""
    return replace(group, name=f"{group.name}.part", keys=(*group.keys, "partition"))


def _whole_name(part: str) -> str:
    return part.removesuffix(".part")


def _taken(column: Array, rows: npt.NDArray[np.int32]) -> Array:
    """A column at some rows, 0 at row −1."""
    values = np.zeros(len(rows), column.dtype)
    known = rows >= 0
    values[known] = column[rows[known]]
    return values


def _exporter(
    part: list[tuple[AggregateGroup, dict[str, Array]]],
) -> Callable[[], dict[str, Array]]:
    def export() -> dict[str, Array]:
        found = [_cells(group, rows) for group, rows in part]
        return {name: np.concatenate([columns[name] for columns in found]) for name in found[0]}

    return export


def _cells(group: AggregateGroup, rows: dict[str, Array]) -> dict[str, Array]:
    at, slots = np.nonzero(rows["values"])
    slot_ids = np.array([id_of_string(name) for name in group.column_names])
    ids = rows["ids"]
    return {
        "owner_ids": rows["owner_ids"][at],
        "first_ids": ids[at, 0],
        "second_ids": ids[at, 1] if ids.shape[1] > 1 else np.zeros(len(at), np.int64),
        "last_ms": rows["last_ms"][at],
        "slot_ids": slot_ids[slots],
        "values": rows["values"][at, slots],
    }

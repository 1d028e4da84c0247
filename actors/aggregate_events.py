"""Which events aggregates are counted from, one row for each, in the order of the log."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.features.aggregate_records import ON_USERS, Bits, Floats, labels_of
from actors.rows import Rows
from actors.stores.columns import Array
from cluster.events import REFERENCES, Kind
from cluster.ids import Ids, partitions_of
from cluster.routing import PARTITION

_MADE_AS_POSTS = (
    (Kind.REPLY, "reply_to_id"),
    (Kind.QUOTE, "quote_of_id"),
    (Kind.REPOST, "repost_of_id"),
)


@dataclass(frozen=True)
class Happenings:
    """What people did to others' posts and to others; arrays of shape (n,)."""

    actor_ids: Ids
    author_ids: Ids
    """Whose post, profile or following it is about; never the actor."""
    post_ids: Ids
    """0 for what is about no post: follows, blocks, mutes, visits of profiles."""
    kinds: npt.NDArray[np.uint8]
    times_ms: Ids
    values: Floats
    positions: Floats
    """The place in the timeline from 1, 0 where the event does not say."""
    partitions: npt.NDArray[np.uint16]
    labels: Bits

    def __len__(self) -> int:
        return len(self.actor_ids)

    @staticmethod
    def of(rows: Rows) -> "Happenings":
        """All that any label tells of, undone later or not; a reply made as a post counts too."""
        kinds, posts = rows["kind"], rows["post_id"]
        on_user = _ON_USERS[kinds]
        given = _LABELLED[kinds] & ((posts != 0) | on_user | (kinds == Kind.PROFILE_CLICK))
        at = np.flatnonzero(given)
        parts: list[tuple[Array, ...]] = [
            (
                *(at, rows["actor_id"][at]),
                np.where(on_user[at], rows["target_id"][at], rows["author_id"][at]),
                *(np.where(on_user[at], 0, posts[at]), kinds[at], rows["value"][at]),
            )
        ]
        if (kinds == Kind.POST_CREATE).any():
            parts += _made_as_posts(rows)
        at, actors, authors, posts, kinds, values = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        # In the order of the log: what a full table forgets depends on it.
        order = np.argsort(at, kind="stable")
        order = order[(actors[order] != authors[order]) & (actors[order] != 0)]
        order = order[authors[order] != 0]
        at, kinds, values = at[order], kinds[order], values[order]
        return Happenings(
            *(actors[order], authors[order], posts[order], kinds, rows["time_ms"][at], values),
            _positions(rows)[at],
            rows[PARTITION][at],
            labels_of(kinds, values),
        )

    def where(self, mask: npt.NDArray[np.bool_]) -> "Happenings":
        """Those of a mask of shape (n,)."""
        return Happenings(*(values[mask] for values in vars(self).values()))

    def of_actors(self) -> "Happenings":
        """Those meant for their actors' partitions."""
        return self.where(partitions_of(self.actor_ids) == self.partitions)

    def of_authors(self) -> "Happenings":
        """Those meant for the partitions of the authors concerned."""
        return self.where(partitions_of(self.author_ids) == self.partitions)


def _made_as_posts(rows: Rows) -> list[tuple[Array, ...]]:
    created = rows["kind"] == Kind.POST_CREATE
    found: list[tuple[Array, ...]] = []
    for kind, link in _MADE_AS_POSTS:
        links, writers = rows.column(link), rows.column(REFERENCES[link])
        if links is None or writers is None:
            continue
        linked = links.fill_null(0).to_numpy()
        at = np.flatnonzero(created & (linked != 0))
        n = len(at)
        authors = writers.fill_null(0).to_numpy()[at]
        kinds, values = np.full(n, kind, np.uint8), np.zeros(n, np.float32)
        found.append((at, rows["author_id"][at], authors, linked[at], kinds, values))
    return found


def _positions(rows: Rows) -> Floats:
    column = rows.column("position")
    if column is None:
        return np.zeros(len(rows), np.float32)
    told: Floats = column.cast("int32").fill_null(-1).to_numpy().astype(np.float32) + 1
    return told


_ON_USERS = np.isin(np.arange(256), ON_USERS)
_LABELLED = labels_of(np.arange(256, dtype=np.uint8), np.zeros(256, np.float32)) != 0

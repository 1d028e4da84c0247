"""A lane's record, read for one shard: the rows meant for it, each exactly once."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.stores.columns import Array
from cluster.events import Kind
from cluster.ids import Ids, partitions_of
from cluster.routing import PARTITION

_DERIVED = (
    (Kind.REPLY, "reply_to_id", "reply_to_author_id"),
    (Kind.QUOTE, "quote_of_id", "quote_of_author_id"),
    (Kind.REPOST, "repost_of_id", "repost_of_author_id"),
)


class Rows:
    """Event rows with their core columns as arrays of shape (n,).

    Choosing rows costs only those arrays; the other columns are looked up when asked for.
    """

    def __init__(self, batch: pa.RecordBatch, chosen: Ids | None = None) -> None:
        self._all = batch
        self._chosen = chosen
        self._core: dict[str, Array] = {}

    def __len__(self) -> int:
        return int(self._all.num_rows) if self._chosen is None else len(self._chosen)

    def __getitem__(self, name: str) -> Array:
        values = self._core.get(name)
        if values is None:
            values = self._all.column(name).to_numpy(zero_copy_only=False)
            if self._chosen is not None:
                values = values[self._chosen]
            self._core[name] = values
        return values

    @property
    def batch(self) -> pa.RecordBatch:
        """The rows with all their columns."""
        return self._all if self._chosen is None else self._all.take(pa.array(self._chosen))

    def column(self, name: str) -> pa.Array | None:
        """An optional column, or None where no row of the batch has it."""
        if name not in self._all.schema.names:
            return None
        column = self._all.column(name)
        return column if self._chosen is None else column.take(pa.array(self._chosen))

    def take(self, rows: Ids) -> "Rows":
        """The rows at given places."""
        return Rows(self._all, rows if self._chosen is None else self._chosen[rows])

    def where(self, mask: npt.NDArray[np.bool_]) -> "Rows":
        """The rows of a mask of shape (n,)."""
        return self if mask.all() else self.take(np.flatnonzero(mask))

    def of(self, *kinds: Kind) -> "Rows":
        """The rows of the given kinds."""
        wanted = np.zeros(256, bool)
        wanted[list(kinds)] = True
        return self.where(wanted[self["kind"]])

    def concern(self, name: str) -> npt.NDArray[np.bool_]:
        """Whether each row is meant for the partition of its user in column `name`."""
        users = self[name]
        meant: npt.NDArray[np.bool_] = (users != 0) & (partitions_of(users) == self[PARTITION])
        return meant


@dataclass(frozen=True)
class Engagements:
    """Engagements with posts, arrays of shape (n,): given as such, or by a post's links."""

    actor_ids: Ids
    post_ids: Ids
    author_ids: Ids
    kinds: npt.NDArray[np.uint8]
    times_ms: Ids
    of_actor: npt.NDArray[np.bool_]
    """The row is meant for the actor's partition."""
    of_author: npt.NDArray[np.bool_]
    """The row is meant for the partition of the post's author."""

    @staticmethod
    def of(rows: Rows) -> "Engagements":
        """All engagements in rows: a reply, quote or repost made as a post counts as one."""
        given = rows.where(
            (rows["post_id"] != 0) & (rows["actor_id"] != 0) & (rows["kind"] >= Kind.FAVOURITE)
        )
        parts = [
            tuple(
                given[name]
                for name in ("actor_id", "post_id", "author_id", "kind", "time_ms", PARTITION)
            )
        ]
        created = rows.of(Kind.POST_CREATE)
        for kind, post, author in _DERIVED:
            links, writers = created.column(post), created.column(author)
            if len(created) and links is not None and writers is not None:
                linked = links.fill_null(0).to_numpy()
                some = linked != 0
                authors = writers.fill_null(0).to_numpy()[some]
                kinds = np.full(len(authors), kind, np.uint8)
                parts.append(
                    (
                        *(created["author_id"][some], linked[some], authors, kinds),
                        *(created["time_ms"][some], created[PARTITION][some]),
                    )
                )
        actors, posts, authors, kinds, times, partitions = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        return Engagements(
            *(actors, posts, authors, kinds, times),
            partitions_of(actors) == partitions,
            partitions_of(authors) == partitions,
        )

    def where(self, mask: npt.NDArray[np.bool_]) -> "Engagements":
        """The engagements of a mask of shape (n,)."""
        return Engagements(
            *(self.actor_ids[mask], self.post_ids[mask], self.author_ids[mask]),
            *(self.kinds[mask], self.times_ms[mask]),
            *(self.of_actor[mask], self.of_author[mask]),
        )

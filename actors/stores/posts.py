"""The columnar post table: content, links, counters, and each author's posts by time."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.features.text import STATISTICS, text_statistics
from actors.stores.columns import Array, Columns
from actors.stores.id_lists import IdLists
from actors.stores.id_map import IdMap
from actors.stores.kernels import kernel
from actors.stores.recent_counts import COLUMNS as DECAYED_COLUMNS
from actors.stores.recent_counts import count_decayed, merged
from actors.stores.texts import Texts
from actors.stores.versions import winners
from actors.stores.words import Words
from cluster.events import ENGAGEMENTS, NEGATIVE_FEEDBACK, UNDONE_BY, Kind
from cluster.ids import Ids

N_LABELS = 3
"""Sorts of safety labels of which a post's row says how strongly it has them."""

COUNTERS = (*ENGAGEMENTS, *NEGATIVE_FEEDBACK, Kind.IMPRESSION)
"""What is counted on a post, in column order; an undo counts down."""

LINKS = (
    *("reply_to_id", "reply_to_author_id", "root_id", "quote_of_id", "quote_of_author_id"),
    *("root_author_id", "repost_of_id", "repost_of_author_id", "edit_of_id"),
)
_CONTENT = {
    "language": np.int16,
    "image_count": np.int16,
    "video_duration_ms": np.int64,
    "link_count": np.int16,
    "sensitive": np.bool_,
    "exclusive": np.bool_,
    "topic_id": np.int64,
    "topics_start": np.int64,
    "topics_count": np.int32,
    "text_start": np.int64,
    "text_bytes": np.int32,
    "statistics": (np.float32, len(STATISTICS)),
}

MAX_EDITS = 16
"""Longest chain of edits followed to the newest version."""
_PLAIN_CONTENT = {
    **dict.fromkeys(("image_count", "video_duration_ms", "link_count"), 0),
    **dict.fromkeys(("sensitive", "exclusive"), False),
}

_COUNTER_OF = np.full(256, -1, np.int8)
_CHANGE_OF = np.zeros(256, np.int8)
for _column, _kind in enumerate(COUNTERS):
    _COUNTER_OF[_kind], _CHANGE_OF[_kind] = _column, 1
for _undo, _kind in UNDONE_BY.items():
    _COUNTER_OF[_undo], _CHANGE_OF[_undo] = COUNTERS.index(_kind), -1

_NO_ROWS = np.empty(0, np.int64)


class PostTable:
    """Posts of the users of one shard.

    A post has a row from the first event that names it: counters may arrive before the post
    itself, and a deletion before either. `created_ms` is 0 until the post arrives.
    """

    def __init__(self) -> None:
        self._row_of_id = IdMap()
        self._table = Columns(
            {
                "post_ids": np.int64,
                "author_ids": np.int64,
                "created_ms": np.int64,
                "versions": np.int64,
                "deleted": np.bool_,
                "newest_ids": np.int64,
                "newest_versions": np.int64,
                "last_engaged_ms": np.int64,
                "uri_start": np.int64,
                "uri_bytes": np.int32,
                "counts": (np.int32, len(COUNTERS)),
                **DECAYED_COLUMNS,
                "labels": (np.uint8, N_LABELS),
                "next": np.int32,
                **dict.fromkeys(LINKS, np.int64),
                **_CONTENT,
            }
        )
        self._author_of_id = IdMap()
        self._authors = Columns({"head": np.int32})
        self._written = Columns({"rows": np.int32})
        self._texts = Texts()
        self._topics = IdLists()
        self.languages = Words()

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, name: str) -> Array:
        """A column over all rows; read only."""
        return self._table[name]

    @property
    def memory_bytes(self) -> int:
        """Memory held by columns, texts and maps."""
        maps = (self._row_of_id, self._author_of_id)
        parts = (*maps, self._table, self._authors, self._written, self._texts, self._topics)
        return sum(part.memory_bytes for part in parts)

    def rows_of(self, post_ids: Ids) -> npt.NDArray[np.int32]:
        """Rows of posts, −1 where nothing is known of them."""
        return self._row_of_id.get(post_ids)

    def newest_versions(self, rows: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """Rows with those of replaced posts exchanged for their newest versions; −1 stays."""
        newest = rows.astype(np.int64)
        for _ in range(MAX_EDITS):
            known = np.flatnonzero(newest >= 0)
            edited = known[self._table["newest_ids"][newest[known]] > 0]
            if not len(edited):
                break
            newest[edited] = self.rows_of(self._table["newest_ids"][newest[edited]])
        return newest

    def write(self, posts: pa.RecordBatch, versions: Ids) -> None:
        """Create or edit posts: `posts` has the event columns, the newest version wins.

        Links and the time of creation come from `post_create` alone; text, language, media
        and topics from whichever of create and edit is newest.
        """
        post_ids = posts.column("post_id").to_numpy()
        rows = self._rows_for(post_ids, posts.column("author_id").to_numpy())
        table = self._table
        created = np.flatnonzero(posts.column("kind").to_numpy() == Kind.POST_CREATE)
        if len(created):
            self._create(posts, created, rows, versions)
        won = winners(rows, versions, table["versions"])
        rows = rows[won]
        table["versions"][rows] = versions[won]
        content = posts.take(pa.array(won))
        names = content.schema.names
        for name, missing in _PLAIN_CONTENT.items():
            table[name][rows] = (
                content.column(name).fill_null(missing).to_numpy(zero_copy_only=False)
                if name in names
                else missing
            )
        table["language"][rows] = (
            self.languages.codes(content.column("language")) if "language" in names else 0
        )
        self._write_topics(rows, content.column("topics") if "topics" in names else None)
        starts, lengths = (
            self._texts.add(content.column("text"))
            if "text" in names
            else (np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int32))
        )
        table["text_start"][rows], table["text_bytes"][rows] = starts, lengths
        table["statistics"][rows] = text_statistics(
            self._texts.buffer, starts, lengths, table["link_count"][rows]
        )

    def delete(self, post_ids: Ids, author_ids: Ids) -> None:
        """Delete posts for good: ids are not used again, so a delete wins at any time."""
        rows = self._rows_for(post_ids, author_ids)
        self._table["deleted"][rows] = True

    def count(
        self, post_ids: Ids, author_ids: Ids, kinds: npt.NDArray[np.uint8], times_ms: Ids
    ) -> None:
        """Count engagements, feedback and impressions; an undo counts down."""
        columns = _COUNTER_OF[kinds]
        counted = columns >= 0
        rows = self._rows_for(post_ids[counted], author_ids[counted])
        columns, kinds = columns[counted], kinds[counted]
        times_ms = times_ms[counted]
        table = self._table
        _count(table["counts"], rows, columns, _CHANGE_OF[kinds])
        count_decayed(table["decayed"], table["decayed_at"], rows, kinds, times_ms)
        engaged = kinds != Kind.IMPRESSION
        np.maximum.at(table["last_engaged_ms"], rows[engaged], times_ms[engaged])

    def label(self, post_ids: Ids, author_ids: Ids, strengths: npt.NDArray[np.uint8]) -> None:
        """Say how strongly posts are labelled: `strengths` of shape (n, N_LABELS), 0 for not.

        What labels say is kept by `PostLabels`, which says it again after a restore.
        """
        rows = self._rows_for(post_ids, author_ids)
        self._table["labels"][rows] = strengths

    def heads_of(self, author_ids: Ids) -> npt.NDArray[np.int32]:
        """Rows of authors' newest posts, from which `next` leads to ever older ones; −1: none."""
        authors = self._author_of_id.get(author_ids)
        heads = np.full(len(authors), -1, np.int32)
        heads[authors >= 0] = self._authors["head"][authors[authors >= 0]]
        return heads

    def of_authors(
        self, author_ids: Ids, since_ms: int, until_ms: int, limit: int
    ) -> npt.NDArray[np.int64]:
        """Rows of the newest live posts of the given authors, at most `limit` each.

        Live: created in [since_ms, until_ms), not deleted, not replaced by a newer edit.
        Rows come author by author, newest first.
        """
        authors = self._author_of_id.get(author_ids)
        known = authors[authors >= 0]
        if not len(known):
            return _NO_ROWS
        table = self._table
        return _posts_of(
            self._authors["head"][known],
            table["next"],
            table["created_ms"],
            table["deleted"],
            table["newest_ids"],
            table["post_ids"],
            np.array([since_ms, until_ms, limit]),
        )

    def newest(self, since_ms: int, until_ms: int, limit: int) -> npt.NDArray[np.int64]:
        """Rows of live posts created in [since_ms, until_ms), of the `limit` written last."""
        last = self._written["rows"][max(0, len(self._written) - limit) :].astype(np.int64)
        created = self._table["created_ms"][last]
        live = (created >= since_ms) & (created < until_ms)
        live &= ~self._table["deleted"][last] & (self._table["newest_ids"][last] == 0)
        return last[live]

    def texts(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """The texts of rows, null where there is none."""
        return self._texts.gather(self._table["text_start"][rows], self._table["text_bytes"][rows])

    def uris(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """The names that the posts of rows came with, null where there is none."""
        return self._texts.gather(self._table["uri_start"][rows], self._table["uri_bytes"][rows])

    def topics(self, rows: npt.NDArray[np.integer]) -> tuple[Ids, Ids]:
        """All topics of rows (n,): where each row's begin (n + 1,), and their ids."""
        return self._topics.gather(
            self._table["topics_start"][rows], self._table["topics_count"][rows]
        )

    def columns(self) -> dict[str, Array | pa.Array]:
        """Everything `restore` needs, one entry a column; copies."""
        copied: dict[str, Array | pa.Array] = self._table.copy()
        rows = np.arange(len(self))
        copied["text"] = self.texts(rows)
        copied["uri"] = self.uris(rows)
        copied["language"] = self.languages.words(self._table["language"])
        offsets, topic_ids = self.topics(rows)
        copied["topics"] = pa.LargeListArray.from_arrays(offsets, topic_ids)
        for name in (
            *("next", "labels", "text_start", "text_bytes", "uri_start", "uri_bytes"),
            *("topics_start", "topics_count"),
        ):
            del copied[name]
        return copied

    def restore(self, columns: dict[str, Array | pa.Array]) -> None:
        """Add rows exported by `columns`, of which an older program's lack the decayed counts
        and all topics but the first.

        A post stands in two exports only where an event named a wrong author for it: then
        the row that the post itself arrived in is kept, with the counts of both.
        """
        n_before = len(self)
        rows = self._rows_for(columns["post_ids"], columns["author_ids"])
        table = self._table
        again = np.flatnonzero(rows < n_before)
        if len(again):
            columns = self._merged(rows[again], again, columns)
            kept = np.ones(len(rows), bool)
            kept[again[table["created_ms"][rows[again]] > 0]] = False
            chosen = np.flatnonzero(kept)
            rows = rows[chosen]
            columns = {
                name: values.take(pa.array(chosen))
                if isinstance(values, pa.Array)
                else values[chosen]
                for name, values in columns.items()
            }
        for name in columns:
            if name not in ("text", "uri", "language", "topics", "post_ids"):
                table[name][rows] = columns[name]
        self._write_topics(rows, columns.get("topics", _lists_of_one(columns["topic_id"])))
        table["language"][rows] = self.languages.codes(columns["language"])
        table["text_start"][rows], table["text_bytes"][rows] = self._texts.add(columns["text"])
        table["uri_start"][rows], table["uri_bytes"][rows] = self._texts.add(columns["uri"])
        self._link(rows[table["created_ms"][rows] > 0])
        # Exports come lane by lane: the time of creation stands for the order of arrival.
        written = self._written["rows"]
        written[:] = written[np.argsort(table["created_ms"][written], kind="stable")]

    def _merged(
        self,
        rows: npt.NDArray[np.int32],
        again: npt.NDArray[np.int64],
        columns: dict[str, Array | pa.Array],
    ) -> dict[str, Array | pa.Array]:
        """Bring what does not depend on the author together in table and columns alike."""
        columns, table = dict(columns), self._table
        for name, both in (
            *(("counts", np.add), ("deleted", np.logical_or)),
            ("last_engaged_ms", np.maximum),
        ):
            columns[name] = columns[name].copy()
            columns[name][again] = both(table[name][rows], columns[name][again])
            table[name][rows] = columns[name][again]
        if "decayed" in columns:
            sums, at = merged(
                *(table["decayed"][rows], table["decayed_at"][rows]),
                *(columns["decayed"][again], columns["decayed_at"][again]),
            )
            for name, together in (("decayed", sums), ("decayed_at", at)):
                columns[name] = columns[name].copy()
                table[name][rows] = columns[name][again] = together
        return columns

    def _create(
        self,
        posts: pa.RecordBatch,
        created: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int32],
        versions: Ids,
    ) -> None:
        table = self._table
        # A create seen again (past deduplication) changes nothing: only new rows are linked.
        first = created[table["created_ms"][rows[created]] == 0]
        _, once = np.unique(rows[first], return_index=True)
        first = first[np.sort(once)]
        rows = rows[first]
        batch = posts.take(pa.array(first))
        table["created_ms"][rows] = batch.column("time_ms").to_numpy()
        # The post knows its author; an event that came before it may have been mistaken.
        table["author_ids"][rows] = batch.column("author_id").to_numpy()
        names = batch.schema.names
        for name in LINKS:
            if name in names:
                table[name][rows] = batch.column(name).fill_null(0).to_numpy()
        if "uri" in names:
            table["uri_start"][rows], table["uri_bytes"][rows] = self._texts.add(
                batch.column("uri")
            )
        self._link(rows)
        if "edit_of_id" in names:
            edits = table["edit_of_id"][rows] > 0
            self._replace(rows[edits], versions[first][edits])

    def _write_topics(self, rows: npt.NDArray[np.int32], lists: pa.Array | None) -> None:
        """Topics of rows, of which the first stands in a column of its own; None for none."""
        table = self._table
        for name in ("topic_id", "topics_start", "topics_count"):
            table[name][rows] = 0
        if lists is not None:
            table["topics_start"][rows], table["topics_count"][rows] = self._topics.add(lists)
            some = rows[table["topics_count"][rows] > 0]
            offsets, topic_ids = self.topics(some)
            table["topic_id"][some] = topic_ids[offsets[:-1]]

    def _replace(self, rows: npt.NDArray[np.int32], versions: Ids) -> None:
        """Point the versions that these rows edit at them; the newest edit wins.

        An edit that lost, now or before, is replaced by the winner like what it edited: of
        several edits of one version a single one stays.
        """
        table = self._table
        edited = table["edit_of_id"][rows].copy()
        newest_ids = table["post_ids"][rows].copy()
        originals = self._rows_for(edited, table["author_ids"][rows].copy())
        for _ in range(MAX_EDITS):
            before_ids = table["newest_ids"][originals]
            won = winners(originals, versions, table["newest_versions"])
            table["newest_ids"][originals[won]] = newest_ids[won]
            table["newest_versions"][originals[won]] = versions[won]
            lost_ids = np.concatenate([before_ids, newest_ids])
            newest_ids = np.tile(table["newest_ids"][originals], 2)
            versions = np.tile(table["newest_versions"][originals], 2)
            lost = (lost_ids > 0) & (lost_ids != newest_ids)
            if not lost.any():
                break
            originals = self.rows_of(lost_ids[lost])
            newest_ids, versions = newest_ids[lost], versions[lost]

    def _rows_for(self, post_ids: Ids, author_ids: Ids) -> npt.NDArray[np.int32]:
        known = len(self._row_of_id)
        rows = self._row_of_id.get_or_insert(post_ids)
        n_new = len(self._row_of_id) - known
        if n_new:
            added = self._table.extend(n_new)
            self._table["post_ids"][added] = self._row_of_id.keys[known:]
            fresh = rows >= known
            self._table["author_ids"][rows[fresh]] = author_ids[fresh]
            self._table["next"][added] = -1
        return rows

    def _link(self, rows: npt.NDArray[np.int32]) -> None:
        authors = self._author_of_id.get_or_insert(self._table["author_ids"][rows])
        added = self._authors.extend(len(self._author_of_id) - len(self._authors))
        self._authors["head"][added] = -1
        added = self._written.extend(len(rows))
        self._written["rows"][added] = rows
        table = self._table
        _link_by_time(
            rows,
            authors,
            self._authors["head"],
            table["next"],
            table["created_ms"],
            table["post_ids"],
        )


def _lists_of_one(ids: Ids) -> pa.Array:
    """Lists of each id alone; empty where it is 0."""
    offsets = np.concatenate([[0], np.cumsum(ids > 0)])
    return pa.LargeListArray.from_arrays(offsets, ids[ids > 0])


@kernel
def _count(
    counts: npt.NDArray[np.int32],
    rows: npt.NDArray[np.int32],
    columns: npt.NDArray[np.int8],
    changes: npt.NDArray[np.int8],
) -> None:
    for i in range(len(rows)):
        counts[rows[i], columns[i]] += changes[i]


@kernel
def _link_by_time(
    rows: npt.NDArray[np.int32],
    authors: npt.NDArray[np.int32],
    heads: npt.NDArray[np.int32],
    nexts: npt.NDArray[np.int32],
    created_ms: npt.NDArray[np.int64],
    post_ids: npt.NDArray[np.int64],
) -> None:
    """Insert rows into their authors' lists: newest first, of one instant the highest id."""
    for i in range(len(rows)):
        row = rows[i]
        before = -1
        after = heads[authors[i]]
        while after >= 0 and (
            created_ms[after] > created_ms[row]
            or (created_ms[after] == created_ms[row] and post_ids[after] > post_ids[row])
        ):
            before = after
            after = nexts[after]
        nexts[row] = after
        if before < 0:
            heads[authors[i]] = row
        else:
            nexts[before] = row


@kernel
def _posts_of(
    heads: npt.NDArray[np.int32],
    nexts: npt.NDArray[np.int32],
    created_ms: npt.NDArray[np.int64],
    deleted: npt.NDArray[np.bool_],
    newest_ids: npt.NDArray[np.int64],
    post_ids: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    since_ms, until_ms, limit = bounds[0], bounds[1], bounds[2]
    found = np.empty(1024, np.int64)
    n = 0
    for head in heads:
        taken = 0
        row = head
        while row >= 0 and taken < limit and created_ms[row] >= since_ms:
            if created_ms[row] < until_ms and not deleted[row] and newest_ids[row] == 0:
                if n == len(found):
                    larger = np.empty(2 * n, np.int64)
                    larger[:n] = found
                    found = larger
                found[n] = row
                n += 1
                taken += 1
            row = nexts[row]
    return found[:n].copy()

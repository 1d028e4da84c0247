"""Posts as the batch aggregates look at them: what is in them, and what happened to them so far."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.features.aggregate_records import Ragged, code_key
from actors.features.text import STATISTICS, text_statistics
from actors.stores.columns import Array, Columns
from actors.stores.id_map import IdMap
from cluster.events import Kind
from cluster.ids import Ids

COUNTED = (
    *(Kind.FAVOURITE, Kind.REPOST, Kind.REPLY, Kind.QUOTE, Kind.CLICK),
    Kind.IMPRESSION,
)
"""What is counted of a post, and of a viewer and an author, in column order."""
N_ENGAGERS = 8
"""Public engagers of a post kept, the latest."""

_LINKS = ("reply_to_id", "reply_to_author_id", "quote_of_id", "repost_of_id")
_NUMBERS = {"image_count": 0, "video_duration_ms": 0, "link_count": 0, "sensitive": False}


class JoinedPosts:
    """Every post that was created or acted on, a row each."""

    def __init__(self) -> None:
        self._row_of_id = IdMap()
        self.table = Columns(
            {
                "created_ms": np.int64,
                **dict.fromkeys((*_LINKS, "original_author_id"), np.int64),
                "image_count": np.int32,
                "video_duration_ms": np.int64,
                "link_count": np.int32,
                "sensitive": np.bool_,
                "text_bytes": np.int32,
                "statistics": (np.float32, len(STATISTICS)),
                "language": np.int64,
                "topic_id": np.int64,
                "topics_start": np.int64,
                "topics_count": np.int32,
                "counts": (np.float32, len(COUNTED)),
                "engaged_ms": np.int64,
                "engagers": (np.int64, N_ENGAGERS),
                "n_engagers": np.int32,
            }
        )
        self._topics = Columns({"ids": np.int64})

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, name: str) -> Array:
        """A column over all rows."""
        return self.table[name]

    def rows_for(self, post_ids: Ids) -> npt.NDArray[np.int32]:
        """Rows of posts, added for those that are new; −1 for the id 0."""
        rows = np.full(len(post_ids), -1, np.int32)
        some = post_ids > 0
        rows[some] = self._row_of_id.get_or_insert(post_ids[some])
        self.table.extend(len(self._row_of_id) - len(self.table))
        return rows

    def write(self, posts: pa.RecordBatch) -> None:
        """Take in creations and edits, in order of time."""
        rows = self.rows_for(posts.column("post_id").to_numpy())
        created = np.flatnonzero(posts.column("kind").to_numpy() == Kind.POST_CREATE)
        times_ms = posts.column("time_ms").to_numpy()
        self.table["created_ms"][rows[created]] = times_ms[created]
        for name in _LINKS:
            self.table[name][rows[created]] = _integers(posts, name)[created]
        originals = _integers(posts, "repost_of_author_id")
        originals = np.where(originals > 0, originals, _integers(posts, "quote_of_author_id"))
        self.table["original_author_id"][rows[created]] = originals[created]
        for name in _NUMBERS:
            self.table[name][rows] = _integers(posts, name)
        self._write_texts(posts, rows)
        self._write_topics(posts, rows)

    def topics_of(self, rows: npt.NDArray[np.int32]) -> Ragged:
        """All topics of posts; of row −1 none."""
        known = rows >= 0
        lengths = np.zeros(len(rows), np.int64)
        lengths[known] = self.table["topics_count"][rows[known]]
        starts = np.zeros(len(rows), np.int64)
        starts[known] = self.table["topics_start"][rows[known]]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        at = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - starts, lengths)
        return Ragged(offsets, self._topics["ids"][at])

    def _write_texts(self, posts: pa.RecordBatch, rows: npt.NDArray[np.int32]) -> None:
        names = posts.schema.names
        n = len(rows)
        lengths, statistics = np.zeros(n, np.int32), np.zeros((n, len(STATISTICS)), np.float32)
        if "text" in names:
            texts = posts.column("text").fill_null("").cast(pa.large_binary())
            offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset :][: n + 1]
            content = texts.buffers()[2]
            buffer = np.frombuffer(content, np.uint8) if content else np.zeros(0, np.uint8)
            lengths = np.diff(offsets).astype(np.int32)
            links = self.table["link_count"][rows].astype(np.int16)
            # A copy is writable, as the kernel is compiled for.
            statistics = text_statistics(buffer.copy(), offsets[:-1].copy(), lengths, links)
        self.table["text_bytes"][rows] = lengths
        self.table["statistics"][rows] = statistics
        languages = np.zeros(n, np.int64)
        if "language" in names:
            languages = keys_of_words(posts.column("language"))
        self.table["language"][rows] = languages

    def _write_topics(self, posts: pa.RecordBatch, rows: npt.NDArray[np.int32]) -> None:
        n = len(rows)
        lengths, ids = np.zeros(n, np.int64), np.zeros(0, np.int64)
        if "topics" in posts.schema.names:
            column = posts.column("topics")
            lengths = column.value_lengths().fill_null(0).to_numpy().astype(np.int64)
            ids = column.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
        starts = len(self._topics) + np.cumsum(lengths) - lengths
        added = self._topics.extend(len(ids))
        self._topics["ids"][added] = ids
        self.table["topics_start"][rows] = starts
        self.table["topics_count"][rows] = lengths
        first = np.zeros(n, np.int64)
        first[lengths > 0] = self._topics["ids"][starts[lengths > 0]]
        self.table["topic_id"][rows] = first


def keys_of_words(column: pa.Array) -> Ids:
    """Languages or countries as keys, 0 for null."""
    encoded = column.dictionary_encode()
    keys = [code_key(word or "") for word in encoded.dictionary.to_pylist()] + [0]
    found: Ids = np.array(keys, np.int64)[encoded.indices.fill_null(len(keys) - 1).to_numpy()]
    return found


def _integers(batch: pa.RecordBatch, name: str) -> Ids:
    """A column as integers, 0 for null; all 0 where the batch has none."""
    if name not in batch.schema.names:
        return np.zeros(batch.num_rows, np.int64)
    column = batch.column(name).cast(pa.int64())
    values: Ids = column.fill_null(0).to_numpy(zero_copy_only=False)
    return values

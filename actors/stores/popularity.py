"""How popular each post is, kept up to date so that the best are found exactly."""

import threading

import numpy as np
import numpy.typing as npt

from actors.stores.columns import Columns
from actors.stores.kernels import kernel
from actors.stores.posts import PostTable
from actors.stores.raw_memory import Int
from cluster.ids import Ids

Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]

_DAY_MS = 86_400_000
_ANY_LANGUAGE, _NO_LANGUAGE = -1, -2


class Popularity:
    """The posts of a table, or those with a video, each with what it is ranked by.

    A post's score is ln(1 + weighted engagements) less its age in days: a post a day older
    needs e times the engagements. Up to what is the same for all, the present, it changes
    only when the post does, so a query reads the scores one after the other (1 M posts:
    2.3 ms, where their counters would cost 20).
    """

    def __init__(self, table: PostTable, weight_tenths: Ids, *, videos: bool) -> None:
        """`weight_tenths` is beside `COUNTERS`: integers, whose sums depend on no order.

        With `videos` only posts with a video count, and of them those with any weight.
        """
        self._videos = videos
        self._table = table
        self._weight_tenths = weight_tenths
        self._places = Columns({"after": np.int32})
        """By row of the table: one more than its place among the entries, 0 without one."""
        self._entries = Columns(
            {"rows": np.int32, "created_ms": np.int64, "language": np.int16, "keys": np.float64}
        )
        # A query is the first to see rows that were restored, and there may be several.
        self._catching_up = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def memory_bytes(self) -> int:
        """Memory held."""
        return self._places.memory_bytes + self._entries.memory_bytes

    def touch(self, post_ids: Ids) -> None:
        """Look again at posts of the table that were written, edited or engaged with."""
        known = len(self._places)
        rows = self._table.rows_of(post_ids)
        rows = rows[(rows >= 0) & (rows < known)]
        some = (self._places["after"][rows] > 0) | self._counts(rows)
        self._catch_up()
        self._update(np.unique(rows[some]).astype(np.int64))

    def best(self, *, since_ms: int, now_ms: int, language: str, most: int) -> tuple[Rows, Scores]:
        """Rows and scores of the `most` best live posts created in [since_ms, now_ms].

        Live: not deleted, not replaced by a newer edit. Posts in another language than
        `language` are left out where both are known. Best first, of equals the lowest id.
        """
        self._catch_up()
        reads = _ANY_LANGUAGE
        if language and (reads := self._table.languages.find(language)) < 0:
            reads = _NO_LANGUAGE
        table, entries = self._table, self._entries
        rows, scores = _best(
            entries["rows"],
            entries["created_ms"],
            entries["language"],
            entries["keys"],
            table["deleted"],
            table["newest_ids"],
            table["post_ids"],
            np.array([since_ms, now_ms, reads, most], np.int64),
        )
        order = np.lexsort((table["post_ids"][rows], -scores))
        return rows[order], scores[order]

    def _counts(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        if not self._videos:
            return np.ones(len(rows), bool)
        found: npt.NDArray[np.bool_] = self._table["video_duration_ms"][rows] > 0
        return found

    def _catch_up(self) -> None:
        """Look at rows that the table got since."""
        if len(self._places) == len(self._table):
            return
        with self._catching_up:
            known, n = len(self._places), len(self._table)
            fresh = known + np.flatnonzero(self._counts(np.arange(known, n)))
            after = np.zeros(n - known, np.int32)
            after[fresh - known] = 1 + len(self._entries) + np.arange(len(fresh))
            added = self._entries.extend(len(fresh))
            self._entries["rows"][added] = fresh
            self._write(np.arange(added.start, added.stop))
            # Last, so that no query takes what is not there yet for complete.
            self._places.extend(n - known)
            self._places["after"][known:] = after

    def _update(self, rows: Rows) -> None:
        new = rows[self._places["after"][rows] == 0]
        if len(new):
            added = self._entries.extend(len(new))
            self._entries["rows"][added] = new
            self._places["after"][new] = 1 + np.arange(added.start, added.stop)
        self._write(self._places["after"][rows].astype(np.int64) - 1)

    def _write(self, places: npt.NDArray[np.int64]) -> None:
        table, entries = self._table, self._entries
        rows = entries["rows"][places]
        created_ms = table["created_ms"][rows]
        tenths = table["counts"][rows] @ self._weight_tenths
        shown = self._counts(rows) & (created_ms > 0)
        if self._videos:
            shown &= tenths > 0
        keys = np.log1p(np.maximum(tenths, 0) / 10) + created_ms / _DAY_MS
        entries["created_ms"][places] = created_ms
        entries["language"][places] = table["language"][rows]
        entries["keys"][places] = np.where(shown, keys, -np.inf)


@kernel
def _best(
    rows: npt.NDArray[np.int32],
    created_ms: npt.NDArray[np.int64],
    languages: npt.NDArray[np.int16],
    keys: npt.NDArray[np.float64],
    deleted: npt.NDArray[np.bool_],
    newest_ids: npt.NDArray[np.int64],
    post_ids: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.int64],
) -> tuple[Rows, Scores]:
    """A heap whose root is the worst of the best so far."""
    since_ms, now_ms, reads, most = bounds
    now_days = now_ms / _DAY_MS
    heap = np.empty(most, np.int64)
    scores = np.empty(most, np.float32)
    n = 0
    for i in range(len(rows)):
        # As precise as what is compared between shards, so that ties are ties everywhere.
        score = np.float32(keys[i] - now_days)
        if keys[i] == -np.inf or (n == most and score < scores[0]):
            continue
        if created_ms[i] < since_ms or created_ms[i] > now_ms:
            continue
        if reads != _ANY_LANGUAGE and languages[i] != 0 and languages[i] != reads:
            continue
        row = np.int64(rows[i])
        if deleted[row] or newest_ids[row] != 0:
            continue
        if n < most:
            n += 1
            place = n - 1
            while place > 0:
                parent = (place - 1) // 2
                if not _worse(score, row, scores[parent], heap[parent], post_ids):
                    break
                heap[place], scores[place] = heap[parent], scores[parent]
                place = parent
            heap[place], scores[place] = row, score
        elif _worse(scores[0], heap[0], score, row, post_ids):
            place = 0
            while 2 * place + 1 < n:
                child = 2 * place + 1
                if child + 1 < n and _worse(
                    scores[child + 1], heap[child + 1], scores[child], heap[child], post_ids
                ):
                    child += 1
                if not _worse(scores[child], heap[child], score, row, post_ids):
                    break
                heap[place], scores[place] = heap[child], scores[child]
                place = child
            heap[place], scores[place] = row, score
    return heap[:n].copy(), scores[:n].copy()


@kernel
def _worse(
    score: np.float32, row: Int, than: np.float32, other: Int, post_ids: npt.NDArray[np.int64]
) -> bool:
    if score != than:
        return bool(score < than)
    return bool(post_ids[row] > post_ids[other])

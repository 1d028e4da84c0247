"""What authors are told of their reach: daily counts, who saw them, and by which sources.

An author's own doings count nowhere, negative feedback is nobody's business but the system's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.rows import Engagements, Rows
from actors.stores.columns import Array
from actors.stores.daily_rows import DailyRows
from actors.stores.distinct import N_REGISTERS, estimates, registers_of
from actors.stores.words import Words
from cluster.analytics_settings import AnalyticsSettings
from cluster.events import ENGAGEMENTS, UNDONE_BY, Kind
from cluster.ids import Ids
from cluster.settings import DAY_MS

MAX_SOURCES = 64
"""Different names of sources that are counted; the pipeline has about ten."""
COUNTED = (*ENGAGEMENTS, Kind.IMPRESSION, Kind.SERVED, Kind.FOLLOW, Kind.UNFOLLOW)
"""What is counted a day, in column order. Undoing an engagement counts one down on the day of
the undo; an unfollow is counted beside the follows."""

_COLUMN_OF = np.full(256, -1, np.int64)
_CHANGE_OF = np.zeros(256, np.int32)
for _column, _kind in enumerate(COUNTED):
    _COLUMN_OF[_kind], _CHANGE_OF[_kind] = _column, 1
for _undo, _kind in UNDONE_BY.items():
    if _kind in ENGAGEMENTS:
        _COLUMN_OF[_undo], _CHANGE_OF[_undo] = COUNTED.index(_kind), -1


@dataclass(frozen=True)
class AuthorDays:
    """What happened to one author on n days."""

    first_day: int
    """Days since the epoch, UTC; the others follow."""
    counts: npt.NDArray[np.int64]
    """Shape (n, len(COUNTED))."""
    viewers: npt.NDArray[np.float64]
    """Shape (n,): estimates of how many different users had a post on screen (`distinct`)."""
    reach: float
    """The same of all days together."""
    served_by: Mapping[str, npt.NDArray[np.int64]]
    """Candidate source → posts that it had served a day, (n,); only sources that had any."""


class Analytics:
    """The daily counts of the authors of one shard: sums of log rows, in whatever order."""

    def __init__(self, settings: AnalyticsSettings) -> None:
        # A clock that runs ahead must not cost the last day that may be asked for.
        limits = (settings.days + 1, settings.max_rows)
        self._counts = DailyRows(len(COUNTED), np.int32, np.add, *limits)
        self._reach = DailyRows(N_REGISTERS, np.uint8, np.maximum, *limits)
        self._served = _Served(DailyRows(1, np.int32, np.add, *limits))

    @property
    def memory_bytes(self) -> int:
        """Memory held."""
        stores = (self._counts, self._reach, self._served.rows)
        return sum(store.memory_bytes for store in stores)

    @property
    def first_day(self) -> int:
        """The first day of which everything that came is held."""
        stores = (self._counts, self._reach, self._served.rows)
        return max(store.first_day for store in stores)

    @property
    def stores(self) -> dict[str, "DailyRows | _Served"]:
        """What a snapshot keeps, by table."""
        return {
            "daily_counts": self._counts,
            "daily_reach": self._reach,
            "daily_served": self._served,
        }

    def apply(self, rows: Rows, engagements: Engagements) -> None:
        """Count admitted rows; `engagements` are those of the rows, of any side."""
        others = engagements.of_author & (engagements.actor_ids != engagements.author_ids)
        counted = others & (_COLUMN_OF[engagements.kinds] >= 0)
        if counted.any():
            of = engagements.where(counted)
            self._count(of.author_ids, of.kinds, of.times_ms)
            shown = of.kinds == Kind.IMPRESSION
            if shown.any():
                self._see(of.where(shown))
        for kinds, owner in (
            ((Kind.FOLLOW, Kind.UNFOLLOW), "target_id"),
            ((Kind.PROFILE_CLICK,), "author_id"),
        ):
            found = rows.of(*kinds)
            if len(found):
                # Visits by way of a post are among the engagements.
                found = found.where(
                    found.concern(owner)
                    & (found["post_id"] == 0)
                    & (found["actor_id"] != found[owner])
                )
                self._count(found[owner], found["kind"], found["time_ms"])
        served = rows.of(Kind.SERVED)
        if len(served):
            served = served.where(
                served.concern("author_id") & (served["actor_id"] != served["author_id"])
            )
            sources = served.column("source")
            if len(served) and sources is not None:
                self._served.write(served["author_id"], sources, served["time_ms"] // DAY_MS)

    def of(self, author_id: int, first_day: int, n_days: int) -> AuthorDays:
        """What happened to an author on the days from `first_day` on."""
        days = (first_day, n_days)
        seen = self._reach.of(author_id, 0, *days)
        return AuthorDays(
            first_day,
            self._counts.of(author_id, 0, *days).astype(np.int64),
            estimates(seen),
            float(estimates(seen.max(axis=0, keepdims=True, initial=0))[0]),
            self._served.of(author_id, *days),
        )

    def _count(self, author_ids: Ids, kinds: npt.NDArray[np.uint8], times_ms: Ids) -> None:
        columns, changes = _COLUMN_OF[kinds], _CHANGE_OF[kinds]
        nobody = np.zeros_like(author_ids)
        self._counts.write(author_ids, nobody, times_ms // DAY_MS, columns, changes)

    def _see(self, shown: Engagements) -> None:
        registers, ranks = registers_of(shown.actor_ids)
        nobody = np.zeros_like(shown.author_ids)
        self._reach.write(shown.author_ids, nobody, shown.times_ms // DAY_MS, registers, ranks)


class _Served:
    """Counts by source: daily rows whose other end is the source's word."""

    def __init__(self, rows: DailyRows) -> None:
        self.rows = rows
        self._words = Words()
        self._n_words = 0

    def write(self, author_ids: Ids, sources: pa.Array, days: Ids) -> None:
        """Count one for each row (n,); one without a source, or one too many, counts nowhere."""
        codes = self._words.codes(sources).astype(np.int64)
        named = (codes > 0) & (codes <= MAX_SOURCES)
        ones = np.ones(int(named.sum()), np.int32)
        columns = np.zeros(len(ones), np.int64)
        self.rows.write(author_ids[named], codes[named], days[named], columns, ones)
        self._n_words = max(self._n_words, int(codes[named].max(initial=0)))

    def of(self, author_id: int, first_day: int, n_days: int) -> dict[str, npt.NDArray[np.int64]]:
        """By source, how often its posts of the author were served a day."""
        found = {}
        for code in range(1, self._n_words + 1):
            counts = self.rows.of(author_id, code, first_day, n_days)[:, 0].astype(np.int64)
            if counts.any():
                found[str(self._words.word(code))] = counts
        return dict(sorted(found.items()))

    def columns(self) -> dict[str, Array | pa.Array]:
        """What `restore` needs; copies."""
        columns: dict[str, Array | pa.Array] = dict(self.rows.columns())
        codes = columns.pop("other_ids").astype(np.int16)
        return columns | {"sources": self._words.words(codes)}

    def restore(self, columns: Mapping[str, Array | pa.Array]) -> None:
        """Add the rows that `columns` gave."""
        given = dict(columns)
        codes = self._words.codes(given.pop("sources")).astype(np.int64)
        self.rows.restore(given | {"other_ids": codes})
        self._n_words = max(self._n_words, int(codes.max(initial=0)))

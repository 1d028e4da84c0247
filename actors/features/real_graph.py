"""Real Graph's scores as serving reads them: who a viewer is likely to interact with."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.stores.kernels import kernel, writable
from cluster.ids import Ids

REAL_GRAPH = "real_graph"
REAL_GRAPH_SCHEMA = 1
SCORES = "scores.arrow"
"""The artifact's table, by (viewer_id, score descending): viewer_id, author_id, score, followed."""
HOME_GAIN = 1.97
"""Home maps a score from [0, 1] to [1, 2.97]."""
MAX_OF_VIEWER = 2**16

Scores = npt.NDArray[np.float32]


def home_weight(scores: Scores) -> Scores:
    """What Home multiplies an author's posts by: 1 + 1.97·s; 1 where there is no score."""
    return np.float32(1) + np.float32(HOME_GAIN) * scores


class RealGraphScores:
    """Scores over a table in an artifact's form, whose columns stay where they are mapped.

    Adds two bytes a row: where in a viewer's rows each author stands, in order of author ids.
    Raises `ValueError` where the table is not in order of viewers, or holds more than 65,536
    rows of one.
    """

    def __init__(self, table: pa.Table) -> None:
        viewers, authors, scores = (
            _column(table, name) for name in ("viewer_id", "author_id", "score")
        )
        self._authors: Ids = authors
        self._scores: Scores = scores
        changes = np.flatnonzero(viewers[1:] != viewers[:-1]) + 1
        starts = np.concatenate([[0], changes]) if len(viewers) else np.empty(0, np.int64)
        self._viewers: Ids = viewers[starts].copy()
        self._starts = np.append(starts, len(viewers)).astype(np.int64)
        if (np.diff(self._viewers) <= 0).any():
            raise ValueError("real graph scores are not in order of viewer_id")
        most = int(np.diff(self._starts).max(initial=0))
        if most > MAX_OF_VIEWER:
            raise ValueError(f"a viewer has {most:,} scores; at most {MAX_OF_VIEWER:,} can be read")
        self._by_author = _by_author(self._authors, self._starts)

    def __len__(self) -> int:
        return len(self._authors)

    def of(self, viewer_id: int) -> tuple[Ids, Scores]:
        """The authors of a viewer, int64 ascending, and their scores; none of an unknown one."""
        at = int(np.searchsorted(self._viewers, viewer_id))
        if at == len(self._viewers) or self._viewers[at] != viewer_id:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        start, end = self._starts[at], self._starts[at + 1]
        rows = start + self._by_author[start:end].astype(np.int64)
        return self._authors[rows], self._scores[rows]

    def pairs(self, viewer_ids: Ids, author_ids: Ids) -> Scores:
        """The score of each pair, float32 (n,); 0 where there is none."""
        return _look_up(
            self._viewers,
            self._starts,
            self._by_author,
            self._authors,
            self._scores,
            writable(viewer_ids, np.int64),
            writable(author_ids, np.int64),
        )


def _column(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """A column as NumPy, without a copy where the table has one chunk."""
    column = table.column(name)
    values: npt.NDArray[Any] = (
        column.chunk(0).to_numpy() if column.num_chunks == 1 else column.to_numpy()
    )
    # One type for the kernels, whatever the table came from.
    values.flags.writeable = False
    return values


@kernel
def _by_author(authors: Ids, starts: Ids) -> npt.NDArray[np.uint16]:
    places = np.empty(len(authors), np.uint16)
    for viewer in range(len(starts) - 1):
        start, end = starts[viewer], starts[viewer + 1]
        order = np.argsort(authors[start:end])
        for i in range(end - start):
            places[start + i] = order[i]
    return places


@kernel
def _look_up(
    viewers: Ids,
    starts: Ids,
    by_author: npt.NDArray[np.uint16],
    authors: Ids,
    scores: Scores,
    viewer_ids: Ids,
    author_ids: Ids,
) -> Scores:
    found = np.zeros(len(viewer_ids), np.float32)
    for i in range(len(viewer_ids)):
        viewer = np.searchsorted(viewers, viewer_ids[i])
        if viewer == len(viewers) or viewers[viewer] != viewer_ids[i]:
            continue
        low, end = starts[viewer], starts[viewer + 1]
        start, high = low, end
        while low < high:
            middle = (low + high) // 2
            if authors[start + by_author[middle]] < author_ids[i]:
                low = middle + 1
            else:
                high = middle
        if low < end:
            row = start + by_author[low]
            if authors[row] == author_ids[i]:
                found[i] = scores[row]
    return found

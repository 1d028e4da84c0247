"""Topic social proof: the topics a post is about, as far as this viewer wants to hear of them.

A post's own topics are scored by how alike the communities of topic and post are: the sum of
one cosine for each topic embedding (the original's two: from its followers' favourites, and
from its known-for producers). What scores above the threshold stays, best first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cluster.ids import Ids

Floats = npt.NDArray[np.float64]
_NONE = np.empty(0, np.int64)

MAX_TOPICS = 10
"""Topics of one post; Home reads the first three."""


class SparseRows(Protocol):
    """Rows of (community, score): what `SparseEmbeddings` is; row i is at `offsets[i]` …"""

    @property
    def offsets(self) -> Ids:
        """int64 (n + 1,)."""

    @property
    def communities(self) -> npt.NDArray[np.int32]:
        """int32, each at most once in a row."""

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """float32."""


class Listing(Enum):
    """Which topics may be named to a viewer."""

    FOLLOWABLE = "followable"
    """All of the white list that the viewer did not turn down: what Home asks for."""
    FOLLOWING = "following"
    IMPLICIT_FOLLOW = "implicit_follow"
    """Those of the white list that the viewer does not follow yet."""
    ALL = "all"
    """No filter. (The original's scores are random here; these are not.)"""


@dataclass(frozen=True)
class TopicTastes:
    """A viewer's word on topics; ids in any order."""

    followed_ids: Ids = field(default_factory=_NONE.copy)
    opted_out_ids: Ids = field(default_factory=_NONE.copy)
    """Followed once and no more."""
    not_interested_ids: Ids = field(default_factory=_NONE.copy)
    paused: bool = False
    """The viewer wants no topics at all."""

    def allows(
        self, topic_ids: Ids, white_list_ids: Ids, listing: Listing
    ) -> npt.NDArray[np.bool_]:
        """Whether each topic may be named."""
        if listing is Listing.ALL:
            return np.ones(len(topic_ids), bool)
        followed = np.isin(topic_ids, self.followed_ids)
        turned_down = np.isin(topic_ids, self.not_interested_ids)
        if self.paused:
            return np.zeros(len(topic_ids), bool)
        if listing is Listing.IMPLICIT_FOLLOW:
            return np.isin(topic_ids, white_list_ids) & ~followed & ~turned_down
        turned_down |= np.isin(topic_ids, self.opted_out_ids)
        listed = followed if listing is Listing.FOLLOWING else np.isin(topic_ids, white_list_ids)
        allowed: npt.NDArray[np.bool_] = listed & ~turned_down
        return allowed


@dataclass(frozen=True)
class PostTopics:
    """Topics of n posts: those of post i at `offsets[i]` up to `offsets[i + 1]`."""

    offsets: Ids
    topic_ids: Ids
    """(m,)"""
    scores: Floats
    """(m,)"""


def topic_social_proof(
    offsets: Ids,
    topic_ids: Ids,
    *,
    posts: SparseRows,
    topics: Sequence[SparseRows],
    topic_rows: Sequence[Ids],
    has_language: npt.NDArray[np.bool_],
    allowed: npt.NDArray[np.bool_],
    always: npt.NDArray[np.bool_] | None = None,
    threshold: float = 0.0,
    max_topics: int = MAX_TOPICS,
) -> PostTopics:
    """Of the topics that n posts carry, (m,) at `offsets` (n + 1,), the best allowed ones.

    `posts` has a row for each post; `topic_rows` holds for each of `topics` the row (m,) of
    each carried topic, in the post's language, −1 where it has none. Posts without a language
    get none. A topic stays if its score is above `threshold`, or `always` (m,) says that its
    annotation is sure. Ties go to the lower id.
    """
    of_post = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    scores = np.zeros(len(topic_ids))
    for rows, matrix in zip(topic_rows, topics, strict=True):
        scores += cosines(posts, of_post, matrix, rows)
    kept = scores > threshold
    if always is not None:
        kept |= always
    kept &= allowed & has_language[of_post]
    chosen = np.flatnonzero(kept)
    chosen = chosen[np.lexsort((topic_ids[chosen], -scores[chosen], of_post[chosen]))]
    counts = np.bincount(of_post[chosen], minlength=len(offsets) - 1)
    nth = np.arange(len(chosen)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = chosen[nth < max_topics]
    ends = np.cumsum(np.minimum(counts, max_topics))
    return PostTopics(
        np.concatenate([[0], ends]).astype(np.int64), topic_ids[chosen], scores[chosen]
    )


def cosines(left: SparseRows, left_rows: Ids, right: SparseRows, right_rows: Ids) -> Floats:
    """The cosine of each pair of rows (m,); 0 where one is −1 or empty."""
    found = np.zeros(len(left_rows))
    pairs = np.flatnonzero((left_rows >= 0) & (right_rows >= 0))
    if len(pairs):
        width = 1 + max(int(one.communities.max(initial=0)) for one in (left, right))
        one, other = (
            _units(matrix, rows[pairs], width)
            for matrix, rows in ((left, left_rows), (right, right_rows))
        )
        found[pairs] = np.asarray(one.multiply(other).sum(axis=1)).ravel()
    return found


def _units(matrix: SparseRows, rows: Ids, width: int) -> sparse.csr_matrix:
    """Rows of a matrix with length 1, in the given order; empty ones stay empty."""
    used, at = np.unique(rows, return_inverse=True)
    begins = matrix.offsets[used]
    counts = matrix.offsets[used + 1] - begins
    offsets = np.concatenate([[0], np.cumsum(counts)])
    entries = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], counts)
    scores = matrix.scores[entries].astype(np.float64)
    of = np.repeat(np.arange(len(used)), counts)
    lengths = np.sqrt(np.bincount(of, scores**2, len(used)))[of]
    values = np.divide(scores, lengths, out=np.zeros(len(scores)), where=lengths > 0)
    units = sparse.csr_matrix((values, matrix.communities[entries], offsets), (len(used), width))
    return units[at]

"""Topic social proof: the topics a post is about, as far as this viewer wants to hear of them.

A post's own topics are scored by how alike the communities of topic and post are: the sum of
one cosine for each topic embedding (`TOPIC_MATRICES`: the original's two, from the favourites of
its followers, and from the producers who are known for it). What scores above the threshold stays,
best first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt

from actors.features.pair_scores import PAIR_SCORES, sparse_pair_scores
from actors.stores.sparse_embeddings import SparseEmbeddings
from cluster.ids import Ids

Floats = npt.NDArray[np.float32]
_NONE = np.empty(0, np.int64)

MAX_TOPICS, HOME_TOPICS = 10, 3
"""Topics of one post at most, and those of them that Home reads (published)."""

_COSINE = PAIR_SCORES.index("cosine")


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
    """Topics of n posts, best first: those of post i at `offsets[i]` up to `offsets[i + 1]`."""

    offsets: Ids
    topic_ids: Ids
    """(m,)"""
    scores: Floats
    """(m,)"""

    def padded(self, width: int) -> tuple[Ids, Floats]:
        """The first `width` topics of each post and their scores, (n, width) each; 0 pads."""
        nth = np.arange(width)
        held = nth < np.diff(self.offsets)[:, None]
        at = (self.offsets[:-1, None] + nth)[held]
        topic_ids = np.zeros(held.shape, np.int64)
        scores = np.zeros(held.shape, np.float32)
        topic_ids[held], scores[held] = self.topic_ids[at], self.scores[at]
        return topic_ids, scores


def topic_social_proof(
    offsets: Ids,
    topic_ids: Ids,
    *,
    posts: SparseEmbeddings,
    topics: Sequence[SparseEmbeddings],
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
    scores = np.zeros(len(topic_ids), np.float32)
    for rows, matrix in zip(topic_rows, topics, strict=True):
        scores += sparse_pair_scores(posts, of_post, matrix, rows)[:, _COSINE]
    kept = scores > threshold
    if always is not None:
        kept |= always
    kept &= allowed & has_language[of_post]
    chosen = np.flatnonzero(kept)
    chosen = chosen[np.lexsort((topic_ids[chosen], -scores[chosen], of_post[chosen]))]
    # A post may carry a topic twice, which then stands beside itself.
    new = np.ones(len(chosen), bool)
    new[1:] = np.diff(topic_ids[chosen]) != 0
    new[1:] |= np.diff(of_post[chosen]) != 0
    chosen = chosen[new]
    counts = np.bincount(of_post[chosen], minlength=len(offsets) - 1)
    nth = np.arange(len(chosen)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = chosen[nth < max_topics]
    ends = np.cumsum(np.minimum(counts, max_topics))
    return PostTopics(
        np.concatenate([[0], ends]).astype(np.int64), topic_ids[chosen], scores[chosen]
    )

"""Safety labels of posts, and how strongly each post has each sort of them, beside the post.

The light ranker reads the sorts of thousands of posts a request, so they stand in the post
table; they are made of the labels, which alone are kept in a snapshot.
"""

import numpy as np

from actors.features.light import LABELS
from actors.features.safety import MODEL_PREFIX
from actors.label_bits import KnownLabels
from actors.stores.posts import PostTable
from cluster.ids import Ids

SORTS: dict[str, tuple[str, ...]] = {
    "nsfw": ("nsfw", "nsfw_text", "nsfw_media", "nsfw_high_precision", "nsfw_high_recall"),
    "abusive": ("abusive", "abuse", "hate", "toxicity", "abusive_high_recall"),
    "spam": ("spam", "spam_high_recall", "dup_content"),
}
"""Earlybird's label features, by sort → the labels that count as one, whether a person gave
them or, with `MODEL_PREFIX`, a model did."""
_NAMES = [
    [prefix + name for prefix in ("", MODEL_PREFIX) for name in SORTS[sort]] for sort in LABELS
]


class PostLabels(KnownLabels):
    """Labels that tell a post table what they say in sum."""

    def __init__(self, table: PostTable) -> None:
        super().__init__()
        self._posts = table

    def _changed(self, subject_ids: Ids, author_ids: Ids) -> None:
        """The strength of a sort is the greatest value among its labels."""
        super()._changed(subject_ids, author_ids)
        strengths = np.zeros((len(subject_ids), len(LABELS)), np.uint8)
        for column, of_sort in enumerate(_NAMES):
            found = np.max([self.values(subject_ids, name) for name in of_sort], axis=0)
            strengths[:, column] = np.ceil(255 * np.minimum(found, 1.0))
        self._posts.label(subject_ids, author_ids, strengths)

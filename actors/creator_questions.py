"""What is asked of shards about creators: who they are, and which of their posts to preview."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.muted_words import holding
from actors.posts import FoundPosts
from actors.state import ShardState
from cluster.ids import Ids

MIN_CHARACTERS = 100
"""A text to preview has more (published, like the two below)."""
OPENING, MAX_BREAKS = 50, 2
"""Of its first so many characters no more are line breaks."""
_LINKS = ("http://", "https://")


@dataclass(frozen=True)
class FoundCreators:
    """Creators among accounts, and what they wrote for their subscribers alone."""

    creator_ids: Ids
    """(k,), in the order in which they were asked for."""
    posts: FoundPosts | None
    """Newest first; None where there is none, as mostly: an empty batch has columns to make,
    send and merge too."""


@dataclass(frozen=True)
class AskCreators:
    """Which accounts take subscribers, and what they wrote for these; for the accounts' shards."""

    author_ids: Ids
    labels: tuple[str, ...]
    """Who has one of these is left out."""
    since_ms: int
    max_posts: int
    """0 where only accounts are asked for."""
    keywords: tuple[str, ...]
    """Posts that hold one of these are left out."""
    language: str
    now_ms: int

    def answer(self, state: ShardState) -> FoundCreators:
        """Creators who are there; originals with a text to preview, among the newest."""
        creators = self._creators(state)
        return FoundCreators(creators, self._posts(creators, state))

    def _posts(self, creators: Ids, state: ShardState) -> FoundPosts | None:
        if not self.max_posts or not len(creators):
            return None
        posts, table = state.posts, state.posts.table
        rows = table.of_authors(creators, self.since_ms, self.now_ms + 1, self.max_posts)
        for link in ("reply_to_id", "repost_of_id", "quote_of_id"):
            rows = rows[table[link][rows] == 0]
        rows = rows[table["exclusive"][rows]]
        rows = rows[np.lexsort((-table["post_ids"][rows], -table["created_ms"][rows]))]
        rows = rows[: self.max_posts]
        texts = table.texts(rows).to_pylist()
        rows = rows[previewable(texts) & ~holding(texts, self.keywords)]
        if not len(rows):
            return None
        return posts.hydrate(table["post_ids"][rows], self.language, self.now_ms)

    def _creators(self, state: ShardState) -> Ids:
        rows = state.users.rows_of(self.author_ids)
        known = np.flatnonzero(rows >= 0)
        creators = self.author_ids[known[state.users["creator"][rows[known]]]]
        if len(creators):
            creators = creators[~state.users.gone(creators)]
        for label in self.labels if len(creators) else ():
            creators = creators[state.posts.author_labels.values(creators, label) == 0]
        return creators


def previewable(texts: Sequence[str | None]) -> npt.NDArray[np.bool_]:
    """Texts (n,) that make a reader want more: long, not mere line breaks, and no link first."""
    return np.array(
        [
            text is not None
            and len(text) > MIN_CHARACTERS
            and text[:OPENING].count("\n") <= MAX_BREAKS
            and not text.lstrip().lower().startswith(_LINKS)
            for text in texts
        ],
        bool,
    )

"""What is asked of shards about posts that will be shown, or were shown a moment ago."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.graph import VIEW_CODES
from actors.muted_words import holding
from actors.posts import FoundPosts
from actors.state import ShardState
from actors.stores.versions import times_of
from cluster.events import Kind
from cluster.ids import Ids


@dataclass(frozen=True)
class AskMutedWords:
    """Whether posts hold words that the viewer muted; for their authors' shards."""

    post_ids: Ids
    keywords: tuple[str, ...]

    def answer(self, state: ShardState) -> npt.NDArray[np.bool_]:
        """See `holding`; of a post that an edit replaced the newest version is read.

        A post without text holds none; of one whose text never arrived nobody can say, so it
        counts as one that does.
        """
        table = state.posts.table
        rows = table.newest_versions(table.rows_of(self.post_ids))
        known = rows >= 0
        # Versions are those of what was written: a post that is only spoken of has none.
        known[known] = table["versions"][rows[known]] > 0
        muted = np.ones(len(rows), bool)
        muted[known] = holding(table.texts(rows[known]).to_pylist(), self.keywords)
        return muted


@dataclass(frozen=True)
class ServedPosts:
    """Posts that a viewer was served, each once, newest first; arrays of shape (n,)."""

    post_ids: Ids
    author_ids: Ids
    last_served_ms: int
    """When the viewer was served anything last; 0 for never."""


@dataclass(frozen=True)
class AskServedLately:
    """What the viewer was served shortly before the last visit; for the viewer's own shard."""

    viewer_id: int
    window_ms: int
    """How long before what was served last."""
    limit: int

    def answer(self, state: ShardState) -> ServedPosts:
        """The `limit` posts served last within the window."""
        views = state.graph.views.user_edges(self.viewer_id, _VIEWS)
        served = views.kinds == VIEW_CODES[Kind.SERVED]
        last_ms = int(views.times_ms[served].max(initial=0))
        rows = np.flatnonzero(served & (views.times_ms >= last_ms - self.window_ms))
        _, first = np.unique(views.ids[rows], return_index=True)
        rows = rows[np.sort(first)[: self.limit]]
        return ServedPosts(views.ids[rows], views.author_ids[rows], last_ms)


@dataclass(frozen=True)
class EditedPosts:
    """Which posts of those asked for were edited, and what is known of what they are now."""

    places: Ids
    """(k,): where each stands among the posts asked for."""
    posts: FoundPosts
    """The newest versions, (k,): of the same id where the post itself was edited."""
    hold_muted: npt.NDArray[np.bool_]
    """(k,): their texts hold words that the viewer muted."""


@dataclass(frozen=True)
class AskEdited:
    """Which posts were edited lately; for their authors' shards."""

    post_ids: Ids
    since_ms: int
    """Edits before this are passed over."""
    language: str
    now_ms: int
    keywords: tuple[str, ...] = ()
    """Those that the viewer muted."""

    def answer(self, state: ShardState) -> EditedPosts:
        """Posts replaced by another version or given another content since then, that exist."""
        table = state.posts.table
        rows = table.rows_of(self.post_ids).astype(np.int64)
        newest = table.newest_versions(table.rows_of(self.post_ids))
        places = np.flatnonzero((rows >= 0) & (newest >= 0))
        rows, newest = rows[places], newest[places]
        written_ms, created_ms = times_of(table["versions"][newest]), table["created_ms"][newest]
        edited = (newest != rows) | (written_ms > created_ms)
        edited &= (np.maximum(written_ms, created_ms) >= self.since_ms) & (created_ms > 0)
        edited &= ~table["deleted"][newest]
        newest = newest[edited]
        found = state.posts.hydrate(table["post_ids"][newest], self.language, self.now_ms)
        hold_muted = holding(table.texts(newest).to_pylist(), self.keywords)
        return EditedPosts(places[edited], found, np.array(hold_muted, bool))


_VIEWS = 2_000
"""Newest views of a viewer among which what was served is looked for."""

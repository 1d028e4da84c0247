"""Popular videos: what a shard answers, of every post that it holds within a window."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.posts import rank_within
from actors.state import ShardState
from cluster.ids import Ids


@dataclass(frozen=True)
class PopularPosts:
    """Posts, the best first; arrays of shape (n,)."""

    post_ids: Ids
    author_ids: Ids
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True)
class AskPopularVideos:
    """The most popular posts with video; for every shard.

    The best of all shards are among the best of each, since an author's posts live in one:
    the answer does not depend on their number.
    """

    language: str
    """Posts in another are left out; "" for any."""
    country: str
    """Where the post or the viewer has no language, an author of another country is left
    out; "" for any."""
    without_ids: Ids
    """Authors who are left out, sorted."""
    since_ms: int
    now_ms: int
    per_author: int
    limit: int

    def answer(self, state: ShardState) -> PopularPosts:
        """Of public authors who are still there."""
        table, videos = state.posts.table, state.posts.videos
        most = 4 * self.limit
        while True:
            rows, scores = videos.best(
                since_ms=self.since_ms, now_ms=self.now_ms, language=self.language, most=most
            )
            n_found = len(rows)
            kept = np.flatnonzero(self._fits(state, rows))
            kept = kept[rank_within(table["author_ids"][rows[kept]]) < self.per_author]
            # Those left out may have taken the places of others further down.
            if len(kept) >= self.limit or n_found < most:
                break
            most *= 4
        chosen = kept[: self.limit]
        rows = rows[chosen]
        return PopularPosts(table["post_ids"][rows], table["author_ids"][rows], scores[chosen])

    def _fits(self, state: ShardState, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        table, users = state.posts.table, state.posts.users
        author_ids = table["author_ids"][rows]
        fits: npt.NDArray[np.bool_] = ~np.isin(author_ids, self.without_ids)
        fits &= ~users.gone(author_ids)
        at = users.rows_of(author_ids)
        known = at >= 0
        fits[known] &= ~users["protected"][at[known]]
        if self.country:
            country = users.words.find(self.country)
            foreign = np.zeros(len(rows), bool)
            foreign[known] = (users["country"][at[known]] != 0) & (
                users["country"][at[known]] != country
            )
            matched = (table["language"][rows] != 0) & bool(self.language)
            fits &= matched | ~foreign
        return fits

"""Edits: posts that the viewer was served a moment ago and that are other posts now.

A post may be replaced by a version of another id, or given another content under its own. The
page then tells the client to put the newest version where the old one stands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from actors.router import shards_of
from actors.scored_posts import ScoredPosts
from actors.shown_questions import AskEdited, AskServedLately, EditedPosts, ServedPosts
from cluster.ids import Ids
from timeline import filters
from timeline.candidates import NONE, Candidates, Mask, concatenate, from_found
from timeline.hidden import learn_hidden_authors
from timeline.linked import may_see
from timeline.query import Query

EDIT_WINDOW_MS = 60 * 60_000
"""Before the last visit (published)."""
MAX_REPLACED = 100
"""Instructions in one answer (published)."""
MAX_SERVED = 200
"""Posts served last that are looked at: several pages."""
OVERLAP_MS = 10_000
"""Edits so shortly before the last visit may not have reached the shards by then."""


@dataclass(frozen=True)
class Replacements:
    """What to put in the place of what was served; k rows, what was served last first."""

    old_ids: Ids
    posts: Candidates
    """The newest versions; of the same id where only the content is another."""

    def __len__(self) -> int:
        return len(self.old_ids)

    def take(self, rows: Ids | Mask) -> "Replacements":
        """Those at given rows, or of a mask."""
        return Replacements(self.old_ids[rows], self.posts.take(rows))


NOTHING_REPLACED = Replacements(np.empty(0, np.int64), NONE)


def of_served_lately(query: Query) -> AskServedLately:
    """What to ask the viewer's shard with the viewer's context."""
    return AskServedLately(query.viewer_id, EDIT_WINDOW_MS, MAX_SERVED)


def edit_questions(query: Query) -> dict[int, AskEdited]:
    """What to ask the shards of the authors of what was served lately; often nobody."""
    _, served = query.told.get(AskServedLately, (None, None))
    if not isinstance(served, ServedPosts) or not len(served.post_ids):
        return {}
    since_ms = served.last_served_ms - OVERLAP_MS
    homes = shards_of(served.author_ids, query.router.n_shards)
    return {
        shard: AskEdited(
            *(served.post_ids[homes == shard], since_ms, query.viewer.language, query.now_ms),
            query.state.muted_keywords,
        )
        for shard in np.unique(homes).tolist()
    }


def replacements(
    query: Query, asked: Mapping[int, AskEdited], answers: Mapping[int, Any]
) -> Replacements:
    """The instructions of an answer, from what shards answered to `edit_questions`.

    Edits before the last visit were told then. A version whose author the viewer must not see
    any more, or is gone, or whose text holds muted words replaces nothing; visibility has yet to
    judge the others. Of several versions served of one post each is replaced.
    """
    old_ids, parts, muted = [], [], []
    for shard, edited in answers.items():
        if shard in asked and isinstance(edited, EditedPosts):
            old_ids.append(asked[shard].post_ids[edited.places])
            parts.append(from_found(edited.posts))
            muted.append(edited.hold_muted)
    if not parts:
        return NOTHING_REPLACED
    found = Replacements(np.concatenate(old_ids), concatenate(parts))
    learn_hidden_authors(query, found.posts)
    own = found.posts.author_ids == query.viewer_id
    kept = filters.known(query, found.posts) & may_see(query, found.posts)
    found = found.take(kept & (own | ~np.concatenate(muted)))
    _, served = query.told[AskServedLately]
    place = {post: place for place, post in enumerate(served.post_ids.tolist())}
    order = np.argsort([place[post] for post in found.old_ids.tolist()], kind="stable")
    return found.take(order[:MAX_REPLACED].astype(np.int64))


def newest_versions(query: Query, candidates: Candidates) -> Mask:
    """A filter: no post that an edit replaced by another."""
    keep: Mask = candidates.newest_ids == 0
    return keep


def without_stale(scored: ScoredPosts, old_ids: Sequence[int]) -> ScoredPosts:
    """Posts to keep for later requests, without those edited since: scores are of another text."""
    if not len(scored) or not old_ids:
        return scored
    return scored.take(~np.isin(scored.post_ids, old_ids))

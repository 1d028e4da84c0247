"""The newest posts of given authors in the part of time that a request asks for."""

import numpy as np
import numpy.typing as npt

from actors.page_questions import AskNewestBetween, FoundBetween
from actors.router import shards_of
from actors.stores.newest_between import Place, Replies
from cluster.ids import MAX_ID, Ids
from timeline.candidates import NONE, Candidates, concatenate, from_found
from timeline.findings import Finding
from timeline.query import Query

SPARE, EXTRA = 2, 20
"""Posts asked for, for each of the page and beyond them, for what the filters will take."""


def newest_posts(
    query: Query,
    author_ids: Ids,
    followed: npt.NDArray[np.bool_],
    *,
    replies: Replies,
    addressed_ids: Ids,
) -> Finding[Candidates]:
    """Posts of authors (n,) of `query.walk`, newest first, within the window of Following.

    Sets `query.reached` to where reading ended, if that is not the end: every post above it
    was looked at, in all shards that answered.
    """
    walk, limit = query.walk, SPARE * query.limit + EXTRA
    oldest = Place(query.now_ms - query.settings.windows.following_ms - 1, MAX_ID)
    newest = Place(query.now_ms + 1, 0)
    before, after = min(walk.before or newest, newest), max(walk.after or oldest, oldest)
    hidden, addressed = np.unique(query.viewer.hidden_ids), np.unique(addressed_ids)
    homes = shards_of(author_ids, query.router.n_shards)
    answers = yield {
        shard: [
            AskNewestBetween(
                author_ids=author_ids[homes == shard],
                followed=followed[homes == shard],
                before=before,
                after=after,
                limit=limit,
                replies=replies,
                addressed_ids=addressed,
                hidden_ids=hidden,
                language=query.viewer.language,
                now_ms=query.now_ms,
            )
        ]
        for shard in np.unique(homes).tolist()
    }
    parts: list[FoundBetween] = [found for _, (found,) in sorted(answers.items())]
    if not parts:
        return NONE
    found = concatenate([from_found(part.posts) for part in parts])
    order = np.lexsort((-found.post_ids, -found.created_ms))
    # Below where one shard stopped, what others found has holes.
    stopped = [part.reached for part in parts if part.reached is not None]
    if stopped:
        query.reached = max(stopped)
        last_ms, last_id = query.reached
        created, post_ids = found.created_ms[order], found.post_ids[order]
        order = order[(created > last_ms) | ((created == last_ms) & (post_ids >= last_id))]
    if len(order) > limit:
        order = order[:limit]
        last = int(order[-1])
        query.reached = Place(int(found.created_ms[last]), int(found.post_ids[last]))
    return found.take(order)

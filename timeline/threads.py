"""Threads: conversations in timelines ordered by time, where nothing is lost and nothing repeated.

An entry stands at its focal post's place in time, and above that post stands what it answers, as in
`timeline.conversation`. That may be a post of the timeline itself from further down, which then
has no entry of its own. A reply whose conversation cannot be shown stands alone.

Every page answers for a part of time, and no two pages of a walk for the same. So what an earlier
page answered for stands above nothing; and what stands above a reply here, but belongs further
down, is carried by the cursor that goes on there (`Query.carried`).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from actors.stores.newest_between import Place
from cluster.ids import Ids
from timeline import walks
from timeline.candidates import Candidates
from timeline.conversation import ConversationModules, ancestors_above
from timeline.pages import Item
from timeline.query import Query


def newest_entries(query: Query, candidates: Candidates) -> npt.NDArray[np.int64]:
    """A selection: the focal posts of the newest entries, `limit` of them, newest first.

    What is left over is for another page.
    """
    order = np.lexsort((-candidates.post_ids, -candidates.created_ms))
    newest = candidates.take(order)
    entries, more = _entries(query, newest, query.limit)
    if more:
        last = int(entries.rows[-1])
        query.reached = Place(int(newest.created_ms[last]), int(newest.post_ids[last]))
    return order[entries.rows]


def threads(query: Query, shown: Candidates) -> ConversationModules:
    """The entries of a page's focal posts, which are in its order."""
    return _entries(query, shown, len(shown))[0]


def places_above(items: Sequence[Item]) -> list[Place]:
    """Where in time the posts are that stand above others on a page."""
    return [
        Place(post.created_ms, post.post_id) for item in items for post in item.entry.posts[:-1]
    ]


def _entries(query: Query, candidates: Candidates, limit: int) -> tuple[ConversationModules, bool]:
    """The first `limit` entries of candidates, newest first, and whether there are more.

    Of replies that share an ancestor the newest has it.
    """
    ancestors, ancestor_ids = _above(query, candidates)
    shown: set[int] = set()
    rows: list[int] = []
    more = False
    columns = zip(candidates.post_ids.tolist(), ancestor_ids.tolist(), strict=True)
    for row, (post, above) in enumerate(columns):
        if post in shown:
            continue
        if len(rows) == limit:
            more = True
            break
        over = {ancestor for ancestor in above if ancestor}
        if shown.isdisjoint(over):
            shown |= over
        else:
            ancestors[row], ancestor_ids[row] = -1, 0
        shown.add(post)
        rows.append(row)
    kept = np.array(rows, np.int64)
    ids = np.concatenate([ancestor_ids[kept], candidates.post_ids[kept, None]], axis=1)
    return ConversationModules(kept, ancestors[kept], ids), more


def _above(query: Query, candidates: Candidates) -> tuple[Ids, Ids]:
    """What may stand above each candidate: rows of linked posts and ids, each of shape (n, 2)."""
    n, facts = len(candidates), query.page_facts
    # A cursor can carry so much; beyond it every post stands alone.
    full = len(query.carried) + 2 * query.limit > query.settings.for_you.max_chain
    if facts is None or full:
        return np.full((n, 2), -1, np.int64), np.zeros((n, 2), np.int64)
    linked = facts.of(candidates)
    posts = linked.posts
    bars = facts.not_above | ~walks.unshown(query, posts)
    ancestors, _ = ancestors_above(candidates, linked, bars)
    ids, created = (
        np.append(posts.post_ids, 0)[ancestors],
        np.append(posts.created_ms, 0)[ancestors],
    )
    focal_ms, focal_ids = candidates.created_ms[:, None], candidates.post_ids[:, None]
    # What is newer than its reply, as an edited root may be, stands at its own place above it.
    newer = (created > focal_ms) | ((created == focal_ms) & (ids > focal_ids))
    ancestors[newer.any(axis=1)] = -1
    return ancestors, np.where(ancestors >= 0, ids, 0)

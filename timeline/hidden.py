"""Whom blocks and mutes hide from viewers with more of them than their context tells.

Filters and sources read the lists of the viewer's context. Where those were cut, they are
completed for the users whom a request meets before anything of them can be shown.
"""

from dataclasses import replace

import numpy as np

from actors.graph import Hidden
from actors.questions import AskHidden
from actors.state import Failed
from cluster.ids import Ids
from timeline.candidates import Candidates
from timeline.query import Query

_SHARE = 0.4
"""Of the time left."""


def learn_hidden(query: Query, *user_ids: Ids) -> None:
    """Complete the lists of the viewer's context for these users, where they were cut.

    Asks the viewer's shard, which costs a wave; for all other viewers it does nothing. Without
    an answer everyone asked about counts as blocked, and the query notes `viewer_context`.
    """
    viewer = query.viewer
    if not viewer.cut:
        return
    asked = np.unique(np.concatenate([ids.reshape(-1) for ids in user_ids]))
    asked = asked[(asked > 0) & (asked != query.viewer_id)]
    if not len(asked):
        return
    shard = query.viewer_shard
    reply = query.ask({shard: [AskHidden(query.viewer_id, asked)]}, _SHARE).replies.get(shard)
    if reply is None or isinstance(reply.answers[0], Failed):
        query.note("viewer_context")
        found = Hidden(asked, asked[:0], asked[:0])
    else:
        found = reply.answers[0]
    query.context = replace(
        viewer,
        blocks=np.union1d(viewer.blocks, found.blocks),
        blocked_by=np.union1d(viewer.blocked_by, found.blocked_by),
        mutes=np.union1d(viewer.mutes, found.mutes),
    )


def learn_hidden_authors(query: Query, posts: Candidates) -> None:
    """The same for the authors of posts, and of what they link to."""
    learn_hidden(query, posts.author_ids, posts.linked_author_ids)

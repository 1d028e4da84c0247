"""List posts: what the members of one list wrote, newest first."""

import numpy as np

from actors.page_questions import AskListMembers
from actors.stores.newest_between import Replies
from cluster.ids import Ids
from timeline.candidates import NONE, Candidates
from timeline.findings import Finding
from timeline.query import Query
from timeline.sources.newest_posts import newest_posts

UNKNOWN_LIST = "unknown_list"
"""The reason of a page of a list that the viewer has not got."""


class ListPosts:
    """The newest posts of the members of `query.walk.list_id`, a list of the viewer's own.

    The list lives with its owner, so nobody else reads it. Replies come only where
    `query.walk.with_replies` asks for them.
    """

    name = "list_posts"
    gated = False

    def find(self, query: Query) -> Finding[Candidates]:
        """Ask the viewer's shard for the members, then the members' shards for posts."""
        home, most = query.viewer_shard, query.settings.products.list_members
        told = yield {home: [AskListMembers(query.viewer_id, query.walk.list_id, most)]}
        if home not in told:
            return NONE
        members: Ids | None = told[home][0]
        if members is None:
            query.reason = UNKNOWN_LIST
            return NONE
        viewer = query.viewer
        heard = np.setdiff1d(members, viewer.hidden_ids)
        if not len(heard):
            return NONE
        # One's own posts are no less one's own for being protected.
        followed = np.isin(heard, viewer.followed) | (heard == query.viewer_id)
        replies = Replies.ALL if query.walk.with_replies else Replies.NONE
        return (
            yield from newest_posts(
                query, heard, followed, replies=replies, addressed_ids=np.empty(0, np.int64)
            )
        )

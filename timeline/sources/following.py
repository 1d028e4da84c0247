"""Following: everything new from the viewer and those they follow, newest first."""

import numpy as np

from actors.stores.newest_between import Replies
from timeline import filters
from timeline.candidates import NONE, Candidates, Mask
from timeline.findings import Finding
from timeline.query import Query
from timeline.sources.newest_posts import newest_posts


class Following:
    """The newest posts of followed authors, and of the viewer where the settings say so.

    In the part of time that is asked for; of replies only those to the viewer, or to somebody
    whom the viewer follows.
    """

    name = "following"
    gated = False

    def find(self, query: Query) -> Finding[Candidates]:
        """Ask each shard about the authors that live in it."""
        viewer = query.viewer
        # Those whom the filters would drop must not fill the answer.
        authors = np.setdiff1d(viewer.followed, viewer.hidden_ids)
        authors = authors[authors != query.viewer_id]
        if query.settings.products.following_own_posts:
            authors = np.append(authors, query.viewer_id)
        if not len(authors):
            return NONE
        return (
            yield from newest_posts(
                query,
                authors,
                np.ones(len(authors), bool),
                replies=Replies.TO_GIVEN,
                addressed_ids=np.append(viewer.followed, query.viewer_id),
            )
        )


def own_where_wanted(query: Query, candidates: Candidates) -> Mask:
    """A filter: the viewer's posts, and reposts of them, only where the settings say so."""
    if query.settings.products.following_own_posts:
        return np.ones(len(candidates), bool)
    return filters.not_own(query, candidates)

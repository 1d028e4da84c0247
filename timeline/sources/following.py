"""Following: everything new from those the viewer follows, newest first."""

import numpy as np

from actors.stores.newest_between import Replies
from timeline.candidates import NONE, Candidates
from timeline.findings import Finding
from timeline.query import Query
from timeline.sources.newest_posts import newest_posts


class Following:
    """The newest posts of followed authors in the part of time that is asked for.

    Of replies only those to the viewer, or to somebody whom the viewer follows.
    """

    name = "following"
    gated = False

    def find(self, query: Query) -> Finding[Candidates]:
        """Ask each shard about the followed authors that live in it."""
        viewer = query.viewer
        # Those whom the filters would drop must not fill the answer.
        authors = viewer.heard()
        authors = authors[authors != query.viewer_id]
        if not len(authors):
            return NONE
        return (
            yield from newest_posts(
                query,
                authors,
                np.ones(len(authors), bool),
                replies=Replies.TO_GIVEN,
                addressed_ids=np.append(viewer.follows, query.viewer_id),
            )
        )

"""Following: everything new from those the viewer follows, newest first."""

import numpy as np

from actors.questions import AskNewest
from actors.router import shards_of
from timeline.candidates import NONE, Candidates, concatenate, from_found
from timeline.findings import Finding
from timeline.query import Query

_SPARE = 2.0
"""Asked for beyond the page, for what the filters will take."""


class Following:
    """The newest posts of followed authors, before the cursor's instant if there is one."""

    name = "following"
    gated = False

    def find(self, query: Query) -> Finding[Candidates]:
        """Ask each shard about the followed authors that live in it."""
        # Those whom the filters would drop must not fill the answer.
        authors = query.viewer.heard()
        if not len(authors):
            return NONE
        until_ms = (query.before[0] if query.before else query.now_ms) + 1
        homes = shards_of(authors, query.router.n_shards)
        answers = yield {
            shard: [
                AskNewest(
                    author_ids=authors[homes == shard],
                    since_ms=query.now_ms - query.settings.windows.following_ms,
                    until_ms=until_ms,
                    limit=_most(query),
                )
            ]
            for shard in np.unique(homes).tolist()
        }
        if not answers:
            return NONE
        together = concatenate([from_found(found) for (found,) in answers.values()])
        newest = np.lexsort((-together.post_ids, -together.created_ms))
        return together.take(newest[: _most(query)])


def _most(query: Query) -> int:
    return int(query.limit * _SPARE) + 20

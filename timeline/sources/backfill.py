"""Backfill: the Following timeline, for viewers who were away for a day."""

import numpy as np

from actors.newest_questions import AskNewestOfGroups
from actors.router import shards_of
from actors.stores.newest_posts import merge_newest
from timeline.candidates import NONE, Candidates, unhydrated
from timeline.findings import Finding
from timeline.query import Query
from timeline.sources import first_questions

_HOUR_MS = 3_600_000


class Backfill:
    """The newest posts of those whom the viewer follows, no replies.

    Only where nothing was served to the viewer for a day, as far as is known (the original's
    gate on the time since the last request).
    """

    name = "backfill"
    gated = True

    def find(self, query: Query) -> Finding[Candidates]:
        """Ask the viewer's shard whether the viewer was away, then the authors' for posts."""
        settings = query.settings.sources.backfill
        authors = query.viewer.heard()
        authors = authors[authors != query.viewer_id]
        if not len(authors):
            return NONE
        home = query.viewer_shard
        told = yield {home: [first_questions.of_last_served(query)]}
        if home in told and told[home][0] > 0:
            return NONE
        homes = shards_of(authors, query.router.n_shards)
        answers = yield {
            shard: [
                AskNewestOfGroups(
                    author_ids=authors[homes == shard],
                    offsets=np.array([0, (homes == shard).sum()], np.int64),
                    since_ms=query.now_ms - query.settings.windows.following_ms,
                    until_ms=query.now_ms + 1,
                    limit=settings.fetched,
                    reposts=True,
                )
            ]
            for shard in np.unique(homes).tolist()
        }
        parts = [found for _, (found,) in sorted(answers.items())]
        if not parts:
            return NONE
        newest = merge_newest(parts, settings.fetched)
        scores = ((newest.created_ms - query.now_ms) / _HOUR_MS).astype(np.float32)
        return unhydrated(newest.post_ids, newest.author_ids, scores)

"""Popular videos: what many watch where the viewer is, of people the viewer does not follow."""

import numpy as np

from actors.popular import AskPopularVideos, PopularPosts
from actors.router import shards_of
from timeline.candidates import NONE, Candidates, unhydrated
from timeline.findings import Finding
from timeline.query import Query
from timeline.sources import first_questions


class PopularVideos:
    """The posts with video that are most popular, in the viewer's language.

    Where a post or the viewer has no language, its author's country must not be another. The
    original takes them from the ranker of its Explore page; ours are ordered like `Popular`.
    """

    name = "popular_videos"
    gated = True

    def find(self, query: Query) -> Finding[Candidates]:
        """Ask the viewer's shard where the viewer is, then every shard for its best."""
        viewer, settings = query.viewer, query.settings.sources.popular_videos
        home, n_shards = query.viewer_shard, query.router.n_shards
        told = yield {home: [first_questions.of_country(query)]}
        hidden = (viewer.hidden_ids, viewer.followed)
        without = np.unique(np.concatenate([*hidden, [query.viewer_id]]))
        homes = shards_of(without, n_shards)
        answers = yield {
            shard: [
                AskPopularVideos(
                    language=viewer.language,
                    country=told[home][0] if home in told else "",
                    without_ids=without[homes == shard],
                    since_ms=query.now_ms - query.settings.windows.popular_ms,
                    now_ms=query.now_ms,
                    per_author=settings.per_author,
                    limit=settings.results,
                )
            ]
            for shard in range(n_shards)
        }
        parts: list[PopularPosts] = [found for _, (found,) in sorted(answers.items())]
        if not parts:
            return NONE
        post_ids, author_ids, scores = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("post_ids", "author_ids", "scores")
        )
        best = np.lexsort((post_ids, -scores))[: settings.results]
        return unhydrated(post_ids[best], author_ids[best], scores[best])

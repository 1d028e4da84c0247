"""FRS posts: the newest of accounts that the viewer may want to follow."""

from dataclasses import replace

import numpy as np

from actors.features.reputation import TWEEPCRED
from actors.follow_questions import AskNewestOriginals
from actors.router import shards_of
from timeline.candidates import NONE, Candidates, concatenate, from_found
from timeline.findings import Finding
from timeline.follow_recommendations.flow import CONTENT, find_accounts
from timeline.query import Query


class FollowRecommendations:
    """Posts and quotes, no replies or reposts, of up to 100 recommended accounts.

    The content flow finds the accounts in two waves; a third asks their shards for posts of 24
    hours, 48 for light users, and brings what is known of them along. Of all posts the newest
    are kept, best first by the mean of the account's place among the accounts and the post's
    among the hours of the window, both 1 at best and 0 at worst.
    """

    name = "follow_recommendations"
    gated = True

    def find(self, query: Query) -> Finding[Candidates]:
        """Ask who is recommended, then their shards; `signal_ids` are the accounts."""
        settings = query.settings.sources.follow_recommendations
        found = yield from find_accounts(query, CONTENT, first=settings.max_seeds)
        if found is None or not len(found.user_ids) or not settings.max_posts:
            return NONE
        light = query.is_light
        window_ms = settings.window_ms * (2 if light else 1)
        authors = found.user_ids
        homes = shards_of(authors, query.router.n_shards)
        answers = yield {
            shard: [
                AskNewestOriginals(
                    author_ids=authors[homes == shard],
                    since_ms=max(query.now_ms - window_ms, 0),
                    until_ms=query.now_ms + 1,
                    per_author=settings.max_per_author,
                    limit=settings.max_posts,
                    language=query.viewer.language,
                    now_ms=query.now_ms,
                    viewer_id=query.viewer_id,
                    reputation_version=query.versions.get(TWEEPCRED, ""),
                )
            ]
            for shard in np.unique(homes).tolist()
        }
        if not answers:
            return NONE
        posts = concatenate([from_found(part) for (part,) in answers.values()])
        most = query.width(self.name, settings.max_posts)
        newest = np.lexsort((-posts.post_ids, -posts.created_ms))[:most]
        posts = posts.take(newest)
        by_id = np.argsort(authors)
        places = by_id[np.searchsorted(authors[by_id], posts.author_ids)]
        of_account = 1 - places / len(authors)
        recency = 1 - (query.now_ms - posts.created_ms) / max(window_ms, 1)
        scores = ((of_account + recency) / 2).astype(np.float32)
        posts = replace(posts, signal_ids=posts.author_ids.copy(), scores=scores)
        return posts.take(np.lexsort((-posts.post_ids, -scores)))

"""In-network: recent posts of those the viewer follows (the role of Earlybird).

As the original's timelineranker does, more posts are asked for than are returned, and those
that may not stand beside each other, or out of their conversation, leave afterwards.
"""

from collections.abc import Sequence

import numpy as np

from actors.features.age_decay import AgeDecay
from actors.features.light import positions_in
from actors.features.reputation import TWEEPCRED
from actors.models import LIGHT_RANKER
from actors.posts import FoundInNetwork, rank_within
from actors.questions import AskInNetwork, AskRoots
from actors.router import shards_of
from cluster.ids import Ids
from timeline.candidates import NONE, Candidates, Mask, concatenate, from_found
from timeline.findings import Finding
from timeline.query import Query


class InNetwork:
    """The best posts of followed authors within 24 hours, 48 for light users.

    Each author's shard ranks its own posts with the light ranker and returns its best. So
    the best of all are the same for every number of shards, as long as no shard holds more
    posts in the window than it looks at. What the viewer saw, and reposts of it, are not
    asked for, nor posts of the viewer or of whoever they muted or have a block with.

    Two rules of the original are not here: posts addressed to a user by a leading mention
    (no event says so) and reposters muted as such.
    """

    name = "in_network"
    gated = True

    def find(self, query: Query) -> Finding[Candidates]:
        """Ask the shards of followed authors, then those of the posts that strangers began."""
        viewer, settings = query.viewer, query.settings.sources.in_network
        authors = viewer.heard()
        authors = authors[authors != query.viewer_id]
        if not len(authors):
            return NONE
        limit = query.width(self.name, query.settings.for_you.in_network_results)
        fetched = int(np.ceil(limit * settings.over_fetch))
        answers = yield _questions(query, authors, fetched)
        found, reply_to_ids = _best([answer for (answer,) in answers.values()], fetched)
        kept = _few_copies(found, settings.max_repost_copies)
        extended = kept & _extended(query, found)
        if extended.any():
            open_to = extended & _begun_by_others(query, found)
            kept &= ~extended
            if settings.extended_replies and open_to.any():
                rows = np.flatnonzero(open_to)
                homes = shards_of(found.linked_author_ids[rows, 0], query.router.n_shards)
                roots = yield {
                    shard: [AskRoots(reply_to_ids[rows[homes == shard]])]
                    for shard in np.unique(homes).tolist()
                }
                for shard, (roots_there,) in roots.items():
                    kept[rows[homes == shard]] = roots_there
        return found.take(np.flatnonzero(kept)[:limit])


def _questions(query: Query, authors: Ids, fetched: int) -> dict[int, list[AskInNetwork]]:
    viewer, for_you, windows = query.viewer, query.settings.for_you, query.settings.windows
    settings = query.settings.sources.in_network
    at = positions_in(viewer.affine_ids, authors)
    affinities = np.zeros(len(authors), np.float32)
    affinities[at >= 0] = viewer.affinities[at[at >= 0]]
    real_graph = query.tastes.scores_of(authors)
    light = query.is_light
    window_ms = windows.in_network_light_ms if light else windows.in_network_ms
    # While paging, what was served lately is of no use either.
    paging = len(query.chain) > 0
    seen = np.union1d(viewer.seen_ids, viewer.served_ids) if paging else viewer.seen_ids
    # Where ids grow with time these are the newest; the filters know the others.
    excluded = seen[-settings.max_excluded :] if settings.max_excluded else seen[:0]
    decay = AgeDecay(**settings.age_decay.model_dump()) if settings.age_decay else None
    homes = shards_of(authors, query.router.n_shards)
    return {
        shard: [
            AskInNetwork(
                viewer_id=query.viewer_id,
                author_ids=authors[homes == shard],
                affinities=affinities[homes == shard],
                language=viewer.language,
                since_ms=query.now_ms - window_ms,
                until_ms=query.now_ms - for_you.skip_newest_ms + 1,
                now_ms=query.now_ms,
                max_hits=for_you.in_network_hits,
                max_results=fetched,
                model_version=query.versions[LIGHT_RANKER],
                reputation_version=query.versions.get(TWEEPCRED, ""),
                real_graph=real_graph[homes == shard],
                excluded_ids=excluded,
                decay=decay,
            )
        ]
        for shard in np.unique(homes).tolist()
    }


def _best(answers: Sequence[FoundInNetwork], limit: int) -> tuple[Candidates, Ids]:
    """The best candidates of all shards, best first, and what they reply to."""
    if not answers:
        return NONE, np.empty(0, np.int64)
    together = concatenate([from_found(answer.posts) for answer in answers])
    reply_to_ids = np.concatenate([answer.reply_to_ids for answer in answers])
    best = np.lexsort((together.post_ids, -together.scores))[:limit]
    return together.take(best), reply_to_ids[best]


def _few_copies(found: Candidates, most: int) -> Mask:
    """Of many reposts of one post the oldest stay, as in the original."""
    keep = np.ones(len(found), bool)
    reposts = np.flatnonzero(found.repost_of_ids > 0)
    by_age = reposts[np.lexsort((found.post_ids[reposts], found.created_ms[reposts]))]
    keep[by_age] = rank_within(found.repost_of_ids[by_age]) < most
    return keep


def _extended(query: Query, found: Candidates) -> Mask:
    """Replies to somebody whom the viewer does not follow, the viewer among them."""
    addressed = found.linked_author_ids[:, 0]
    known = positions_in(query.viewer.followed, addressed) >= 0
    strange: Mask = ~known & (addressed > 0) & (addressed != found.author_ids)
    extended: Mask = found.is_reply & strange
    return extended


def _begun_by_others(query: Query, found: Candidates) -> Mask:
    """Whether what is replied to is by somebody who may be heard, and not by the viewer."""
    viewer, addressed = query.viewer, found.linked_author_ids[:, 0]
    open_to: Mask = (addressed != query.viewer_id) & ~np.isin(addressed, viewer.hidden_ids)
    return open_to

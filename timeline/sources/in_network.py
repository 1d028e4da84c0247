"""In-network: recent posts of those the viewer follows (the role of Earlybird)."""

import numpy as np

from actors.features.light import positions_in
from actors.models import LIGHT_RANKER
from actors.questions import AskInNetwork
from actors.router import shards_of
from timeline.candidates import NONE, Candidates, best_of
from timeline.findings import Finding
from timeline.query import LIGHT_USER_FOLLOWS, Query


class InNetwork:
    """The best posts of followed authors within 24 hours, 48 for light users.

    Each author's shard ranks its own posts with the light ranker and returns its share of
    the results; the viewer's own posts are left to the filter that drops them.
    """

    name = "in_network"

    def find(self, query: Query) -> Finding[Candidates]:
        """Ask each shard about the followed authors that live in it, and take the best of all."""
        viewer, settings = query.viewer, query.settings
        if not len(viewer.follows):
            return NONE
        authors = np.sort(viewer.follows)
        at = positions_in(viewer.affine_ids, authors)
        affinities = np.zeros(len(authors), np.float32)
        affinities[at >= 0] = viewer.affinities[at[at >= 0]]
        light = len(authors) < LIGHT_USER_FOLLOWS
        windows = settings.windows
        window_ms = windows.in_network_light_ms if light else windows.in_network_ms
        homes = shards_of(authors, query.router.n_shards)
        answers = yield {
            shard: [
                AskInNetwork(
                    viewer_id=query.viewer_id,
                    author_ids=authors[homes == shard],
                    affinities=affinities[homes == shard],
                    language=viewer.language,
                    since_ms=query.now_ms - window_ms,
                    until_ms=query.now_ms - settings.for_you.skip_newest_ms + 1,
                    now_ms=query.now_ms,
                    max_hits=settings.for_you.in_network_hits,
                    max_results=settings.for_you.in_network_results,
                    model_version=query.versions[LIGHT_RANKER],
                )
            ]
            for shard in np.unique(homes).tolist()
        }
        limit = settings.for_you.in_network_results
        return best_of([found for (found,) in answers.values()], limit)

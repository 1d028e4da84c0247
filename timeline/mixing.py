"""What is shown of what is left: caps, order, and the length of the page."""

import numpy as np
import numpy.typing as npt

from actors.stores.id_map import IdMap
from timeline.candidates import Candidates
from timeline.query import Query

Rows = npt.NDArray[np.int64]
_MAX_SOURCES = 32
"""As many as `Candidates.sources` has bits."""


def best_per_author_out_of_network(query: Query, candidates: Candidates) -> Rows:
    """Of each author whom the viewer does not follow, the best post of each source."""
    followed = candidates.feature("is_followed") > 0
    order = best_first(candidates)
    authors = IdMap(len(candidates))
    groups = authors.get_or_insert(candidates.author_ids) * _MAX_SOURCES + candidates.source
    best = np.zeros(len(authors) * _MAX_SOURCES, np.int64)
    # Of several values for one place the last one written stays.
    best[groups[order[::-1]]] = order[::-1]
    kept: Rows = np.flatnonzero(followed | (best[groups] == np.arange(len(groups))))
    return kept


def page(query: Query, candidates: Candidates) -> Rows:
    """The best posts, at most so many of either side of the network, and `limit` in all."""
    limits = query.settings.for_you
    order = best_first(candidates)
    followed = candidates.feature("is_followed")[order] > 0
    within = np.where(
        followed,
        np.cumsum(followed) <= limits.max_in_network,
        np.cumsum(~followed) <= limits.max_out_of_network,
    )
    return order[within][: query.limit]


def best_first(candidates: Candidates) -> Rows:
    """Rows by score, ties by post id, so that the order is the same everywhere."""
    return np.lexsort((candidates.post_ids, -candidates.scores))

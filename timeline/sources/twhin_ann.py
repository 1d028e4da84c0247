"""TwHIN ANN: posts whose vectors are nearest to the viewer's, or to that of a post.

A trained post has its trained vector, a fresh one that of those who engaged with it. Findings
give a ranked list for each source, as those of `simclusters_ann` do, of `limit` posts at most.
"""

import numpy as np

from actors.models import VECTORS
from actors.retrieval_questions import AskNearMany
from actors.router import shards_of
from actors.stores.ranked_lists import RankedLists, merge_lists, no_lists
from actors.vector_models import Float32s
from actors.vector_questions import AskVectors
from cluster.ids import Ids
from timeline.findings import Finding
from timeline.query import Query


def of_viewer(query: Query, limit: int | None = None) -> Finding[RankedLists]:
    """One list: posts nearest to the viewer's engagement vector; one wave."""
    vector = query.tastes.vector
    if VECTORS not in query.tastes.versions or not vector.any():
        return no_lists(1)
    return (yield from _asked(query, vector[None, :], np.zeros(1, np.int64), limit))


def of_posts(
    query: Query, post_ids: Ids, author_ids: Ids, limit: int | None = None
) -> Finding[RankedLists]:
    """A list for each post: the posts nearest to it; two waves, the first for their vectors."""
    n = len(post_ids)
    if VECTORS not in query.tastes.versions or not n:
        return no_lists(n)
    version = query.tastes.versions[VECTORS]
    homes = shards_of(author_ids, query.router.n_shards)
    rows = {shard: np.flatnonzero(homes == shard) for shard in np.unique(homes).tolist()}
    answers = yield {
        shard: [AskVectors(version, post_ids[mine], query.now_ms)] for shard, mine in rows.items()
    }
    places = [rows[shard][known] for shard, ((_, known),) in answers.items()]
    if not sum(map(len, places)):
        return no_lists(n)
    order = np.argsort(np.concatenate(places))
    vectors = np.concatenate([found[known] for ((found, known),) in answers.values()])[order]
    known_rows = np.concatenate(places)[order]
    found = yield from _asked(query, vectors, post_ids[known_rows], limit)
    return found.placed(known_rows, n)


def _asked(
    query: Query, vectors: Float32s, excluded_post_ids: Ids, limit: int | None
) -> Finding[RankedLists]:
    """Ask every shard, and merge what they found."""
    limits = query.settings.sources.twhin_ann
    most = limits.max_results if limit is None else min(limits.max_results, limit)
    question = AskNearMany(
        query.tastes.versions[VECTORS],
        vectors,
        most,
        query.now_ms,
        limits.max_age_ms,
        excluded_post_ids,
    )
    answers = yield {shard: [question] for shard in range(query.router.n_shards)}
    parts = [found for _, (found,) in sorted(answers.items())]
    return merge_lists(parts, len(vectors), most)

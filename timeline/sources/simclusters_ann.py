"""SimClusters ANN: posts whose communities are those of the viewer, of a post or of an author.

Findings give a ranked list for each source, all from one search in every shard, of `limit`
posts at most where that is less than settings say. Each shard
scans its own best posts of a community, as many as the original's single index: the answer is
the same for any number of shards as long as no community has more posts than that, and else
better with more of them. Floors over all shards (see `similar_posts`) would make it the same
always, for a wave more and the heads of every community on the way; not worth it here.
"""

import numpy as np
import numpy.typing as npt

from actors.models import VECTORS
from actors.retrieval_questions import AskSimilarMany, no_rows, one_below_the_other
from actors.router import shards_of
from actors.stores.cluster_search_many import ManySearches
from actors.stores.community_lists import Float64s
from actors.stores.ranked_lists import RankedLists, merge_lists, no_lists
from actors.stores.sparse_embeddings import SparseEmbeddings
from actors.vector_questions import AskEmbeddings
from cluster.ids import Ids
from timeline.findings import Finding
from timeline.query import Query

_NO_IDS = np.empty(0, np.int64)


def of_interests(query: Query, limit: int | None = None) -> Finding[RankedLists]:
    """One list: posts of the communities that the viewer is interested in; one wave."""
    return (yield from of_all(query, limit, interests=True))


def of_producers(query: Query, producer_ids: Ids, limit: int | None = None) -> Finding[RankedLists]:
    """A list for each author: posts liked in the communities that its audience is of; one wave."""
    return (yield from of_all(query, limit, producer_ids=producer_ids))


def of_posts(
    query: Query, post_ids: Ids, author_ids: Ids, limit: int | None = None
) -> Finding[RankedLists]:
    """A list for each post: others liked in the same communities; two waves.

    Only the shard of a post's author knows its embedding: the first wave fetches them.
    """
    return (yield from of_all(query, limit, post_ids=post_ids, author_ids=author_ids))


def of_all(
    query: Query,
    limit: int | None = None,
    *,
    interests: bool = False,
    post_ids: Ids = _NO_IDS,
    author_ids: Ids = _NO_IDS,
    producer_ids: Ids = _NO_IDS,
) -> Finding[RankedLists]:
    """The list of `interests`, then those of posts, then those of producers.

    One search for all of them, in the second wave if there are posts: what they have in common
    is scanned once.
    """
    tastes, limits = query.tastes, query.settings.sources.simclusters_ann
    n_posts, n_producers = len(post_ids), len(producer_ids)
    n = int(interests) + n_posts + n_producers
    if VECTORS not in tastes.versions or not n:
        return no_lists(n)
    sources = no_rows(0)
    if interests:
        viewer = np.array([query.viewer_id], np.int64)
        offsets = np.array([0, len(tastes.communities)], np.int64)
        sources = SparseEmbeddings(viewer, offsets, tastes.communities, tastes.interests)
    if n_posts:
        embeddings = yield from _embeddings_of(query, post_ids, author_ids)
        sources = one_below_the_other(sources, embeddings)
    if not len(sources.communities) + n_producers:
        return no_lists(n)
    least = (limits.min_interested_in, limits.min_tweet, limits.min_producer)
    scores = np.repeat(least, (int(interests), n_posts, n_producers))
    excluded = np.zeros(n, np.int64)
    excluded[int(interests) : int(interests) + n_posts] = post_ids
    searches = _searches(query, excluded, scores, limit)
    return (yield from _asked(query, sources, producer_ids, searches))


def _embeddings_of(query: Query, post_ids: Ids, author_ids: Ids) -> Finding[SparseEmbeddings]:
    """A row for each post, empty where nothing is known of it."""
    version = query.tastes.versions[VECTORS]
    homes = shards_of(author_ids, query.router.n_shards)
    rows = {shard: np.flatnonzero(homes == shard) for shard in np.unique(homes).tolist()}
    answers = yield {
        shard: [AskEmbeddings(version, post_ids[mine], query.now_ms)]
        for shard, mine in rows.items()
    }
    return _put_together({s: of for s, (of,) in answers.items()}, rows, len(post_ids))


def _searches(
    query: Query, excluded_post_ids: Ids, min_scores: Float64s, limit: int | None
) -> ManySearches:
    limits, n = query.settings.sources.simclusters_ann, len(excluded_post_ids)
    most = limits.max_results
    return ManySearches(
        min_scores=min_scores,
        max_ages_ms=np.full(n, limits.max_age_ms),
        excluded_post_ids=excluded_post_ids,
        max_results=most if limit is None else min(most, limit),
        max_communities=limits.max_communities,
        max_posts_per_community=limits.max_posts_per_community,
    )


def _asked(
    query: Query, sources: SparseEmbeddings, producer_ids: Ids, searches: ManySearches
) -> Finding[RankedLists]:
    """Ask every shard, and merge what they found."""
    version = query.tastes.versions[VECTORS]
    question = AskSimilarMany(version, sources, producer_ids, searches, query.now_ms)
    answers = yield {shard: [question] for shard in range(query.router.n_shards)}
    parts = [found for _, (found,) in sorted(answers.items())]
    return merge_lists(parts, len(searches.min_scores), searches.max_results)


def _put_together(
    parts: dict[int, SparseEmbeddings], rows: dict[int, npt.NDArray[np.int64]], n: int
) -> SparseEmbeddings:
    """One matrix of n rows, of which each shard gave some; the others are empty."""
    counts = np.zeros(n, np.int64)
    for shard, part in parts.items():
        counts[rows[shard]] = np.diff(part.offsets)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    communities = np.empty(offsets[-1], np.int32)
    scores = np.empty(offsets[-1], np.float32)
    for shard, part in parts.items():
        sizes = np.diff(part.offsets)
        at = np.arange(len(part.scores)) + np.repeat(
            offsets[rows[shard]] - part.offsets[:-1], sizes
        )
        communities[at], scores[at] = part.communities, part.scores
    return SparseEmbeddings(np.zeros(n, np.int64), offsets, communities, scores)

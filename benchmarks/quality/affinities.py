"""How close each candidate is to its viewer by every model, whichever source found it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.models import VECTORS
from actors.router import shards_of
from actors.state import ShardState
from actors.stores.sparse_embeddings import SparseEmbeddings
from actors.vector_models import DenseVectors
from actors.vector_questions import AskEmbeddings, AskVectors
from cluster.ids import Ids
from timeline.candidates import Candidates
from timeline.findings import Finding, ask_together
from timeline.query import Query
from timeline.sources import salsa, user_tweet_graph
from timeline.sources.source_keys import source_keys

Floats = npt.NDArray[np.float32]

NAMES = (
    "twhin",
    "twhin_score",
    "twhin_follows",
    "simclusters",
    "co_engagement",
    "walk",
    "far_walk",
)
_WALKS = 10_000
_NEAR, _FAR = 3, 9
"""Steps of a walk: to whom engaged with the same, and beyond."""
_SHARE = 0.9


def affinities(query: Query, candidates: Candidates) -> Mapping[str, Floats]:
    """By name, (n,): cosine of TwHIN's vectors and their product, as trained, with how the
    viewer engages and follows; cosine of SimClusters embeddings; the summed score of what those
    engaged with too who engaged with the viewer's latest posts; and the share of visits of
    random walks from the viewer, near and far. 0 where nothing is known.
    """
    post_ids, author_ids = candidates.post_ids, candidates.author_ids
    findings: dict[str, Finding[Floats]] = {
        "twhin": _twhin(query, post_ids, author_ids),
        "twhin_score": _twhin_score(query, post_ids, author_ids, "user_engagement"),
        "twhin_follows": _twhin_score(query, post_ids, author_ids, "user_follow"),
        "simclusters": _simclusters(query, post_ids, author_ids),
        "co_engagement": _co_engagement(query, post_ids),
        "walk": _walk(query, post_ids, _NEAR),
        "far_walk": _walk(query, post_ids, _FAR),
    }
    found = ask_together(query, findings, _SHARE)
    none = np.zeros(len(post_ids), np.float32)
    return {name: none if values is None else values for name, values in found.items()}


def _twhin(query: Query, post_ids: Ids, author_ids: Ids) -> Finding[Floats]:
    scores = np.zeros(len(post_ids), np.float32)
    vector = query.tastes.vector
    if VECTORS not in query.tastes.versions or not vector.any():
        return scores
    homes = shards_of(author_ids, query.router.n_shards)
    version = query.tastes.versions[VECTORS]
    answers = yield {
        shard: [AskVectors(version, post_ids[homes == shard], query.now_ms)]
        for shard in np.unique(homes).tolist()
    }
    for shard, ((vectors, _),) in answers.items():
        scores[homes == shard] = vectors @ (vector / np.linalg.norm(vector))
    return scores


@dataclass(frozen=True)
class AskProducts:
    """Inner products of a user's vector in a table of TwHIN's with the trained ones of posts."""

    version: str
    user_id: int
    table: str
    post_ids: Ids

    def answer(self, state: ShardState) -> Floats:
        """(n,), 0 where either has none."""
        models = state.vectors.models(self.version)
        tables = {**models.dense, "user_engagement": models.user_engagement}
        none = DenseVectors.empty(models.dimension)
        users, _ = tables.get(self.table, none).of(np.array([self.user_id]))
        posts, _ = tables.get("posts", none).of(self.post_ids)
        products: Floats = posts @ users[0]
        return products


def _twhin_score(query: Query, post_ids: Ids, author_ids: Ids, table: str) -> Finding[Floats]:
    scores = np.zeros(len(post_ids), np.float32)
    if VECTORS not in query.tastes.versions:
        return scores
    version = query.tastes.versions[VECTORS]
    homes = shards_of(author_ids, query.router.n_shards)
    answers = yield {
        shard: [AskProducts(version, query.viewer_id, table, post_ids[homes == shard])]
        for shard in np.unique(homes).tolist()
    }
    for shard, (products,) in answers.items():
        scores[homes == shard] = products
    return scores


def _simclusters(query: Query, post_ids: Ids, author_ids: Ids) -> Finding[Floats]:
    scores = np.zeros(len(post_ids), np.float32)
    tastes = query.tastes
    if VECTORS not in tastes.versions or not len(tastes.communities):
        return scores
    homes = shards_of(author_ids, query.router.n_shards)
    answers = yield {
        shard: [AskEmbeddings(tastes.versions[VECTORS], post_ids[homes == shard], query.now_ms)]
        for shard in np.unique(homes).tolist()
    }
    interests = np.zeros(int(tastes.communities.max()) + 1, np.float32)
    norm = float(np.linalg.norm(tastes.interests))
    interests[tastes.communities] = tastes.interests / max(norm, 1e-9)
    for shard, (found,) in answers.items():
        scores[homes == shard] = _cosines(found, interests)
    return scores


def _cosines(embeddings: SparseEmbeddings, interests: Floats) -> Floats:
    rows = np.repeat(np.arange(len(embeddings.offsets) - 1), np.diff(embeddings.offsets))
    shared = embeddings.communities < len(interests)
    products = np.zeros(len(rows))
    products[shared] = interests[embeddings.communities[shared]] * embeddings.scores[shared]
    n = len(embeddings.offsets) - 1
    norms = np.sqrt(np.bincount(rows, embeddings.scores.astype(np.float64) ** 2, n))
    return (np.bincount(rows, products, n) / np.maximum(norms, 1e-12)).astype(np.float32)


def _co_engagement(query: Query, post_ids: Ids) -> Finding[Floats]:
    keys = source_keys(query, 0)
    posts = keys.posts
    found = yield from user_tweet_graph.related_by_posts(
        query, keys.target_ids[posts], keys.author_ids[posts]
    )
    return _summed(found.post_ids, found.scores, post_ids)


def _walk(query: Query, post_ids: Ids, length: int) -> Finding[Floats]:
    seeds = np.sort(query.viewer.heard()[:100])
    found = yield from salsa.walked_posts(
        *(query, seeds, np.ones(len(seeds))), walks=_WALKS, length=length, reset=0.0, limit=5_000
    )
    return _summed(found.post_ids, found.weights, post_ids)


def _summed(found_ids: Ids, scores: npt.NDArray[np.floating], post_ids: Ids) -> Floats:
    order = np.argsort(post_ids)
    at = np.minimum(np.searchsorted(post_ids[order], found_ids), len(post_ids) - 1)
    sums = np.zeros(len(post_ids))
    if len(post_ids):
        there = post_ids[order][at] == found_ids
        sums[order] = np.bincount(at[there], scores[there], len(post_ids))
    return sums.astype(np.float32)

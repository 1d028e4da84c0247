"""Posts like a post: by who liked them (SimClusters) and by who engaged with them (TwHIN)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.features.pair_scores import PAIR_SCORES, dense_pair_scores, sparse_pair_scores
from actors.posts import FoundPosts
from actors.questions import AskPosts, AskUris
from actors.representation_questions import AskPost, FoundPost, may_be_public
from actors.router import shards_of
from actors.state import Failed, Question
from actors.stores.cluster_search import ClusterSearch, floors_of, merge_found
from actors.stores.hnsw import Neighbours, merge_neighbours
from actors.stores.sparse_embeddings import SparseEmbeddings
from actors.vector_models import Float32s
from actors.vector_questions import (
    AskCommunityHeads,
    AskEmbeddings,
    AskNear,
    AskSimilar,
    AskVectors,
)
from cluster.ids import Ids
from cluster.problems import ProblemError
from timeline.communities import CommunityBook
from timeline.likeness_reasons import Likeness, by_communities, merged, near, why_empty
from timeline.query import Query

_SHARES = (0.3, 0.4, 0.5, 0.9)
"""Of the time left, for each wave."""
_SPARE = 20
_COSINE = PAIR_SCORES.index("cosine")


@dataclass(frozen=True)
class SimilarPost:
    """A post like another."""

    post_id: int
    author_id: int
    created_ms: int
    score: float
    cosines: dict[str, float | None]
    reasons: list[Likeness]
    uri: str | None = None


@dataclass(frozen=True)
class SimilarPosts:
    """Posts like one, the most alike first."""

    post_id: int
    author_id: int | None
    items: list[SimilarPost]
    version: str


def similar_posts(
    query: Query, post_id: int, author_id: int | None, limit: int, book: CommunityBook
) -> SimilarPosts:
    """Posts like one, in four waves: the post, what sets the floors and what is near, what is
    of its communities, and the facts of all that was found.

    The same for any number of shards: floors over all shards make the search by communities
    exact. Left out are posts that are deleted, of authors who are gone or protected, or of or
    about somebody whom the author of the post blocked or is blocked by; and reposts. Raises
    `ProblemError` for a post that is unknown or may not be shown itself.
    """
    post = find_post(query, post_id, author_id, _SHARES[0])
    if post is None:
        return SimilarPosts(post_id, author_id, [], "")
    represented = post.has_vector or len(post.embedding.communities) > 0
    why_empty(query, post.version, represented)
    found = _candidates(query, post, 2 * limit + _SPARE) if represented else {}
    items: list[SimilarPost] = []
    if found:
        for answers in _asked(query, _facts_wave(query, post, found), _SHARES[3]).values():
            posts, embeddings, vectors, uris = answers
            items += _items(post, posts, embeddings, vectors, uris, book)
    items.sort(key=lambda item: (-item.score, -item.post_id))
    once = {item.post_id: item for item in reversed(items)}
    best = [item for item in items if once[item.post_id] is item]
    return SimilarPosts(post_id, post.author_id, best[:limit], post.version)


def find_post(
    query: Query, post_id: int, author_id: int | None, share: float, version: str | None = None
) -> FoundPost | None:
    """A post, from its author's shard, or from all where the author is not given.

    Of several posts with one id, which events of several authors can make, that of the least
    author. None, noted in the query, where a shard that might know it did not answer. Raises
    `ProblemError` for a post that is unknown or may not be shown to everybody.
    """
    n_shards = query.router.n_shards
    homes = range(n_shards)
    if author_id is not None:
        home = int(shards_of(np.array([author_id], np.int64), n_shards)[0])
        homes = range(home, home + 1)
    wave: dict[int, list[Question]] = {
        shard: [AskPost(post_id, query.now_ms, version)] for shard in homes
    }
    answers = _asked(query, wave, share)
    found = [answer for [answer] in answers.values() if isinstance(answer, FoundPost)]
    found = [post for post in found if author_id is None or post.author_id == author_id]
    if not found:
        if len(answers) < len(wave):
            return None
        by = "" if author_id is None else f" by user {author_id}"
        raise ProblemError("unknown-post", f"no post {post_id}{by} is known")
    post = min(found, key=lambda post: post.author_id)
    if not post.public:
        raise ProblemError("unknown-post", f"post {post_id} is not there for everybody")
    return post


def _asked(query: Query, wave: dict[int, list[Question]], share: float) -> dict[int, list[Any]]:
    """Answers by shard, of those that answered everything; the others are noted."""
    answers = {shard: reply.answers for shard, reply in query.ask(wave, share).replies.items()}
    for shard in list(answers):
        if any(isinstance(answer, Failed) for answer in answers[shard]):
            query.note(f"shard_{shard}")
            del answers[shard]
    return answers


def _candidates(query: Query, post: FoundPost, wanted: int) -> dict[int, Ids]:
    """By shard, the posts that are among the `wanted` most alike by either model."""
    # Older posts have no representation.
    max_age_ms = query.settings.vectors.max_age_ms
    search = ClusterSearch(max_results=wanted, max_age_ms=max_age_ms, excluded_post_id=post.post_id)
    communities = post.embedding.communities[: search.max_communities]
    now_ms, version, every = query.now_ms, post.version, range(query.router.n_shards)
    first: list[Question] = []
    if post.has_vector:
        excluded = {"excluded_post_id": post.post_id}
        first.append(AskNear(version, post.vector, wanted, now_ms, max_age_ms, **excluded))
    if len(communities):
        cut = search.max_posts_per_community
        first.append(AskCommunityHeads(version, communities, cut, now_ms))
    answers = _asked(query, dict.fromkeys(every, first), _SHARES[1])
    found: dict[int, list[Ids]] = {shard: [] for shard in answers}
    if post.has_vector:
        near_by = {shard: answer[0] for shard, answer in answers.items()}
        best = merge_neighbours(list(near_by.values()), wanted).ids
        _keep(found, near_by, best)
    if len(communities) and answers:
        floors = floors_of([answer[-1] for answer in answers.values()], cut)
        similar: list[Question] = [
            AskSimilar(
                *(version, post.embedding.communities, post.embedding.scores),
                *(search, now_ms, floors),
            )
        ]
        parts = _asked(query, dict.fromkeys(answers, similar), _SHARES[2])
        alike = {shard: answer[0] for shard, answer in parts.items()}
        best = merge_found(list(alike.values()), wanted).post_ids
        _keep(found, alike, best)
    ids = {shard: np.unique(np.concatenate(parts)) for shard, parts in found.items() if parts}
    return {shard: of_shard for shard, of_shard in ids.items() if len(of_shard)}


def _keep(found: dict[int, list[Ids]], parts: dict[int, Any], best: Ids) -> None:
    for shard, part in parts.items():
        ids = part.ids if isinstance(part, Neighbours) else part.post_ids
        found[shard].append(ids[np.isin(ids, best)])


def _facts_wave(query: Query, post: FoundPost, found: dict[int, Ids]) -> dict[int, list[Question]]:
    return {
        shard: [
            AskPosts(post_ids, "", query.now_ms),
            AskEmbeddings(post.version, post_ids, query.now_ms),
            AskVectors(post.version, post_ids, query.now_ms),
            AskUris(post_ids),
        ]
        for shard, post_ids in found.items()
    }


def _items(
    post: FoundPost,
    posts: FoundPosts,
    embeddings: SparseEmbeddings,
    vectors: tuple[Float32s, npt.NDArray[np.bool_]],
    uris: list[str | None],
    book: CommunityBook,
) -> list[SimilarPost]:
    """The posts of one shard that may be shown."""
    n, nothing = len(posts.post_ids), np.float32(np.nan)
    of_source = np.zeros(n, np.int64)
    sparse = sparse_pair_scores(post.embedding, of_source, embeddings, np.arange(n))[:, _COSINE]
    has_embedding = len(post.embedding.communities) > 0
    sparse = np.where((np.diff(embeddings.offsets) > 0) & has_embedding, sparse, nothing)
    dense = dense_pair_scores(post.vector[None, :], vectors[0])[:, 1]
    dense = np.where(vectors[1] & post.has_vector, dense, nothing)
    scores = merged(sparse, dense, of_both=has_embedding and post.has_vector)
    about = np.column_stack([posts.author_ids, posts.linked_author_ids])
    kept = may_be_public(posts) & ~np.isin(about, post.hidden_ids).any(axis=1) & (scores > 0)
    kept &= (posts.repost_of_ids == 0) & ~np.isin(posts.post_ids, [post.post_id, post.newest_id])
    words = "liked in the same communities:"
    return [
        SimilarPost(
            int(posts.post_ids[row]),
            int(posts.author_ids[row]),
            int(posts.created_ms[row]),
            float(scores[row]),
            {"simclusters": _number(sparse[row]), "twhin": _number(dense[row])},
            [
                *by_communities(
                    "shared_communities",
                    words,
                    float(sparse[row]),
                    post.embedding,
                    embeddings,
                    row,
                    post.version,
                    book,
                ),
                *near(float(dense[row]), "engaged with by users near in TwHIN space"),
            ],
            uris[row],
        )
        for row in np.flatnonzero(kept).tolist()
    ]


def _number(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)

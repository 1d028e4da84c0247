"""Favourites of posts, and what they add up to by the plainest means."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from actors.stores.post_embeddings import EmbeddingLimits, PostEmbeddings
from actors.stores.sparse_embeddings import SparseEmbeddings

HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000
POSTS = [11, 12, 13, 14, 15, 2**62]
N_COMMUNITIES = 4

SMALL = EmbeddingLimits(communities_per_post=3, posts_per_community=2)


def author_of(post_id: int) -> int:
    return post_id % 5 + 1


def created_of(post_id: int) -> int:
    return START_MS + POSTS.index(post_id) * 5 * HOUR_MS


@dataclass(frozen=True)
class Favourite:
    post_id: int
    time_ms: int
    weights: tuple[tuple[int, float], ...]


def weights_of(favourites: Sequence[Favourite]) -> SparseEmbeddings:
    """Row i is what favourite i adds."""
    lengths = [len(one.weights) for one in favourites]
    pairs = [pair for one in favourites for pair in one.weights]
    return SparseEmbeddings(
        np.arange(len(favourites)),
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        np.array([community for community, _ in pairs], np.int32),
        np.array([weight for _, weight in pairs], np.float32),
    )


def add(store: PostEmbeddings, favourites: Sequence[Favourite], sign: int = 1) -> None:
    post_ids = np.array([one.post_id for one in favourites], np.int64)
    store.add(
        post_ids,
        np.array([author_of(post) for post in post_ids.tolist()], np.int64),
        np.array([one.time_ms for one in favourites], np.int64),
        np.full(len(favourites), sign, np.int8),
        weights_of(favourites),
    )


def create(store: PostEmbeddings, post_ids: Sequence[int]) -> None:
    store.create(
        np.array(post_ids, np.int64),
        np.array([author_of(post) for post in post_ids], np.int64),
        np.array([created_of(post) for post in post_ids], np.int64),
    )


def filled(
    favourites: Sequence[Favourite], limits: EmbeddingLimits = SMALL, posts: Sequence[int] = POSTS
) -> PostEmbeddings:
    store = PostEmbeddings(limits)
    create(store, posts)
    add(store, favourites)
    return store


def sums(favourites: Sequence[Favourite], now_ms: int) -> dict[int, dict[int, float]]:
    """By community and post, what the favourites of living posts add up to."""
    found: dict[int, dict[int, float]] = {}
    for one in favourites:
        if now_ms - created_of(one.post_id) >= 72 * HOUR_MS:
            continue
        for community, weight in one.weights:
            by_post = found.setdefault(community, {})
            added = float(np.float32(weight)) * 2 ** (-(now_ms - one.time_ms) / (8 * HOUR_MS))
            by_post[one.post_id] = by_post.get(one.post_id, 0.0) + added
    return found


def best(by_post: dict[int, float], k: int, lowest: float = 0.001) -> list[int]:
    """A community's posts, best first; equal scores by the greater id."""
    ordered = sorted(by_post, key=lambda post: (-by_post[post], -post))
    return [post for post in ordered if by_post[post] >= lowest][:k]


WEIGHTS = st.lists(
    st.tuples(st.integers(0, N_COMMUNITIES - 1), st.sampled_from([0.05, 0.3, 0.5, 1.25])),
    max_size=3,
    unique_by=lambda pair: pair[0],
).map(tuple)
FAVOURITES = st.builds(
    Favourite,
    st.sampled_from(POSTS),
    # Distinct times, so that no two sums tie but by having the same favourites.
    st.integers(0, 90 * 60).map(lambda minutes: START_MS + minutes * 60_000),
    WEIGHTS,
)

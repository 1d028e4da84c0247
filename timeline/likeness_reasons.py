"""Why two users or two posts are alike, in words and in data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actors.stores.sparse_embeddings import SparseEmbeddings
from actors.two_hop import EdgeType, Pair, TwoHopCounts
from actors.vector_models import Float32s
from timeline.communities import Community, CommunityBook
from timeline.query import Query

NAMED_COMMUNITIES = 3
NAMED_USERS = 3
SHARED: tuple[tuple[Pair, ...], ...] = (
    ((EdgeType.FOLLOWED_BY, EdgeType.FOLLOWED_BY),),
    ((EdgeType.FOLLOWING, EdgeType.FOLLOWING),),
)
"""Who follows both, and whom both follow; asked one by one, since only a first pair is named."""
UNTRAINED = "untrained"
"""No models serve yet."""
NO_REPRESENTATION = "no_representation"
"""The models that serve know nothing of the subject."""


@dataclass(frozen=True)
class Likeness:
    """One reason: its kind, a sentence for people, and what it rests on."""

    kind: str
    text: str
    value: float | None = None
    """A cosine or a count, by the kind."""
    communities: tuple[Community, ...] = ()
    user_ids: tuple[int, ...] = ()


def simclusters_of(version: str) -> str:
    """The version of `simclusters` in the name of a pinned set."""
    return version.partition("+")[0]


def by_communities(
    kind: str,
    words: str,
    cosine: float,
    source: SparseEmbeddings,
    others: SparseEmbeddings,
    row: int,
    version: str,
    book: CommunityBook,
) -> list[Likeness]:
    """The communities of which most of a cosine comes; nothing where there is none."""
    if not cosine > 0:
        return []
    entries = slice(others.offsets[row], others.offsets[row + 1])
    shared, mine, theirs = np.intersect1d(
        source.communities, others.communities[entries], assume_unique=True, return_indices=True
    )
    parts = source.scores[mine] * others.scores[entries][theirs]
    best = shared[np.lexsort((shared, -parts))][:NAMED_COMMUNITIES].tolist()
    more = f" and {len(shared) - len(best)} more" if len(shared) > len(best) else ""
    text = f"{words} {', '.join(map(str, best))}{more}"
    return [Likeness(kind, text, cosine, book.of(simclusters_of(version), best))]


def near(cosine: float, words: str) -> list[Likeness]:
    """Near in the space of dense vectors; nothing where it is not."""
    if not cosine > 0:
        return []
    return [Likeness("near_in_twhin", f"{words} (cosine {cosine:.2f})", cosine)]


def by_users(kind: str, before: str, after: str, count: int, named: list[int]) -> list[Likeness]:
    """Users who stand between both; nothing where there are none."""
    user_ids = tuple(user for user in named if user)
    if not count:
        return []
    more = f" and {count - len(user_ids)} more" if count > len(user_ids) else ""
    people = ", ".join(map(str, user_ids))
    return [Likeness(kind, f"{before} {people}{more}{after}", float(count), (), user_ids)]


def shared_with(counts: Sequence[TwoHopCounts], row: int) -> list[Likeness]:
    """Who follows two users and whom both follow: answers to each of `SHARED`, one row of each."""
    followers, followed = ((int(one.counts[row, 0]), one.named_ids[row].tolist()) for one in counts)
    return [
        *by_users("shared_followers", "followed by", ", who follow both", *followers),
        *by_users("shared_follows", "follows", ", as this user does", *followed),
    ]


def merged(simclusters: Float32s, twhin: Float32s, *, of_both: bool) -> Float32s:
    """One score (n,) of two models' cosines; what a model does not know or denies is 0.

    The mean where both know the source (`of_both`), else what the one that does says.
    """
    total = np.fmax(simclusters, 0) + np.fmax(twhin, 0)
    return (total / (2 if of_both else 1)).astype(np.float32)


def why_empty(query: Query, version: str, represented: bool) -> None:
    """Note why an answer is empty for want of models, or of what they know."""
    if version == "none+none":
        query.reason = UNTRAINED
    elif not represented:
        query.reason = NO_REPRESENTATION

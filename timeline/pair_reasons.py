"""Why the two of a pair are alike: shared communities, nearness, and who stands between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.co_engagement import EDGES_PER_POST
from actors.co_engagement_questions import AskEngagers, UserLists
from actors.graph_questions import AskTwoHop
from actors.representation_questions import FoundPost, FoundUser
from actors.state import Question
from actors.stores.sparse_embeddings import SparseEmbeddings
from actors.two_hop import EdgeType, TwoHopCounts
from actors.vector_models import Float32s
from cluster.ids import Ids
from timeline.communities import CommunityBook
from timeline.likeness_reasons import (
    NAMED_USERS,
    SHARED,
    Likeness,
    by_communities,
    by_users,
    near,
    shared_with,
)

Found = FoundUser | FoundPost
Dense = tuple[Float32s, npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class Compared:
    """One representation of the left with one of the right."""

    model: str
    left: str
    right: str
    scores: dict[str, float] | None
    """None where either side has no such representation."""


_BY_COMMUNITIES = {
    ("producers", "producers"): ("same_audience", "followed from the same communities:"),
    ("interested_in", "interested_in"): ("same_interests", "interested in the same communities:"),
    ("interested_in", "producers"): (
        "shared_communities",
        "the left is interested in communities from which the right is followed:",
    ),
    ("producers", "interested_in"): (
        "shared_communities",
        "the right is interested in communities from which the left is followed:",
    ),
    **dict.fromkeys(
        [("interested_in", "post"), ("post", "interested_in")],
        ("shared_communities", "the post is liked in communities the user is interested in:"),
    ),
    ("post", "post"): ("shared_communities", "liked in the same communities:"),
}
"""Representations of the left and the right → kind and words of a reason."""
_NEAR = {
    (True, True): "near in the space of users",
    (True, False): "near to what the user engages with, in TwHIN space",
    (False, True): "near to what the user engages with, in TwHIN space",
    (False, False): "engaged with by users near in TwHIN space",
}
"""Whether the left and the right are users → words of a reason."""


def sparse_of(found: Found, name: str) -> SparseEmbeddings:
    """One row: a user's of a SimClusters matrix, or a post's embedding."""
    if isinstance(found, FoundPost):
        return found.embedding
    return found.representations.sparse[name]


def dense_of(found: Found, name: str) -> Dense:
    """A vector (1, D), a user's of a TwHIN table or a post's, and whether there is one (1,)."""
    if isinstance(found, FoundPost):
        return found.vector[None, :], np.array([found.has_vector])
    return found.representations.dense[name]


def by_representations(
    left: Found, right: Found, compared: Sequence[Compared], version: str, book: CommunityBook
) -> list[Likeness]:
    """Communities for each positive cosine of SimClusters, and the greatest of TwHIN."""
    reasons: list[Likeness] = []
    nearest = 0.0
    for one in compared:
        cosine = one.scores["cosine"] if one.scores else 0.0
        if one.model == "twhin":
            nearest = max(nearest, cosine)
            continue
        kind, words = _BY_COMMUNITIES[one.left, one.right]
        mine, theirs = sparse_of(left, one.left), sparse_of(right, one.right)
        reasons += by_communities(kind, words, cosine, mine, theirs, 0, version, book)
    users = isinstance(left, FoundUser), isinstance(right, FoundUser)
    return [*reasons, *near(nearest, _NEAR[users])]


def questions_between(
    left: Found, right: Found, ids: tuple[int, int], homes: tuple[int, int]
) -> list[tuple[int, Question]]:
    """Who may stand between: questions and the shards for them, for `by_those_between` to read.

    `ids` are the users' or posts', `homes` the shards of the users or the posts' authors.
    """
    if isinstance(left, FoundUser) and isinstance(right, FoundUser):
        other = np.array([ids[1]], np.int64)
        return [(homes[1], AskTwoHop(left.listed, other, ask, NAMED_USERS)) for ask in SHARED]
    return [
        (home, AskEngagers("engagements", np.array([post]), 0, EDGES_PER_POST, seed=0))
        for side, post, home in zip((left, right), ids, homes, strict=True)
        if isinstance(side, FoundPost)
    ]


def by_those_between(left: Found, right: Found, answers: Sequence[Any]) -> list[Likeness]:
    """What is told of the answers to `questions_between`; None for one that did not come."""
    engagers = [_engagers(answer) for answer in answers]
    match left, right:
        case FoundUser(), FoundUser():
            counts = [answer for answer in answers if isinstance(answer, TwoHopCounts)]
            return shared_with(counts, 0) if len(counts) == len(SHARED) else []
        case FoundPost(), FoundPost():
            return _of_both(engagers, np.concatenate([left.hidden_ids, right.hidden_ids]))
    user = left if isinstance(left, FoundUser) else right
    assert isinstance(user, FoundUser)
    return _of_followed(user, engagers[0])


def _of_both(engagers: Sequence[Ids], hidden_ids: Ids) -> list[Likeness]:
    """How many engaged with both posts; nobody is named, for some may be protected."""
    of_left, of_right = engagers
    both = np.intersect1d(of_left, of_right, assume_unique=True)
    count = len(np.setdiff1d(both, hidden_ids))
    if not count:
        return []
    who = "1 user" if count == 1 else f"{count} users"
    return [Likeness("shared_engagers", f"{who} liked or reposted both", float(count))]


def _of_followed(user: FoundUser, engagers: Ids) -> list[Likeness]:
    """Whom the user follows of those who engaged with a post, the nearest named first."""
    listed = user.listed
    between = (listed.types >> EdgeType.FOLLOWING & 1 > 0) & np.isin(listed.ids, engagers)
    ids = listed.ids[between][np.argsort(listed.ranks[between])]
    named = ids[:NAMED_USERS].tolist()
    before, after = "liked or reposted by", ", whom the user follows"
    return by_users("followed_engagers", before, after, len(ids), named)


def _engagers(answer: Any) -> Ids:
    return answer.user_ids if isinstance(answer, UserLists) else np.empty(0, np.int64)

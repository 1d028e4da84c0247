"""Users like a user, and the communities a user is in: what the trained models say of people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.graph_questions import AskTwoHop, merge_counts
from actors.likeness import MATRICES, TABLES, UsersLike
from actors.representation_questions import (
    AskProofs,
    AskShown,
    AskUser,
    AskUsersLike,
    FoundUser,
    Proofs,
)
from actors.router import shards_of
from actors.state import Failed, Question
from actors.two_hop import LeftLists, TwoHopCounts
from actors.vector_models import Float32s
from cluster.ids import Ids
from cluster.problems import ProblemError
from timeline.communities import Community, CommunityBook
from timeline.likeness_reasons import (
    NAMED_USERS,
    SHARED,
    Likeness,
    by_communities,
    merged,
    near,
    shared_with,
    simclusters_of,
    why_empty,
)
from timeline.query import Query

_FIRST_SHARE = 0.6
_LAST_SHARE = 0.9
_SPARE = 20


@dataclass(frozen=True)
class SimilarUser:
    """A user like another."""

    user_id: int
    score: float
    cosines: dict[str, float | None]
    reasons: list[Likeness]


@dataclass(frozen=True)
class SimilarUsers:
    """Users like one, the most alike first."""

    user_id: int
    items: list[SimilarUser]
    version: str


@dataclass(frozen=True)
class Interest:
    """A community of a user's, with what it rests on."""

    about: Community
    scores: dict[str, float]
    followed: int = 0
    favoured: int = 0
    named_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class UserCommunities:
    """What a user is interested in and known for, the strongest first."""

    user_id: int
    interested_in: list[Interest]
    known_for: list[Interest]
    version: str


def similar_users(query: Query, user_id: int, limit: int, book: CommunityBook) -> SimilarUsers:
    """Users like one by SimClusters and TwHIN, in two waves.

    The user's own shard finds them, for it knows whom the user blocked and every shard holds
    the whole models; their own shards say whether they may be shown, and who stands between.
    Those who are gone, protected, blocked either way or muted are left out, and so is whoever
    lives in a shard that does not answer. Raises `ProblemError` for an unknown user.
    """
    wanted = 2 * limit + _SPARE
    answers = _of_home(
        query, user_id, [AskUser(user_id, query.now_ms), AskUsersLike(user_id, wanted)]
    )
    if answers is None:
        return SimilarUsers(user_id, [], "")
    user: FoundUser = answers[0]
    like: UsersLike = answers[1]
    _check(user_id, user)
    scores = _scores(like, user)
    why_empty(query, like.version, user.representations.any)
    allowed = np.flatnonzero(scores > 0)
    best = allowed[np.lexsort((like.user_ids[allowed], -scores[allowed]))]
    best = best[:wanted]
    shown, counts = _between(query, user.listed, like.user_ids[best])
    kept = np.flatnonzero(shown)[:limit]
    items = [
        SimilarUser(
            int(like.user_ids[row]),
            float(scores[row]),
            {name: _number(like.cosines[name][row]) for name in (*MATRICES, *TABLES)},
            _reasons(like, row, counts, at, book),
        )
        for at, row in zip(kept.tolist(), best[kept].tolist(), strict=True)
    ]
    return SimilarUsers(user_id, items, like.version)


def communities_of(query: Query, user_id: int, book: CommunityBook) -> UserCommunities:
    """A user's communities and why, in one wave. Raises `ProblemError` for an unknown user."""
    answers = _of_home(query, user_id, [AskProofs(user_id, query.now_ms, NAMED_USERS)])
    if answers is None:
        return UserCommunities(user_id, [], [], "")
    user: FoundUser = answers[0][0]
    proofs: Proofs = answers[0][1]
    _check(user_id, user)
    why_empty(query, user.version, user.representations.any)
    version = simclusters_of(user.version)
    interests = user.representations.sparse["interested_in"]
    known_for = user.representations.sparse["known_for"]
    columns = {"score": interests.scores, **interests.columns}
    described = book.of(version, interests.communities.tolist())
    return UserCommunities(
        user_id,
        [
            _interest(about, {name: float(of[at]) for name, of in columns.items()}, proofs, at)
            for at, about in enumerate(described)
        ],
        [
            Interest(about, {"score": score})
            for about, score in zip(
                book.of(version, known_for.communities.tolist()),
                known_for.scores.tolist(),
                strict=True,
            )
        ],
        user.version,
    )


def _of_home(query: Query, user_id: int, questions: Sequence[Question]) -> list[Any] | None:
    """What the user's own shard answers, or None, noted, where it does not answer all."""
    home = int(shards_of(np.array([user_id], np.int64), query.router.n_shards)[0])
    reply = query.ask({home: questions}, _FIRST_SHARE).replies.get(home)
    if reply is None or any(isinstance(answer, Failed) for answer in reply.answers):
        query.note(f"shard_{home}")
        return None
    return reply.answers


def _check(user_id: int, user: FoundUser) -> None:
    if not user.known:
        raise ProblemError("unknown-user", f"nothing is known of user {user_id}")
    if user.gone:
        raise ProblemError("unknown-user", f"user {user_id} is gone")


def _scores(like: UsersLike, user: FoundUser) -> Float32s:
    sparse = np.fmax(*(like.cosines[name] for name in MATRICES))
    dense = np.fmax(*(like.cosines[name] for name in TABLES))
    mine = user.representations
    has_sparse = any(len(mine.sparse[name].communities) for name in MATRICES)
    has_dense = any(bool(mine.dense[name][1][0]) for name in TABLES)
    return merged(sparse, dense, of_both=has_sparse and has_dense)


def _between(
    query: Query, listed: LeftLists, user_ids: Ids
) -> tuple[npt.NDArray[np.bool_], list[TwoHopCounts]]:
    """Who may be shown (n,), and how many stand between, by each of `SHARED`."""
    homes = shards_of(user_ids, query.router.n_shards)
    shown = np.zeros(len(user_ids), bool)
    wave: dict[int, list[Question]] = {}
    for shard in np.unique(homes).tolist():
        theirs = user_ids[homes == shard]
        between = [AskTwoHop(listed, theirs, pairs, NAMED_USERS) for pairs in SHARED]
        wave[shard] = [AskShown(theirs), *between]
    replies = query.ask(wave, _LAST_SHARE).replies if wave else {}
    answers: list[dict[int, TwoHopCounts]] = [{} for _ in SHARED]
    for shard, reply in replies.items():
        first, *others = reply.answers
        if any(isinstance(answer, Failed) for answer in reply.answers):
            query.note(f"shard_{shard}")
        if not isinstance(first, Failed):
            shown[homes == shard] = first
        for at, answer in enumerate(others):
            if isinstance(answer, TwoHopCounts):
                answers[at][shard] = answer
    counts = [
        merge_counts(user_ids, pairs, of_shards, homes, NAMED_USERS)
        for pairs, of_shards in zip(SHARED, answers, strict=True)
    ]
    return shown, counts


def _reasons(
    like: UsersLike, row: int, counts: list[TwoHopCounts], at: int, book: CommunityBook
) -> list[Likeness]:
    cosines = {name: float(values[row]) for name, values in like.cosines.items()}
    reasons: list[Likeness] = []
    for name, kind, words in (
        ("producers", "same_audience", "followed from the same communities:"),
        ("interested_in", "same_interests", "interested in the same communities:"),
    ):
        reasons += by_communities(
            *(kind, words, cosines[name], like.source[name], like.sparse[name], row),
            *(like.version, book),
        )
    dense = [value for name in TABLES if not np.isnan(value := cosines[name])]
    return [
        *reasons,
        *near(max(dense, default=0.0), "near in the space of users"),
        *shared_with(counts, at),
    ]


def _interest(about: Community, scores: dict[str, float], proofs: Proofs, at: int) -> Interest:
    followed, favoured = int(proofs.followed[at]), int(proofs.favoured[at])
    return Interest(about, scores, followed, favoured, tuple(proofs.named_ids[at]))


def _number(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)

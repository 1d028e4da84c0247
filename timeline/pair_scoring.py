"""How alike two things are, users or posts, by every score there is, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from actors.features.pair_scores import PAIR_SCORES, dense_pair_scores, sparse_pair_scores
from actors.representation_questions import (
    AskStanding,
    AskUser,
    FoundPost,
    FoundUser,
    Standing,
)
from actors.router import shards_of
from actors.state import Failed, Question
from cluster.problems import ProblemError
from timeline.communities import CommunityBook
from timeline.likeness_reasons import Likeness
from timeline.pair_reasons import (
    Compared,
    Found,
    by_representations,
    by_those_between,
    dense_of,
    questions_between,
    sparse_of,
)
from timeline.query import Query
from timeline.similar_posts import find_post

_SHARES = (0.4, 0.5, 0.9)
"""Of the time left: for the left, the right, and what is known of both as users."""


@dataclass(frozen=True)
class Side:
    """A user, or a post with its author where that is known."""

    user_id: int | None = None
    post_id: int | None = None
    author_id: int | None = None


@dataclass(frozen=True)
class PairScores:
    """All scores of a pair."""

    left: Side
    right: Side
    compared: list[Compared]
    standing: Standing
    version: str
    reasons: list[Likeness]


_SPARSE_PAIRS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("user", "user"): (
        ("interested_in", "interested_in"),
        ("interested_in", "producers"),
        ("producers", "interested_in"),
        ("producers", "producers"),
    ),
    ("user", "post"): (("interested_in", "post"),),
    ("post", "user"): (("post", "interested_in"),),
    ("post", "post"): (("post", "post"),),
}
_DENSE_PAIRS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("user", "user"): (
        ("user_follow", "user_follow"),
        ("user_follow", "author_follow"),
        ("author_follow", "user_follow"),
        ("author_follow", "author_follow"),
        ("user_engagement", "user_engagement"),
    ),
    ("user", "post"): (("user_engagement", "post"),),
    ("post", "user"): (("post", "user_engagement"),),
    ("post", "post"): (("post", "post"),),
}


def pair_scores(query: Query, left: Side, right: Side, book: CommunityBook) -> PairScores:
    """Every score of a pair, in three waves; both sides under the left's version of the models.

    Raises `ProblemError` for a side that is unknown, or a post that not everybody may see.
    What a shard that does not answer would have said is None, or a reason less.
    """
    mine = _find(query, left, _SHARES[0], None)
    theirs = _find(query, right, _SHARES[1], mine.version if mine else None)
    left, right = _named(left, mine), _named(right, theirs)
    kinds = (_kind(left), _kind(right))
    pairs = [("simclusters", *pair) for pair in _SPARSE_PAIRS[kinds]]
    pairs += [("twhin", *pair) for pair in _DENSE_PAIRS[kinds]]
    compared = [Compared(model, a, b, _scores(model, a, b, mine, theirs)) for model, a, b in pairs]
    version = mine.version if mine else ""
    standing, reasons = _between(query, left, right, mine, theirs)
    if mine and theirs:
        reasons = [*by_representations(mine, theirs, compared, version, book), *reasons]
    return PairScores(left, right, compared, standing, version, reasons)


def _find(query: Query, side: Side, share: float, version: str | None) -> Found | None:
    if side.post_id is not None:
        return find_post(query, side.post_id, side.author_id, share, version)
    assert side.user_id is not None
    home = _home(query, side.user_id)
    question = AskUser(side.user_id, query.now_ms, version)
    reply = query.ask({home: [question]}, share).replies.get(home)
    if reply is None or isinstance(reply.answers[0], Failed):
        query.note(f"shard_{home}")
        return None
    user: FoundUser = reply.answers[0]
    if not user.known or user.gone:
        raise ProblemError("unknown-user", f"no user {side.user_id} is known")
    return user


def _scores(
    model: str, left: str, right: str, mine: Found | None, theirs: Found | None
) -> dict[str, float] | None:
    if mine is None or theirs is None:
        return None
    if model == "simclusters":
        a, b = sparse_of(mine, left), sparse_of(theirs, right)
        if not len(a.communities) or not len(b.communities):
            return None
        row = np.zeros(1, np.int64)
        values = sparse_pair_scores(a, row, b, row)[0].tolist()
        return dict(zip(PAIR_SCORES, values, strict=True))
    (x, has_x), (y, has_y) = dense_of(mine, left), dense_of(theirs, right)
    if not has_x[0] or not has_y[0]:
        return None
    return dict(zip(("dot", "cosine"), dense_pair_scores(x, y)[0].tolist(), strict=True))


def _between(
    query: Query, left: Side, right: Side, mine: Found | None, theirs: Found | None
) -> tuple[Standing, list[Likeness]]:
    """Reputations of both and, of two users, their real graph scores, which the left's shard
    knows; and the reasons that others give."""
    users = (left.user_id or left.author_id, right.user_id or right.author_id)
    both_users = left.user_id is not None and right.user_id is not None
    nothing = Standing((None, None), (None, None) if both_users else None)
    if users[0] is None:
        return nothing, []
    home = _home(query, users[0])
    asked: list[tuple[int, Question]] = [(home, AskStanding(users, both_users))]
    if mine and theirs and users[1] is not None:
        homes = (home, _home(query, users[1]))
        ids = (left.post_id or users[0], right.post_id or users[1])
        asked += questions_between(mine, theirs, ids, homes)
    standing, *answers = _ask(query, asked)
    reasons = by_those_between(mine, theirs, answers) if mine and theirs else []
    return standing or nothing, reasons


def _ask(query: Query, asked: Sequence[tuple[int, Question]]) -> list[Any]:
    """The answer to each question of one wave, None where it did not come."""
    wave: dict[int, list[Question]] = {}
    for shard, question in asked:
        wave.setdefault(shard, []).append(question)
    replies = query.ask(wave, _SHARES[2]).replies
    told = {shard: iter(reply.answers) for shard, reply in replies.items()}
    answers = []
    for shard, _ in asked:
        answer = next(told[shard]) if shard in told else None
        if answer is None or isinstance(answer, Failed):
            query.note(f"shard_{shard}")
            answer = None
        answers.append(answer)
    return answers


def _home(query: Query, user_id: int) -> int:
    return int(shards_of(np.array([user_id], np.int64), query.router.n_shards)[0])


def _kind(side: Side) -> str:
    return "user" if side.user_id is not None else "post"


def _named(side: Side, found: Found | None) -> Side:
    """With the author that was found."""
    if isinstance(found, FoundPost):
        return Side(None, side.post_id, found.author_id)
    return side

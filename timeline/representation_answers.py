"""The JSON of answers about representations: its form for people (OpenAPI), and its bytes."""

from collections.abc import Sequence
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict

from actors.likeness import MATRICES, TABLES
from timeline.communities import Community
from timeline.likeness_reasons import Likeness
from timeline.pair_scoring import PairScores, Side
from timeline.representation_examples import (
    COMMUNITIES_EXAMPLE,
    POSTS_EXAMPLE,
    SCORE_EXAMPLE,
    USERS_EXAMPLE,
)
from timeline.representations import Told
from timeline.similar_posts import SimilarPosts
from timeline.similar_users import Interest, SimilarUsers, UserCommunities


class TopicAnswer(BaseModel):
    """A leading topic of a community."""

    topic_id: str
    cosine: float


class LanguageAnswer(BaseModel):
    """A leading language of a community."""

    language: str
    share: float


class CommunityAnswer(BaseModel):
    """A SimClusters community; only its number where its version is not described."""

    community: int
    size: int | None
    """Producers known for it."""
    interested: int | None
    """Users interested in it."""
    topics: list[TopicAnswer]
    languages: list[LanguageAnswer]


class LikenessAnswer(BaseModel):
    """Why two things are alike: a kind for programs and a sentence for people."""

    kind: Literal[
        "same_audience",
        "same_interests",
        "shared_communities",
        "near_in_twhin",
        "shared_followers",
        "shared_follows",
        "shared_engagers",
        "followed_engagers",
    ]
    text: str
    value: float | None
    """A cosine, or where users are the reason their number."""
    communities: list[CommunityAnswer]
    user_ids: list[str]


class VersionsAnswer(BaseModel):
    """The models that the answer rests on; null where none serves."""

    simclusters: str | None
    twhin: str | None


class _ToldAnswer(BaseModel):
    versions: VersionsAnswer
    now_ms: int
    degraded: list[str]
    """Shards of which something is missing."""
    reason: Literal["untrained", "no_representation"] | None
    """Why the answer is empty."""


class SimilarUserAnswer(BaseModel):
    """A user like another."""

    user_id: str
    score: float
    """The mean of the greater cosines of both models; 0 to 1."""
    cosines: dict[str, float | None]
    """By representation; null where either has none."""
    reasons: list[LikenessAnswer]


class SimilarUsersAnswer(_ToldAnswer):
    """Users like one, the most alike first."""

    model_config = ConfigDict(json_schema_extra={"example": USERS_EXAMPLE})

    user_id: str
    items: list[SimilarUserAnswer]


class SimilarPostAnswer(BaseModel):
    """A post like another."""

    post_id: str
    author_id: str
    uri: str | None
    created_ms: int
    score: float
    """The mean of both models' cosines; 0 to 1."""
    cosines: dict[str, float | None]
    reasons: list[LikenessAnswer]


class SimilarPostsAnswer(_ToldAnswer):
    """Posts like one, the most alike first."""

    model_config = ConfigDict(json_schema_extra={"example": POSTS_EXAMPLE})

    post_id: str
    author_id: str | None
    items: list[SimilarPostAnswer]


class SideAnswer(BaseModel):
    """One of a pair."""

    user_id: str | None
    post_id: str | None
    author_id: str | None


class ComparedAnswer(BaseModel):
    """One representation of the left with one of the right."""

    model: Literal["simclusters", "twhin"]
    left: str
    right: str
    scores: dict[str, float] | None
    """Null where either side has no such representation."""


class BothAnswer(BaseModel):
    """A number for each side."""

    left: float | None
    right: float | None


class DirectedAnswer(BaseModel):
    """A number for each direction."""

    left_to_right: float | None
    right_to_left: float | None


class ScoreAnswer(_ToldAnswer):
    """All scores of a pair."""

    model_config = ConfigDict(json_schema_extra={"example": SCORE_EXAMPLE})

    left: SideAnswer
    right: SideAnswer
    scores: list[ComparedAnswer]
    reputation: BothAnswer
    """Of the users, or of the posts' authors: 0 to 100; null where there is no model."""
    real_graph: DirectedAnswer | None
    """How likely one interacts with the other; null unless both sides are users."""
    reasons: list[LikenessAnswer]


class ProofAnswer(BaseModel):
    """Why a user is interested in a community, by what the user follows and favoured by now."""

    followed_producers: int
    favoured_producers: int
    user_ids: list[str]
    text: str


class InterestAnswer(CommunityAnswer):
    """A community of a user's."""

    scores: dict[str, float]
    proof: ProofAnswer | None


class UserCommunitiesAnswer(_ToldAnswer):
    """What a user is interested in and known for, the strongest first."""

    model_config = ConfigDict(json_schema_extra={"example": COMMUNITIES_EXAMPLE})

    user_id: str
    interested_in: list[InterestAnswer]
    known_for: list[InterestAnswer]


def similar_users_json(told: Told[SimilarUsers]) -> bytes:
    """Users like one as a `SimilarUsersAnswer`."""
    items = [
        {
            "user_id": str(item.user_id),
            "score": item.score,
            "cosines": {name: item.cosines[name] for name in (*MATRICES, *TABLES)},
            "reasons": _reasons(item.reasons),
        }
        for item in told.what.items
    ]
    return _bytes(told, told.what.version, user_id=str(told.what.user_id), items=items)


def similar_posts_json(told: Told[SimilarPosts]) -> bytes:
    """Posts like one as a `SimilarPostsAnswer`."""
    items = [
        {
            "post_id": str(item.post_id),
            "author_id": str(item.author_id),
            "uri": item.uri,
            "created_ms": item.created_ms,
            "score": item.score,
            "cosines": item.cosines,
            "reasons": _reasons(item.reasons),
        }
        for item in told.what.items
    ]
    ids = {"post_id": str(told.what.post_id), "author_id": _id(told.what.author_id)}
    return _bytes(told, told.what.version, **ids, items=items)


def score_json(told: Told[PairScores]) -> bytes:
    """The scores of a pair as a `ScoreAnswer`."""
    pair = told.what
    ranks = pair.standing.real_graph
    directed = None if ranks is None else dict(zip(DirectedAnswer.model_fields, ranks, strict=True))
    return _bytes(
        told,
        pair.version,
        left=_side(pair.left),
        right=_side(pair.right),
        scores=[vars(one) for one in pair.compared],
        reputation=dict(zip(BothAnswer.model_fields, pair.standing.reputations, strict=True)),
        real_graph=directed,
        reasons=_reasons(pair.reasons),
    )


def communities_json(told: Told[UserCommunities]) -> bytes:
    """A user's communities as a `UserCommunitiesAnswer`."""
    what = told.what
    return _bytes(
        told,
        what.version,
        user_id=str(what.user_id),
        interested_in=[_interest(one, _proof(one)) for one in what.interested_in],
        known_for=[_interest(one, None) for one in what.known_for],
    )


def _bytes(told: Told[Any], version: str, **content: Any) -> bytes:
    parts = version.split("+") if version else ["none", "none"]
    names = dict(zip(VersionsAnswer.model_fields, parts, strict=True))
    return orjson.dumps(
        {
            **content,
            "versions": {name: None if v == "none" else v for name, v in names.items()},
            "now_ms": told.now_ms,
            "degraded": told.degraded,
            "reason": told.reason,
        }
    )


def _reasons(reasons: Sequence[Likeness]) -> list[dict[str, Any]]:
    return [
        {
            "kind": reason.kind,
            "text": reason.text,
            "value": reason.value,
            "communities": [_community(one) for one in reason.communities],
            "user_ids": [str(user) for user in reason.user_ids],
        }
        for reason in reasons
    ]


def _community(about: Community) -> dict[str, Any]:
    return {
        "community": about.community,
        "size": about.size,
        "interested": about.interested,
        "topics": [{"topic_id": str(topic), "cosine": c} for topic, c in about.topics],
        "languages": [{"language": name, "share": share} for name, share in about.languages],
    }


def _interest(interest: Interest, proof: dict[str, Any] | None) -> dict[str, Any]:
    return {**_community(interest.about), "scores": interest.scores, "proof": proof}


def _proof(interest: Interest) -> dict[str, Any]:
    followed, favoured = interest.followed, interest.favoured
    return {
        "followed_producers": followed,
        "favoured_producers": favoured,
        "user_ids": [str(user) for user in interest.named_ids],
        "text": f"of the producers known for it, {followed} are followed and {favoured} favoured",
    }


def _side(side: Side) -> dict[str, Any]:
    return {name: _id(value) for name, value in vars(side).items()}


def _id(value: int | None) -> str | None:
    return None if value is None else str(value)

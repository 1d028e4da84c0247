"""The JSON of creator analytics: its form for people (OpenAPI), and its bytes."""

from dataclasses import asdict
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from actors.stores.distinct import RELATIVE_ERROR
from timeline.analytics import AuthorAnalytics, OwnLabel, OwnLabels, Reach
from timeline.analytics_examples import ANALYTICS, LABELS
from timeline.representations import Told


class ReachAnswer(BaseModel):
    """What happened to an author's posts; the author's own doings do not count."""

    impressions: int
    """Times that a post was on screen."""
    viewers: int
    """Different users who had a post on screen: an estimate, see `viewers_error`."""
    served: int
    """Times that a post was in an answer, whether or not it came on screen."""
    served_by: dict[str, int]
    """Candidate source: how many of these it had found."""
    engagements: dict[str, int]
    """By kind; those taken back are counted down on the day on which they were."""
    rates: dict[str, float]
    """Engagements of each kind for one impression; none without impressions."""
    follows: int
    unfollows: int


class DayAnswer(ReachAnswer):
    """One day, UTC."""

    day_ms: int
    """When it began."""


class TopPostAnswer(BaseModel):
    """A post of these days, and all that happened to it since."""

    post_id: str
    created_ms: int
    impressions: int
    engagements: dict[str, int]
    rates: dict[str, float]


class AnalyticsAnswer(BaseModel):
    """An author's reach on some days, today included."""

    model_config = ConfigDict(json_schema_extra={"example": ANALYTICS})

    user_id: str
    since_ms: int
    """From here on everything is counted."""
    followers: int
    """Now."""
    viewers_error: float = Field(ge=0)
    """Relative standard error of `viewers` where they are many; few are all but exact."""
    total: ReachAnswer
    by_day: list[DayAnswer]
    """The oldest first."""
    top_posts: list[TopPostAnswer]
    """Those engaged with most first."""
    now_ms: int
    degraded: list[str]
    """Shards that did not answer: then nothing is known, and everything is 0."""


class EffectAnswer(BaseModel):
    """What a label, by itself, does on one surface."""

    level: str
    action: str
    rule: str
    reason: str


class LabelAnswer(BaseModel):
    """A label, and all that it does."""

    label: str
    value: float
    by_model: bool
    """Given by a model, not by a person."""
    effects: list[EffectAnswer]


class LabelledPostAnswer(BaseModel):
    """A post and its labels."""

    post_id: str
    created_ms: int
    labels: list[LabelAnswer]


class OwnLabelsAnswer(BaseModel):
    """The labels of an account, and of posts of it."""

    model_config = ConfigDict(json_schema_extra={"example": LABELS})

    user_id: str
    account: list[LabelAnswer]
    posts: list[LabelledPostAnswer]
    """The newest first."""
    now_ms: int
    degraded: list[str]
    """Shards that did not answer: then nothing is known."""


def analytics_json(user_id: int, told: Told[AuthorAnalytics]) -> bytes:
    """Analytics as an `AnalyticsAnswer`."""
    what = told.what
    return orjson.dumps(
        {
            "user_id": str(user_id),
            "since_ms": what.since_ms,
            "followers": what.followers,
            "viewers_error": round(RELATIVE_ERROR, 4),
            "total": _reach(what.total),
            "by_day": [{"day_ms": day_ms, **_reach(reach)} for day_ms, reach in what.by_day],
            "top_posts": [
                {
                    "post_id": str(post.post_id),
                    "created_ms": post.created_ms,
                    "impressions": post.total.impressions,
                    "engagements": post.total.engagements,
                    "rates": post.total.rates,
                }
                for post in what.top_posts
            ],
            "now_ms": told.now_ms,
            "degraded": told.degraded,
        }
    )


def labels_json(user_id: int, told: Told[OwnLabels]) -> bytes:
    """Labels as an `OwnLabelsAnswer`."""
    return orjson.dumps(
        {
            "user_id": str(user_id),
            "account": [_label(label) for label in told.what.account],
            "posts": [
                {
                    "post_id": str(post.post_id),
                    "created_ms": post.created_ms,
                    "labels": [_label(label) for label in post.labels],
                }
                for post in told.what.posts
            ],
            "now_ms": told.now_ms,
            "degraded": told.degraded,
        }
    )


def _reach(reach: Reach) -> dict[str, Any]:
    return asdict(reach) | {"rates": reach.rates}


def _label(label: OwnLabel) -> dict[str, Any]:
    return {
        "label": label.label,
        "value": label.value,
        "by_model": label.by_model,
        "effects": [
            {"level": e.level, "action": e.action, "rule": e.rule, "reason": e.reason}
            for e in label.effects
        ],
    }

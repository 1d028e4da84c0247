"""The utility model: how likely a user is to do each thing with a post, and what it's worth."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cluster.events import Kind
from cluster.ids import Ids
from simulation.follows import Edges
from simulation.population import Floats, Population
from simulation.posts import IMAGE, LINK, VIDEO, PostRows
from simulation.rhythm import HOUR_MS

FRESHNESS_HALF_LIFE_H = 5.0


@dataclass(frozen=True)
class Head:
    """One thing a user may do with a post that is on screen.

    Its probability is sigmoid(bias + Σ weight · component), 0 where it can't be done.
    """

    kind: Kind
    utility: float
    """What it's worth to the user, in favourites."""
    delay_s: float
    """Median time between seeing the post and doing it; lognormal."""
    bias: float
    weights: dict[str, float] = field(default_factory=dict)


def _positive(**weights: float) -> dict[str, float]:
    """What holds for every positive engagement, where a head doesn't say otherwise."""
    common = {"foreign": -2.5, "toxic": -1.5, "unwanted_adult": -2.0, "generosity": 1.0}
    return {**common, **weights}


COMPONENTS = (
    "interest",  # 0 … 1, the user's taste for the post's topics
    "style",  # about N(0, 1), the user's liking for the way the author writes
    "followed",  # 0 or 1
    "mutual",  # 0 or 1
    "quality",  # about N(0, 1), of the post
    "media",  # about N(0, 1), the user's liking for images, video, links or plain text
    "freshness",  # 1 for a new post, halved every five hours
    "question",  # 0 or 1
    "foreign",  # 0 or 1, in a language the user doesn't read
    "toxic",  # 0 or 1
    "unwanted_adult",  # 0 or 1, adult, and the user doesn't allow it
    "generosity",  # about N(0, 0.6²), of the user
    "talkativeness",  # about N(0, 0.7²), of the user
)

# fmt: off
HEADS = (
    Head(Kind.DWELL, 0.2, 1, -3.0,
         _positive(interest=2.2, style=0.2, quality=0.4, media=0.3, question=0.3, toxic=0.3)),
    Head(Kind.CLICK, 0.3, 3, -5.0, _positive(interest=2.4, quality=0.4, question=0.7, toxic=0.3)),
    Head(Kind.FAVOURITE, 1.0, 6, -7.2,
         _positive(interest=3.6, style=0.7, followed=0.6, mutual=0.5, quality=0.7, media=0.4,
                   freshness=0.4)),
    Head(Kind.REPOST, 2.0, 9, -8.6,
         _positive(interest=3.4, style=0.6, followed=0.4, quality=1.0, freshness=0.5)),
    Head(Kind.REPLY, 3.0, 60, -8.0,
         _positive(interest=2.6, followed=0.6, mutual=1.3, question=1.2, toxic=0.2,
                   freshness=0.5, talkativeness=1.0)),
    Head(Kind.QUOTE, 2.5, 80, -9.2,
         _positive(interest=2.8, quality=0.8, toxic=0.5, talkativeness=1.0)),
    Head(Kind.BOOKMARK, 1.0, 8, -8.4, _positive(interest=3.2, quality=1.0)),
    Head(Kind.SHARE, 2.0, 15, -8.6, _positive(interest=2.6, quality=0.9, media=0.4, mutual=0.4)),
    Head(Kind.PROFILE_CLICK, 0.5, 5, -5.8,
         _positive(interest=1.6, style=0.8, followed=-1.2, quality=0.4)),
    Head(Kind.VIDEO_WATCH, 0.3, 1, -2.0, _positive(interest=1.8, media=0.6, quality=0.4)),
    Head(Kind.LINK_OPEN, 0.3, 4, -4.2, _positive(interest=2.4, media=0.5, quality=0.3)),
    Head(Kind.PHOTO_EXPAND, 0.1, 2, -3.6, _positive(interest=1.6, media=0.6, quality=0.3)),
    Head(Kind.FOLLOW, 4.0, 12, -7.2, _positive(interest=2.4, style=1.0, quality=0.6)),
    Head(Kind.UNFOLLOW, -15.0, 10, -7.6,
         {"interest": -2.0, "style": -0.8, "mutual": -1.0, "quality": -0.5, "toxic": 2.0,
          "unwanted_adult": 2.0}),
    Head(Kind.SHOW_LESS, -8.0, 6, -6.2,
         {"interest": -2.5, "style": -0.5, "followed": -1.2, "quality": -0.5, "foreign": 1.2,
          "toxic": 1.8, "unwanted_adult": 2.5}),
    Head(Kind.NOT_INTERESTED, -8.0, 5, -6.0,
         {"interest": -3.0, "followed": -1.5, "quality": -0.6, "foreign": 1.5, "toxic": 1.2,
          "unwanted_adult": 2.0}),
    Head(Kind.REPORT, -60.0, 12, -9.2, {"followed": -1.0, "toxic": 4.6, "unwanted_adult": 3.6}),
    Head(Kind.MUTE, -20.0, 9, -8.4,
         {"interest": -1.5, "style": -0.6, "mutual": -1.0, "toxic": 2.8, "unwanted_adult": 2.0}),
    Head(Kind.BLOCK, -40.0, 10, -9.2, {"style": -0.5, "mutual": -1.5, "toxic": 4.2,
                                       "unwanted_adult": 2.8}),
)
# fmt: on
HEAD_KINDS = tuple(head.kind for head in HEADS)
UTILITIES: Floats = np.array([head.utility for head in HEADS], np.float32)

_BIASES = np.array([head.bias for head in HEADS], np.float32)
_WEIGHTS = np.array(
    [[head.weights.get(name, 0.0) for name in COMPONENTS] for head in HEADS], np.float32
)
_NEEDS_MEDIA = {Kind.PHOTO_EXPAND: IMAGE, Kind.VIDEO_WATCH: VIDEO, Kind.LINK_OPEN: LINK}


def components(
    population: Population, follows: Edges, users: Ids, posts: PostRows, times_ms: npt.ArrayLike
) -> Floats:
    """(n, len(COMPONENTS)) of n pairs of a user row and a post, seen at `times_ms`."""
    authors = posts["author"]
    second = posts["second_topic"]
    second_taste = np.where(second >= 0, population.tastes[users, second], 0)
    first_taste = population.tastes[users, posts["topic"]]
    share = posts["second_share"]
    ages_h = np.maximum(times_ms - posts["created_ms"], 0) / HOUR_MS
    followed = follows.contain(users, authors)
    return np.stack(
        [
            (1 - share) * first_taste + share * second_taste,
            population.style_match(users, authors),
            followed,
            followed & follows.contain(authors, users),
            posts["quality"],
            population.media_tastes[users, posts["media"]],
            np.exp2(-ages_h / FRESHNESS_HALF_LIFE_H),
            posts["question"],
            ~population.reads[users, posts["language"]],
            posts["toxic"],
            posts["adult"] & ~population.allow_sensitive[users],
            population.generosity[users],
            population.talkativeness[users],
        ],
        axis=1,
    ).astype(np.float32)


def probabilities(found: Floats, posts: PostRows) -> Floats:
    """(n, len(HEADS)): the chance of each thing happening once the post is on screen.

    `found` are the pairs' components, `posts` the posts they are about.
    """
    chances: Floats = 1 / (1 + np.exp(-(found @ _WEIGHTS.T + _BIASES)))
    for kind, media in _NEEDS_MEDIA.items():
        chances[:, HEAD_KINDS.index(kind)] *= posts["media"] == media
    followed = found[:, COMPONENTS.index("followed")]
    chances[:, HEAD_KINDS.index(Kind.FOLLOW)] *= 1 - followed
    chances[:, HEAD_KINDS.index(Kind.UNFOLLOW)] *= followed
    return chances

"""Inputs that the request knows by itself: the light ranker's features, and what found the post."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt

from actors.features.families import Family, Place, flag, number
from actors.features.inputs import Level
from actors.features.light import POST_FEATURES, PROOF_FEATURES
from cluster.source_settings import SourceName

Floats = npt.NDArray[np.float32]

SOURCES = tuple(name for name in get_args(SourceName) if name != "cached")
"""Candidate sources, as `served` events call them; an example names the first that found it."""
_ON_LAPTOP = frozenset(
    {
        *("hours_since_engagement", "favourites", "reposts", "replys", "clicks", "impressions"),
        *("recent_favourites", "recent_reposts", "recent_replys", "engagements_per_hour"),
        *("favourites_per_impression", "language_match", "labelled_nsfw", "labelled_spam"),
    }
)
EARLYBIRD = Family(
    "earlybird",
    "EB timelines",
    Level.POST,
    Place.REQUEST,
    (
        *(
            number(f"earlybird.{name}", f"the light ranker's {name}", laptop=name in _ON_LAPTOP)
            for name in POST_FEATURES
        ),
        *(
            number(f"earlybird.{name}", f"social proof: {name}", laptop=True)
            for name in PROOF_FEATURES
        ),
    ),
)
FOUND_BY = Family(
    "found_by",
    "other",
    Level.POST,
    Place.REQUEST,
    tuple(
        flag(f"source.is_{name}", f"counts under the candidate source {name}", laptop=True)
        for name in SOURCES
    ),
)
TOPIC = Family(
    "topic",
    "topic",
    Level.POST,
    Place.REQUEST,
    (flag("post.topic_followed", "its topic is one that the viewer follows", laptop=True),),
)


def found_by(sources: npt.NDArray[np.int64]) -> Floats:
    """The block of `FOUND_BY` for sources (n,), numbers from 1 in `SOURCES`; 0 for others."""
    flags: Floats = (sources[:, None] == np.arange(1, 1 + len(SOURCES))).astype(np.float32)
    return flags


def source_codes(names: Sequence[str | None]) -> npt.NDArray[np.int64]:
    """Numbers of candidate sources, as `served` events name them; 0 for others."""
    number = {name: k for k, name in enumerate(SOURCES, 1)}
    return np.array([number.get(name or "", 0) for name in names], np.int64)

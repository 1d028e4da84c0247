"""A page: what a request answers, and what was done to make it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from actors.scored_posts import NOTHING_SCORED, ScoredPosts
from cluster.settings import Settings
from timeline.ads import Ad
from timeline.candidates import Candidates
from timeline.modules import Module, Pill
from timeline.predictions import Predictions
from timeline.presented import Entry
from timeline.reasons import Reason
from timeline.trace import Trace


@dataclass(frozen=True)
class Item:
    """One post of a page, with what stands above it and inside it."""

    post_id: int
    author_id: int
    created_ms: int
    score: float
    source: str
    reasons: list[Reason]
    uri: str | None
    entry: Entry


@dataclass(frozen=True)
class Between:
    """What stands between posts: a module or an ad, and at which index of the whole page."""

    index: int
    content: Module | Ad
    name: str
    """What a `module_served` event calls it."""


@dataclass(frozen=True)
class Page:
    """An answer, and what was done to make it."""

    product: str
    viewer_id: int
    request_id: str
    now_ms: int
    items: list[Item]
    cursor: str | None
    """Goes on below the page."""
    reason: str | None
    degraded: list[str]
    timings_ms: dict[str, float]
    shown: Candidates = field(repr=False)
    trace: Trace = field(repr=False)
    source_names: list[str] = field(repr=False)
    settings: Settings = field(repr=False)
    """What it was made with: those of `arms`, or what was asked for."""
    newer_cursor: str | None = None
    """Asks for what has come since."""
    gap_cursor: str | None = None
    """Asks for what lies between this page and what was shown before."""
    between: list[Between] = field(default_factory=list)
    """In order: put in one after the other, each stands at its index."""
    new_posts: Pill | None = None
    replaced: list[tuple[int, int]] = field(default_factory=list)
    """Posts served before, and the newer versions that take their places."""
    model_version: str = ""
    """Of what gave the scores: the heavy ranker, or the light one where that did not."""
    light_version: str = ""
    arms: tuple[str, ...] = ()
    """Of the experiments that the viewer is part of, as `experiment:arm`."""
    predictions: Predictions | None = field(default=None, repr=False)
    weights: Mapping[str, float] = field(default_factory=dict, repr=False)
    """Of what the heavy ranker predicts."""
    cached: ScoredPosts = field(default=NOTHING_SCORED, repr=False)
    """What the request had from the ones before it."""

"""One request: who asks, when, and what is known by then."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from actors.features.logged import Applied
from actors.graph import ViewerContext
from actors.questions import AskApplied
from actors.router import Gathered, Router, Wave, shards_of
from actors.scored_posts import NOTHING_SCORED, ScoredPosts
from actors.social_proof import SocialProof
from actors.state import Question
from actors.stores.newest_between import Place
from actors.tastes import Tastes
from actors.viewer_state import ViewerState
from cluster.ids import Ids
from cluster.settings import Settings
from timeline.cursors import Walk
from timeline.facts_ahead import FactsAhead
from timeline.predictions import LightScores, Predictions
from timeline.user_state import is_light, user_state

if TYPE_CHECKING:
    from timeline.findings import Shared
    from timeline.follow_recommendations.flow import Explored
    from timeline.page_facts import PageFacts
    from timeline.visibility import Verdicts

FEW_FOLLOWS = 50
"""Viewers who follow fewer have next to no network of their own."""


@dataclass
class Query:
    """A request for a timeline, filled in as its stages learn more."""

    viewer_id: int
    now_ms: int
    limit: int
    request_id: str
    settings: Settings
    router: Router
    seed: int = 0
    deadline_s: float = 1e9
    """On the monotonic clock."""
    chain: npt.NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    """Hashes of the posts that earlier pages of this cursor chain served, sorted."""
    carried: npt.NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    """Ordered by time: hashes of posts that stood above replies on earlier pages though they
    belong to the part of time that is asked for, sorted."""
    own_settings: bool = True
    """Whether experiments may still choose the settings for this viewer."""
    arms: tuple[str, ...] = ()
    """Of the experiments that the viewer is part of."""
    walk: Walk = field(default_factory=Walk)
    """Which part of a timeline is asked for."""
    reached: Place | None = None
    """Ordered by time: how far down posts were looked at; None: to the end."""
    context: ViewerContext | None = None
    state: ViewerState = field(default_factory=ViewerState)
    """The viewer's choices and habits, as far as they are known."""
    recorded: bool = False
    """Whether this is an ordinary request: it may use what the last ones left, and leaves
    something itself. Others have the same answer whatever came before."""
    widths: Mapping[str, float] = field(default_factory=dict)
    """By source, the share of its fetch that is asked for (quality factors)."""
    cached: ScoredPosts = NOTHING_SCORED
    """Unseen posts that were scored for the viewer a moment ago."""
    tastes: Tastes = field(default_factory=Tastes)
    """What the viewer likes, as far as it is known and asked for."""
    fallback_version: str = "untrained"
    """The light ranker of a system in which none was ever activated."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """The artifact version that each stage of this request uses."""
    degraded: list[str] = field(default_factory=list)
    reason: str | None = None
    """Why the timeline is not an ordinary one, such as `cold_start`."""
    proof: SocialProof | None = None
    """What the graph traversal found, for posts of every source."""
    told: dict[type, tuple[Question, Any]] = field(default_factory=dict)
    """What the viewer's shard was asked beside the viewer's context, and answered, by the kind of
    question: a finding that asks the same has its answer at once."""
    verdicts: "Verdicts | None" = None
    """What visibility says of the candidates it was asked about."""
    page_facts: "PageFacts | None" = None
    """What was fetched for the best candidates before any of them is shown."""
    ahead: FactsAhead | None = None
    """Facts of posts, asked for before all candidates are known; None where nobody wants them."""
    posts_only: bool = False
    """Whether nothing but posts is wanted."""
    beside: dict[str, Any] = field(default_factory=dict)
    """What was asked in the candidates' waves for what is no candidate, by who asked; None for
    what was not found."""
    explored: "Shared[Explored | None] | None" = None
    """What all sources of accounts find, where more than one finding of this request wants it."""

    applied: list[Applied] = field(default_factory=list)
    """How far the shards asked had applied the log, wave by wave: a replay that answers each
    wave from states as of there makes the same request again."""
    ranked_by: str = ""
    """The version of the heavy ranker whose scores the candidates have; empty while none has."""
    light_scores: LightScores | None = None
    """What the light ranker said of candidates that have another score now."""
    predictions: Predictions | None = None
    """What the heavy ranker was asked in this request, and said."""

    @property
    def viewer_shard(self) -> int:
        """The shard in which the viewer lives."""
        viewer = np.array([self.viewer_id], np.int64)
        return int(shards_of(viewer, self.router.n_shards)[0])

    @property
    def is_light(self) -> bool:
        """Whether the viewer is here seldom, and so is shown what is older."""
        return is_light(user_state(self.state, self.now_ms, self.settings.user_states))

    @property
    def viewer(self) -> ViewerContext:
        """The viewer's context; stages that need it come after the one that fetches it."""
        if self.context is None:
            raise LookupError("the viewer's context was not fetched")
        return self.context

    def width(self, source: str, size: int) -> int:
        """How many a source asks for of `size`, by how fast it was lately; one at least."""
        return max(int(size * self.widths.get(source, 1.0)), 1)

    def want_facts(self, post_ids: Ids, author_ids: Ids) -> None:
        """Have facts of posts (n,) come with the next wave: they may become candidates."""
        if self.ahead is not None:
            self.ahead.want(post_ids, author_ids)

    def left_s(self) -> float:
        """Time left before the deadline."""
        return max(self.deadline_s - time.monotonic(), 0.0)

    def ask(self, wave: Wave, share: float) -> Gathered:
        """Ask shards within a share of the time left; note those that did not answer.

        A shard too far behind the log counts as one that did not answer: it might not know
        of a block or a deletion.
        """
        asked = {shard: [*questions, AskApplied()] for shard, questions in wave.items()}
        gathered = self.router.ask(asked, self.left_s() * share)
        stale_ms = self.settings.shards.stale_after_ms
        fresh = {s: r for s, r in gathered.replies.items() if r.lag_ms <= stale_ms}
        told = [reply.answers.pop() for reply in fresh.values()]
        self.applied.append({lane: at for one in told for lane, at in one.items()})
        for shard in wave:
            if shard not in fresh:
                self.note(f"shard_{shard}")
        return Gathered(fresh, gathered.missing)

    def note(self, what: str) -> None:
        """Say in the answer that `what` is missing from it."""
        if what not in self.degraded:
            self.degraded.append(what)

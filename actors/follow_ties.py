"""What a viewer's own shard knows that says whom else the viewer may want to follow."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from actors.features.reputation import TWEEPCRED
from actors.graph import PUBLIC_CODES, SIGNAL_CODES, GraphKind
from actors.graph_questions import AskLeft
from actors.state import ShardState
from actors.stores.versions import times_of
from actors.two_hop import EdgeType, LeftLists
from cluster.events import UNDONE_BY, Kind
from cluster.ids import Ids

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

DAY_MS = 86_400_000
MAX_FOLLOWERS = 1_000
"""Newest followers of the viewer that are looked at."""
MAX_VISITED = 200
NEW_ACCOUNT_MS = 30 * DAY_MS
"""An account is new for so long after it was created."""
_MAX_EDGES = 2_000
_ENGAGEMENTS = (Kind.FAVOURITE, Kind.REPOST, Kind.REPLY, Kind.QUOTE)
_STRONG = (Kind.REPOST, Kind.REPLY, Kind.QUOTE)
_PROFILE_VIEW_WEIGHT = 0.4

_NO_IDS = np.empty(0, np.int64)


@dataclass(frozen=True)
class FollowTies:
    """A viewer's ties; what is not known is empty."""

    country: str = ""
    language: str = ""
    is_new: bool = False
    """The account was created within `NEW_ACCOUNT_MS`."""
    follow_ids: Ids = field(default_factory=_NO_IDS.copy)
    """Newest first."""
    follow_times_ms: Ids = field(default_factory=_NO_IDS.copy)
    mutual: Mask = field(default_factory=lambda: np.empty(0, np.bool_))
    """Who of `follow_ids` follows back."""
    low_reputation: Mask = field(default_factory=lambda: np.empty(0, np.bool_))
    """Whose reputation is below what was asked for; nobody's where there is no model."""
    unfollowed_ids: Ids = field(default_factory=_NO_IDS.copy)
    """Followed before, and no more since lately; sorted."""
    follower_ids: Ids = field(default_factory=_NO_IDS.copy)
    """Newest first."""
    engaged_ids: Ids = field(default_factory=_NO_IDS.copy)
    """Authors engaged with lately, by `engagements` descending."""
    engagements: Floats = field(default_factory=lambda: np.empty(0))
    """Decayed counts."""
    strong_engagements: Floats = field(default_factory=lambda: np.empty(0))
    """The part of reposts, replies and quotes."""
    visited_ids: Ids = field(default_factory=_NO_IDS.copy)
    """Whose profiles were visited lately, most visits first."""
    visits: npt.NDArray[np.int64] = field(default_factory=_NO_IDS.copy)
    topic_ids: Ids = field(default_factory=_NO_IDS.copy)
    """Topics followed."""
    listed: LeftLists | None = None
    """Follows as two-hop counts want them."""


@dataclass(frozen=True)
class AskFollowTies:
    """A viewer's ties; for the viewer's own shard."""

    viewer_id: int
    now_ms: int
    max_follows: int = 3_000
    window_ms: int = 14 * DAY_MS
    """Of engagements and of visits."""
    half_life_ms: int = DAY_MS
    unfollowed_ms: int = 90 * DAY_MS
    low_reputation: float = 0.0

    def answer(self, state: ShardState) -> FollowTies:
        """Under the reputations that this shard serves."""
        graph, one = state.graph, np.array([self.viewer_id], np.int64)
        follow_ids, follow_times_ms = graph.follows.others(self.viewer_id, self.max_follows)
        owners = np.full(len(follow_ids), self.viewer_id, np.int64)
        follower_ids, _ = state.followers.others(self.viewer_id, MAX_FOLLOWERS)
        country = language = ""
        is_new = False
        row = state.users.rows_of(one)[0]
        if row >= 0:
            country, language = (
                state.users.words.words(state.users[name][row : row + 1])[0].as_py() or ""
                for name in ("country", "language")
            )
            created_ms = int(state.users["created_ms"][row])
            is_new = created_ms > 0 and self.now_ms - created_ms < NEW_ACCOUNT_MS
        engaged_ids, engagements, strong = self._engaged(graph, is_new=is_new)
        visited_ids, visits = self._visited(graph)
        return FollowTies(
            country=country,
            language=language,
            is_new=is_new,
            follow_ids=follow_ids,
            follow_times_ms=follow_times_ms,
            mutual=state.followers.holds(owners, follow_ids),
            low_reputation=self._low(state, follow_ids),
            unfollowed_ids=self._unfollowed(graph),
            follower_ids=follower_ids,
            engaged_ids=engaged_ids,
            engagements=engagements,
            strong_engagements=strong,
            visited_ids=visited_ids,
            visits=visits,
            topic_ids=np.sort(graph.topics.others(self.viewer_id)[0]),
            listed=AskLeft(self.viewer_id, (EdgeType.FOLLOWING,), self.now_ms).answer(state),
        )

    def _low(self, state: ShardState, user_ids: Ids) -> Mask:
        version = state.active_versions().get(TWEEPCRED)
        if version is None or self.low_reputation <= 0:
            return np.zeros(len(user_ids), bool)
        low: Mask = state.models.reputations(version).of(user_ids) < self.low_reputation
        return low

    def _unfollowed(self, graph: GraphKind) -> Ids:
        dropped = graph.follows.dropped(self.viewer_id)
        if not len(dropped):
            return dropped
        edges = graph.follows.edges_of(np.full(len(dropped), self.viewer_id, np.int64), dropped)
        since_ms = times_of(graph.follows.register().versions[edges])
        return dropped[since_ms >= self.now_ms - self.unfollowed_ms]

    def _engaged(self, graph: GraphKind, *, is_new: bool) -> tuple[Ids, Floats, Floats]:
        """Authors, and what engagements with each amount to: in all, and by strong ones."""
        since_ms = max(self.now_ms - self.window_ms, 0)
        edges = graph.engagements.user_edges(self.viewer_id, _MAX_EDGES, since_ms)
        base = _BASE_OF[edges.kinds]
        undone = edges.kinds != base
        # The latest word on each (post, kind) counts; an undo wins a tie.
        order = np.lexsort((undone, edges.times_ms, base, edges.ids))
        key = np.stack([edges.ids[order], base[order].astype(np.int64)])
        last = np.ones(len(order), bool)
        last[:-1] = (key[:, 1:] != key[:, :-1]).any(axis=0)
        stands = order[last & ~undone[order] & (base[order] != _NOT_COUNTED)]
        authors = [edges.author_ids[stands]]
        weights = [self._decayed(edges.times_ms[stands])]
        strong = [weights[0] * _IS_STRONG[base[stands]]]
        if is_new:
            views = graph.signals.user_edges(self.viewer_id, _MAX_EDGES, since_ms)
            viewed = views.kinds == SIGNAL_CODES[Kind.PROFILE_CLICK]
            authors.append(views.author_ids[viewed])
            weights.append(_PROFILE_VIEW_WEIGHT * self._decayed(views.times_ms[viewed]))
            strong.append(np.zeros(int(viewed.sum())))
        ids, at = np.unique(np.concatenate(authors), return_inverse=True)
        totals, strong_totals = (
            np.bincount(at, np.concatenate(of), len(ids)).astype(np.float64)
            for of in (weights, strong)
        )
        kept = np.flatnonzero((ids > 0) & (ids != self.viewer_id) & (totals > 0))
        best = kept[np.lexsort((ids[kept], -totals[kept]))]
        return ids[best], totals[best], strong_totals[best]

    def _visited(self, graph: GraphKind) -> tuple[Ids, npt.NDArray[np.int64]]:
        since_ms = max(self.now_ms - self.window_ms, 0)
        edges = graph.signals.user_edges(self.viewer_id, _MAX_EDGES, since_ms)
        visits = (edges.kinds == SIGNAL_CODES[Kind.PROFILE_CLICK]) & (edges.author_ids > 0)
        visits &= edges.times_ms <= self.now_ms
        ids, counts = np.unique(edges.author_ids[visits], return_counts=True)
        kept = np.flatnonzero(ids != self.viewer_id)
        best = kept[np.lexsort((ids[kept], -counts[kept]))][:MAX_VISITED]
        return ids[best], counts[best].astype(np.int64)

    def _decayed(self, times_ms: Ids) -> Floats:
        ages_ms = np.maximum(self.now_ms - times_ms, 0)
        return np.where(times_ms <= self.now_ms, np.exp2(-ages_ms / self.half_life_ms), 0.0)


_NOT_COUNTED = 255
_BASE_OF = np.full(256, _NOT_COUNTED, np.uint8)
_IS_STRONG = np.zeros(256)
for _kind in _ENGAGEMENTS:
    _BASE_OF[PUBLIC_CODES[_kind]] = PUBLIC_CODES[_kind]
    _IS_STRONG[PUBLIC_CODES[_kind]] = float(_kind in _STRONG)
for _undo, _kind in UNDONE_BY.items():
    if _kind in _ENGAGEMENTS:
        _BASE_OF[PUBLIC_CODES[_undo]] = PUBLIC_CODES[_kind]

"""The kind `graph`: who is tied to whom, who engaged with what, and what a viewer has seen."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.activity import Activity
from actors.choices import Choices
from actors.edges import by_others
from actors.lists import Lists
from actors.rows import Engagements, Rows
from actors.stays import Stays
from actors.stores.interactions import InteractionGraph
from actors.stores.proof_ranking import Proofs
from actors.stores.relations import Relations
from actors.stores.traversal import second_degree
from actors.stores.users import UserTable
from actors.stores.versions import versions_of
from actors.ties import EngagementTies
from actors.two_hop import TwoHop
from actors.watch_levels import levels_of
from cluster.events import NEGATIVE_FEEDBACK, UNDONE_BY, Kind
from cluster.ids import Ids
from cluster.settings import Settings

PUBLIC_CODES: dict[Kind, int] = {
    Kind.CLICK: 0,
    Kind.FAVOURITE: 1,
    Kind.REPOST: 2,
    Kind.REPLY: 3,
    Kind.QUOTE: 7,
    Kind.UNFAVOURITE: 8,
    Kind.UNREPOST: 9,
    Kind.UNREPLY: 10,
    Kind.UNQUOTE: 11,
    Kind.VIDEO_WATCH: 12,
    Kind.BOOKMARK: 13,
    Kind.UNBOOKMARK: 14,
    Kind.SHARE: 15,
}
"""4-bit codes of the kinds an edge of the interaction graph may have (GraphJet's, extended)."""

SIGNAL_CODES: dict[Kind, int] = {
    Kind.CLICK: 0,
    Kind.DWELL: 1,
    Kind.PROFILE_CLICK: 2,
    Kind.VIDEO_WATCH: 3,
    Kind.LINK_OPEN: 4,
    Kind.PHOTO_EXPAND: 5,
    Kind.NOTIFICATION_OPEN: 6,
    Kind.BOOKMARK: 7,
    Kind.UNBOOKMARK: 8,
    Kind.SHARE: 9,
}
"""Codes of what only the viewer may know of."""

FEEDBACK_CODES: dict[Kind, int] = {
    Kind.SHOW_LESS: 0,
    Kind.NOT_INTERESTED: 1,
    Kind.REPORT: 2,
    Kind.UNDO_SHOW_LESS: 3,
    Kind.UNDO_NOT_INTERESTED: 4,
    Kind.UNDO_REPORT: 5,
}
"""Codes of negative feedback, kept apart so that no number of clicks pushes it out."""

VIEW_CODES = {Kind.IMPRESSION: 0, Kind.SERVED: 1}

AFFINITY_WEIGHTS: dict[Kind, float] = {
    Kind.FAVOURITE: 1.0,
    Kind.REPOST: 2.0,
    Kind.REPLY: 2.0,
    Kind.QUOTE: 2.0,
    Kind.SHARE: 2.0,
    Kind.BOOKMARK: 1.0,
    Kind.CLICK: 0.3,
    Kind.DWELL: 0.1,
    Kind.PROFILE_CLICK: 0.5,
    Kind.VIDEO_WATCH: 0.5,
    Kind.LINK_OPEN: 0.3,
    Kind.PHOTO_EXPAND: 0.1,
}
"""What an engagement says about the tie to its author (the user-signal service's proposal)."""

FATIGUE_MS = 154 * 86_400_000
"""How long feedback is told of: the original damps an author for 14 days and 140 more."""

_AFFINITY_HALF_LIFE_MS = 7 * 86_400_000
_RECENT_EDGES = 1_000
_RECENT_VIEWS = 5_000


@dataclass(frozen=True)
class ViewerContext:
    """What the viewer's own shard knows of a viewer; id arrays are sorted unless said."""

    known: bool
    """Whether any event ever named this user."""
    gone: bool
    language: str
    follows: Ids
    """Newest first."""
    blocks: Ids
    blocked_by: Ids
    mutes: Ids
    seen_ids: Ids
    seen_author_ids: Ids
    """The author of each post in `seen_ids`."""
    served_ids: Ids
    """Served lately, whether or not they came on screen."""
    hidden_post_ids: Ids
    """Posts the viewer gave negative feedback on."""
    hidden_author_ids: Ids
    """Authors the viewer wants less of, or reported."""
    affine_ids: Ids
    affinities: npt.NDArray[np.float32]
    """Decayed engagement with the author of the same place in `affine_ids`."""
    cut: bool = False
    """Whether there are more `blocks`, `blocked_by` or `mutes` than are told: then they are whole
    for `followed` and `affine_ids` only, and others must be asked about (`timeline.hidden`)."""
    older_follows: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    """Those before `follows`, newest first."""

    @cached_property
    def followed(self) -> Ids:
        """`follows` and `older_follows`, sorted."""
        return np.sort(np.concatenate([self.follows, self.older_follows]))

    @cached_property
    def blocked_either_way(self) -> Ids:
        """Whom the viewer blocked or is blocked by, sorted."""
        return np.union1d(self.blocks, self.blocked_by)

    @cached_property
    def hidden_ids(self) -> Ids:
        """Whom the viewer blocked or muted, or is blocked by."""
        return np.concatenate([self.blocks, self.blocked_by, self.mutes])

    def heard(self) -> Ids:
        """Of `follows` whom the viewer neither muted nor is blocked from, sorted."""
        return self._heard

    @cached_property
    def _heard(self) -> Ids:
        return np.setdiff1d(self.follows, self.hidden_ids)


class Hidden(NamedTuple):
    """Who of given users stands behind a block or a mute of one viewer; each sorted."""

    blocks: Ids
    blocked_by: Ids
    mutes: Ids


class Feedback(NamedTuple):
    """Negative feedback of one viewer that stands, arrays of shape (n,)."""

    post_ids: Ids
    author_ids: Ids
    codes: npt.NDArray[np.int8]
    """Of `FEEDBACK_CODES`; none that takes back."""
    times_ms: Ids


class GraphKind:
    """The graph state of one shard; every edge lives with each user it concerns."""

    def __init__(self, settings: Settings, users: UserTable, followers: Relations) -> None:
        """`users` and `followers` are written by the shard, whose kinds share them."""
        self._windows = settings.windows
        self._users = users
        self.follows = Relations()
        self.blocks = Relations()
        self.blocked_by = Relations()
        self.mutes = Relations()
        self._hiding = (self.blocks, self.blocked_by, self.mutes)
        self.topics = Relations()
        self.engaged, self.engaged_by = EngagementTies(), EngagementTies()
        self.two_hop = TwoHop(self.follows, followers, self.engaged, self.engaged_by)
        self.stays = Stays()
        self.lists = Lists()
        self.choices = Choices()
        self.activity = Activity()
        size = settings.graph
        self.engagements, self.signals, self.feedback, self.views, self.videos = (
            InteractionGraph(size.segments, size.edges_per_segment, close_on_roll=False)
            for _ in range(5)
        )
        # Of `videos`, who watched which for how long, an edge's kind is its level (`watch_levels`).
        public = {kind for kind in PUBLIC_CODES if kind.label in size.public_kinds}
        public |= {undo for undo, kind in UNDONE_BY.items() if kind in public}
        self._public = _code_table({k: c for k, c in PUBLIC_CODES.items() if k in public})
        self._signal = _code_table({k: c for k, c in SIGNAL_CODES.items() if k not in public})
        self._feedback = _code_table(FEEDBACK_CODES)
        self._view = _code_table(VIEW_CODES)

    @property
    def memory_bytes(self) -> int:
        """Memory held by all stores of this kind."""
        relations = (self.follows, self.blocks, self.blocked_by, self.mutes, self.topics)
        stores = (*relations, self.two_hop, self.stays, self.lists, self.choices, self.activity)
        return sum(s.memory_bytes for s in stores) + sum(g.memory_bytes() for g in self._graphs)

    @property
    def _graphs(self) -> tuple[InteractionGraph, ...]:
        return self.engagements, self.signals, self.feedback, self.views, self.videos

    def apply(self, rows: Rows, engagements: Engagements) -> None:
        """Apply admitted rows."""
        for on, off, mine, theirs in (
            (Kind.FOLLOW, Kind.UNFOLLOW, self.follows, None),
            (Kind.BLOCK, Kind.UNBLOCK, self.blocks, self.blocked_by),
            (Kind.MUTE, Kind.UNMUTE, self.mutes, None),
            (Kind.TOPIC_FOLLOW, Kind.TOPIC_UNFOLLOW, self.topics, None),
        ):
            changed = rows.of(on, off)
            if len(changed):
                write_relation(changed, on, "actor_id", "target_id", mine)
                if theirs is not None:
                    write_relation(changed, on, "target_id", "actor_id", theirs)
        clicks = rows.of(Kind.PROFILE_CLICK)
        if len(clicks):
            self._insert_profile_clicks(clicks)
        self.two_hop.apply(rows, engagements)
        self.stays.record(rows)
        self.lists.apply(rows)
        self.choices.apply(rows)
        self.activity.record(rows)
        seen_by_others = engagements.where(by_others(engagements))
        self._insert(self.engagements, self._public, seen_by_others, both_sides=True)
        self._insert(self.signals, self._signal, engagements, both_sides=False)
        self._insert(self.feedback, self._feedback, engagements, both_sides=False)
        self._insert(self.views, self._view, engagements, both_sides=False)
        watches = rows.of(Kind.VIDEO_WATCH)
        if len(watches):
            self._insert_watches(watches)

    def close_segments(self) -> None:
        """Rewrite what became full, which takes a while and no lock: readers keep their views."""
        for graph in self._graphs:
            graph.close_segments()

    def expire(self, now_ms: int) -> None:
        """Drop segments that no window reaches any more."""
        windows = self._windows
        self.engagements.expire(now_ms - max(windows.interactions_ms, windows.affinity_ms))
        self.signals.expire(now_ms - windows.affinity_ms)
        self.feedback.expire(now_ms - max(windows.negative_ms, FATIGUE_MS))
        self.views.expire(now_ms - max(windows.seen_ms, windows.served_ms))
        self.videos.expire(now_ms - windows.interactions_ms)
        self.stays.expire(now_ms - windows.signals_ms)
        self.activity.expire(now_ms - windows.signals_ms)

    def context(
        self, viewer_id: int, now_ms: int, max_follows: int, max_seen: int, max_followed: int = 0
    ) -> ViewerContext:
        """What this shard, the viewer's own, knows of the viewer at `now_ms`.

        Older follows are told as well, up to `max_followed` in all.
        """
        windows = self._windows
        one = np.array([viewer_id], np.int64)
        row = int(self._users.rows_of(one)[0])
        followed, _ = self.follows.others(viewer_id, max(max_follows, max_followed))
        follows = followed[:max_follows]
        views = self.views.user_edges(viewer_id, 4 * max_seen)
        shown = views.kinds == VIEW_CODES[Kind.IMPRESSION]
        recent = np.flatnonzero(shown & (views.times_ms >= now_ms - windows.seen_ms))[:max_seen]
        seen_ids, first = np.unique(views.ids[recent], return_index=True)
        served = views.ids[~shown & (views.times_ms >= now_ms - windows.served_ms)]
        hidden_posts, hidden_authors = self._negative(viewer_id, now_ms)
        affine_ids, affinities = self.affinities(viewer_id, now_ms)
        hidden = Hidden(*(np.sort(of.others(viewer_id)[0]) for of in self._hiding))
        cut = sum(map(len, hidden)) < sum(int(of.degrees(one)[0]) for of in self._hiding)
        if cut:
            near = self.hidden(viewer_id, np.concatenate([followed, affine_ids]))
            hidden = Hidden(*map(np.union1d, hidden, near))
        return ViewerContext(
            known=row >= 0 or bool(len(follows) or len(affine_ids) or len(views.ids)),
            gone=bool(self._users.gone(one)[0]),
            language=self._users.language_of(row) if row >= 0 else "",
            follows=follows,
            **hidden._asdict(),
            seen_ids=seen_ids,
            seen_author_ids=views.author_ids[recent][first],
            served_ids=np.unique(served),
            hidden_post_ids=hidden_posts,
            hidden_author_ids=hidden_authors,
            affine_ids=affine_ids,
            affinities=affinities,
            cut=cut,
            older_follows=followed[max_follows:],
        )

    def hidden(self, viewer_id: int, user_ids: Ids) -> Hidden:
        """Who of these users stands behind a block or a mute of the viewer, of however many."""
        user_ids = np.unique(user_ids)
        viewer = np.full(len(user_ids), viewer_id, np.int64)
        return Hidden(*(user_ids[of.holds(viewer, user_ids)] for of in self._hiding))

    def hides(self, user_id: int, other_ids: Ids) -> npt.NDArray[np.bool_]:
        """Between which others (n,) and a user a block or a mute of the user's stands."""
        one, hidden = np.array([user_id], np.int64), np.zeros(len(other_ids), bool)
        for relation in self._hiding:
            if relation.degrees(one)[0]:
                hidden |= relation.holds(np.full(len(other_ids), user_id, np.int64), other_ids)
        return hidden

    def last_served_ms(self, viewer_id: int, since_ms: int) -> int:
        """When anything was served to a viewer last, since `since_ms`; 0 where nothing was."""
        views = self.views.user_edges(viewer_id, _RECENT_VIEWS, max(since_ms, 0))
        served = views.kinds == VIEW_CODES[Kind.SERVED]
        return int(views.times_ms[served].max(initial=0))

    def feedback_of(self, viewer_id: int, since_ms: int) -> Feedback:
        """Negative feedback that a viewer gave since `since_ms` and did not take back."""
        edges = self.feedback.user_edges(viewer_id, _RECENT_EDGES, max(since_ms, 0))
        posts, kinds = edges.ids, edges.kinds
        feedback = _FEEDBACK_OF[kinds]
        if not len(posts):
            return Feedback(posts, edges.author_ids, feedback, edges.times_ms)
        undone = kinds != feedback
        # The latest word on each (post, feedback) counts; an undo wins a tie.
        order = np.lexsort((undone, edges.times_ms, feedback, posts))
        last = np.ones(len(order), bool)
        of_post, of_kind = posts[order], feedback[order]
        last[:-1] = (of_post[1:] != of_post[:-1]) | (of_kind[1:] != of_kind[:-1])
        told = order[last & ~undone[order]]
        return Feedback(posts[told], edges.author_ids[told], feedback[told], edges.times_ms[told])

    def affinities(self, viewer_id: int, now_ms: int) -> tuple[Ids, npt.NDArray[np.float32]]:
        """Authors the viewer engaged with (sorted), and how much: decayed weighted counts."""
        authors: list[Ids] = []
        weights: list[npt.NDArray[np.float64]] = []
        for graph, table in (
            (self.engagements, _PUBLIC_WEIGHTS),
            (self.signals, _SIGNAL_WEIGHTS),
        ):
            edges = graph.user_edges(
                viewer_id, _RECENT_EDGES, max(now_ms - self._windows.affinity_ms, 0)
            )
            age_ms = np.maximum(now_ms - edges.times_ms, 0)
            authors.append(edges.author_ids)
            weights.append(table[edges.kinds] * np.exp2(-age_ms / _AFFINITY_HALF_LIFE_MS))
        ids, at = np.unique(np.concatenate(authors), return_inverse=True)
        totals = np.bincount(at, np.concatenate(weights), len(ids)).astype(np.float32)
        kept = (totals > 0) & (ids != viewer_id)
        return ids[kept], totals[kept]

    def second_degree(
        self,
        seed_ids: Ids,
        seed_indices: npt.NDArray[np.int32],
        since_ms: int,
        kinds: tuple[Kind, ...],
        edges_per_seed: int,
    ) -> Proofs:
        """What the seeds of this shard engaged with since `since_ms`, by post."""
        mask = sum(1 << PUBLIC_CODES[kind] for kind in kinds)
        return second_degree(
            self.engagements,
            seed_ids,
            max_edges_per_seed=edges_per_seed,
            min_time_ms=since_ms,
            kinds_mask=mask,
            undo_of=_UNDO_OF,
            seed_indices=seed_indices,
        )

    def _negative(self, viewer_id: int, now_ms: int) -> tuple[Ids, Ids]:
        given = self.feedback_of(viewer_id, now_ms - self._windows.negative_ms)
        less = given.codes != FEEDBACK_CODES[Kind.NOT_INTERESTED]
        return np.unique(given.post_ids), np.unique(given.author_ids[less])

    def _insert(
        self,
        graph: InteractionGraph,
        codes: npt.NDArray[np.int8],
        engagements: Engagements,
        *,
        both_sides: bool,
    ) -> None:
        code = codes[engagements.kinds]
        sides = engagements.of_actor.astype(np.uint8)
        if both_sides:
            sides |= engagements.of_author.astype(np.uint8) << 1
        kept = np.flatnonzero((code >= 0) & (sides > 0))
        if len(kept):
            graph.insert(
                engagements.actor_ids[kept],
                engagements.post_ids[kept],
                engagements.author_ids[kept],
                code[kept].astype(np.uint8),
                engagements.times_ms[kept],
                sides[kept],
            )

    def _insert_watches(self, watches: Rows) -> None:
        """Long enough watches of posts, in the index of the user, of the author, or both."""
        levels = levels_of(watches["value"])
        sides = watches.concern("actor_id").astype(np.uint8)
        sides |= watches.concern("author_id").astype(np.uint8) << 1
        kept = np.flatnonzero((levels >= 0) & (sides > 0) & (watches["post_id"] > 0))
        if len(kept):
            self.videos.insert(
                watches["actor_id"][kept],
                watches["post_id"][kept],
                watches["author_id"][kept],
                levels[kept].astype(np.uint8),
                watches["time_ms"][kept],
                sides[kept],
            )

    def _insert_profile_clicks(self, clicks: Rows) -> None:
        """A visit to a profile stands in the signals with the author in the post's place."""
        mine = clicks.where(clicks.concern("actor_id") & (clicks["post_id"] == 0))
        if len(mine):
            codes = np.full(len(mine), SIGNAL_CODES[Kind.PROFILE_CLICK], np.uint8)
            authors = mine["author_id"]
            sides = np.ones(len(mine), np.uint8)
            self.signals.insert(mine["actor_id"], authors, authors, codes, mine["time_ms"], sides)


def write_relation(rows: Rows, on: Kind, owner: str, other: str, relations: Relations) -> None:
    """Write the rows meant for the partition of the user in column `owner`."""
    mine = rows.where(rows.concern(owner))
    if len(mine):
        relations.write(
            mine[owner],
            mine[other],
            versions_of(mine["time_ms"], mine["event_id"]),
            mine["kind"] == on,
        )


def _code_table(codes: dict[Kind, int]) -> npt.NDArray[np.int8]:
    table = np.full(256, -1, np.int8)
    for kind, code in codes.items():
        table[kind] = code
    return table


def _weight_table(codes: dict[Kind, int]) -> npt.NDArray[np.float64]:
    table = np.zeros(16)
    for kind, code in codes.items():
        table[code] = AFFINITY_WEIGHTS.get(kind, 0.0)
    return table


_PUBLIC_WEIGHTS = _weight_table(PUBLIC_CODES)
_SIGNAL_WEIGHTS = _weight_table(SIGNAL_CODES)

_FEEDBACK_OF = np.full(16, -1, np.int8)
for _kind in NEGATIVE_FEEDBACK:
    _FEEDBACK_OF[FEEDBACK_CODES[_kind]] = FEEDBACK_CODES[_kind]
for _undo, _kind in UNDONE_BY.items():
    if _kind in NEGATIVE_FEEDBACK:
        _FEEDBACK_OF[FEEDBACK_CODES[_undo]] = FEEDBACK_CODES[_kind]

_UNDO_OF = np.full(16, 255, np.uint8)
for _undo, _kind in UNDONE_BY.items():
    if _undo in PUBLIC_CODES:
        _UNDO_OF[PUBLIC_CODES[_undo]] = PUBLIC_CODES[_kind]

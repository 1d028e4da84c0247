"""Ties of a viewer to users: Real Graph's edge features and the real-time interaction graph.

Read in the viewer's own shard, of the authors of candidates and of users related to them
(who engaged with a candidate, or wrote what it replies to, quotes or reposts).
"""

import numpy as np
import numpy.typing as npt

from actors.features.families import Column, Family, Place, flag, number
from actors.features.inputs import Level
from actors.features.light import positions_in
from actors.features.real_graph import REAL_GRAPH
from actors.ranker_inputs.activity import (
    KINDS,
    NEVER_DAYS,
    RECENT,
    STATISTICS,
    Activity,
    by_author,
)
from actors.ranker_inputs.asking import Asking
from actors.state import ShardState
from actors.stores.relations import Relations
from actors.stores.versions import times_of
from actors.ties import EngagementTies
from cluster.events import ENGAGEMENTS, Kind
from cluster.ids import Ids
from cluster.settings import DAY_MS

Floats = npt.NDArray[np.float32]

MAX_LISTS, MAX_MEMBERS = 20, 500
"""Lists of the viewer, and members of each, that are looked at (the candidate source's)."""
_TYPES = {
    "favourite": "favourites of posts of",
    "repost_or_quote": "reposts and quotes of posts of",
    "reply": "replies to posts of",
    "mention": "mentions of",
}
"""The columns of `EngagementTies`."""
_MEANING = {
    "decayed": "{kind} events of the viewer with the author's posts, half-life 7 days",
    "count": "{kind} events of the viewer with the author's posts, within the window",
    "days": "days on which the viewer had a {kind} event with the author's posts",
    "days_since_last": "days since the viewer's last {kind} event with the author's posts",
}
_ON_LAPTOP = {Kind.FAVOURITE, Kind.REPLY, Kind.CLICK, Kind.DWELL, Kind.IMPRESSION}

_STATISTICS = tuple(
    number(
        f"real_graph.{kind.label}.{name}",
        _MEANING[name].format(kind=kind.label),
        laptop=kind in _ON_LAPTOP and name in ("decayed", "days_since_last"),
        default=NEVER_DAYS if name == "days_since_last" else 0.0,
    )
    for kind in KINDS
    for name in STATISTICS
)
_STANDING = (
    *(
        number(f"real_graph.viewer_to_author.{name}", f"the viewer's {words} the author")
        for name, words in _TYPES.items()
    ),
    *(
        number(f"real_graph.author_to_viewer.{name}", f"the author's {words} the viewer")
        for name, words in _TYPES.items()
    ),
)
_SCORES = (
    number("real_graph.score", "Real Graph's probability of an interaction", laptop=True),
    number("real_graph.rank", "place among the viewer's scores, 1 the best; 0 without a score"),
    number("real_graph.affinity", "decayed weighted engagements with the author", laptop=True),
    number("real_graph.follow_days", "days since the viewer follows; 0 where not", laptop=True),
    number("real_graph.followed_days", "days since the author follows the viewer; 0 where not"),
    number("real_graph.lists", "lists of the viewer that the author is a member of"),
)
_FLAGS = (
    flag("tie.followed", "the viewer follows the author", laptop=True),
    flag("tie.follows_viewer", "the author follows the viewer", laptop=True),
    flag("tie.mutual", "viewer and author follow each other"),
    flag("tie.self", "the author is the viewer", laptop=True),
    flag("tie.engaged", "the viewer engaged with the author within the window", laptop=True),
    flag("tie.profile_visited", "the viewer visited the author's profile within the window"),
    flag("tie.shown", "a post of the author came on the viewer's screen within two days"),
)
TIES = Family(
    "real_graph_author",
    "Real Graph author edges",
    Level.AUTHOR,
    Place.TIES,
    (*_STATISTICS, *_STANDING, *_SCORES, *_FLAGS),
)
INTERACTIONS = Family(
    "real_time_interactions",
    "real-time interaction graph",
    Level.AUTHOR,
    Place.TIES,
    tuple(
        number(
            f"interactions.{name}.{window}",
            f"{name} interactions of the viewer with the author in the last {words}",
            laptop=name in ("favourite", "click"),
        )
        for name in RECENT
        for window, words in (("1h", "hour"), ("24h", "24 hours"))
    ),
)
RELATED: tuple[Column, ...] = tuple(
    column
    for column in TIES.columns
    if column.name
    in {
        *(f"real_graph.{kind.label}.decayed" for kind in ENGAGEMENTS[:10]),
        *("real_graph.score", "real_graph.affinity", "real_graph.follow_days"),
        *("real_graph.author_to_viewer.favourite", "real_graph.author_to_viewer.reply"),
        "tie.followed",
    }
)
"""What is read of users related to a candidate, a part of `TIES`."""
RELATED_AT = np.array([TIES.columns.index(column) for column in RELATED])


def ties(
    state: ShardState, asking: Asking, activity: Activity, user_ids: Ids
) -> tuple[Floats, Floats]:
    """Blocks of `TIES` and of `INTERACTIONS` for users (u,), sorted."""
    graph, viewer_id, now_ms = state.graph, asking.viewer_id, asking.now_ms
    statistics, recent = by_author(activity, user_ids, now_ms)
    owners = np.full(len(user_ids), viewer_id, np.int64)
    standing = np.concatenate(
        [_counts(one, owners, user_ids) for one in (graph.engaged, graph.engaged_by)], axis=1
    )
    scores = np.zeros((len(user_ids), len(_SCORES)), np.float32)
    if version := asking.version(REAL_GRAPH):
        ids, found = state.models.real_graph(version).of(viewer_id)
        ranks = np.empty(len(ids), np.int64)
        ranks[np.lexsort((ids, -found))] = np.arange(1, len(ids) + 1)
        at = positions_in(ids, user_ids)
        scores[at >= 0, 0], scores[at >= 0, 1] = found[at[at >= 0]], ranks[at[at >= 0]]
    affine, affinities = graph.affinities(viewer_id, now_ms)
    at = positions_in(affine, user_ids)
    scores[at >= 0, 2] = affinities[at[at >= 0]]
    followed, scores[:, 3] = _since(graph.follows, owners, user_ids, now_ms)
    follows_viewer, scores[:, 4] = _since(state.followers, owners, user_ids, now_ms)
    members = np.sort(graph.lists.of(viewer_id, MAX_LISTS, MAX_MEMBERS).member_ids)
    first, last = (np.searchsorted(members, user_ids, side) for side in ("left", "right"))
    scores[:, 5] = last - first
    counts = statistics[:, 1 :: len(STATISTICS)]
    flags = (
        *(followed, follows_viewer, followed & follows_viewer, user_ids == viewer_id),
        (counts[:, : len(ENGAGEMENTS)] > 0).any(axis=1),
        *(counts[:, _PROFILE] > 0, counts[:, _SHOWN] > 0),
    )
    block = np.column_stack([statistics, standing, scores, *flags]).astype(np.float32, copy=False)
    return block, recent


def lists_of(state: ShardState, asking: Asking, author_ids: Ids) -> Ids:
    """Of each author the viewer's newest list that names them; 0 for none."""
    lists = state.graph.lists.of(asking.viewer_id, MAX_LISTS, MAX_MEMBERS)
    member_ids, first = np.unique(lists.member_ids, return_index=True)
    of_member = np.searchsorted(lists.offsets, first, side="right") - 1
    at = positions_in(member_ids, author_ids)
    found = np.zeros(len(author_ids), np.int64)
    found[at >= 0] = lists.list_ids[of_member[at[at >= 0]]]
    return found


def _counts(ties_of: EngagementTies, owner_ids: Ids, other_ids: Ids) -> Floats:
    """What stands of each pair's engagements, (u, len(_TYPES))."""
    rows = ties_of.table.pairs.edges_of(owner_ids, other_ids)
    counts = np.zeros((len(rows), len(_TYPES)), np.float32)
    known = rows >= 0
    counts[known] = np.maximum(ties_of.table["counts"][rows[known]], 0)
    return counts


def _since(
    relations: Relations, owner_ids: Ids, other_ids: Ids, now_ms: int
) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Which pairs are related, and for how many days."""
    edges = relations.edges_of(owner_ids, other_ids)
    held, days = np.zeros(len(edges), bool), np.zeros(len(edges), np.float32)
    known = np.flatnonzero(edges >= 0)
    register = relations.register()
    known = known[register.active[edges[known]]]
    held[known] = True
    since_ms = times_of(register.versions[edges[known]])
    days[known] = np.maximum(now_ms - since_ms, 0) / DAY_MS
    return held, days


_PROFILE, _SHOWN = KINDS.index(Kind.PROFILE_CLICK), KINDS.index(Kind.IMPRESSION)

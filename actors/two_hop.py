"""The graph-feature service: how many users stand between a source and a candidate.

For a pair of edge types (L, R) it counts the users x with source –L→ x and candidate –R→ x:
for (Following, FollowedBy), those whom the source follows and who follow the candidate. All
edges of a user, in either direction, live in the user's own shard. So the source's lists come
from the source's shard, one small array that a request asks for with the viewer's context, and
every candidate is then answered whole by the candidate's shard: two waves, nothing to add up,
the same numbers for any number of shards, and a shard that is down costs its own candidates
only. (The original spreads both lists over 40 shards by the users in between, asks all of them
for everything, and adds up.) Its daily batch built the two follow graphs alone, so that 14 of
its 15 pairs were always zero; here they are as live as the shard. Who is similar to whom is no edge
that events make: a question names the version of the representations that say so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.rows import Engagements, Rows
from actors.stores.intersections import Hits, SortedNeighbours
from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int
from actors.stores.relations import Relations
from actors.ties import N_TYPES, EngagementTies, MutualDegrees
from cluster.events import MENTIONS, UNDONE_BY, Kind
from cluster.ids import Ids

Int32s = npt.NDArray[np.int32]


class EdgeType(IntEnum):
    """How a user is tied to another; all read "the user … the other"."""

    FOLLOWING = 0
    FOLLOWED_BY = 1
    FAVORITE = 2
    """At least one favourite of a post of the other's that was not taken back."""
    FAVORITED_BY = 3
    RETWEET = 4
    """Reposts and quotes."""
    RETWEETED_BY = 5
    REPLY = 6
    REPLIED_BY = 7
    MUTUAL_FOLLOW = 8
    MENTION = 9
    """At least one post names the other that is not deleted."""
    MENTIONED_BY = 10
    SIMILAR_TO = 11
    """Among the accounts most like the user by the trained representations: known of users
    in them, where a question names a version."""


Pair = tuple[EdgeType, EdgeType]

FOLLOWED_BY_FOLLOWED: tuple[Pair, ...] = ((EdgeType.FOLLOWING, EdgeType.FOLLOWED_BY),)
"""The preset of who-to-follow and typeahead."""

HOME_PAIRS: tuple[Pair, ...] = tuple(
    (left, right)
    for left in (EdgeType.FOLLOWING, EdgeType.FAVORITE, EdgeType.MUTUAL_FOLLOW)
    for right in (
        EdgeType.FOLLOWED_BY,
        EdgeType.FAVORITED_BY,
        EdgeType.RETWEETED_BY,
        EdgeType.MENTIONED_BY,
        EdgeType.MUTUAL_FOLLOW,
    )
)
"""The preset of Home, search and notifications: 15 pairs."""

MAX_SIMILAR = 100
"""Accounts that one is similar to, at most."""

MAX_LEFT = 512
"""Longest left list of one type: the original's top follows by real-graph score."""

_NO_IDS = np.empty(0, np.int64)
_ENGAGED = (EdgeType.FAVORITE, EdgeType.RETWEET, EdgeType.REPLY, EdgeType.MENTION)
_ENGAGED_BY = (
    *(EdgeType.FAVORITED_BY, EdgeType.RETWEETED_BY),
    *(EdgeType.REPLIED_BY, EdgeType.MENTIONED_BY),
)
_MENTIONED = _ENGAGED.index(EdgeType.MENTION)
_COLUMN_OF_KIND = {Kind.FAVOURITE: 0, Kind.REPOST: 1, Kind.QUOTE: 1, Kind.REPLY: 2}


@dataclass(frozen=True)
class LeftLists:
    """The source's lists: the users u of any of them, by id, and which lists each is in."""

    ids: Ids
    """Sorted, (u,)."""
    types: npt.NDArray[np.uint16]
    """Bit t: in the list of `EdgeType` t."""
    ranks: Int32s
    """Which comes first where few can be named; 0 is the first."""
    degrees: dict[EdgeType, int]
    """Length of each list that was asked for."""


@dataclass(frozen=True)
class TwoHopCounts:
    """For n candidates and p pairs."""

    candidate_ids: Ids
    pairs: tuple[Pair, ...]
    counts: Int32s
    """(n, p): users in both lists."""
    left_degrees: Int32s
    """(p,): length of the source's list, at most the limit it was cut to."""
    right_degrees: Int32s
    """(n, p): length of the candidate's list."""
    known: npt.NDArray[np.bool_]
    """(n, p): whether the number is one; not so where no model tells, or a shard is down."""
    named_ids: Ids
    """(n, k): users counted for the first pair, the source's best first; 0 where no more."""


class Similar(NamedTuple):
    """Accounts similar to some users, m pairs."""

    places: Ids
    """(m,): which of the users."""
    user_ids: Ids
    """(m,): the accounts, those of each user together, the likest first."""


class TwoHop:
    """Answers from the live relations and engagements of one shard.

    `follows` and `followers` are written by whoever owns them, each follow by its follower
    in the one and by whom it follows in the other; `apply` must see the same rows.
    """

    def __init__(
        self,
        follows: Relations,
        followers: Relations,
        engaged: EngagementTies,
        engaged_by: EngagementTies,
    ) -> None:
        self._relations = {EdgeType.FOLLOWING: follows, EdgeType.FOLLOWED_BY: followers}
        self._ties = {
            **{kind: (engaged, column) for column, kind in enumerate(_ENGAGED)},
            **{kind: (engaged_by, column) for column, kind in enumerate(_ENGAGED_BY)},
        }
        self._engaged, self._engaged_by = engaged, engaged_by
        self._following = SortedNeighbours(follows)
        self._followed_by = SortedNeighbours(followers)
        self._engaged_lists = SortedNeighbours(engaged.table.pairs)
        self._engaged_by_lists = SortedNeighbours(engaged_by.table.pairs)
        self._mutual = MutualDegrees(follows, followers)

    @property
    def memory_bytes(self) -> int:
        """Memory held beside the two relations."""
        lists = (self._following, self._followed_by, self._engaged_lists, self._engaged_by_lists)
        own = sum(one.memory_bytes for one in lists) + self._mutual.memory_bytes
        return own + self._engaged.memory_bytes + self._engaged_by.memory_bytes

    def apply(self, rows: Rows, engagements: Engagements) -> None:
        """Count admitted engagements and mentions, and note whose follows changed."""
        follows = rows.of(Kind.FOLLOW, Kind.UNFOLLOW)
        if len(follows):
            self._mutual.forget(np.concatenate([follows["actor_id"], follows["target_id"]]))
        column = _COLUMNS[engagements.kinds]
        counted = (column >= 0) & (engagements.actor_ids != engagements.author_ids)
        for ties, owned, owner, other in (
            (self._engaged, engagements.of_actor, "actor_ids", "author_ids"),
            (self._engaged_by, engagements.of_author, "author_ids", "actor_ids"),
        ):
            mine = engagements.where(counted & owned & (engagements.author_ids > 0))
            if len(mine.kinds):
                changes = np.zeros((len(mine.kinds), N_TYPES), np.int32)
                at = np.arange(len(changes))
                changes[at, _COLUMNS[mine.kinds]] = _CHANGES[mine.kinds]
                ties.add(getattr(mine, owner), getattr(mine, other), changes)
        mentions = rows.of(*MENTIONS)
        if len(mentions):
            self._mention(mentions)

    def _mention(self, mentions: Rows) -> None:
        for ties, owner, other in (
            (self._engaged, "actor_id", "target_id"),
            (self._engaged_by, "target_id", "actor_id"),
        ):
            mine = mentions.where(mentions.concern(owner))
            if len(mine):
                changes = np.zeros((len(mine), N_TYPES), np.int32)
                changes[:, _MENTIONED] = np.where(mine["kind"] == Kind.MENTION, 1, -1)
                ties.add(mine[owner], mine[other], changes)

    def left(
        self,
        source_id: int,
        types: Sequence[EdgeType],
        *,
        limit: int = MAX_LEFT,
        preferred_ids: Ids | None = None,
        preferences: npt.NDArray[np.floating] | None = None,
        hides: Callable[[Ids], npt.NDArray[np.bool_]] | None = None,
        similar: Similar | None = None,
    ) -> LeftLists:
        """The source's lists, each cut to its first `limit`; for the source's own shard.

        By preference (real-graph score or affinity, 0 for who is not in `preferred_ids`,
        which is sorted), then newest follow, most engagements or likest first, then id.
        Without those whom it `hides`, who are not to be named. `similar` are the accounts
        similar to the source; without them that list is empty.
        """
        parts: list[tuple[Ids, npt.NDArray[np.float64], Ids, EdgeType]] = []
        degrees: dict[EdgeType, int] = {}
        for kind in dict.fromkeys(types):
            ids, second = self._list(source_id, kind, similar)
            if hides is not None:
                shown = ~hides(ids)
                ids, second = ids[shown], second[shown]
            scores = _scores_of(ids, preferred_ids, preferences)
            best = np.lexsort((ids, -second, -scores))[:limit]
            parts.append((ids[best], scores[best], np.arange(len(best)), kind))
            degrees[kind] = len(best)
        if len(parts) == 1:
            ids, _, _, kind = parts[0]
            order = np.argsort(ids)
            alone = np.full(len(ids), 1 << kind, np.uint16)
            return LeftLists(ids[order], alone, order.astype(np.int32), degrees)
        every = np.concatenate([part[0] for part in parts] or [np.empty(0, np.int64)])
        ids, first, at = np.unique(every, return_index=True, return_inverse=True)
        kinds = np.zeros(len(ids), np.uint16)
        nearest = np.full(len(ids), MAX_LEFT + len(every), np.int64)
        begin = 0
        for part_ids, _, places, kind in parts:
            mine = at[begin : begin + len(part_ids)]
            kinds[mine] |= np.uint16(1 << kind)
            np.minimum.at(nearest, mine, places)
            begin += len(part_ids)
        scores = np.concatenate([part[1] for part in parts] or [np.empty(0)])[first]
        ranks = np.empty(len(ids), np.int32)
        ranks[np.lexsort((ids, nearest, -scores))] = np.arange(len(ids))
        return LeftLists(ids, kinds, ranks, degrees)

    def counts(
        self,
        left: LeftLists,
        candidate_ids: Ids,
        pairs: Sequence[Pair] = HOME_PAIRS,
        *,
        max_named: int = 0,
        similar: Similar | None = None,
    ) -> TwoHopCounts:
        """The counts for candidates of this shard; names the best `max_named` of the first pair.

        `similar` are the accounts similar to each candidate; without them nobody knows them.
        """
        n = len(candidate_ids)
        counts = np.zeros((n, len(pairs)), np.int32)
        right_degrees = np.zeros((n, len(pairs)), np.int32)
        best = np.full((n, max_named), len(left.ids), np.int32)
        wanted = np.array([[lhs, rhs] for lhs, rhs in pairs], np.int64).reshape(-1, 2)
        rights_wanted = [rhs for _, rhs in pairs]
        found: list[tuple[Hits, npt.NDArray[np.uint16], list[EdgeType]]] = []
        for lists, types in (
            (self._followed_by, (EdgeType.FOLLOWED_BY, EdgeType.MUTUAL_FOLLOW)),
            (self._engaged_by_lists, _ENGAGED_BY),
            (self._following, (EdgeType.FOLLOWING,)),
            (self._engaged_lists, _ENGAGED),
        ):
            asked = [kind for kind in types if kind in rights_wanted]
            if asked and len(left.ids):
                hits = lists.hits(left.ids, candidate_ids)
                found.append((hits, self._rights(hits, left, candidate_ids, asked), asked))
        alike = Similar(_NO_IDS, _NO_IDS) if similar is None else similar
        if EdgeType.SIMILAR_TO in rights_wanted and len(left.ids):
            hits = _similar_hits(left.ids, alike)
            bits = np.full(len(hits.rows), 1 << EdgeType.SIMILAR_TO, np.uint16)
            found.append((hits, bits, [EdgeType.SIMILAR_TO]))
        for hits, rights, asked in found:
            here = np.array([k for k, rhs in enumerate(rights_wanted) if rhs in asked])
            lefts = left.types[hits.places]
            _tally(hits.rows, lefts, rights, wanted, here, counts)
            if max_named and 0 in here:
                _keep_best(hits.rows, lefts, rights, wanted[0], left.ranks[hits.places], best)
        n_similar = np.bincount(alike.places, minlength=n).astype(np.int32)
        for right in dict.fromkeys(rights_wanted):
            of_right = n_similar
            if right is not EdgeType.SIMILAR_TO:
                of_right = self._degrees(right, candidate_ids)
            right_degrees[:, wanted[:, 1] == right] = of_right[:, None]
        known = np.ones((n, len(pairs)), bool)
        known[:, wanted[:, 0] == EdgeType.SIMILAR_TO] = left.degrees.get(EdgeType.SIMILAR_TO, 0) > 0
        known[:, wanted[:, 1] == EdgeType.SIMILAR_TO] &= n_similar[:, None] > 0
        by_rank = np.zeros(len(left.ids) + 1, np.int64)
        by_rank[left.ranks] = left.ids
        return TwoHopCounts(
            candidate_ids,
            tuple(pairs),
            counts,
            np.array([left.degrees.get(lhs, 0) for lhs, _ in pairs], np.int32),
            right_degrees,
            known,
            by_rank[best],
        )

    def _list(
        self, source_id: int, kind: EdgeType, similar: Similar | None
    ) -> tuple[Ids, npt.NDArray[np.int64]]:
        """One of the source's lists, and by what it is ordered."""
        if kind is EdgeType.SIMILAR_TO and similar is not None:
            return similar.user_ids, -np.arange(len(similar.user_ids))
        if kind in self._relations:
            return self._relations[kind].others(source_id)
        if kind in self._ties:
            ties, column = self._ties[kind]
            ids, counts = ties.of(source_id, column)
            return ids, counts.astype(np.int64)
        if kind is EdgeType.MUTUAL_FOLLOW:
            ids, times_ms = self._relations[EdgeType.FOLLOWING].others(source_id)
            owners = np.full(len(ids), source_id, np.int64)
            back = self._relations[EdgeType.FOLLOWED_BY].holds(owners, ids)
            return ids[back], times_ms[back]
        return np.empty(0, np.int64), np.empty(0, np.int64)

    def _rights(
        self, hits: Hits, left: LeftLists, candidate_ids: Ids, asked: Sequence[EdgeType]
    ) -> npt.NDArray[np.uint16]:
        """By which of the asked types each hit is a neighbour of its candidate, as bits."""
        rights = np.zeros(len(hits.rows), np.uint16)
        for kind in asked:
            if kind in self._ties:
                ties, column = self._ties[kind]
                tied = ties.table["counts"][hits.edges, column] > 0
            elif kind is EdgeType.MUTUAL_FOLLOW:
                back = self._following.hits(left.ids, candidate_ids)
                table = np.zeros((len(candidate_ids), len(left.ids)), bool)
                table[back.rows, back.places] = True
                tied = table[hits.rows, hits.places]
            else:
                tied = np.ones(len(rights), bool)
            rights |= tied.astype(np.uint16) << np.uint16(kind)
        return rights

    def _degrees(self, kind: EdgeType, owner_ids: Ids) -> Int32s:
        if kind in self._relations:
            return self._relations[kind].degrees(owner_ids)
        if kind in self._ties:
            ties, column = self._ties[kind]
            return ties.degrees(owner_ids, column)
        if kind is EdgeType.MUTUAL_FOLLOW:
            return self._mutual.of(owner_ids)
        return np.zeros(len(owner_ids), np.int32)


def _similar_hits(left_ids: Ids, similar: Similar) -> Hits:
    """Which of `left_ids` (sorted) each user is similar to."""
    places = np.minimum(np.searchsorted(left_ids, similar.user_ids), len(left_ids) - 1)
    there = np.flatnonzero(left_ids[places] == similar.user_ids)
    rows = similar.places[there].astype(np.int32)
    return Hits(rows, places[there].astype(np.int32), np.full(len(rows), -1, np.int32))


def _scores_of(
    ids: Ids,
    preferred_ids: Ids | None,
    preferences: npt.NDArray[np.floating] | None,
) -> npt.NDArray[np.float64]:
    scores = np.zeros(len(ids))
    if preferred_ids is not None and preferences is not None and len(preferred_ids):
        at = np.minimum(np.searchsorted(preferred_ids, ids), len(preferred_ids) - 1)
        found = preferred_ids[at] == ids
        scores[found] = preferences[at[found]]
    return scores


@kernel
def _tally(
    rows: Int32s,
    lefts: npt.NDArray[np.uint16],
    rights: npt.NDArray[np.uint16],
    pairs: npt.NDArray[np.int64],
    here: npt.NDArray[np.int64],
    counts: Int32s,
) -> None:
    """Add every hit to the pairs `here` whose two types it has."""
    for i in range(len(rows)):
        for k in range(len(here)):
            pair = here[k]
            both = (lefts[i] >> pairs[pair, 0]) & (rights[i] >> pairs[pair, 1]) & 1
            counts[rows[i], pair] += both


@kernel
def _keep_best(
    rows: Int32s,
    lefts: npt.NDArray[np.uint16],
    rights: npt.NDArray[np.uint16],
    pair: npt.NDArray[np.int64],
    ranks: Int32s,
    best: Int32s,
) -> None:
    """Insert the rank of every hit of a pair into its row of `best`, ascending."""
    last: Int = best.shape[1] - 1
    for i in range(len(rows)):
        if (lefts[i] >> pair[0]) & (rights[i] >> pair[1]) & 1:
            row = best[rows[i]]
            if ranks[i] < row[last]:
                at = last
                while at > 0 and row[at - 1] > ranks[i]:
                    row[at] = row[at - 1]
                    at -= 1
                row[at] = ranks[i]


_COLUMNS = np.full(256, -1, np.int8)
_CHANGES = np.zeros(256, np.int32)
for _kind, _column in _COLUMN_OF_KIND.items():
    _COLUMNS[_kind], _CHANGES[_kind] = _column, 1
for _undo, _kind in UNDONE_BY.items():
    if _kind in _COLUMN_OF_KIND:
        _COLUMNS[_undo], _CHANGES[_undo] = _COLUMN_OF_KIND[_kind], -1

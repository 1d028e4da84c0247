"""The user-signal service: what a user did lately, one list of targets per signal type.

A request takes one or two waves. `gather` reads the user's own shard; what depends on somebody
else (a post's favourites, the length of its video, whether an account is of adult content) is
told by others' shards; and `finish` filters by that, unifies and cuts. A list that cannot be
made is empty and named in the answer, never an error.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.graph import FEEDBACK_CODES, PUBLIC_CODES, SIGNAL_CODES, GraphKind
from actors.signal_lists import (
    EMPTY,
    NO_IDS,
    Floats,
    SignalList,
    by_author,
    first_of_each,
    joined,
    newest_first,
    unvalued,
)
from actors.signal_types import (
    FEEDBACK,
    RULES,
    Clicked,
    Engaged,
    Negative,
    ProfileClicked,
    Rule,
    Scored,
    SignalType,
    Tied,
    Unified,
    Visited,
    Watched,
    Written,
)
from actors.stays import Stays
from actors.stores.posts import PostTable
from cluster.events import UNDONE_BY, Kind
from cluster.ids import Ids

MAX_EDGES = 4_000
"""Newest engagements of each store that one request looks at."""
_MAX_TIED = 200
_MAX_WRITTEN = 1_000
_MIN_VIDEO_MS = 10_000


@dataclass(frozen=True)
class Signals:
    """Lists by type, and why others could not be made: those are empty."""

    lists: dict[SignalType, SignalList]
    failed: dict[SignalType, str]


class PostFacts(NamedTuple):
    """What the posts' shards say; arrays of shape (n,), ids ascending."""

    post_ids: Ids
    favourites: npt.NDArray[np.int64]
    video_durations_ms: npt.NDArray[np.int64]


def gather(
    graph: GraphKind,
    user_id: int,
    types: Iterable[SignalType],
    now_ms: int,
    *,
    stays: Stays | None = None,
    posts: PostTable | None = None,
    scores: tuple[Ids, Floats] | None = None,
) -> Signals:
    """The lists of `types`, and of what they are made of, as the user's own shard knows them.

    `posts` are those of the shard, for the user's own; `scores` the user's real-graph scores
    (author ids, scores) of accounts not followed. Nothing later than `now_ms` counts.
    """
    user = _User(graph, user_id, now_ms, stays, posts, scores)
    lists: dict[SignalType, SignalList] = {}
    failed: dict[SignalType, str] = {}
    for wanted in with_components(types):
        try:
            lists[wanted] = user.signals(RULES[wanted])
        # Whatever goes wrong with one type must not cost the others.
        except Exception as error:
            lists[wanted] = EMPTY
            failed[wanted] = f"{type(error).__name__}: {error}"
    return Signals(lists, failed)


def posts_asked(signals: Signals) -> tuple[Ids, Ids]:
    """Posts (ascending) whose facts `finish` needs, and their authors."""
    needing = [found for kind, found in signals.lists.items() if _needs_facts(RULES[kind])]
    posts, authors = (
        np.concatenate([NO_IDS, *(getattr(found, name) for found in needing)])
        for name in ("target_ids", "author_ids")
    )
    post_ids, first = np.unique(posts, return_index=True)
    return post_ids, authors[first]


def accounts_asked(signals: Signals) -> Ids:
    """Accounts (ascending) of which `finish` needs to know that they are not of adult content."""
    visited = [found for kind, found in signals.lists.items() if isinstance(RULES[kind], Visited)]
    return np.unique(np.concatenate([NO_IDS, *(found.target_ids for found in visited)]))


def finish(
    signals: Signals,
    limits: Mapping[SignalType, int | None],
    facts: PostFacts | None = None,
    clean_ids: Ids = NO_IDS,
) -> Signals:
    """The types of `limits`, each cut to its number of results.

    A post of which `facts` knows nothing has no favourites and no video. Of the accounts
    visited only `clean_ids` count: those whose shards said that they are not of adult content.
    """
    passed = {
        kind: _passing(found, RULES[kind], facts, clean_ids)
        for kind, found in signals.lists.items()
    }
    lists: dict[SignalType, SignalList] = {}
    for wanted, limit in limits.items():
        rule = RULES[wanted]
        found = _unified(rule, passed) if isinstance(rule, Unified) else passed.get(wanted, EMPTY)
        lists[wanted] = found.take(slice(limit))
    return Signals(lists, signals.failed)


def with_components(types: Iterable[SignalType]) -> list[SignalType]:
    """The types without unified ones, and what those are made of."""
    found: dict[SignalType, None] = {}
    for wanted in types:
        rule = RULES[wanted]
        parts = [part for part, _ in rule.weights] if isinstance(rule, Unified) else [wanted]
        found |= dict.fromkeys(parts)
    return list(found)


def _needs_facts(rule: Rule) -> bool:
    return isinstance(rule, Watched) or (isinstance(rule, Engaged) and rule.min_favourites > 0)


def _passing(found: SignalList, rule: Rule, facts: PostFacts | None, clean_ids: Ids) -> SignalList:
    """What of a list the facts about its posts and accounts let through."""
    if isinstance(rule, Visited):
        return found.take(np.isin(found.target_ids, clean_ids))
    if not _needs_facts(rule):
        return found
    favourites, durations_ms = np.zeros((2, len(found.target_ids)), np.int64)
    if facts is not None and len(facts.post_ids):
        at = np.searchsorted(facts.post_ids, found.target_ids)
        at = np.minimum(at, len(facts.post_ids) - 1)
        known = facts.post_ids[at] == found.target_ids
        favourites[known] = facts.favourites[at[known]]
        durations_ms[known] = facts.video_durations_ms[at[known]]
    if isinstance(rule, Watched):
        enough = found.values >= rule.min_share * durations_ms
        if rule.or_ms is not None:
            enough |= found.values >= rule.or_ms
        return found.take(enough & (durations_ms >= _MIN_VIDEO_MS))
    assert isinstance(rule, Engaged)
    return found.take(favourites >= rule.min_favourites)


def _unified(rule: Unified, lists: Mapping[SignalType, SignalList]) -> SignalList:
    parts = [(lists.get(part, EMPTY), weight) for part, weight in rule.weights]
    every = joined(found for found, _ in parts)
    weights = np.repeat([weight for _, weight in parts], [len(f.target_ids) for f, _ in parts])
    ids, first, at = np.unique(every.target_ids, return_index=True, return_inverse=True)
    totals = np.bincount(at, weights, len(ids)).astype(np.float64)
    times_ms = np.zeros(len(ids), np.int64)
    np.maximum.at(times_ms, at, every.times_ms)
    order = np.lexsort((ids, -times_ms, -totals))
    return SignalList(ids, every.author_ids[first], times_ms, totals).take(order)


class _Edges(NamedTuple):
    """A user's engagements in any order, by kind of event."""

    post_ids: Ids
    author_ids: Ids
    kinds: npt.NDArray[np.uint8]
    times_ms: Ids


class _User:
    """One user's stores, each read once for all types that need it."""

    def __init__(
        self,
        graph: GraphKind,
        user_id: int,
        now_ms: int,
        stays: Stays | None,
        posts: PostTable | None,
        scores: tuple[Ids, Floats] | None,
    ) -> None:
        self._graph, self._user_id, self._now_ms = graph, user_id, now_ms
        self._stays, self._posts, self._scores = stays, posts, scores

    def signals(self, rule: Rule) -> SignalList:
        """The list of one type; raises `LookupError` where its store is not here."""
        match rule:
            case Engaged():
                found = self._standing(rule.kinds, rule.window_ms)
                without = self._standing(rule.without, FEEDBACK_WINDOW_MS)
                return found.take(~np.isin(found.target_ids, without.target_ids))
            case Written():
                return self._written(rule.window_ms)
            case Clicked():
                return self._stayed(Kind.CLICK, rule.min_ms)
            case Watched():
                return self._stayed(Kind.VIDEO_WATCH, 0, rule.window_ms)
            case ProfileClicked():
                return self._stayed(Kind.PROFILE_CLICK, rule.min_ms, filtered=rule.filtered)
            case Tied():
                return self._tied(rule)
            case Visited():
                return self._visited(rule)
            case Negative():
                found = self._standing(rule.kinds, rule.window_ms)
                return by_author(found) if rule.authors else found
            case Scored():
                return self._scored()
            case _:
                return EMPTY

    @cached_property
    def _edges(self) -> _Edges:
        parts = []
        for graph, kind_of_code in (
            (self._graph.engagements, _PUBLIC_KINDS),
            (self._graph.signals, _SIGNAL_KINDS),
            (self._graph.feedback, _FEEDBACK_KINDS),
        ):
            edges = graph.user_edges(self._user_id, MAX_EDGES)
            past = edges.times_ms <= self._now_ms
            kinds = kind_of_code[edges.kinds[past]]
            parts.append((edges.ids[past], edges.author_ids[past], kinds, edges.times_ms[past]))
        return _Edges(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _standing(self, kinds: tuple[Kind, ...], window_ms: int) -> SignalList:
        """Posts with an engagement of any of the kinds that was not taken back."""
        parts = []
        edges = self._edges
        for kind in kinds:
            chosen = np.flatnonzero(np.isin(edges.kinds, [kind, *_UNDOS_OF.get(kind, ())]))
            posts, times_ms = edges.post_ids[chosen], edges.times_ms[chosen]
            undone = edges.kinds[chosen] != kind
            # The latest word on each post counts; an undo wins a tie.
            order = np.lexsort((undone, times_ms, posts))
            last = np.ones(len(order), bool)
            last[:-1] = posts[order][1:] != posts[order][:-1]
            stands = chosen[order[last & ~undone[order]]]
            recent = stands[edges.times_ms[stands] >= self._now_ms - window_ms]
            parts.append(unvalued(*(edges[k][recent] for k in (0, 1, 3))))
        return first_of_each(newest_first(joined(parts)))

    def _written(self, window_ms: int) -> SignalList:
        if self._posts is None:
            raise LookupError("this shard does not host the user's posts")
        table = self._posts
        user_ids = np.array([self._user_id], np.int64)
        since_ms = max(self._now_ms - window_ms, 0)
        rows = table.of_authors(user_ids, since_ms, self._now_ms + 1, _MAX_WRITTEN)
        for link in ("reply_to_id", "quote_of_id", "repost_of_id"):
            rows = rows[table[link][rows] == 0]
        found = (table[name][rows] for name in ("post_ids", "author_ids", "created_ms"))
        return newest_first(unvalued(*found))

    def _stayed(
        self, kind: Kind, min_ms: int, window_ms: int | None = None, *, filtered: bool = False
    ) -> SignalList:
        if self._stays is None:
            raise LookupError("this shard does not keep how long its users stayed")
        stayed = self._stays.of(self._user_id, kind)
        negative = self._standing(FEEDBACK, FEEDBACK_WINDOW_MS)
        hidden = negative.author_ids if kind is Kind.PROFILE_CLICK else negative.target_ids
        if filtered:
            hidden = np.concatenate([hidden, self._silenced()])
        kept = (stayed.stays_ms >= min_ms) & (stayed.times_ms <= self._now_ms)
        kept &= ~np.isin(stayed.ids, hidden)
        if window_ms is not None:
            kept &= stayed.times_ms >= self._now_ms - window_ms
        found = SignalList(
            stayed.ids, stayed.author_ids, stayed.times_ms, stayed.stays_ms.astype(np.float64)
        )
        return newest_first(found.take(kept))

    def _tied(self, rule: Tied) -> SignalList:
        others, times_ms = getattr(self._graph, rule.relation).others(self._user_id)
        kept = times_ms <= self._now_ms - rule.delay_ms
        kept &= times_ms >= self._now_ms - rule.window_ms
        return newest_first(unvalued(others[kept], others[kept], times_ms[kept])).take(
            slice(_MAX_TIED)
        )

    def _visited(self, rule: Visited) -> SignalList:
        edges = self._edges
        visits = (edges.kinds == Kind.PROFILE_CLICK) & (edges.author_ids > 0)
        visits &= edges.times_ms >= self._now_ms - rule.window_ms
        ids, at = np.unique(edges.author_ids[visits], return_inverse=True)
        counts = np.bincount(at, minlength=len(ids))
        times_ms = np.zeros(len(ids), np.int64)
        np.maximum.at(times_ms, at, edges.times_ms[visits])
        follows, _ = self._graph.follows.others(self._user_id)
        left_out = [follows, np.array([self._user_id], np.int64)]
        if rule.no_negative:
            left_out.append(self._silenced())
        kept = (counts >= rule.min_visits) & ~np.isin(ids, np.concatenate(left_out))
        found = SignalList(ids, ids, times_ms, counts.astype(np.float64)).take(kept)
        return found.take(np.lexsort((found.target_ids, -found.times_ms, -found.values)))

    def _scored(self) -> SignalList:
        if self._scores is None:
            raise LookupError("there are no real-graph scores")
        ids, scores = self._scores
        hidden = self._standing(FEEDBACK, FEEDBACK_WINDOW_MS).author_ids
        follows, _ = self._graph.follows.others(self._user_id)
        kept = (scores >= 0) & ~np.isin(ids, np.concatenate([hidden, follows]))
        ids, scores = ids[kept], scores[kept].astype(np.float64)
        order = np.lexsort((ids, -scores))
        return SignalList(ids, ids, np.zeros(len(ids), np.int64), scores).take(order)

    def _silenced(self) -> Ids:
        relations = (self._graph.mutes, self._graph.blocks)
        return np.concatenate([one.others(self._user_id)[0] for one in relations])


FEEDBACK_WINDOW_MS = 90 * 86_400_000
"""How long negative feedback takes targets out of other lists."""

_UNDOS_OF = {kind: (undo,) for undo, kind in UNDONE_BY.items()}


def _kind_table(codes: Mapping[Kind, int]) -> npt.NDArray[np.uint8]:
    table = np.zeros(16, np.uint8)
    for kind, code in codes.items():
        table[code] = kind
    return table


_PUBLIC_KINDS = _kind_table(PUBLIC_CODES)
_SIGNAL_KINDS = _kind_table(SIGNAL_CODES)
_FEEDBACK_KINDS = _kind_table(FEEDBACK_CODES)

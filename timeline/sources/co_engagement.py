"""Posts engaged with by the same users: the three steps that both co-engagement graphs share.

Each key (a post, an account, a list of users) stands for users; what many of them engaged with
is related to it. Engagers or followers are asked for first, then what those users engaged
with, then how many engaged with what came of it. Counts are summed over all shards before any
gate, so that nothing depends on the number of shards, except that a user or a candidate whose
shard does not answer is not counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.co_engagement import (
    GraphName,
    Int64s,
    Normalisation,
    log_cosine,
    prefactors_of,
    similarity,
)
from actors.co_engagement_questions import (
    AskCoCounts,
    AskDegrees,
    AskEngagers,
    AskFollowers,
    UserLists,
)
from actors.router import shards_of
from actors.stores.co_counts import CoCounts, sum_counts
from cluster.ids import Ids
from timeline.findings import Finding
from timeline.query import Query

Floats = npt.NDArray[np.float32]

_NO_IDS = np.empty(0, np.int64)


class RelatedTo(NamedTuple):
    """Posts related to one key, best first; arrays of shape (n,)."""

    post_ids: Ids
    author_ids: Ids
    scores: Floats


@dataclass(frozen=True, slots=True)
class Related:
    """Posts related to k keys; those of key i are `offsets[i]` … `offsets[i+1]`, best first.

    `offsets` int64[k+1], `post_ids`, `author_ids` int64[n], `scores` float32[n].
    """

    offsets: Int64s
    post_ids: Ids
    author_ids: Ids
    scores: Floats

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[RelatedTo]:
        return (self.of(key) for key in range(len(self)))

    def of(self, key: int) -> RelatedTo:
        """What is related to one key."""
        mine = slice(self.offsets[key], self.offsets[key + 1])
        return RelatedTo(self.post_ids[mine], self.author_ids[mine], self.scores[mine])


@dataclass(frozen=True, slots=True)
class Gates:
    """Which users count, which posts pass, and how many of them."""

    min_cooccurrence: int
    min_score: float
    """Scores must be greater."""
    min_result_degree: int
    """Degrees of candidates must be greater."""
    min_query_degree: int
    """Of posts that are keys."""
    min_user_degree: int
    below_user_degree: int
    max_results: int


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys with their users, and the gates that hold for them."""

    users: UserLists
    excluded_ids: Ids
    """(k,): the post that is the key, which is not related to itself; 0 for none."""
    gates: Gates


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted for k keys: rows of (key, post), arrays of shape (n,)."""

    keys: Int64s
    post_ids: Ids
    author_ids: Ids
    shared: Int64s
    """Users who engaged with the post, by whom it was found."""
    weights: Int64s
    degrees: Int64s
    n_users: Int64s
    """(k,): users who counted."""


def engagers_of(
    query: Query,
    graph: GraphName,
    post_ids: Ids,
    author_ids: Ids,
    since_ms: int,
    max_users: int,
) -> Finding[UserLists]:
    """Users who engaged with posts since, drawn by the query's seed; one wave."""
    homes = shards_of(author_ids, query.router.n_shards)
    places = {shard: np.flatnonzero(homes == shard) for shard in np.unique(homes).tolist()}
    answers = yield {
        shard: [AskEngagers(graph, post_ids[mine], since_ms, max_users, query.seed)]
        for shard, mine in places.items()
    }
    return _lists_of(len(post_ids), [(places[s], found) for s, (found,) in answers.items()])


def followers_of(query: Query, account_ids: Ids, limit: int) -> Finding[UserLists]:
    """The newest `limit` followers of accounts; one wave."""
    homes = shards_of(account_ids, query.router.n_shards)
    places = {shard: np.flatnonzero(homes == shard) for shard in np.unique(homes).tolist()}
    answers = yield {
        shard: [AskFollowers(account_ids[mine], limit)] for shard, mine in places.items()
    }
    return _lists_of(len(account_ids), [(places[s], found) for s, (found,) in answers.items()])


def one_list(user_ids: Ids) -> UserLists:
    """A key that is a list of users."""
    offsets = np.array([0, len(user_ids)], np.int64)
    return UserLists(offsets, user_ids, np.zeros(1, np.int64))


def related(
    query: Query, graph: GraphName, since_ms: int, asked: Sequence[Keys]
) -> Finding[list[Related]]:
    """What is related to keys, for each of `asked`, by the log-cosine score; two waves.

    score(c) = P · users shared / ln deg(c), with P of `prefactors_of` (GraphJet's user-tweet
    graph). Of equal scores the smaller id comes first.
    """
    counted = yield from count(query, graph, since_ms, asked)
    query_degrees = np.concatenate([keys.users.degrees for keys in asked])
    prefactors = prefactors_of(query_degrees, counted.n_users)
    scores = log_cosine(counted.shared, counted.degrees, prefactors[counted.keys])
    return _ranked(counted, scores, asked)


def similar(
    query: Query,
    graph: GraphName,
    since_ms: int,
    asked: Sequence[Keys],
    normalisation: Normalisation,
) -> Finding[list[Related]]:
    """As `related`, scored by one of GraphJet's normalisations of intersections; two waves."""
    counted = yield from count(query, graph, since_ms, asked, normalisation)
    query_degrees = np.concatenate([keys.users.degrees for keys in asked])[counted.keys]
    scores = similarity(
        normalisation, counted.shared, counted.weights, counted.degrees, query_degrees
    )
    return _ranked(counted, scores, asked)


def count(
    query: Query,
    graph: GraphName,
    since_ms: int,
    asked: Sequence[Keys],
    normalisation: Normalisation | None = None,
) -> Finding[Counted]:
    """Count what users of all keys engaged with, and what passes the gates on counts."""
    users = _joined([keys.users for keys in asked])
    shared = _per_key(asked, "min_cooccurrence")
    min_degrees = np.maximum(_per_key(asked, "min_result_degree"), 1)
    excluded = np.concatenate([_NO_IDS, *(keys.excluded_ids for keys in asked)])
    # A post that is a key, too few engaged with: nobody need be asked what they did.
    least = np.maximum(_per_key(asked, "min_query_degree"), 2)
    thin = (excluded > 0) & (users.degrees < least)
    user_keys = np.repeat(np.arange(len(excluded)), np.diff(users.offsets))
    user_ids = users.user_ids[~thin[user_keys]]
    user_keys = user_keys[~thin[user_keys]]
    homes = shards_of(user_ids, query.router.n_shards)
    wave = {}
    for shard in np.unique(homes).tolist():
        mine = homes == shard
        distinct, members = np.unique(user_ids[mine], return_inverse=True)
        sizes = np.bincount(user_keys[mine], minlength=len(excluded))
        wave[shard] = [
            AskCoCounts(
                graph,
                distinct,
                np.concatenate([[0], sizes.cumsum()]),
                members.astype(np.int32),
                since_ms,
                _per_key(asked, "min_user_degree"),
                _per_key(asked, "below_user_degree"),
                normalisation,
            )
        ]
    answers = (yield wave) if wave else {}
    parts: list[CoCounts] = [found for _, (found,) in sorted(answers.items())]
    if not parts:
        return _nothing(len(excluded))
    counts = sum_counts(parts, shared)
    keys = np.repeat(np.arange(len(excluded)), np.diff(counts.offsets))
    kept = np.flatnonzero((counts.post_ids != excluded[keys]) & (counts.author_ids > 0))
    keys, post_ids, author_ids = keys[kept], counts.post_ids[kept], counts.author_ids[kept]
    query.want_facts(post_ids, author_ids)
    degrees, levels = yield from _degrees_of(query, graph, post_ids, author_ids, since_ms)
    by_level = counts.counts[kept].astype(np.int64)
    # Of level l or above: all, less those below.
    enough = np.arange(by_level.shape[1])[None, :] >= levels[:, None]
    totals = (by_level * enough).sum(axis=1)
    passed = (totals >= shared[keys]) & (degrees > min_degrees[keys])
    return Counted(
        keys[passed],
        post_ids[passed],
        author_ids[passed],
        totals[passed],
        counts.weights[kept][passed],
        degrees[passed],
        counts.n_users,
    )


def _degrees_of(
    query: Query, graph: GraphName, post_ids: Ids, author_ids: Ids, since_ms: int
) -> Finding[tuple[Int64s, npt.NDArray[np.uint8]]]:
    """Degrees of posts, and from which level on an engagement counts; one wave."""
    distinct, first, at = np.unique(post_ids, return_index=True, return_inverse=True)
    degrees, levels = np.zeros(len(distinct), np.int64), np.zeros(len(distinct), np.uint8)
    homes = shards_of(author_ids[first], query.router.n_shards)
    places = {shard: np.flatnonzero(homes == shard) for shard in np.unique(homes).tolist()}
    if places:
        answers = yield {
            shard: [AskDegrees(graph, distinct[mine], since_ms)] for shard, mine in places.items()
        }
        for shard, (found,) in answers.items():
            degrees[places[shard]], levels[places[shard]] = found.degrees, found.levels
    return degrees[at], levels[at]


def _ranked(
    counted: Counted, scores: npt.NDArray[np.float64], asked: Sequence[Keys]
) -> list[Related]:
    """The best of each key, as one `Related` for each of `asked`."""
    most = _per_key(asked, "max_results")
    least = np.repeat(
        np.array([keys.gates.min_score for keys in asked], np.float32),
        [len(keys.excluded_ids) for keys in asked],
    )
    # As precise as what is told, so that equal scores are equal to all who see them.
    told = scores.astype(np.float32)
    passed = np.flatnonzero(told > least[counted.keys])
    order = passed[np.lexsort((counted.post_ids[passed], -told[passed], counted.keys[passed]))]
    sizes = np.bincount(counted.keys[order], minlength=len(least))
    begins = np.concatenate([[0], sizes.cumsum()])
    order = order[np.arange(len(order)) - begins[counted.keys[order]] < most[counted.keys[order]]]
    ends = np.concatenate([[0], np.minimum(sizes, most).cumsum()]).astype(np.int64)
    found, key = [], 0
    for keys in asked:
        offsets = ends[key : key + len(keys.excluded_ids) + 1]
        rows = order[offsets[0] : offsets[-1]]
        found.append(
            Related(
                offsets - offsets[0],
                counted.post_ids[rows],
                counted.author_ids[rows],
                told[rows],
            )
        )
        key += len(keys.excluded_ids)
    return found


def _per_key(asked: Sequence[Keys], name: str) -> Int64s:
    """One whole number of the gates, for each key."""
    sizes = [len(keys.excluded_ids) for keys in asked]
    return np.repeat(np.array([getattr(keys.gates, name) for keys in asked], np.int64), sizes)


def _joined(lists: Sequence[UserLists]) -> UserLists:
    sizes = np.concatenate([_NO_IDS, *(np.diff(one.offsets) for one in lists)])
    return UserLists(
        np.concatenate([[0], sizes.cumsum()]),
        np.concatenate([_NO_IDS, *(one.user_ids for one in lists)]),
        np.concatenate([_NO_IDS, *(one.degrees for one in lists)]),
    )


def _lists_of(n: int, answers: Sequence[tuple[npt.NDArray[np.int64], UserLists]]) -> UserLists:
    """Lists of shards in the order of the keys, of which each shard had some (`places`)."""
    sizes, degrees = np.zeros((2, n), np.int64)
    for places, found in answers:
        sizes[places], degrees[places] = np.diff(found.offsets), found.degrees
    keys = [np.repeat(places, np.diff(found.offsets)) for places, found in answers]
    order = np.argsort(np.concatenate([_NO_IDS, *keys]), kind="stable")
    every = np.concatenate([_NO_IDS, *(found.user_ids for _, found in answers)])
    return UserLists(np.concatenate([[0], sizes.cumsum()]), every[order], degrees)


def _nothing(n: int) -> Counted:
    none = _NO_IDS
    return Counted(none, none, none, none, none, none, np.zeros(n, np.int64))

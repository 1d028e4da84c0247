"""The skeleton of recommendations: sources, predicates, rank, transforms, validation.

Three common waves: the viewer's shard says what it knows, the sources' shards whom that leads
to, and the accounts' shards who of them may be told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from actors.follow_questions import AccountFacts, AskAccounts
from actors.follow_ties import FollowTies
from actors.router import shards_of
from actors.two_hop import LeftLists
from cluster.ids import Ids
from timeline.findings import Finding, together
from timeline.follow_recommendations import (
    expansions,
    popular,
    predicates,
    similar,
    viewer_sources,
)
from timeline.follow_recommendations.accounts import Accounts, AccountSource, Floats, Seeker
from timeline.follow_recommendations.ranking import (
    Draw,
    Pool,
    first_n,
    merged_scores,
    pooled,
    weighted_order,
)
from timeline.follow_recommendations.transforms import sampled
from timeline.hidden import learn_hidden
from timeline.query import Query
from timeline.sources import first_questions

MAX_NAMED = 3
"""Followed connectors that are named (the original asks for 3 by one service and 10 by another)."""
_MAX_PAGES = 3
_NO_IDS = np.empty(0, np.int64)
_NO_LISTS = LeftLists(_NO_IDS, np.empty(0, np.uint16), np.empty(0, np.int32), {})


@dataclass(frozen=True)
class Flow:
    """A product of recommended accounts, as data."""

    name: str
    sources: tuple[AccountSource, ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    """By name of a source; 1 unless told, as in both of the original's flows."""
    draw: Draw = "random"
    shuffle: bool = False
    names: tuple[str, ...] = ()
    """Those that count of what the sources serve; all where there are none."""
    checks: tuple[str, ...] = predicates.ALL
    """Of `predicates.OF_ACCOUNTS`."""
    sampling: float = 0.0
    """Multiplier of the sampling transform; 0 for none."""


ALL_SOURCES: tuple[AccountSource, ...] = (
    expansions.OnlineStrongTies(),
    expansions.FollowGraph(),
    expansions.UserUserGraph(),
    expansions.TriangularLoops(),
    *similar.SOURCES,
    *viewer_sources.SOURCES,
    *popular.SOURCES,
)

_OF_POSTS = (
    *("online_stp", "two_hop_random_walk", "user_user_graph", "recent_following_similar_users"),
    *("recent_engagement_non_direct", "repeated_profile_visits", "real_graph_oon", "pop_country"),
)
CONTENT = Flow(
    "content_recommender",
    tuple(source for source in ALL_SOURCES if not set(source.names).isdisjoint(_OF_POSTS)),
    names=_OF_POSTS,
    checks=(),
)
"""For posts of recommended accounts: no shuffle, and no checks, for their posts are checked.

The original asks all its sources here, most of which read what was computed offline. These are
computed for each request, so only those that differ in kind are asked: strong ties, walks and
the user-user graph, likeness, engagement, closeness and popularity.
"""

WHO_TO_FOLLOW = Flow("post_nux_ml", ALL_SOURCES, shuffle=True)
"""For people. The original's model is off by default, and no event tells what it was shown."""


@dataclass(frozen=True)
class Explored:
    """What sources found for a seeker, by their names."""

    seeker: Seeker
    by_name: Mapping[str, Accounts]


@dataclass(frozen=True)
class Found:
    """Accounts in their order, with everything that led to them; nothing of them is checked."""

    seeker: Seeker
    pool: Pool
    """What all sources found, without those whom predicates leave out."""
    user_ids: Ids
    """(n,), best first."""
    scores: Floats
    """(n,): how strongly the sources agree; see `ranking.merged_scores`."""


@dataclass(frozen=True)
class Recommended:
    """Accounts that may be told, best first."""

    found: Found
    user_ids: Ids
    scores: Floats
    between: npt.NDArray[np.int64]
    """(n,): of those whom the viewer follows, how many follow the account."""
    named_ids: Ids
    """(n, MAX_NAMED): who they are, the viewer's nearest first; 0 pads."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """How many each predicate took out."""


def find_accounts(
    query: Query, flow: Flow, excluded_ids: Ids = _NO_IDS, first: int | None = None
) -> Finding[Found | None]:
    """The `first` accounts of a flow, in two waves; None where the viewer's shard is silent.

    Needs the viewer's context and tastes. A source that fails costs its accounts only.
    """
    settings = query.settings.sources.follow_recommendations
    if query.explored is not None and not len(excluded_ids):
        explored = yield from query.explored.result()
    else:
        explored = yield from explore(query, flow.sources, excluded_ids, flow.names)
    if explored is None:
        return None
    seeker, by_name = explored.seeker, explored.by_name
    if flow.names:
        by_name = {name: by_name[name] for name in flow.names if name in by_name}
    pool = pooled(by_name)
    pool = pool.take(seeker.new(pool.accounts.user_ids))
    order = weighted_order(pool, flow.weights, query.seed, shuffle=flow.shuffle, draw=flow.draw)
    rows = first_n(pool.accounts.user_ids, order, settings.first_n if first is None else first)
    user_ids = pool.accounts.user_ids[rows]
    scores = merged_scores(pool, user_ids)
    if flow.sampling:
        rng = np.random.default_rng([query.seed, len(user_ids)])
        drawn = sampled(scores, flow.sampling, rng)
        user_ids, scores = user_ids[drawn], scores[drawn]
    return Found(seeker, pool, user_ids, scores)


def recommend(
    query: Query, flow: Flow, limit: int, excluded_ids: Ids = _NO_IDS
) -> Finding[Recommended | None]:
    """The `limit` best accounts of a flow that pass its checks, page by page.

    A third wave says of the first page what its accounts' shards know; where too few pass,
    up to two more follow.
    """
    found = yield from find_accounts(query, flow, excluded_ids)
    if found is None:
        return None
    settings = query.settings.sources.follow_recommendations
    page = max(settings.page_size, 2 * limit)
    kept: list[npt.NDArray[np.int64]] = []
    between: list[npt.NDArray[np.int64]] = []
    named: list[Ids] = []
    dropped = dict.fromkeys((*flow.checks, "silent"), 0)
    for begin in range(0, min(len(found.user_ids), _MAX_PAGES * page), page):
        rows = np.arange(begin, min(begin + page, len(found.user_ids)))
        facts, answered = yield from _facts(found.seeker, found.user_ids[rows])
        valid = answered.copy()
        dropped["silent"] += int((~answered).sum())
        for name, taken in predicates.invalid(facts, flow.checks).items():
            dropped[name] += int((valid & taken).sum())
            valid &= ~taken
        kept.append(rows[valid])
        between.append(facts.between[valid].astype(np.int64))
        named.append(facts.named_ids[valid])
        if sum(map(len, kept)) >= limit:
            break
    rows = np.concatenate([_NO_IDS, *kept])[:limit]
    return Recommended(
        found,
        found.user_ids[rows],
        found.scores[rows],
        np.concatenate([_NO_IDS, *between])[:limit],
        np.concatenate([np.empty((0, MAX_NAMED), np.int64), *named])[:limit],
        {name: n for name, n in dropped.items() if n},
    )


def explore(
    query: Query,
    sources: Sequence[AccountSource] = ALL_SOURCES,
    excluded_ids: Ids = _NO_IDS,
    names: tuple[str, ...] = (),
) -> Finding[Explored | None]:
    """What sources find, in two waves; None where the viewer's shard is silent.

    Of all that they serve at least the accounts of these `names`; of everything without any.
    """
    seeker = yield from seek(query, excluded_ids)
    if seeker is None:
        return None
    seeker = replace(seeker, names=names)
    findings = {source.names[0]: source.find(seeker) for source in sources}
    by_finding = yield from together(query, findings)
    by_name: dict[str, Accounts] = {}
    for found in by_finding.values():
        by_name |= found or {}
    return Explored(seeker, by_name)


def seek(query: Query, excluded_ids: Ids = _NO_IDS) -> Finding[Seeker | None]:
    """What the viewer's shard knows; None where it does not answer."""
    answers = yield {query.viewer_shard: [first_questions.of_ties(query)]}
    if query.viewer_shard not in answers:
        return None
    ties: FollowTies = answers[query.viewer_shard][0]
    learn_hidden(query, ties.follow_ids, ties.engaged_ids)
    return Seeker(query, ties, predicates.excluded_ids(query, ties, excluded_ids))


def _facts(seeker: Seeker, user_ids: Ids) -> Finding[tuple[AccountFacts, npt.NDArray[np.bool_]]]:
    """What accounts' shards say of them (n,), and which of those shards answered."""
    query, n = seeker.query, len(user_ids)
    settings = query.settings.sources.follow_recommendations
    homes = shards_of(user_ids, query.router.n_shards)
    answers = yield {
        shard: [
            AskAccounts(
                query.viewer_id,
                user_ids[homes == shard],
                seeker.ties.listed or _NO_LISTS,
                MAX_NAMED,
                max(query.now_ms - settings.inactive_ms, 0),
                query.now_ms,
                settings.hidden_labels,
            )
        ]
        for shard in np.unique(homes).tolist()
    }
    columns = {
        **{name: np.zeros(n, bool) for name in ("gone", "protected", "followed", "hides")},
        **{name: np.zeros(n, bool) for name in ("posted", "labelled")},
        "between": np.zeros(n, np.int32),
        "named_ids": np.zeros((n, MAX_NAMED), np.int64),
    }
    answered = np.zeros(n, bool)
    for shard, (facts,) in answers.items():
        here = homes == shard
        answered |= here
        for name, values in vars(facts).items():
            columns[name][here] = values
    if query.viewer.cut:
        learn_hidden(query, user_ids)
        columns["hides"] |= np.isin(user_ids, query.viewer.hidden_ids)
    return AccountFacts(**columns), answered

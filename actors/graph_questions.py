"""What is asked of the graph beyond a timeline's own questions, and how waves of it combine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from actors.known_labels import NSFW_ACCOUNT
from actors.router import Router, shards_of
from actors.signal_lists import EMPTY, NO_IDS
from actors.signal_types import SignalType
from actors.similar_accounts import alike
from actors.state import Failed, Question, ShardState
from actors.stores.posts import COUNTERS
from actors.two_hop import (
    HOME_PAIRS,
    MAX_LEFT,
    MAX_SIMILAR,
    EdgeType,
    LeftLists,
    Pair,
    Similar,
    TwoHopCounts,
)
from actors.user_signals import (
    PostFacts,
    Signals,
    accounts_asked,
    finish,
    gather,
    posts_asked,
    with_components,
)
from cluster.events import Kind
from cluster.ids import Ids, distinct


@dataclass(frozen=True)
class AskLeft:
    """The source's lists of two-hop counts; for the source's own shard.

    Whom the source blocked or muted, or is blocked by, stands between it and nobody.
    """

    source_id: int
    types: tuple[EdgeType, ...]
    now_ms: int
    limit: int = MAX_LEFT
    version: str | None = None
    """Of the vectors that tell who is similar; None: nobody is."""

    def answer(self, state: ShardState) -> LeftLists:
        """See `TwoHop.left`. Raises `LookupError` for a version that is not held."""
        graph = state.graph
        similar = None
        if EdgeType.SIMILAR_TO in self.types:
            similar = _similar(state, self.version, np.array([self.source_id], np.int64))
        preferred, preferences = graph.affinities(self.source_id, self.now_ms)
        return graph.two_hop.left(
            self.source_id,
            self.types,
            limit=self.limit,
            preferred_ids=preferred,
            preferences=preferences,
            hides=partial(graph.hides, self.source_id),
            similar=similar,
        )


@dataclass(frozen=True)
class AskTwoHop:
    """Two-hop counts of candidates; for the candidates' shards."""

    left: LeftLists
    candidate_ids: Ids
    pairs: tuple[Pair, ...] = HOME_PAIRS
    max_named: int = 0
    version: str | None = None
    """As of `AskLeft`."""

    def answer(self, state: ShardState) -> TwoHopCounts:
        """See `TwoHop.counts`. Raises `LookupError` for a version that is not held."""
        similar = None
        if any(right is EdgeType.SIMILAR_TO for _, right in self.pairs):
            similar = _similar(state, self.version, self.candidate_ids)
        return state.graph.two_hop.counts(
            self.left, self.candidate_ids, self.pairs, max_named=self.max_named, similar=similar
        )


def _similar(state: ShardState, version: str | None, user_ids: Ids) -> Similar | None:
    """The accounts most like each user by SimClusters, of whom it does not know by TwHIN."""
    if version is None:
        return None
    models = state.vectors.models(version)
    found = alike(models, user_ids, MAX_SIMILAR, ("simclusters", "twhin"))
    return Similar(found.places, found.user_ids)


@dataclass(frozen=True)
class AskSignals:
    """What a user did lately; for the user's own shard."""

    user_id: int
    types: tuple[SignalType, ...]
    now_ms: int
    scores: tuple[Ids, npt.NDArray[np.float64]] | None = None
    """Real-graph scores of accounts the user does not follow: (ids, scores)."""

    def answer(self, state: ShardState) -> Signals:
        """See `user_signals.gather`."""
        return gather(
            state.graph,
            self.user_id,
            self.types,
            self.now_ms,
            stays=state.graph.stays,
            posts=state.posts.table if "posts" in state.settings.shards.kinds else None,
            scores=self.scores,
        )


@dataclass(frozen=True)
class AskPostFacts:
    """Favourites and video lengths of posts; for their authors' shards."""

    post_ids: Ids

    def answer(self, state: ShardState) -> PostFacts:
        """The facts of posts that are known here, ascending."""
        table = state.posts.table
        post_ids = distinct(self.post_ids)
        rows = table.rows_of(post_ids)
        post_ids, rows = post_ids[rows >= 0], rows[rows >= 0]
        favourites = table["counts"][rows, COUNTERS.index(Kind.FAVOURITE)].astype(np.int64)
        return PostFacts(post_ids, favourites, table["video_duration_ms"][rows])


@dataclass(frozen=True)
class AskNsfwAccounts:
    """Which accounts are of adult content, by labels of their own; for the accounts' shards."""

    user_ids: Ids

    def answer(self, state: ShardState) -> npt.NDArray[np.bool_]:
        """One answer for each account, (n,)."""
        return (state.posts.author_labels.bits_of(self.user_ids) & NSFW_ACCOUNT) > 0


def user_signals(
    router: Router,
    user_id: int,
    limits: Mapping[SignalType, int | None],
    *,
    now_ms: int,
    timeout_s: float,
    scores: tuple[Ids, npt.NDArray[np.float64]] | None = None,
) -> Signals:
    """One list for each type of `limits`, in at most two waves of `timeout_s` each.

    Never fails: a list that cannot be made is empty and named in `failed`.
    """
    types = tuple(with_components(limits))
    home = int(shards_of(np.array([user_id], np.int64), router.n_shards)[0])
    gathered = router.ask({home: [AskSignals(user_id, types, now_ms, scores)]}, timeout_s)
    signals = gathered.answers(0).get(home)
    if not isinstance(signals, Signals):
        reason: str = gathered.missing.get(home, "the user's shard gave no answer")
        if isinstance(signals, Failed):
            reason = signals.reason
        return Signals(dict.fromkeys(limits, EMPTY), dict.fromkeys(limits, reason))
    post_ids, author_ids = posts_asked(signals)
    account_ids = accounts_asked(signals)
    of_posts, of_accounts = (shards_of(ids, router.n_shards) for ids in (author_ids, account_ids))
    wave: dict[int, list[Question]] = {
        shard: [
            AskPostFacts(post_ids[of_posts == shard]),
            AskNsfwAccounts(account_ids[of_accounts == shard]),
        ]
        for shard in np.unique(np.concatenate([of_posts, of_accounts])).tolist()
    }
    told = router.ask(wave, timeout_s) if wave else None
    facts = told.answers(0).values() if told else ()
    clean = [NO_IDS]
    for shard, nsfw in (told.answers(1) if told else {}).items():
        if not isinstance(nsfw, Failed):
            clean.append(account_ids[of_accounts == shard][~nsfw])
    return finish(
        signals,
        limits,
        _facts_of([answer for answer in facts if isinstance(answer, PostFacts)]),
        np.concatenate(clean),
    )


def _facts_of(answers: Sequence[PostFacts]) -> PostFacts | None:
    if not answers:
        return None
    post_ids, favourites, durations_ms = (
        np.concatenate(column) for column in zip(*answers, strict=True)
    )
    order = np.argsort(post_ids, kind="stable")
    return PostFacts(post_ids[order], favourites[order], durations_ms[order])


def two_hop_counts(
    router: Router,
    source_id: int,
    candidate_ids: Ids,
    pairs: Sequence[Pair] = HOME_PAIRS,
    *,
    now_ms: int,
    timeout_s: float,
    max_named: int = 0,
    version: str | None = None,
) -> TwoHopCounts:
    """Counts for candidates of all shards, in two waves of `timeout_s` each.

    A request that asks for the viewer's context, and later for its candidates' authors, puts
    `AskLeft` and `AskTwoHop` into those waves instead, and `merge_counts` behind them.
    """
    pairs = tuple(pairs)
    types = tuple(dict.fromkeys(left for left, _ in pairs))
    home = int(shards_of(np.array([source_id], np.int64), router.n_shards)[0])
    first = router.ask({home: [AskLeft(source_id, types, now_ms, version=version)]}, timeout_s)
    left = first.answers(0).get(home)
    answers = {}
    shards = shards_of(candidate_ids, router.n_shards)
    if isinstance(left, LeftLists):
        wave = {
            shard: [AskTwoHop(left, candidate_ids[shards == shard], pairs, max_named, version)]
            for shard in np.unique(shards).tolist()
        }
        answers = router.ask(wave, timeout_s).answers(0)
    return merge_counts(
        candidate_ids,
        pairs,
        {shard: a for shard, a in answers.items() if not isinstance(a, Failed)},
        shards,
        max_named,
    )


def merge_counts(
    candidate_ids: Ids,
    pairs: tuple[Pair, ...],
    answers: dict[int, TwoHopCounts],
    shards: npt.NDArray[np.int64],
    max_named: int = 0,
) -> TwoHopCounts:
    """Shards' answers in the order of the candidates; `shards` (n,) says where each lives.

    Candidates of a shard that did not answer have zeros, and are not `known`.
    """
    n, p = len(candidate_ids), len(pairs)
    counts, right_degrees = np.zeros((2, n, p), np.int32)
    left_degrees = np.zeros(p, np.int32)
    known = np.zeros((n, p), bool)
    named_ids = np.zeros((n, max_named), np.int64)
    for shard, answer in answers.items():
        here = shards == shard
        counts[here], right_degrees[here] = answer.counts, answer.right_degrees
        known[here], named_ids[here] = answer.known, answer.named_ids
        left_degrees = answer.left_degrees
    return TwoHopCounts(candidate_ids, pairs, counts, left_degrees, right_degrees, known, named_ids)

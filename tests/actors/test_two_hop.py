"""Two-hop counts against sets of neighbours, for one shard and for several."""

from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.graph_questions import AskLeft, AskTwoHop, two_hop_counts
from actors.router import LocalRouter, Router
from actors.state import Failed, ShardState
from actors.ties import N_TYPES, EngagementTies, MutualDegrees
from actors.two_hop import FOLLOWED_BY_FOLLOWED, HOME_PAIRS, EdgeType, Pair, TwoHopCounts
from cluster.events import MENTIONS, UNDONE_BY, Kind
from cluster.ids import Ids
from tests.timeline.trained_worlds import trained_states, write_rows
from tests.worlds import NOW_MS, USERS, Clock, Event, PartialRouter, apply, plain, states_of, worlds

SOURCE, FRIEND, OTHER, STRANGER = USERS[0], USERS[2], USERS[4], USERS[6]
T = EdgeType
ALL_PAIRS = tuple((left, right) for left in T for right in T)


def ids(*values: int) -> Ids:
    return np.array(values, np.int64)


def asked(
    router: Router, source: int, candidates: Ids, pairs: Iterable[Pair], named: int = 10
) -> TwoHopCounts:
    return two_hop_counts(
        router, source, candidates, tuple(pairs), now_ms=NOW_MS, timeout_s=1, max_named=named
    )


def shown(found: TwoHopCounts, candidate: int) -> dict[Pair, tuple[int, int, int]]:
    """Pair → (count, left degree, right degree) of one candidate."""
    row = found.candidate_ids.tolist().index(candidate)
    return {
        pair: (
            int(found.counts[row, k]),
            int(found.left_degrees[k]),
            int(found.right_degrees[row, k]),
        )
        for k, pair in enumerate(found.pairs)
    }


@pytest.mark.parametrize("n_shards", [1, 4])
def test_the_original_home_preset(n_shards: int) -> None:
    clock = Clock()
    events = [
        clock.edge(Kind.FOLLOW, SOURCE, FRIEND),
        clock.edge(Kind.FOLLOW, SOURCE, OTHER),
        clock.edge(Kind.FOLLOW, FRIEND, SOURCE),
        clock.edge(Kind.FOLLOW, FRIEND, STRANGER),
        clock.edge(Kind.FOLLOW, OTHER, STRANGER),
        clock.edge(Kind.FOLLOW, STRANGER, FRIEND),
        clock.on_post(Kind.FAVOURITE, SOURCE, 10, OTHER),
        clock.on_post(Kind.FAVOURITE, FRIEND, 11, STRANGER),
        clock.on_post(Kind.FAVOURITE, STRANGER, 11, STRANGER),
        clock.post(12, OTHER, repost_of_id=11, repost_of_author_id=STRANGER),
    ]
    states = states_of(events, n_shards)
    found = asked(LocalRouter(states), SOURCE, ids(STRANGER, 99), HOME_PAIRS)
    assert shown(found, STRANGER) == {
        (T.FOLLOWING, T.FOLLOWED_BY): (2, 2, 2),
        (T.FOLLOWING, T.FAVORITED_BY): (1, 2, 1),
        (T.FOLLOWING, T.RETWEETED_BY): (1, 2, 1),
        (T.FOLLOWING, T.MENTIONED_BY): (0, 2, 0),
        (T.FOLLOWING, T.MUTUAL_FOLLOW): (1, 2, 1),
        (T.FAVORITE, T.FOLLOWED_BY): (1, 1, 2),
        (T.FAVORITE, T.FAVORITED_BY): (0, 1, 1),
        (T.FAVORITE, T.RETWEETED_BY): (1, 1, 1),
        (T.FAVORITE, T.MENTIONED_BY): (0, 1, 0),
        (T.FAVORITE, T.MUTUAL_FOLLOW): (0, 1, 1),
        (T.MUTUAL_FOLLOW, T.FOLLOWED_BY): (1, 1, 2),
        (T.MUTUAL_FOLLOW, T.FAVORITED_BY): (1, 1, 1),
        (T.MUTUAL_FOLLOW, T.RETWEETED_BY): (0, 1, 1),
        (T.MUTUAL_FOLLOW, T.MENTIONED_BY): (0, 1, 0),
        (T.MUTUAL_FOLLOW, T.MUTUAL_FOLLOW): (1, 1, 1),
    }
    assert {count for count, _, right in shown(found, 99).values() if not right} == {0}
    assert found.known.all()
    # Whom the source engages with most comes first; the newest follow otherwise.
    assert found.named_ids.tolist()[0] == [OTHER, FRIEND, *[0] * 8]
    one = asked(LocalRouter(states), SOURCE, ids(STRANGER), HOME_PAIRS, named=1)
    assert one.named_ids.tolist() == [[OTHER]]


@pytest.mark.parametrize("n_shards", [1, 4])
def test_counts_move_with_every_event(n_shards: int) -> None:
    clock = Clock()
    states = states_of([], n_shards)
    router = LocalRouter(states)
    follow, mutual = FOLLOWED_BY_FOLLOWED[0], (T.FOLLOWING, T.MUTUAL_FOLLOW)
    favour = (T.FOLLOWING, T.FAVORITED_BY)

    def after(*events: Event) -> list[tuple[int, int, int]]:
        apply(states, events, offset=clock.now_ms)
        found = shown(asked(router, SOURCE, ids(STRANGER), [follow, mutual, favour]), STRANGER)
        return list(found.values())

    edge, on_post = clock.edge, clock.on_post
    assert after() == [(0, 0, 0)] * 3
    assert after(edge(Kind.FOLLOW, SOURCE, FRIEND)) == [(0, 1, 0)] * 3
    assert after(edge(Kind.FOLLOW, FRIEND, STRANGER)) == [(1, 1, 1), (0, 1, 0), (0, 1, 0)]
    assert after(edge(Kind.FOLLOW, STRANGER, FRIEND)) == [(1, 1, 1), (1, 1, 1), (0, 1, 0)]
    assert after(on_post(Kind.FAVOURITE, FRIEND, 9, STRANGER))[2] == (1, 1, 1)
    assert after(on_post(Kind.FAVOURITE, FRIEND, 8, STRANGER))[2] == (1, 1, 1)
    assert after(on_post(Kind.UNFAVOURITE, FRIEND, 9, STRANGER))[2] == (1, 1, 1)
    assert after(on_post(Kind.UNFAVOURITE, FRIEND, 8, STRANGER))[2] == (0, 1, 0)
    assert after(edge(Kind.UNFOLLOW, FRIEND, STRANGER)) == [(0, 1, 0), (0, 1, 0), (0, 1, 0)]
    assert after(edge(Kind.FOLLOW, FRIEND, STRANGER)) == [(1, 1, 1), (1, 1, 1), (0, 1, 0)]
    assert after(edge(Kind.UNFOLLOW, SOURCE, FRIEND)) == [(0, 0, 1), (0, 0, 1), (0, 0, 0)]


@pytest.mark.parametrize("n_shards", [1, 4])
def test_mentions_count_while_a_post_that_names_somebody_stands(n_shards: int) -> None:
    clock = Clock()
    states = states_of([], n_shards)
    router = LocalRouter(states)
    pairs = ((T.FOLLOWING, T.MENTIONED_BY), (T.MENTION, T.FOLLOWED_BY), (T.MENTION, T.MENTIONED_BY))

    def after(*events: Event) -> list[tuple[int, int, int]]:
        apply(states, events, offset=clock.now_ms)
        found = asked(router, SOURCE, ids(STRANGER), pairs)
        assert found.known.all()
        return list(shown(found, STRANGER).values())

    def mention(kind: Kind, actor: int, target: int, post: int) -> Event:
        return clock.edge(kind, actor, target, post_id=post)

    assert after() == [(0, 0, 0)] * 3
    assert after(clock.edge(Kind.FOLLOW, SOURCE, FRIEND))[0] == (0, 1, 0)
    assert after(mention(Kind.MENTION, FRIEND, STRANGER, 1))[0] == (1, 1, 1)
    assert after(mention(Kind.MENTION, FRIEND, STRANGER, 2))[0] == (1, 1, 1)
    assert after(mention(Kind.UNMENTION, FRIEND, STRANGER, 1))[0] == (1, 1, 1)
    # What is taken back may come before what it takes back.
    early = mention(Kind.UNMENTION, SOURCE, FRIEND, 3)
    assert after(mention(Kind.UNMENTION, FRIEND, STRANGER, 2), early)[0] == (0, 1, 0)
    assert after(mention(Kind.MENTION, SOURCE, FRIEND, 3))[1:] == [(0, 0, 0), (0, 0, 0)]
    assert (
        after(
            mention(Kind.MENTION, SOURCE, FRIEND, 4),
            mention(Kind.MENTION, FRIEND, STRANGER, 5),
            clock.edge(Kind.FOLLOW, FRIEND, STRANGER),
        )
        == [(1, 1, 1)] * 3
    )


@pytest.mark.parametrize("n_shards", [1, 4])
def test_similar_accounts_stand_between_by_the_model_that_is_named(
    tmp_path: Path, n_shards: int
) -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, SOURCE, FRIEND), clock.edge(Kind.FOLLOW, OTHER, STRANGER)]
    # Like the source are the other and, less, the friend; like the stranger only the friend.
    rows = {SOURCE: {0: 1.0}, OTHER: {0: 1.0}, FRIEND: {0: 0.6, 1: 0.8}, STRANGER: {1: 1.0}}
    vectors: dict[int, tuple[float, ...]] = {SOURCE: (1, 0, 0)}
    states = trained_states(tmp_path, events, n_shards, write_rows(tmp_path, rows, vectors))
    router = LocalRouter(states)
    pairs = (
        (T.SIMILAR_TO, T.FOLLOWED_BY),
        (T.FOLLOWING, T.SIMILAR_TO),
        (T.SIMILAR_TO, T.SIMILAR_TO),
    )
    given = {"now_ms": NOW_MS, "timeout_s": 1, "max_named": 3}
    version = states[0].vectors.version
    candidates = ids(STRANGER, 99)
    found = two_hop_counts(router, SOURCE, candidates, pairs, **given, version=version)
    assert list(shown(found, STRANGER).values()) == [(1, 2, 1), (1, 1, 1), (1, 2, 1)]
    assert found.named_ids[0].tolist() == [OTHER, 0, 0]
    assert found.known.tolist() == [[True, True, True], [True, False, False]]
    assert list(shown(found, 99).values()) == [(0, 2, 0), (0, 1, 0), (0, 2, 0)]
    without = two_hop_counts(router, SOURCE, candidates, pairs, **given)
    assert not without.known.any()
    assert not without.counts.any()
    assert not any(state.counters["failed_questions"] for state in states)
    other = two_hop_counts(router, SOURCE, candidates, pairs, **given, version="other+none")
    assert not other.known.any()


def test_ties_of_an_older_snapshot_have_no_mentions() -> None:
    ties = EngagementTies()
    older = {"owner_ids": ids(1), "other_ids": ids(2), "counts": np.array([[3, 0, 1]], np.int32)}
    ties.restore(older)
    assert [ties.degrees(ids(1), column).tolist() for column in range(N_TYPES)] == [
        [1],
        [0],
        [1],
        [0],
    ]


def test_whoever_the_source_muted_lends_no_count() -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, SOURCE, user) for user in (FRIEND, OTHER, 77)]
    events += [clock.edge(Kind.FOLLOW, user, STRANGER) for user in (FRIEND, OTHER, 77)]
    events += [clock.edge(Kind.MUTE, SOURCE, FRIEND), clock.edge(Kind.BLOCK, 77, SOURCE)]
    router = LocalRouter(states_of(events, 4))
    found = asked(router, SOURCE, ids(STRANGER), FOLLOWED_BY_FOLLOWED)
    assert shown(found, STRANGER) == {FOLLOWED_BY_FOLLOWED[0]: (1, 1, 3)}
    assert found.named_ids[0, :2].tolist() == [OTHER, 0]


def test_a_long_list_keeps_the_preferred_then_the_newest() -> None:
    clock = Clock()
    [state] = states_of([clock.edge(Kind.FOLLOW, SOURCE, 100 + k) for k in range(6)])
    hop = state.graph.two_hop
    newest = hop.left(SOURCE, [T.FOLLOWING], limit=3)
    assert newest.ids.tolist() == [103, 104, 105]
    assert newest.ranks.tolist() == [2, 1, 0]
    assert newest.degrees == {T.FOLLOWING: 3}
    preferred = {"preferred_ids": ids(100, 102), "preferences": np.array([1.0, 2.0])}
    best = hop.left(SOURCE, [T.FOLLOWING], limit=3, **preferred)
    assert best.ids.tolist() == [100, 102, 105]
    assert best.ranks.tolist() == [1, 0, 2]
    hides = partial(np.isin, test_elements=[105, 103])
    shown_only = hop.left(SOURCE, [T.FOLLOWING], limit=2, hides=hides)
    assert shown_only.ids.tolist() == [102, 104]
    two = hop.left(SOURCE, [T.FOLLOWING, T.FOLLOWED_BY, T.MENTION], limit=2)
    assert two.degrees == {T.FOLLOWING: 2, T.FOLLOWED_BY: 0, T.MENTION: 0}
    assert two.types.tolist() == [1 << T.FOLLOWING] * 2


def test_a_missing_shard_costs_its_own_candidates_only() -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, SOURCE, FRIEND)]
    events += [clock.edge(Kind.FOLLOW, FRIEND, user) for user in (SOURCE, OTHER, STRANGER)]
    states = states_of(events, 4)
    candidates = ids(STRANGER, OTHER, SOURCE)
    found = asked(PartialRouter(states, missing=[3]), SOURCE, candidates, FOLLOWED_BY_FOLLOWED)
    assert found.counts[:, 0].tolist() == [0, 1, 1]
    assert found.known[:, 0].tolist() == [False, True, True]
    blind = asked(PartialRouter(states, missing=[0]), SOURCE, candidates, FOLLOWED_BY_FOLLOWED)
    assert not blind.known.any()
    assert not blind.counts.any()


def test_no_candidates_and_no_pairs() -> None:
    [state] = states_of([Clock().edge(Kind.FOLLOW, SOURCE, FRIEND)])
    router = LocalRouter([state])
    assert asked(router, SOURCE, ids(), HOME_PAIRS).counts.shape == (0, 15)
    assert asked(router, SOURCE, ids(FRIEND), []).counts.shape == (1, 0)
    assert state.counters["failed_questions"] == 0


def test_questions_ask_the_graph() -> None:
    [state] = states_of([Clock().edge(Kind.FOLLOW, SOURCE, FRIEND)])
    [left] = state.ask([AskLeft(SOURCE, (T.FOLLOWING,), NOW_MS)])
    assert not isinstance(left, Failed)
    [found] = state.ask([AskTwoHop(left, ids(SOURCE), FOLLOWED_BY_FOLLOWED)])
    assert found.counts.tolist() == [[0]]
    assert state.graph.two_hop.memory_bytes > 0


# Against a slow model.

_TYPE_OF_KIND = {
    Kind.FAVOURITE: T.FAVORITE,
    Kind.REPOST: T.RETWEET,
    Kind.QUOTE: T.RETWEET,
    Kind.REPLY: T.REPLY,
}
_LINKS = ((Kind.REPLY, "reply_to"), (Kind.QUOTE, "quote_of"), (Kind.REPOST, "repost_of"))
Neighbours = dict[tuple[int, EdgeType], set[int]]


def neighbours_of(events: list[Event]) -> tuple[Neighbours, dict[int, set[int]]]:
    """(user, type) → the others, and whom each user hides, by the events in order of time."""
    on: dict[tuple[str, int, int], bool] = {}
    stands: Counter[tuple[int, int, EdgeType]] = Counter()
    for event in sorted(events, key=lambda e: (e["time_ms"], e["event_id"])):
        kind = Kind[event["kind"].upper()]
        if "target_id" in event:
            name = kind.label.removeprefix("un")
            on[name, event["actor_id"], event["target_id"]] = name == kind.label
        if kind in MENTIONS:
            change = 1 if kind is Kind.MENTION else -1
            stands[event["actor_id"], event["target_id"], T.MENTION] += change
        change = -1 if kind in UNDONE_BY else 1
        engaged = [(UNDONE_BY.get(kind, kind), event.get("actor_id", 0), event.get("author_id", 0))]
        if kind is Kind.POST_CREATE:
            engaged = [
                (link, event["author_id"], event[f"{name}_author_id"])
                for link, name in _LINKS
                if f"{name}_id" in event
            ]
        for what, actor, author in engaged:
            if what in _TYPE_OF_KIND and actor != author:
                stands[actor, author, _TYPE_OF_KIND[what]] += change
    found: Neighbours = {}
    hidden: dict[int, set[int]] = {}

    def tie(one: int, kind: EdgeType, other: int) -> None:
        found.setdefault((one, kind), set()).add(other)

    for (name, actor, target), is_on in on.items():
        if is_on and name in ("block", "mute"):
            hidden.setdefault(actor, set()).add(target)
            if name == "block":
                hidden.setdefault(target, set()).add(actor)
        if is_on and name == "follow":
            tie(actor, T.FOLLOWING, target)
            tie(target, T.FOLLOWED_BY, actor)
            if on.get(("follow", target, actor)):
                tie(actor, T.MUTUAL_FOLLOW, target)
    for (actor, author, kind), count in stands.items():
        if count > 0:
            tie(actor, kind, author)
            tie(author, EdgeType(kind + 1), actor)
    return found, hidden


@settings(max_examples=40)
@given(worlds(max_happenings=60), st.sampled_from([1, 4]), st.data())
def test_counts_against_sets(events: list[Event], n_shards: int, data: st.DataObject) -> None:
    states = states_of([], n_shards)
    router = LocalRouter(states)
    candidates = ids(*data.draw(st.permutations([*USERS, 99])))
    source = data.draw(st.sampled_from(USERS))
    # Asked in between too, so that lists made early have to follow.
    early = data.draw(st.integers(0, len(events)))
    for offset, part in enumerate((events[:early], events[early:]), 1):
        apply(states, part, offset=offset)
        applied = events[: early if offset == 1 else len(events)]
        neighbours, hidden = neighbours_of(applied)
        found = asked(router, source, candidates, ALL_PAIRS)
        for row, candidate in enumerate(candidates.tolist()):
            for k, (left, right) in enumerate(ALL_PAIRS):
                lefts = neighbours.get((source, left), set()) - hidden.get(source, set())
                rights = neighbours.get((candidate, right), set())
                assert found.left_degrees[k] == len(lefts)
                assert found.right_degrees[row, k] == len(rights)
                assert found.counts[row, k] == len(lefts & rights), (left, right)
                if k == 0:
                    assert set(found.named_ids[row].tolist()) - {0} == lefts & rights
    assert not any(state.counters["failed_questions"] for state in states)


@settings(max_examples=15)
@given(worlds(max_happenings=60))
def test_four_shards_answer_as_one(events: list[Event]) -> None:
    def answers(states: list[ShardState]) -> list[object]:
        candidates = ids(*USERS, 99)
        router = LocalRouter(states)
        return [plain(asked(router, user, candidates, ALL_PAIRS, named=3)) for user in USERS]

    assert answers(states_of(events, 4)) == answers(states_of(events))


@settings(max_examples=15)
@given(worlds(max_happenings=60))
def test_ties_survive_a_snapshot(events: list[Event]) -> None:
    [state] = states_of(events)
    graph = state.graph
    for ties in (graph.engaged, graph.engaged_by):
        again = EngagementTies()
        again.restore(ties.columns())
        users = ids(*USERS, 99)
        for column in range(N_TYPES):
            assert again.degrees(users, column).tolist() == ties.degrees(users, column).tolist()
            for user in USERS:
                found = [
                    dict(zip(*(a.tolist() for a in one.of(user, column)), strict=True))
                    for one in (ties, again)
                ]
                assert found[0] == found[1]
    fresh = MutualDegrees(graph.follows, state.followers)
    users = ids(*USERS)
    assert (
        fresh.of(users).tolist()
        == graph.two_hop.counts(
            graph.two_hop.left(USERS[0], []), users, [(T.FOLLOWING, T.MUTUAL_FOLLOW)]
        )
        .right_degrees[:, 0]
        .tolist()
    )

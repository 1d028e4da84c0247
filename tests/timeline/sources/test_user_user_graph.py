"""The user-user graph against a slow model, for any number of shards."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.user_user_graph import UserEdge
from cluster.events import Kind
from tests.timeline.sources.co_engagement_worlds import run_finding, world_of
from tests.worlds import HOUR_MS, NOW_MS, USERS, Clock, Event
from timeline.sources.user_user_graph import ConnectedAccounts, connected_accounts

SEEDS = np.array(USERS[1:6])
WEIGHTS = np.array([0.1, 0.2, 0.7, 0.2, 1e-3])
FOLLOW, MENTION = UserEdge.FOLLOW, UserEdge.MENTION


def rows(found: ConnectedAccounts) -> list[Any]:
    """(account, score, seeds, proofs) of each."""
    proofs = [[seed for seed in row if seed] for row in found.proof_ids.tolist()]
    columns = (found.user_ids.tolist(), found.scores.tolist(), found.n_seeds.tolist(), proofs)
    return list(zip(*columns, strict=True))


@st.composite
def tied(draw: st.DrawFn) -> list[Event]:
    clock, events = Clock(NOW_MS - HOUR_MS), []
    for _ in range(draw(st.integers(0, 40))):
        actor, other = draw(st.lists(st.sampled_from(USERS), min_size=2, max_size=2, unique=True))
        kind = draw(st.sampled_from([Kind.FOLLOW, Kind.FOLLOW, Kind.UNFOLLOW, Kind.REPLY]))
        if kind is Kind.REPLY:
            kind = draw(st.sampled_from([Kind.REPLY, Kind.REPLY, Kind.UNREPLY]))
            post = 10 * other + draw(st.integers(0, 1))
            events.append(clock.on_post(kind, actor, post, other))
        else:
            events.append(clock.edge(kind, actor, other))
    return events


@settings(max_examples=25)
@given(tied(), st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 4]))
def test_accounts_are_those_of_the_model(
    events: list[Event], of_follows: int, of_mentions: int, n_shards: int
) -> None:
    stands: dict[tuple[UserEdge, int, int], bool] = {}
    for event in events:
        actor = event["actor_id"]
        if "target_id" in event:
            stands[FOLLOW, actor, event["target_id"]] = event["kind"] == "follow"
        else:
            stands[MENTION, actor, event["post_id"]] = event["kind"] == "reply"
    edges: dict[int, dict[UserEdge, set[int]]] = defaultdict(lambda: defaultdict(set))
    for (kind, actor, target), on in stands.items():
        account = target if kind is FOLLOW else target // 10
        if on and actor in SEEDS:
            edges[account][kind].add(SEEDS.tolist().index(actor))
    expected = []
    for account, seeds in edges.items():
        enough = len(seeds[FOLLOW]) >= of_follows or len(seeds[MENTION]) >= of_mentions
        if not enough or account == USERS[0]:
            continue
        every = sorted(seeds[FOLLOW] | seeds[MENTION], key=lambda k: (-WEIGHTS[k], k))
        score = 0.0
        for seed in sorted(every):
            for kind in (FOLLOW, MENTION):
                score += WEIGHTS[seed] if seed in seeds[kind] else 0.0
        expected.append((account, score, len(every), [int(SEEDS[k]) for k in every]))
    query = world_of(events, n_shards)
    finding = connected_accounts(
        query,
        SEEDS,
        WEIGHTS,
        least_seeds={FOLLOW: of_follows, MENTION: of_mentions},
        excluded_ids=np.array([USERS[0]]),
    )
    found = rows(run_finding(query, finding))
    assert sorted(found) == [
        (account, pytest.approx(score), n, proofs) for account, score, n, proofs in sorted(expected)
    ]
    assert found == sorted(found, key=lambda row: (-row[1], row[0]))


def test_sums_do_not_depend_on_the_shards() -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, int(seed), USERS[7]) for seed in SEEDS]
    events += [clock.on_post(Kind.REPLY, int(seed), 10, USERS[7]) for seed in SEEDS]
    found = []
    for n_shards in (1, 3, 4):
        query = world_of(events, n_shards)
        found.append(rows(run_finding(query, connected_accounts(query, SEEDS, WEIGHTS))))
    assert found[0] == found[1] == found[2]
    ((_, score, n_seeds, proofs),) = found[0]
    assert score == pytest.approx(2 * WEIGHTS.sum())
    assert (n_seeds, proofs[0]) == (5, int(SEEDS[2]))


def test_limits_ages_and_types() -> None:
    clock = Clock(NOW_MS - 3 * HOUR_MS)
    events = [clock.edge(Kind.FOLLOW, USERS[1], USERS[6])]
    clock.now_ms = NOW_MS - HOUR_MS
    events.append(clock.edge(Kind.FOLLOW, USERS[1], USERS[7]))
    events.append(clock.on_post(Kind.REPLY, USERS[2], 10, USERS[6]))
    query = world_of(events)

    def ids(**options: object) -> list[int]:
        finding = connected_accounts(query, SEEDS, np.ones(5), **options)  # type: ignore[arg-type]
        return [row[0] for row in rows(run_finding(query, finding))]

    assert ids() == [USERS[6], USERS[7]]
    assert ids(limit=1) == [USERS[6]]
    assert ids(types=(FOLLOW,), since_ms=NOW_MS - 2 * HOUR_MS) == [USERS[7]]
    assert ids(types=(MENTION,)) == [USERS[6]]
    assert ids(edges_per_seed=1) == [USERS[6], USERS[7]]
    assert ids(types=()) == []
    assert ids(least_seeds={FOLLOW: 2, MENTION: 2}) == []

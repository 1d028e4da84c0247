"""In which order sources' accounts come: seeded draws, duplicates, sampling."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeline.follow_recommendations.accounts import Accounts, connected, ranked
from timeline.follow_recommendations.ranking import (
    Pool,
    evidence,
    first_n,
    merged_scores,
    pooled,
    shuffled,
    weighted_order,
)
from timeline.follow_recommendations.transforms import sampled


def accounts(users: Sequence[int]) -> Accounts:
    """In the given order."""
    ids = np.array(users, np.int64)
    return ranked(ids, -np.arange(len(ids)), len(ids))


def pool_of(found: Mapping[str, Sequence[int]]) -> Pool:
    return pooled({name: accounts(users) for name, users in found.items()})


def users_in_order(pool: Pool, seed: int = 0, **how: object) -> list[int]:
    order = weighted_order(pool, how.pop("weights", {}), seed, **how)  # type: ignore[arg-type]
    return pool.accounts.user_ids[order].tolist()


TWO = pool_of({"a": range(100, 120), "b": range(200, 240)})


def test_a_source_gives_its_accounts_in_order() -> None:
    drawn = users_in_order(TWO)
    assert sorted(drawn) == sorted(TWO.accounts.user_ids.tolist())
    assert [user for user in drawn if user < 200] == list(range(100, 120))
    assert [user for user in drawn if user >= 200] == list(range(200, 240))
    assert users_in_order(TWO) == drawn
    assert users_in_order(TWO, seed=1) != drawn


def test_a_source_draws_the_same_beside_others() -> None:
    three = pool_of({"b": range(200, 240), "c": range(300, 310), "a": range(100, 120)})
    drawn = [user for user in users_in_order(three) if user < 300]
    assert drawn == users_in_order(TWO)


def test_draws_are_in_proportion_to_weights() -> None:
    firsts = [users_in_order(TWO, seed, weights={"a": 3.0})[0] for seed in range(2_000)]
    share = firsts.count(100) / len(firsts)
    # Three standard deviations about 3 / 4.
    assert share == pytest.approx(0.75, abs=0.03)


def test_no_weight_is_no_draw() -> None:
    assert users_in_order(TWO, weights={"a": 0.0}) == list(range(200, 240))
    assert users_in_order(pooled({})) == []


def test_round_robin_by_weight() -> None:
    pool = pool_of({"a": [1, 2, 3], "b": [11, 12, 13, 14]})
    drawn = users_in_order(pool, weights={"b": 2.0}, draw="round_robin")
    assert drawn == [11, 1, 12, 13, 2, 14, 3]


def test_a_shuffle_keeps_the_first_and_mostly_the_best() -> None:
    orders = np.array([shuffled(10, np.random.default_rng(seed)) for seed in range(500)])
    assert (orders[:, 0] == 0).all()
    assert (np.sort(orders, axis=1) == np.arange(10)).all()
    # Of ranks 1 and 2, with weights 1 and 1/4, the former is first in 4 of 5 cases.
    places = np.argsort(orders, axis=1)
    assert (places[:, 1] < places[:, 2]).mean() == pytest.approx(0.8, abs=0.06)
    mixed = users_in_order(TWO, shuffle=True)
    assert mixed != users_in_order(TWO)
    assert min(mixed.index(100), mixed.index(200)) == 0


def test_duplicates_count_once_where_they_come_first() -> None:
    pool = pool_of({"a": [1, 2, 3], "b": [3, 1, 4]})
    order = np.array([0, 3, 4, 1, 5, 2])
    rows = first_n(pool.accounts.user_ids, order, 3)
    assert rows.tolist() == [0, 3, 1]
    assert first_n(pool.accounts.user_ids, order, 9).tolist() == [0, 3, 1, 5]
    found = pool.accounts.user_ids[rows]
    # 1 is first and second, 3 third and first, 2 second.
    assert merged_scores(pool, found).tolist() == pytest.approx([1.5, 1 / 3 + 1, 0.5])
    assert evidence(pool, found.tolist()) == [
        [("a", 0), ("b", 4)],
        [("a", 2), ("b", 3)],
        [("a", 1)],
    ]


def test_sampling_draws_by_plackett_and_luce() -> None:
    scores = np.array([1.0, 0.0, -20.0])
    orders = [sampled(scores, 1.0, np.random.default_rng(seed)) for seed in range(3_000)]
    firsts = np.bincount([order[0] for order in orders], minlength=3) / len(orders)
    # The last has so little that it counts as 0, like the second: e^0, e^-1, e^-1.
    weights = np.exp([0.0, -1.0, -1.0])
    assert firsts == pytest.approx(weights / weights.sum(), abs=0.03)
    assert sampled(scores, 1e6, np.random.default_rng(0))[0] == 0
    kept = [sampled(scores, 0.0, np.random.default_rng(seed), 1)[0] for seed in range(20)]
    assert kept == [0] * 20
    assert sampled(np.empty(0), 1.0, np.random.default_rng(0)).tolist() == []


edges = st.dictionaries(
    st.tuples(st.integers(0, 4), st.integers(10, 16)), st.sampled_from([0.25, 0.5, 1.0, 2.0])
)


@given(edges, st.integers(1, 3), st.sampled_from(["sum", "max", "multi_decay"]), st.randoms())
def test_connections_add_up(
    world: dict[tuple[int, int], float], least: int, aggregate: str, random: object
) -> None:
    seeds = np.array([51, 52, 53, 54, 55])
    lists: dict[int, list[tuple[float, int]]] = {}
    for (place, user), weight in world.items():
        lists.setdefault(user, []).append((-weight, place))
    expected = []
    for user, mine in lists.items():
        mine.sort()
        weights = [-weight for weight, _ in mine]
        score = {
            "sum": sum(weights),
            "max": max(weights),
            "multi_decay": 0.1 * weights[0]
            + sum(w * 0.8**rank for rank, w in enumerate(weights))
            + 0.1 * len(weights),
        }[aggregate]
        if len(mine) >= least:
            expected.append((-score, user, [int(seeds[place]) for _, place in mine]))
    pairs = list(world.items())
    random.shuffle(pairs)  # type: ignore[attr-defined]
    columns = [np.array([row[k] for row, _ in pairs], np.int64) for k in (0, 1)]
    values = np.array([weight for _, weight in pairs])
    found = connected(
        seeds,
        *columns,
        values,
        limit=5,
        least=least,
        aggregate=aggregate,  # type: ignore[arg-type]
    )
    expected = sorted(expected)[:5]
    assert found.user_ids.tolist() == [user for _, user, _ in expected]
    assert found.scores.tolist() == pytest.approx([-score for score, _, _ in expected])
    assert [[p for p in row if p] for row in found.proof_ids.tolist()] == [
        p for _, _, p in expected
    ]
    assert found.proof_counts.tolist() == [len(proofs) for _, _, proofs in expected]

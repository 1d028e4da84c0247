import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.ids import Ids
from training.simclusters.consumers import ConsumerGraph, Int32s, consumer_graph
from training.simclusters.interested_in import (
    FIELDS,
    InterestedIn,
    interested_in,
    social_proofs,
)
from training.simclusters.observed import Favourites

N_COMMUNITIES = 4
_NONE = np.empty(0, np.int64)

Entries = dict[tuple[int, int], dict[str, float]]


def drawn(seed: int, users: int = 12, producers: int = 10, edges: int = 80) -> ConsumerGraph:
    """A random graph of which half of the edges are follows and half favourites, or both."""
    rng = np.random.default_rng(seed)
    follows = np.unique(rng.integers([1, 100], [1 + users, 100 + producers], (edges, 2)), axis=0)
    favours = np.unique(rng.integers([1, 100], [1 + users, 100 + producers], (edges, 2)), axis=0)
    counts = rng.integers(1, 4, len(favours)).astype(np.float64)
    return consumer_graph(*follows.T, Favourites(*favours.T, counts))


def known_for(graph: ConsumerGraph, seed: int) -> tuple[Int32s, Any]:
    rng = np.random.default_rng(seed)
    m = len(graph.producer_ids)
    communities = rng.integers(-1, N_COMMUNITIES, m).astype(np.int32)
    return communities, rng.choice([0.25, 0.5, 1.0], m).astype(np.float32)


def slow(
    graph: ConsumerGraph, communities: Int32s, memberships: Any, min_proofs: int
) -> tuple[Entries, dict[tuple[int, int], set[int]]]:
    """Every entry before the cut, and who proves it, edge by edge."""
    entries: Entries = defaultdict(lambda: dict.fromkeys(FIELDS, 0.0))
    proofs = defaultdict(set)
    for row, user in enumerate(graph.user_ids.tolist()):
        for edge in range(graph.indptr[row], graph.indptr[row + 1]):
            p = graph.producers[edge]
            if communities[p] < 0:
                continue
            k, fav = float(memberships[p]), float(graph.favourites[edge])
            pair = (user, int(communities[p]))
            proofs[pair].add(int(graph.producer_ids[p]))
            entry = entries[pair]
            if graph.followed[edge]:
                entry["follow_score"] += k
                entry["follow_producer_normalized"] += k / math.sqrt(graph.follower_counts[p])
            if fav:
                entry["fav_score"] += k * fav
                entry["fav_producer_normalized"] += k * fav / graph.faver_norms[p]
                entry["log_fav_score"] += k * math.log10(1 + fav)
    entries = {pair: e for pair, e in entries.items() if len(proofs[pair]) >= min_proofs}
    for short in ("follow", "fav", "log_fav"):
        norms: dict[int, float] = defaultdict(float)
        for (_, c), entry in entries.items():
            norms[c] += entry[f"{short}_score"] ** 2
        for (_, c), entry in entries.items():
            score = entry[f"{short}_score"]
            entry[f"{short}_normalized"] = score / math.sqrt(norms[c]) if score else 0.0
    return entries, proofs


def entries_of(found: InterestedIn) -> Entries:
    matrix = found.matrix
    users = np.repeat(matrix.ids, np.diff(matrix.offsets)).tolist()
    pairs = zip(users, matrix.communities.tolist(), strict=True)
    values = zip(*(matrix.columns[name].tolist() for name in FIELDS), strict=True)
    return {
        pair: dict(zip(FIELDS, value, strict=True))
        for pair, value in zip(pairs, values, strict=True)
    }


def assert_same(found: Entries, expected: Entries) -> None:
    assert found.keys() == expected.keys()
    for pair, entry in found.items():
        assert entry == pytest.approx(expected[pair], rel=1e-5)


@given(st.integers(0, 10_000), st.integers(1, 3))
def test_sums_equal_those_of_a_loop_over_edges(seed: int, min_proofs: int) -> None:
    graph = drawn(seed)
    v = known_for(graph, seed)
    found = interested_in(graph, *v, N_COMMUNITIES, min_proofs=min_proofs)
    expected, proofs = slow(graph, *v, min_proofs)
    assert_same(entries_of(found), expected)
    assert all(len(proofs[pair]) >= min_proofs for pair in entries_of(found))
    users = [sum(c == k for _, c in expected) for k in range(N_COMMUNITIES)]
    assert found.interested.tolist() == users
    np.testing.assert_array_equal(found.matrix.scores, found.matrix.columns["fav_score"])


@given(st.integers(0, 10_000))
def test_rows_are_in_the_order_of_sparse_embeddings(seed: int) -> None:
    graph = drawn(seed)
    matrix = interested_in(graph, *known_for(graph, seed), N_COMMUNITIES).matrix
    again = type(matrix).from_tables(*matrix.to_tables())
    assert len(again) == len(matrix)
    assert (np.diff(matrix.offsets) > 0).all()


@given(st.integers(0, 10_000), st.integers(1, 3))
def test_the_cut_keeps_the_best_in_the_published_order(seed: int, limit: int) -> None:
    graph = drawn(seed)
    v = known_for(graph, seed)
    found = interested_in(graph, *v, N_COMMUNITIES, max_communities=limit)
    expected, _ = slow(graph, *v, 2)
    names = (
        *("fav_score", "log_fav_score", "follow_score", "log_fav_normalized"),
        "follow_producer_normalized",
    )
    rows = defaultdict(list)
    for (user, c), entry in expected.items():
        # Rounded: sums of one loop and the other differ in their last bits.
        rows[user].append(([-round(entry[name], 9) for name in names], c))
    best = {(user, c) for user, row in rows.items() for _, c in sorted(row)[:limit]}
    assert_same(entries_of(found), {pair: expected[pair] for pair in best})


@given(st.integers(0, 10_000))
def test_before_the_cut_every_community_has_norm_one(seed: int) -> None:
    graph = drawn(seed)
    found = interested_in(graph, *known_for(graph, seed), N_COMMUNITIES)
    matrix = found.matrix
    for which, short in enumerate(("follow", "fav", "log_fav")):
        squares = matrix.columns[f"{short}_normalized"].astype(np.float64) ** 2
        norms = np.bincount(matrix.communities, weights=squares, minlength=N_COMMUNITIES)
        some = found.norms[:, which] > 0
        np.testing.assert_allclose(norms, some, atol=1e-5)


def test_norms_count_the_entries_that_were_cut_too() -> None:
    graph = drawn(3, users=40, producers=30, edges=600)
    v = known_for(graph, 3)
    whole, cut = (interested_in(graph, *v, N_COMMUNITIES, max_communities=n) for n in (9, 1))
    np.testing.assert_array_equal(whole.norms, cut.norms)
    np.testing.assert_array_equal(whole.interested, cut.interested)
    assert len(cut.matrix.scores) == len(cut.matrix) < len(whole.matrix.scores)


@given(st.integers(0, 10_000))
def test_proofs_name_the_producers_behind_every_entry(seed: int) -> None:
    graph = drawn(seed)
    v = known_for(graph, seed)
    matrix = interested_in(graph, *v, N_COMMUNITIES, max_communities=2).matrix
    found = social_proofs(graph, v[0], matrix)
    _, expected = slow(graph, *v, 2)
    users = np.repeat(matrix.ids, np.diff(matrix.offsets)).tolist()
    for entry, pair in enumerate(zip(users, matrix.communities.tolist(), strict=True)):
        mine = slice(found.offsets[entry], found.offsets[entry + 1])
        assert found.producer_ids[mine].tolist() == sorted(expected[pair])
        assert found.followed[mine].sum() == matrix.columns["n_followed"][entry]
        assert found.favoured[mine].sum() == matrix.columns["n_favoured"][entry]
    assert found.offsets[-1] == len(found.producer_ids)


def test_it_does_not_depend_on_threads() -> None:
    graph = drawn(5, users=300, producers=60, edges=4_000)
    v = known_for(graph, 5)
    one, two = (interested_in(graph, *v, N_COMMUNITIES, threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.norms, two.norms)
    np.testing.assert_array_equal(one.matrix.offsets, two.matrix.offsets)
    for name, column in one.matrix.columns.items():
        np.testing.assert_array_equal(column, two.matrix.columns[name])


def test_who_only_follows_is_interested_with_score_zero() -> None:
    graph = _followers([1, 1, 2], [10, 11, 10])
    v = np.zeros(2, np.int32), np.array([0.5, 0.25], np.float32)
    matrix = interested_in(graph, *v, 1).matrix
    assert matrix.ids.tolist() == [1]
    assert matrix.scores.tolist() == [0.0]
    assert matrix.scored_by("follow_score").of(1)[1].tolist() == [0.75]
    assert len(matrix.scored_by("log_fav_score")) == 0


def test_nobody_is_interested_in_nothing() -> None:
    nobody = _followers([], [])
    for graph, m in ((nobody, 0), (_followers([1, 1], [10, 11]), 2)):
        v = np.full(m, -1, np.int32), np.zeros(m, np.float32)
        found = interested_in(graph, *v, 3)
        assert len(found.matrix) == len(found.matrix.scores) == 0
        assert found.interested.tolist() == [0, 0, 0]
        assert social_proofs(graph, v[0], found.matrix).offsets.tolist() == [0]


def _followers(users: list[int], producers: list[int]) -> ConsumerGraph:
    none = Favourites(_NONE, _NONE, np.empty(0))
    return consumer_graph(_ids(users), _ids(producers), none)


def _ids(values: list[int]) -> Ids:
    return np.array(values, np.int64)

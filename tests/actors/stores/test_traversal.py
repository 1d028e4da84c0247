from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.interactions import InteractionGraph
from actors.stores.proof_ranking import (
    PostFilter,
    ProofGate,
    Proofs,
    RankedPosts,
    rank_proofs,
)
from actors.stores.traversal import UNDO_OF, second_degree, top_second_degree

CLICK, FAVOURITE, REPOST, UNFAVOURITE, UNREPOST = 0, 1, 2, 8, 3

Edge = tuple[int, int, int, int]  # user, post, kind, time


def author_of(post_id: int) -> int:
    return post_id % 5 + 1


def graph_of(edges: Sequence[Edge], segments: int = 3, size: int = 1_000) -> InteractionGraph:
    graph = InteractionGraph(segments, size)
    users, posts, kinds, times_ms = np.array(edges, np.int64).reshape(-1, 4).T
    graph.insert(users, posts, posts % 5 + 1, kinds.astype(np.uint8), times_ms)
    return graph


def triples(proofs: Proofs) -> set[tuple[int, int, int, int]]:
    posts = np.repeat(proofs.post_ids, np.diff(proofs.offsets)).tolist()
    columns = (proofs.seed_indices.tolist(), proofs.kinds.tolist(), proofs.times_ms.tolist())
    found = list(zip(posts, *columns, strict=True))
    assert len(set(found)) == len(found)
    return set(found)


def test_each_kind_of_a_seed_counts_once_with_its_newest_time() -> None:
    graph = graph_of([(7, 50, 1, 10), (7, 50, 2, 20), (7, 50, 1, 30), (8, 50, 1, 5)])
    proofs = second_degree(graph, np.array([7, 8, 9]))
    assert triples(proofs) == {(50, 0, 1, 30), (50, 0, 2, 20), (50, 1, 1, 5)}
    assert proofs.author_ids.tolist() == [author_of(50)]


@pytest.mark.parametrize(
    ("favourite_ms", "unfavourite_ms", "stands"), [(10, 20, False), (10, 10, False), (20, 10, True)]
)
@pytest.mark.parametrize("arrives_first", ["favourite", "unfavourite"])
def test_an_undo_no_older_cancels_in_either_arrival_order(
    favourite_ms: int, unfavourite_ms: int, stands: bool, arrives_first: str
) -> None:
    edges = [(7, 50, FAVOURITE, favourite_ms), (7, 50, UNFAVOURITE, unfavourite_ms)]
    if arrives_first == "unfavourite":
        edges.reverse()
    # Others' undos, and undos of other posts, are no concern of this favourite.
    graph = graph_of([*edges, (8, 50, UNFAVOURITE, 99), (7, 51, UNFAVOURITE, 99)])
    proofs = second_degree(graph, np.array([7, 8]))
    assert triples(proofs) == ({(50, 0, FAVOURITE, favourite_ms)} if stands else set())


def test_only_the_newest_edges_of_each_seed_are_read() -> None:
    graph = graph_of([(7, post, 1, post) for post in range(1, 101)], segments=9, size=12)
    assert second_degree(graph, np.array([7]), max_edges_per_seed=5).post_ids.tolist() == [
        100, 99, 98, 97, 96,
    ]  # fmt: skip
    assert second_degree(graph, np.array([7]), min_time_ms=98).post_ids.tolist() == [100, 99, 98]


EDGES = st.tuples(
    st.integers(1, 6),
    st.integers(1, 9) | st.just(2**63 - 1),
    st.sampled_from([CLICK, FAVOURITE, REPOST, UNFAVOURITE, UNREPOST]),
    st.integers(0, 9),
)
UNDO = UNDO_OF.copy()
UNDO[UNREPOST] = REPOST


def model(edges: Sequence[Edge], seeds: Sequence[int], mask: int, limit: int) -> set[Edge]:
    """Proofs by the definition, from plain lists."""
    found = set()
    for index, seed in enumerate(seeds):
        own = sorted(((t, p, k) for u, p, k, t in edges if u == seed), reverse=True)[:limit]
        newest: dict[tuple[int, int], int] = {}
        for time_ms, post, kind in own:
            newest.setdefault((post, kind), time_ms)
        for (post, kind), time_ms in newest.items():
            undone = any(
                UNDO[u] == kind and newest.get((post, u), -1) >= time_ms for u in range(16)
            )
            if UNDO[kind] == 255 and mask >> kind & 1 and not undone:
                found.add((post, index, kind, time_ms))
    return found


@given(
    st.lists(EDGES, max_size=80),
    st.permutations([1, 2, 3, 4, 5, 6, 7]),
    st.sampled_from([0xFFFF, 1 << FAVOURITE, 0b101]),
    st.sampled_from([1, 4, 500]),
    st.integers(3, 40),
)
def test_proofs_are_those_of_the_definition(
    edges: list[Edge], seeds: list[int], mask: int, limit: int, size: int
) -> None:
    proofs = second_degree(
        graph_of(edges, 16, max(size, len(edges) // 15 + 1)),
        np.array(seeds),
        max_edges_per_seed=limit,
        kinds_mask=mask,
        undo_of=UNDO,
    )
    assert triples(proofs) == model(edges, seeds, mask, limit)
    assert proofs.author_ids.tolist() == [author_of(post) for post in proofs.post_ids.tolist()]
    groups = np.split(proofs.seed_indices, proofs.offsets[1:-1])
    assert all(np.all(np.diff(group) >= 0) for group in groups)


def assert_same(one: RankedPosts, other: RankedPosts) -> None:
    assert one.post_ids.tolist() == other.post_ids.tolist()
    assert one.scores.tolist() == other.scores.tolist()
    assert one.newest_ms.tolist() == other.newest_ms.tolist()
    for name in ("author_ids", "offsets", "seed_indices"):
        assert getattr(one.proofs, name).tolist() == getattr(other.proofs, name).tolist(), name
    assert triples(one.proofs) == triples(other.proofs)


@given(
    st.lists(EDGES, max_size=120),
    st.lists(st.floats(0, 1), min_size=7, max_size=7),
    st.integers(1, 12),
    st.integers(0, 3),
)
def test_four_shards_answer_as_one_does(
    edges: list[Edge], weights: list[float], k: int, min_users: int
) -> None:
    seeds = np.array([3, 1, 7, 2, 6, 5, 4])
    gate = ProofGate(min_users=min_users, kinds_mask=0b110, unions=(0b111,))
    post_filter = PostFilter(
        excluded_post_ids=np.array([2]), excluded_author_ids=np.array([4]), min_post_id=2
    )
    one = top_second_degree(
        graph_of(edges), seeds, np.array(weights), k=k, gate=gate, post_filter=post_filter
    )
    parts = []
    for shard in range(4):
        indices = np.flatnonzero(seeds % 4 == shard).astype(np.int32)
        graph = graph_of([edge for edge in edges if edge[0] % 4 == shard])
        parts.append(second_degree(graph, seeds[indices], seed_indices=indices))
    four = rank_proofs(parts, seeds, np.array(weights), k=k, gate=gate, post_filter=post_filter)
    assert_same(one, four)


def test_a_large_answer_is_the_same_fused_and_in_parts() -> None:
    """Enough posts that the fused path leaves out low scores, with and without heavy filters."""
    rng = np.random.default_rng(5)
    n = 30_000
    edges = np.stack(
        [rng.integers(1, 60, n), rng.integers(1, 8_000, n), rng.integers(0, 3, n), np.arange(n)], 1
    )
    graph = graph_of(edges.tolist(), 8, 4_000)
    seeds = np.arange(1, 60)
    for weights in (rng.random(59), np.ones(59)):
        for minimum in (0, 7_900):
            post_filter = PostFilter(min_post_id=minimum)
            fused = top_second_degree(graph, seeds, weights, k=200, post_filter=post_filter)
            part = second_degree(graph, seeds)
            apart = rank_proofs([part], seeds, weights, k=200, post_filter=post_filter)
            assert_same(fused, apart)
            assert len(fused.post_ids) == (200 if minimum == 0 else min(200, len(fused.post_ids)))


@given(st.integers(0, 2**32), st.integers(1, 20), st.booleans(), st.booleans())
def test_what_is_passed_over_would_not_have_been_among_the_best(
    seed: int, k: int, in_time: bool, tied: bool
) -> None:
    """Fused, and in parts of three shards, where buckets say what to look at closely."""
    rng = np.random.default_rng(seed)
    n = 3_000
    columns = [
        rng.integers(1, 13, n),
        1 + (800 * rng.random(n) ** 2).astype(np.int64),
        rng.choice([CLICK, FAVOURITE, REPOST, UNFAVOURITE], n),
        np.arange(n) if in_time else rng.integers(0, 500, n),
    ]
    edges = np.stack(columns, 1)
    seeds = np.arange(1, 13)
    weights = np.ones(12) if tied else rng.random(12)
    gate = ProofGate(min_users=int(rng.integers(0, 3)), kinds_mask=0b110)
    post_filter = PostFilter(
        excluded_post_ids=rng.integers(1, 100, 10),
        excluded_author_ids=np.array([2]),
        min_post_id=int(rng.integers(0, 30)),
    )
    graph = graph_of(edges.tolist(), 5, 700)
    part = second_degree(graph, seeds, max_edges_per_seed=200)
    expected = rank_proofs([part], seeds, weights, k=k, gate=gate, post_filter=post_filter)
    fused = top_second_degree(
        graph, seeds, weights, k=k, gate=gate, post_filter=post_filter, max_edges_per_seed=200
    )
    assert_same(fused, expected)
    parts = []
    for shard in range(3):
        indices = np.flatnonzero(seeds % 3 == shard).astype(np.int32)
        own = graph_of(edges[edges[:, 0] % 3 == shard].tolist(), 4, 700)
        parts.append(
            second_degree(own, seeds[indices], seed_indices=indices, max_edges_per_seed=200)
        )
    apart = rank_proofs(parts, seeds, weights, k=k, gate=gate, post_filter=post_filter)
    assert_same(apart, expected)


def test_weights_that_may_be_negative_bound_nothing() -> None:
    edges = [(user, post, 1, post) for user in (1, 2, 3) for post in range(1, 400)]
    graph, seeds = graph_of(edges), np.array([1, 2, 3])
    for weights in (np.array([1.0, -2.0, 0.5]), np.array([-1.0, -2.0, -0.5]), np.zeros(3)):
        ranked = top_second_degree(graph, seeds, weights, k=2)
        assert ranked.post_ids.tolist() == [399, 398]
        assert ranked.scores.tolist() == [weights.sum()] * 2


def test_no_seeds_and_unknown_seeds_give_nothing() -> None:
    graph = graph_of([(1, 2, 1, 3)])
    for seeds in (np.zeros(0, np.int64), np.array([5, 9])):
        ranked = top_second_degree(graph, seeds, np.ones(len(seeds)), k=10)
        assert len(ranked.post_ids) == 0
        assert ranked.proofs.offsets.tolist() == [0]


def test_seeds_and_weights_must_match() -> None:
    graph = graph_of([(1, 2, 1, 3)])
    with pytest.raises(ValueError, match="1 seeds have 2 weights"):
        top_second_degree(graph, np.array([1]), np.ones(2), k=3)
    with pytest.raises(ValueError, match="1 seeds have 2 indices"):
        second_degree(graph, np.array([1]), seed_indices=np.zeros(2, np.int32))

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.proof_ranking import (
    PostFilter,
    ProofGate,
    Proofs,
    RankedPosts,
    merge_proofs,
    rank_proofs,
)

FAVOURITE, REPOST, AUTHOR = 1, 2, 4
SEEDS = np.array([100, 200, 300, 400])
WEIGHTS = np.array([0.5, 0.25, 0.5, 2.0])

Proof = tuple[int, int, int]  # seed index, kind, time


def proofs_of(groups: Mapping[int, Sequence[Proof]], author_id: int = 9) -> Proofs:
    flat = [proof for group in groups.values() for proof in sorted(group)]
    seeds, kinds, times_ms = np.array(flat, np.int64).reshape(-1, 3).T
    return Proofs(
        np.array(list(groups), np.int64),
        np.full(len(groups), author_id, np.int64),
        np.cumsum([0, *map(len, groups.values())]).astype(np.int32),
        seeds.astype(np.int32),
        kinds.astype(np.uint8),
        times_ms,
    )


def rank(groups: Mapping[int, Sequence[Proof]], gate: ProofGate | None = None) -> RankedPosts:
    return rank_proofs([proofs_of(groups)], SEEDS, WEIGHTS, k=10, gate=gate)


def test_scores_add_weights_over_seeds_and_kinds() -> None:
    ranked = rank({5: [(0, 1, 7), (0, 2, 8), (1, 1, 3)], 6: [(3, 1, 4)], 7: [(1, 1, 1)]})
    assert ranked.post_ids.tolist() == [6, 5, 7]
    assert ranked.scores.tolist() == [2.0, 1.25, 0.25]
    assert ranked.newest_ms.tolist() == [4, 8, 1]


def test_ties_go_by_newest_proof_then_post_id() -> None:
    ranked = rank({5: [(0, 1, 7)], 6: [(2, 1, 7)], 4: [(0, 1, 9)], 8: [(2, 1, 6)]})
    assert ranked.post_ids.tolist() == [4, 6, 5, 8]


def test_the_gate_wants_enough_users_of_one_kind_or_of_a_union() -> None:
    groups = {
        5: [(0, FAVOURITE, 1), (1, FAVOURITE, 1)],
        6: [(0, FAVOURITE, 1), (1, REPOST, 1)],
        7: [(0, FAVOURITE, 1), (0, REPOST, 1)],
        8: [(0, 0, 1), (1, 0, 1)],
    }
    either = 1 << FAVOURITE | 1 << REPOST
    two = ProofGate(min_users=2, kinds_mask=either)
    assert rank(groups, two).post_ids.tolist() == [5]
    union = ProofGate(min_users=2, kinds_mask=either, unions=(either,))
    assert sorted(rank(groups, union).post_ids.tolist()) == [5, 6]


@pytest.mark.parametrize("min_users", [1, 2])
def test_an_author_among_the_users_makes_the_kind_need_one_more(min_users: int) -> None:
    others = [(seed, FAVOURITE, 1) for seed in range(1, 4)]
    gate = ProofGate(min_users=min_users)
    for n, passes in ((min_users - 1, False), (min_users, True)):
        part = proofs_of({5: [(0, FAVOURITE, 1), *others[:n]]}, author_id=100)
        ranked = rank_proofs([part], SEEDS, WEIGHTS, k=3, gate=gate)
        assert ranked.post_ids.tolist() == ([5] if passes else [])


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([FAVOURITE, REPOST, AUTHOR])), max_size=6
    ),
    st.dictionaries(st.sampled_from([FAVOURITE, REPOST, AUTHOR]), st.integers(0, 3)),
    st.integers(0, 2),
    st.sampled_from([1 << FAVOURITE, 1 << FAVOURITE | 1 << REPOST, 0xFFFF]),
)
def test_each_kind_needs_its_own_number_of_users(
    pairs: list[tuple[int, int]], of_kinds: dict[int, int], otherwise: int, mask: int
) -> None:
    author = 200
    gate = ProofGate(otherwise, mask, of_kinds=tuple(of_kinds.items()))
    part = proofs_of({5: [(seed, kind, 1) for seed, kind in set(pairs)]}, author_id=author)
    passes = False
    for kind in {kind for _, kind in pairs if mask >> kind & 1}:
        users = {SEEDS[seed] for seed, of in pairs if of == kind}
        needed = of_kinds.get(kind, otherwise) + (author in users and kind != AUTHOR)
        passes |= len(users) >= needed
    found = rank_proofs([part], SEEDS, WEIGHTS, k=1, gate=gate).post_ids.tolist()
    assert found == ([5] if passes else [])


def test_authorship_itself_needs_no_more() -> None:
    part = proofs_of({5: [(0, AUTHOR, 1)]}, author_id=100)
    assert rank_proofs([part], SEEDS, WEIGHTS, k=3).post_ids.tolist() == [5]


def test_kinds_outside_the_mask_score_but_neither_pass_nor_show() -> None:
    gate = ProofGate(kinds_mask=1 << FAVOURITE)
    ranked = rank({5: [(0, REPOST, 1)], 6: [(1, FAVOURITE, 3), (3, REPOST, 5)]}, gate)
    assert ranked.post_ids.tolist() == [6]
    assert ranked.scores.tolist() == [2.25]
    assert ranked.proofs.kinds.tolist() == [FAVOURITE]


def test_filters_apply_before_the_best_are_chosen() -> None:
    part = proofs_of({post: [(0, 1, post)] for post in range(1, 9)})
    part = Proofs(
        part.post_ids, part.post_ids % 3, part.offsets, part.seed_indices, part.kinds, part.times_ms
    )
    for post_filter, left in (
        (PostFilter(), [8, 7]),
        (PostFilter(excluded_post_ids=np.array([7, 8, 99])), [6, 5]),
        (PostFilter(excluded_author_ids=np.array([2, 1])), [6, 3]),
        (PostFilter(allowed_author_ids=np.array([1])), [7, 4]),
        (PostFilter(allowed_author_ids=np.zeros(0, np.int64)), []),
        (PostFilter(min_post_id=8), [8]),
    ):
        ranked = rank_proofs([part], SEEDS, WEIGHTS, k=2, post_filter=post_filter)
        assert ranked.post_ids.tolist() == left, post_filter


def test_the_heaviest_seeds_are_shown_with_all_their_kinds() -> None:
    group = [(0, 1, 10), (1, 1, 11), (2, 1, 12), (2, 2, 13), (3, 2, 14)]
    ranked = rank_proofs([proofs_of({5: group})], SEEDS, WEIGHTS, k=1, max_proofs=3)
    shown = ranked.proofs
    assert shown.seed_indices.tolist() == [3, 0, 2, 2]
    assert shown.times_ms.tolist() == [14, 10, 12, 13]
    none = rank_proofs([proofs_of({5: group})], SEEDS, WEIGHTS, k=1, max_proofs=0)
    assert none.proofs.offsets.tolist() == [0, 0]


def test_parts_merge_in_seed_order_so_that_sums_agree_to_the_last_bit() -> None:
    weights = np.array([0.1, 0.2, 0.3, 1e16])
    whole = proofs_of({5: [(seed, 1, seed) for seed in range(4)]})
    odd = proofs_of({5: [(1, 1, 1), (3, 1, 3)]})
    even = proofs_of({5: [(0, 1, 0), (2, 1, 2)]})
    expected = rank_proofs([whole], SEEDS, weights, k=1)
    for parts in ([odd, even], [even, odd]):
        ranked = rank_proofs(parts, SEEDS, weights, k=1)
        assert ranked.scores.tolist() == expected.scores.tolist()
        assert ranked.proofs.seed_indices.tolist() == [3, 2, 1, 0]


def test_no_room_and_no_parts_posts() -> None:
    assert len(rank_proofs([proofs_of({5: [(0, 1, 1)]})], SEEDS, WEIGHTS, k=0).post_ids) == 0
    assert len(rank_proofs([proofs_of({}), proofs_of({})], SEEDS, WEIGHTS, k=5).post_ids) == 0


def test_many_ties_go_by_newest_proof_then_post_id() -> None:
    groups = {post: [(0, 1, post % 3)] for post in range(1, 60)}
    expected = sorted(groups, key=lambda post: (-(post % 3), -post))[:10]
    assert rank(groups).post_ids.tolist() == expected


@given(
    st.lists(
        st.dictionaries(
            st.integers(1, 12),
            st.sets(st.tuples(st.integers(0, 5), st.integers(1, 2)), min_size=1),
            max_size=8,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_parts_merge_into_groups_in_seed_order(
    parts: list[dict[int, set[tuple[int, int]]]],
) -> None:
    n = len(parts)
    # Seeds live in one part each.
    own = [
        {
            post: [(seed * n + part, kind, 100 * seed + kind) for seed, kind in pairs]
            for post, pairs in groups.items()
        }
        for part, groups in enumerate(parts)
    ]
    merged = merge_proofs([proofs_of(groups) for groups in own])
    expected: dict[int, list[Proof]] = {}
    for groups in own:
        for post, proofs in groups.items():
            expected.setdefault(post, []).extend(proofs)
    assert merged.post_ids.tolist() == list(expected)
    assert merged.author_ids.tolist() == [9] * len(expected)
    for i, post in enumerate(expected):
        cut = slice(merged.offsets[i], merged.offsets[i + 1])
        columns = (merged.seed_indices[cut], merged.kinds[cut], merged.times_ms[cut])
        found = list(zip(*(column.tolist() for column in columns), strict=True))
        assert [proof[0] for proof in found] == sorted(proof[0] for proof in found)
        assert sorted(found) == sorted(expected[post])

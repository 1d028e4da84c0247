import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.edge_chains import EdgeChains, slot_of_position, visible_degree
from actors.stores.segment_row import KIND_MASK, MARK_SHIFT, TARGET_SHIFT, mark_of


def append(chains: EdgeChains, owners: list[int], first: int) -> None:
    """Edge number i goes to target i, at time i, with kind i modulo 16."""
    n = len(owners)
    numbers = np.arange(first, first + n)
    chains.append(
        1 + max(owners, default=0),
        np.array(owners, np.int32),
        numbers.astype(np.int32),
        numbers + 1,
        (numbers % 16).astype(np.uint8),
        numbers.astype(np.int64),
        np.full(n, 3, np.uint8),
        1,
        first,
    )


@given(st.lists(st.integers(0, 5), max_size=200), st.integers(1, 50), st.integers(0, 210))
def test_a_reader_sees_exactly_the_edges_it_captured(
    owners: list[int], batch: int, n_visible: int
) -> None:
    chains = EdgeChains()
    for begin in range(0, len(owners), batch):
        append(chains, owners[begin : begin + batch], begin)
    for node in range(len(chains.nodes)):
        expected = [i for i, owner in enumerate(owners[:n_visible]) if owner == node]
        degree, last = visible_degree(chains.nodes, chains.pool, node, n_visible)
        assert degree == len(expected)
        for position, edge in enumerate(expected):
            at = slot_of_position(chains.pool, degree, last, position)
            word = int(chains.pool[at, 1]) & 0xFFFFFFFF
            mark, time_ms = divmod(int(chains.pool[at, 0]) % 2**64, 2**MARK_SHIFT)
            assert (mark, time_ms) == (mark_of(edge + 1), edge)
            assert (word >> TARGET_SHIFT, word & KIND_MASK) == (edge, edge % 16)


def test_arrays_captured_before_growth_stay_readable() -> None:
    chains = EdgeChains()
    append(chains, [0] * 20, 0)
    nodes, pool = chains.nodes, chains.pool
    append(chains, [0, 1] * 5_000, 20)
    assert len(chains.pool) > len(pool)
    degree, last = visible_degree(nodes, pool, 0, 20)
    assert degree == 20
    assert last < len(pool)


def test_lateness_is_the_most_an_edge_came_behind_a_newer_one() -> None:
    chains = EdgeChains()
    times_ms = np.array([50, 60, 45, 70, 69], np.int64)
    ones = np.ones(5, np.uint8)
    owners = np.zeros(5, np.int32)
    chains.append(1, owners, owners, times_ms, ones, times_ms, ones, 1, 0)
    assert chains.nodes[0, 1:3].tolist() == [70, 15]


def test_at_most_about_half_of_the_slots_are_wasted() -> None:
    chains = EdgeChains()
    append(chains, np.random.default_rng(0).zipf(1.5, 20_000).clip(0, 5_000).tolist(), 0)
    assert chains.used < 2.3 * 20_000

"""Intersections against Python sets, and neighbour lists against the relation they follow."""

from itertools import pairwise
from threading import Thread

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.stores.intersections import SortedNeighbours, first_not_below, intersect
from actors.stores.relations import Relations
from actors.stores.versions import versions_of
from cluster.ids import Ids


def ids(*values: int) -> Ids:
    return np.array(values, np.int64)


def pooled(lists: list[list[int]]) -> tuple[Ids, Ids, Ids]:
    """Lists one after the other: (pool, starts, lengths)."""
    lengths = ids(*(len(one) for one in lists))
    return ids(*(id_ for one in lists for id_ in one)), np.cumsum(lengths) - lengths, lengths


def shared(source: list[int], lists: list[list[int]]) -> list[list[tuple[int, int]]]:
    """(id, place in its list) of what the source shares with each list."""
    source_ids = ids(*source)
    pool, starts, lengths = pooled(lists)
    offsets, places, entries = intersect(source_ids, pool, starts, lengths)
    assert offsets[0] == 0
    assert offsets[-1] == len(places) == len(entries)
    assert (source_ids[places] == pool[entries]).all()
    return [
        [(int(pool[entries[k]]), int(entries[k] - starts[i])) for k in range(begin, end)]
        for i, (begin, end) in enumerate(pairwise(offsets.tolist()))
    ]


def test_what_lists_share_with_a_source() -> None:
    found = shared([2, 5, 9], [[1, 2, 3, 9], [], [4, 6], [9]])
    assert found == [[(2, 1), (9, 3)], [], [], [(9, 0)]]
    assert shared([], [[1, 2]]) == [[]]
    assert shared([1], []) == []


def test_a_list_much_longer_than_the_source_is_searched() -> None:
    long = list(range(0, 3_000, 3))
    assert shared([3, 4, 2_997, 5_000], [long]) == [[(3, 1), (2_997, 999)]]


def test_more_hits_than_there_was_room_for() -> None:
    everyone = list(range(1, 800))
    found = shared(everyone, [everyone] * 5)
    assert [len(one) for one in found] == [799] * 5


def test_first_not_below() -> None:
    some = ids(1, 3, 5, 7)
    wanted = range(9)
    assert [first_not_below(some, 0, 4, w) for w in wanted] == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert first_not_below(some, 2, 4, 0) == 2
    assert first_not_below(some, 1, 2, 9) == 2


_MEMBERS = st.sets(st.integers(1, 2**63 - 1) | st.integers(1, 40), max_size=60)


@settings(max_examples=80)
@given(_MEMBERS, st.lists(_MEMBERS, max_size=6))
def test_intersections_against_sets(source: set[int], lists: list[set[int]]) -> None:
    found = shared(sorted(source), [sorted(one) for one in lists])
    assert [[id_ for id_, _ in one] for one in found] == [sorted(source & one) for one in lists]


def test_a_list_follows_its_relation() -> None:
    relations = Relations()
    neighbours = SortedNeighbours(relations)
    source, owners = ids(5, 6, 7), ids(1, 2)

    def write(owner: int, other: int, time_ms: int, on: bool) -> None:
        relations.write(ids(owner), ids(other), ids(time_ms << 20), np.array([on]))

    def found() -> list[tuple[int, int]]:
        rows, places, edges = neighbours.hits(source, owners)
        others = relations.chains().other_ids[edges]
        assert (others == source[places]).all()
        return sorted(zip(owners[rows].tolist(), others.tolist(), strict=True))

    assert found() == []
    write(1, 6, 10, True)
    assert found() == [(1, 6)]
    write(1, 6, 20, False)
    assert found() == []
    write(1, 6, 30, True)
    write(2, 7, 30, True)
    write(2, 8, 30, True)
    assert found() == [(1, 6), (2, 7)]
    # Long enough that lists are made, and then that they are merged.
    for other in range(100, 200):
        write(1, other, 40, True)
        assert found() == [(1, 6), (2, 7)]
    write(1, 5, 40, True)
    write(1, 6, 50, False)
    assert found() == [(1, 5), (2, 7)]


_WRITES = st.lists(
    st.tuples(st.integers(1, 2), st.integers(1, 60), st.integers(1, 9), st.booleans()),
    max_size=150,
)


@settings(max_examples=40)
@given(_WRITES, st.sets(st.integers(1, 62), min_size=20), st.integers(1, 40))
def test_neighbours_against_their_relation(
    writes: list[tuple[int, int, int, bool]], source: set[int], batch: int
) -> None:
    relations = Relations()
    neighbours = SortedNeighbours(relations)
    source_ids = ids(*sorted(source))
    owner_ids = ids(3, 1, 2, 1, 77)
    model: dict[tuple[int, int], tuple[int, bool]] = {}
    for begin in range(0, len(writes), batch):
        part = writes[begin : begin + batch]
        versions = versions_of(ids(*(w[2] for w in part)), begin + np.arange(len(part)))
        for (owner, other, _, on), version in zip(part, versions.tolist(), strict=True):
            model[owner, other] = max(model.get((owner, other), (0, False)), (version, on))
        columns = list(zip(*part, strict=True))
        on_all = np.array(columns[3], bool)
        relations.write(ids(*columns[0]), ids(*columns[1]), versions, on_all)
        rows, places, edges = neighbours.hits(source_ids, owner_ids)
        assert (relations.chains().other_ids[edges] == source_ids[places]).all()
        found = sorted(zip(rows.tolist(), source_ids[places].tolist(), strict=True))
        assert found == sorted(
            (row, other)
            for row, owner in enumerate(owner_ids.tolist())
            for other in source
            if model.get((owner, other), (0, False))[1]
        )


def test_the_pool_forgets_what_merges_left_behind() -> None:
    relations = Relations()
    neighbours = SortedNeighbours(relations)
    for step in range(60):
        others = 1 + step * 200 + np.arange(200)
        relations.write(np.ones(200, np.int64), others, np.ones(200, np.int64), np.ones(200, bool))
        rows, _, _ = neighbours.hits(ids(1, 200, 1 + step * 200), ids(1))
        assert len(rows) == (2 if step == 0 else 3)
    entries = 60 * 200
    assert neighbours.memory_bytes < 12 * 5 * entries


def test_many_threads_may_ask() -> None:
    relations = Relations()
    owners = 1 + np.arange(40_000) % 200
    others = 1_000 + np.arange(40_000) * 7 % 997
    n = len(owners)
    relations.write(owners, others, np.ones(n, np.int64), np.ones(n, bool))
    source = np.arange(1_000, 1_997, 5)
    asked = [np.random.default_rng(seed).permutation(200) + 1 for seed in range(4)]
    expected = [
        int(relations.holds(np.repeat(o, len(source)), np.tile(source, 200)).sum()) for o in asked
    ]
    neighbours = SortedNeighbours(relations)
    found: dict[int, int] = {}

    def ask(k: int) -> None:
        found[k] = len(neighbours.hits(source, asked[k]).rows)

    threads = [Thread(target=ask, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[k] for k in range(4)] == expected

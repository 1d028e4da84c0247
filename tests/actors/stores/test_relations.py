"""Relations against a dictionary of registers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.stores import relations as module
from actors.stores.relations import Relations
from actors.stores.versions import versions_of
from cluster.ids import Ids


def write(relations: Relations, *writes: tuple[int, int, int, bool]) -> None:
    """Each write is (owner, other, time in ms, on)."""
    owners, others, times_ms, on = (np.array(column) for column in zip(*writes, strict=True))
    versions = versions_of(times_ms, np.arange(len(writes)))
    relations.write(owners, others, versions, on.astype(bool))


def ids(*values: int) -> Ids:
    return np.array(values, np.int64)


def test_the_newest_write_wins_whenever_it_comes() -> None:
    relations = Relations()
    write(relations, (1, 2, 50, False))
    write(relations, (1, 2, 40, True))
    assert relations.others(1)[0].tolist() == []
    write(relations, (1, 2, 60, True), (1, 2, 55, False))
    others, since_ms = relations.others(1)
    assert (others.tolist(), since_ms.tolist()) == ([2], [60])
    assert relations.holds(ids(1, 2), ids(2, 1)).tolist() == [True, False]
    assert relations.degrees(ids(1, 2, 3)).tolist() == [1, 0, 0]


def test_others_come_newest_first() -> None:
    relations = Relations()
    write(relations, (1, 5, 10, True), (1, 6, 30, True), (1, 7, 20, True), (2, 9, 40, True))
    assert relations.others(1)[0].tolist() == [6, 7, 5]
    assert relations.others(1, limit=2)[0].tolist() == [6, 7]
    assert relations.others(3)[0].tolist() == []


def test_dropped_are_those_switched_off() -> None:
    relations = Relations()
    write(relations, (1, 7, 10, True), (1, 5, 10, True), (1, 6, 10, True), (2, 7, 10, False))
    write(relations, (1, 7, 20, False), (1, 5, 20, False))
    assert relations.dropped(1).tolist() == [5, 7]
    assert relations.dropped(2).tolist() == [7]
    assert relations.dropped(3).tolist() == []


def test_edges_keep_their_rows_and_chains_hold_them_all() -> None:
    relations = Relations()
    write(relations, (1, 5, 10, True), (2, 5, 10, True), (1, 6, 10, True))
    edges = relations.edges_of(ids(1, 2, 1, 9), ids(5, 5, 6, 5))
    write(relations, (1, 5, 20, False), (1, 7, 20, True))
    assert relations.edges_of(ids(1, 2, 1, 9), ids(5, 5, 6, 5)).tolist() == edges.tolist()
    assert edges[3] == -1
    heads, nexts, other_ids, active = relations.chains()
    first, absent = relations.owners_of(ids(1, 9))
    assert absent == -1
    found = []
    edge = heads[first]
    while edge >= 0:
        found.append((int(other_ids[edge]), bool(active[edge])))
        edge = nexts[edge]
    assert found == [(7, True), (6, True), (5, False)]


def test_one_user_costs_a_bounded_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SCAN", 3)
    relations = Relations()
    for other in range(2, 12):
        write(relations, (1, other, other, True))
    assert relations.others(1)[0].tolist() == [11, 10, 9]
    assert relations.degrees(ids(1)).tolist() == [10]


USERS = st.integers(1, 4)
WRITES = st.lists(
    st.tuples(USERS, USERS, st.integers(1, 12), st.booleans()), min_size=1, max_size=30
)


@settings(max_examples=60)
@given(WRITES, st.lists(st.integers(0, 30), max_size=4), st.randoms())
def test_relations_against_model(
    writes: list[tuple[int, int, int, bool]], cuts: list[int], random: object
) -> None:
    columns = (
        np.array([w[0] for w in writes]),
        np.array([w[1] for w in writes]),
        versions_of(np.array([w[2] for w in writes]), np.arange(len(writes))),
        np.array([w[3] for w in writes]),
    )
    model: dict[tuple[int, int], tuple[int, bool]] = {}
    for owner, other, version, on in zip(*columns, strict=True):
        key = (int(owner), int(other))
        model[key] = max(model.get(key, (0, False)), (int(version), bool(on)))
    order = list(range(len(writes)))
    random.shuffle(order)  # type: ignore[attr-defined]
    relations = Relations()
    ends = [0, *sorted(min(c, len(writes)) for c in cuts), len(writes)]
    for start, end in pairwise(ends):
        rows = np.array(order[start:end], np.int64)
        relations.write(*(column[rows] for column in columns))
        copied = relations.columns()
        relations = Relations()
        relations.write(*(copied[n] for n in ("owner_ids", "other_ids", "versions", "active")))
    for owner in range(1, 5):
        on = sorted(((v, o) for (w, o), (v, is_on) in model.items() if w == owner and is_on))
        assert relations.others(owner)[0].tolist() == [other for _, other in reversed(on)]
        assert relations.degrees(ids(owner)).tolist() == [len(on)]
        for other in range(1, 5):
            held = model.get((owner, other), (0, False))[1]
            assert relations.holds(ids(owner), ids(other)).tolist() == [held]

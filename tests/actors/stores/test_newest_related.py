"""Newest relations of many owners against looking at each owner alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.stores import newest_related as module
from actors.stores.newest_related import newest_related
from actors.stores.relations import Relations
from actors.stores.versions import versions_of

writes = st.lists(
    st.tuples(st.integers(1, 4), st.integers(10, 15), st.integers(0, 30), st.booleans()),
    max_size=60,
)


def related_by(written: list[tuple[int, int, int, bool]]) -> Relations:
    relations = Relations()
    for owner, other, time_ms, on in written:
        ids = np.array([owner]), np.array([other])
        versions = versions_of(np.array([time_ms]), np.array([other]))
        relations.write(*ids, versions, np.array([on]))
    return relations


@given(writes, st.integers(1, 7))
def test_the_newest_of_each(written: list[tuple[int, int, int, bool]], limit: int) -> None:
    relations = related_by(written)
    owners = [3, 1, 9, 2, 4]
    found = newest_related(relations, np.array(owners), limit)
    for place, owner in enumerate(owners):
        ids, times_ms = relations.others(owner)
        mine = slice(found.offsets[place], found.offsets[place + 1])
        # Of writes of one instant the version's low bits decide, as in `others`.
        assert found.other_ids[mine].tolist() == ids[:limit].tolist()
        assert found.times_ms[mine].tolist() == times_ms[:limit].tolist()
        assert found.degrees[place] == len(ids)
    assert found.places.tolist() == np.repeat(np.arange(5), np.diff(found.offsets)).tolist()


def test_where_keeps_owners() -> None:
    relations = related_by([(1, 10, 1, True), (1, 11, 2, True), (2, 12, 3, True)])
    found = newest_related(relations, np.array([1, 2]), 5)
    some = found.where(found.other_ids != 11)
    assert some.offsets.tolist() == [0, 1, 2]
    assert some.other_ids.tolist() == [10, 12]
    assert some.degrees.tolist() == [2, 1]


def test_only_so_many_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    relations = related_by([(1, 10 + k, k, True) for k in range(6)])
    monkeypatch.setattr(module, "MAX_LOOKED_AT", 2)
    assert newest_related(relations, np.array([1]), 5).other_ids.tolist() == [15, 14]

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.stores.pair_table import PairTable
from cluster.ids import Ids


def ids(*values: int) -> Ids:
    return np.array(values, np.int64)


def test_rows_are_found_by_pair_and_by_owner() -> None:
    table = PairTable({"n": np.int32, "two": (np.int64, 2)})
    rows = table.rows_for(ids(1, 2, 1, 1), ids(5, 5, 6, 5))
    assert rows[0] == rows[3]
    assert len(table) == 3
    np.add.at(table["n"], rows, [1, 10, 100, 2])
    table["two"][rows[1]] = (7, 8)
    assert table["n"][table.rows_for(ids(1, 2), ids(5, 5))].tolist() == [3, 10]
    mine, others = table.rows_of(1)
    assert dict(zip(others.tolist(), table["n"][mine].tolist(), strict=True)) == {5: 3, 6: 100}
    assert len(table.rows_of(9)[0]) == 0
    assert table.memory_bytes > 0


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(-3, 3)), max_size=40),
    st.integers(1, 10),
)
def test_sums_against_a_dictionary(events: list[tuple[int, int, int]], batch: int) -> None:
    table = PairTable({"n": np.int64})
    model: dict[tuple[int, int], int] = {}
    for begin in range(0, len(events), batch):
        part = np.array(events[begin : begin + batch])
        rows = table.rows_for(part[:, 0], part[:, 1])
        np.add.at(table["n"], rows, part[:, 2])
        for owner, other, change in part.tolist():
            model[owner, other] = model.get((owner, other), 0) + change
        again = PairTable({"n": np.int64})
        again.restore(table.columns())
        table = again
    columns = table.columns()
    pairs = zip(columns["owner_ids"].tolist(), columns["other_ids"].tolist(), strict=True)
    assert dict(zip(pairs, columns["n"].tolist(), strict=True)) == model

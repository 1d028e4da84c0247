import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.ranked_lists import RankedLists, merge_lists, no_lists

Row = tuple[int, int, float]


def lists_of(rows: list[Row], n: int) -> RankedLists:
    ordered = sorted(rows, key=lambda row: (row[0], -row[2], -row[1]))
    counts = np.bincount([row[0] for row in ordered], minlength=n)
    post_ids = np.array([row[1] for row in ordered], np.int64)
    return RankedLists(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        post_ids,
        post_ids + 1_000,
        post_ids + 2_000,
        np.array([row[2] for row in ordered], np.float32),
    )


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 30), st.sampled_from([0.25, 0.5, 1.0])),
    max_size=20,
    unique_by=lambda row: row[:2],
)


@given(ROWS, st.integers(1, 3), st.integers(1, 4))
def test_merged_parts_are_the_whole_cut(rows: list[Row], n_parts: int, limit: int) -> None:
    parts = [lists_of([row for row in rows if row[1] % n_parts == k], 3) for k in range(n_parts)]
    merged = merge_lists(parts, 3, limit)
    whole = lists_of(rows, 3)
    expected = whole.where(whole.ranks < limit)
    for name, column in vars(expected).items():
        assert getattr(merged, name).tolist() == column.tolist(), name
    by_list: list[list[int]] = [[], [], []]
    for row in sorted(rows, key=lambda row: (-row[2], -row[1])):
        by_list[row[0]].append(row[1])
    assert merged.post_ids.tolist() == [post for one in by_list for post in one[:limit]]


def test_lists_are_put_at_their_places() -> None:
    lists = lists_of([(0, 5, 1.0), (1, 6, 1.0), (1, 7, 0.5)], 2)
    placed = lists.placed(np.array([1, 3]), 5)
    assert placed.offsets.tolist() == [0, 0, 1, 1, 3, 3]
    assert placed.lists.tolist() == [1, 3, 3]
    assert placed.ranks.tolist() == [0, 0, 1]
    assert len(no_lists(4)) == 4
    assert len(merge_lists([], 4, 10)) == 4


def test_equals_come_by_the_greater_id_however_parts_have_them() -> None:
    ids, scores = np.array([3, 5, 9, 1, 4]), np.array([2, 1, 1, 1, 0], np.float32)
    part = RankedLists(np.array([0, 5]), ids, ids, ids, scores)
    assert merge_lists([part], 1, 4).post_ids.tolist() == [3, 9, 5, 1]
    other = RankedLists(np.array([0, 1]), *(np.array([7]),) * 3, np.array([1], np.float32))
    assert merge_lists([part, other], 1, 4).post_ids.tolist() == [3, 9, 7, 5]

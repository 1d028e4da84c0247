import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.top_posts import beats, contains, offer, put_in_order

ITEMS = st.tuples(st.sampled_from([0.0, 0.5, 2.0]), st.integers(0, 3), st.integers(1, 2**63 - 1))


@given(st.lists(ITEMS, max_size=60, unique_by=lambda item: item[2]), st.integers(1, 12))
def test_the_best_are_kept_in_order(items: list[tuple[float, int, int]], k: int) -> None:
    post_ids = np.array([post_id for _, _, post_id in items], np.int64)
    scores, newest, best = np.empty(k), np.empty(k, np.int64), np.empty(k, np.int32)
    size = 0
    for v, (score, newest_ms, post_id) in enumerate(items):
        worst = (scores[0], newest[0], post_ids[best[0]]) if size == k else None
        if worst is None or beats(score, newest_ms, post_id, *worst):
            size = offer(scores, newest, best, post_ids, size, score, newest_ms, v)
    put_in_order(scores, newest, best, post_ids, size)
    found = [items[v] for v in best[:size]]
    assert found == sorted(items, reverse=True)[:k]


@given(st.lists(st.integers(1, 30), max_size=20))
def test_contains_finds_what_is_there(ids: list[int]) -> None:
    ordered = np.sort(np.array(ids, np.int64))
    assert [i for i in range(32) if contains(ordered, i)] == sorted(set(ids))

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.post_vectors import PostVectors

Engagement = tuple[int, int]
ENGAGED = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 5)), max_size=20, unique=True)
USERS = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
ALL = np.arange(1, 6)


def add(store: PostVectors, engaged: list[Engagement], sign: int = 1) -> list[int]:
    posts = np.array([post for post, _ in engaged], np.int64)
    users = np.array([user for _, user in engaged], np.int64)
    signs = np.full(len(posts), sign, np.int8)
    return store.add(posts, posts + 10, users + 100, signs, USERS[users]).tolist()


@given(ENGAGED, st.data())
def test_it_is_the_mean_of_those_who_engage(engaged: list[Engagement], data: st.DataObject) -> None:
    store = PostVectors(3)
    assert sorted(add(store, engaged)) == sorted({post for post, _ in engaged})
    undone = [one for one in engaged if data.draw(st.booleans())]
    add(store, undone, sign=-1)
    left = [one for one in engaged if one not in undone]
    expected = np.zeros((5, 3))
    for post in ALL.tolist():
        users = [user for other, user in left if other == post]
        if users:
            expected[post - 1] = USERS[users].mean(axis=0)
    for held in (store, PostVectors.from_columns(store.columns(), 3)):
        means, counts = held.means(ALL)
        np.testing.assert_allclose(means, expected, atol=1e-5)
        assert counts.tolist() == [sum(p == post for p, _ in left) for post in ALL.tolist()]
    empty = counts == 0
    assert (store.means(ALL)[0][empty] == 0).all()


def test_posts_are_left_out() -> None:
    store = PostVectors(3)
    add(store, [(1, 0), (2, 1), (2, 2)])
    assert store.newest_ms.tolist() == [100, 102]
    assert store.without(np.zeros(2, bool)) is store
    kept = store.without(store.post_ids == 1)
    assert kept.post_ids.tolist() == [2]
    assert kept.means(np.array([1, 2]))[1].tolist() == [0, 2]
    assert len(kept) == 1
    assert kept.memory_bytes > 0

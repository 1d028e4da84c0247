from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.stores import recent_engagements
from actors.stores.moving import finished
from actors.stores.recent_engagements import Changes, RecentEngagements

WINDOW_MS = 100
Write = tuple[int, int, int, int, bool]


def write(store: RecentEngagements, writes: Sequence[Write]) -> Changes:
    users, posts, kinds, times, undone = (
        np.array([w[k] for w in writes], np.int64) for k in range(5)
    )
    return store.write(
        users, posts, posts % 3 + 1, kinds.astype(np.uint8), times, undone.astype(bool)
    )


def net(changes: Sequence[Changes]) -> dict[tuple[int, int, int, int], int]:
    """What is left, by (user, post, kind, time), when all changes are summed."""
    left: dict[tuple[int, int, int, int], int] = {}
    for part in changes:
        for user, post, author, kind, time_ms, sign in zip(*vars(part).values(), strict=True):
            assert author == post % 3 + 1
            key = (int(user), int(post), int(kind), int(time_ms))
            left[key] = left.get(key, 0) + int(sign)
    return {key: n for key, n in left.items() if n}


def in_force(writes: Sequence[Write]) -> dict[tuple[int, int, int, int], int]:
    newest: dict[tuple[int, int, int], tuple[int, bool]] = {}
    for user, post, kind, time_ms, undone in writes:
        key = (user, post, kind)
        newest[key] = max(newest.get(key, (0, False)), (time_ms, undone))
    return {(*key, time_ms): 1 for key, (time_ms, undone) in newest.items() if not undone}


WRITES = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 2**62]),
        st.integers(1, 3),
        st.sampled_from([30, 32]),
        st.integers(1, 40),
        st.booleans(),
    ),
    max_size=40,
)


@given(WRITES, st.integers(1, 40))
def test_changes_add_up_to_what_is_in_force(writes: list[Write], step: int) -> None:
    store = RecentEngagements(WINDOW_MS)
    changes = [write(store, writes[k : k + step]) for k in range(0, len(writes), step)]
    assert net(changes) == in_force(writes)
    assert net([store.in_force(0)]) == in_force(writes)
    late = {key: n for key, n in in_force(writes).items() if key[3] >= 20}
    assert net([store.in_force(20)]) == late
    copy = RecentEngagements.from_columns(store.columns(), WINDOW_MS)
    assert net([copy.in_force(0)]) == in_force(writes)


def test_an_undo_may_come_first_and_wins_a_tie() -> None:
    store = RecentEngagements(WINDOW_MS)
    assert not len(write(store, [(1, 5, 30, 7, True)]))
    assert not len(write(store, [(1, 5, 30, 7, False), (1, 5, 30, 6, False)]))
    again = write(store, [(1, 5, 30, 8, False)])
    assert net([again]) == {(1, 5, 30, 8): 1}
    assert not len(write(store, [(1, 5, 30, 7, True)]))
    assert net([write(store, [(1, 5, 30, 9, True)])]) == {(1, 5, 30, 8): -1}


def test_what_left_the_window_is_forgotten() -> None:
    store = RecentEngagements(WINDOW_MS)
    write(store, [(user, 5, 30, 10 * user, False) for user in range(1, 11)])
    assert store.without_expired(110) is store
    kept = store.without_expired(140)
    assert len(kept) == 7
    assert net([kept.in_force(0)]) == {(user, 5, 30, 10 * user): 1 for user in range(4, 11)}


def test_the_oldest_go_when_there_are_too_many() -> None:
    store = RecentEngagements(WINDOW_MS, max_rows=10)
    write(store, [(user, 5, 30, user, False) for user in range(1, 21)])
    kept = store.without_expired(21)
    assert net([kept.in_force(0)]) == {(user, 5, 30, user): 1 for user in range(13, 21)}
    assert kept.memory_bytes > 0


def test_what_is_written_between_slices_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_engagements, "_MOVED_AT_ONCE", 2)
    store = RecentEngagements(WINDOW_MS)
    write(store, [(user, 5, 30, 10 * user, False) for user in range(1, 11)])
    slices = store.expiring(140)
    for step in range(4):
        next(slices)
        # Of one that has moved, one that waits, one that was passed over, and one to come.
        undone = 4 + step
        write(store, [(undone, 5, 30, 140 + step, True), (20 + step, 5, 30, 140, False)])
    write(store, [(1, 5, 30, 140, False), (10, 5, 30, 140, True)])
    kept = finished(slices)
    expected = {8: 80, 9: 90, 1: 140, **{20 + step: 140 for step in range(4)}}
    assert net([kept.in_force(0)]) == {(u, 5, 30, ms): 1 for u, ms in expected.items()}

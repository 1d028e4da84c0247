import numpy as np

from simulation.shown import Seen


def test_what_was_added_is_seen_until_forgotten_twice() -> None:
    seen = Seen(100)
    users, posts = np.arange(100), np.arange(100) * 7
    assert not seen.contains(users, posts).any()
    seen.add(users, posts)
    assert seen.contains(users, posts).all()
    seen.forget_older()
    assert seen.contains(users, posts).all()
    seen.forget_older()
    assert not seen.contains(users, posts).any()


def test_few_pairs_are_taken_for_seen_by_mistake() -> None:
    seen = Seen(100)
    users = np.repeat(np.arange(100), 90)
    seen.add(users, np.tile(np.arange(90), 100))
    others = seen.contains(users, 1_000 + np.tile(np.arange(90), 100))
    assert others.mean() < 0.03

"""Counting what users of several keys share, against counters; and adding up shards."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.stores.co_counts import CoCounts, count_together, sum_counts
from actors.stores.standing import Standing

World = tuple[list[dict[int, int]], list[list[int]]]
"""Each user's posts with the kinds that stand, and each key's users."""


@st.composite
def worlds(draw: st.DrawFn) -> World:
    posts = st.dictionaries(st.integers(10, 19), st.integers(1, 15), max_size=6)
    users = draw(st.lists(posts, min_size=1, max_size=8))
    key = st.lists(st.integers(0, len(users) - 1), unique=True)
    return users, draw(st.lists(key, min_size=1, max_size=4))


def counts_of(
    world: World, users: list[int], weights: list[int], below: int, n_levels: int
) -> CoCounts:
    """What a shard that has only some of the users counts."""
    engaged, keys = world
    standing = Standing(
        np.array([0, *np.cumsum([len(engaged[u]) for u in users])]),
        np.array([post for u in users for post in engaged[u]], np.int64),
        np.array([post + 1_000 for u in users for post in engaged[u]], np.int64),
        np.array([kinds for u in users for kinds in engaged[u].values()], np.uint16),
        *(np.zeros(len(users), np.int64), np.zeros(len(users), np.int64)),
    )
    mine = [[users.index(u) for u in key if u in users] for key in keys]
    return count_together(
        standing,
        np.array([len(engaged[u]) for u in users], np.int64),
        np.array([weights[u] for u in users], np.int64),
        np.array([0, *np.cumsum([len(key) for key in mine])]),
        np.array([u for key in mine for u in key], np.int32),
        np.zeros(len(keys), np.int64),
        np.full(len(keys), below),
        n_levels,
    )


@settings(max_examples=60)
@given(worlds(), st.integers(1, 3), st.integers(0, 8), st.integers(2, 7), st.sampled_from([1, 4]))
def test_sums_of_shards_are_what_one_would_count(
    world: World, least: int, cut: int, below: int, n_levels: int
) -> None:
    engaged, keys = world
    weights = [3**u for u in range(len(engaged))]
    every = list(range(len(engaged)))
    halves = [part for part in (every[:cut], every[cut:]) if part]
    parts = [counts_of(world, users, weights, below, n_levels) for users in halves]
    found = sum_counts(parts, np.full(len(keys), least))
    for k, key in enumerate(keys):
        kept = [u for u in key if len(engaged[u]) < below]
        assert found.n_users[k] == len(kept)
        counts: Counter[int] = Counter()
        levels: Counter[tuple[int, int]] = Counter()
        weighed: Counter[int] = Counter()
        for u in kept:
            for post, kinds in engaged[u].items():
                counts[post] += 1
                levels[post, kinds.bit_length() - 1 if n_levels > 1 else 0] += 1
                weighed[post] += weights[u]
        expected = sorted(post for post, count in counts.items() if count >= least)
        mine = slice(found.offsets[k], found.offsets[k + 1])
        assert found.post_ids[mine].tolist() == expected
        assert found.author_ids[mine].tolist() == [post + 1_000 for post in expected]
        assert found.weights[mine].tolist() == [weighed[post] for post in expected]
        by_level = [[levels[post, at] for at in range(n_levels)] for post in expected]
        assert found.counts[mine].tolist() == by_level


def test_nothing_to_sum() -> None:
    with pytest.raises(ValueError, match="no counts"):
        sum_counts([], np.ones(1, np.int64))

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.score_bounds import (
    EVERY_BUCKET,
    MARK_BITS,
    Float64s,
    ScoreBounds,
    Uint8s,
    bucket_shift,
    score_floor,
    threshold,
    with_slack,
)
from actors.stores.segment_row import mark_of

NO_IDS = np.zeros(0, np.int64)


@given(
    st.lists(st.floats(0, 1e9) | st.sampled_from([0.0, 1.0, 1e-300]), max_size=300),
    st.integers(0, 120),
)
def test_the_floor_is_reached_by_enough_scores(scores: list[float], count: int) -> None:
    floor = score_floor(np.array(scores, np.float64), count)
    assert sum(score >= floor for score in scores) >= min(count, len(scores))


def test_the_floor_keeps_few_more_than_wanted() -> None:
    scores = np.random.default_rng(0).random(30_000)
    kept = int((scores >= score_floor(scores, 1_000)).sum())
    assert 1_000 <= kept < 1_200


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=200), st.integers(1, 60))
def test_the_threshold_is_reached_by_enough_buckets(sums: list[int], enough: int) -> None:
    n_buckets = 256
    every = np.zeros(n_buckets, np.uint32)
    every[: len(sums)] = sums
    least = threshold(every, NO_IDS, MARK_BITS - 8, enough)
    assert least == 0 or int((every >= least).sum()) >= enough


def test_excluded_posts_leave_their_buckets_to_others() -> None:
    sums = np.arange(1 << MARK_BITS, dtype=np.uint32)
    none = threshold(sums, NO_IDS, 0, 100)
    marks = np.array([mark_of(post_id) for post_id in range(1, 200_000)])
    of_the_best = 1 + np.flatnonzero(marks >= none)
    assert threshold(sums, of_the_best, 0, 100) < none


def test_buckets_are_as_many_as_edges_but_no_more_than_marks() -> None:
    for edges, bits in ((1_000, 10), (1_025, 11), (10**7, MARK_BITS)):
        bounds = ScoreBounds(np.ones(3), edges, 1)
        assert len(bounds.sums) == 1 << bits
        assert bounds.shift == MARK_BITS - bits == bucket_shift(len(bounds.sums))


def test_negative_weights_and_few_edges_have_no_bounds() -> None:
    for weights, edges in ((np.array([1.0, -1.0]), 10**6), (np.zeros(2), 10**6), (np.ones(2), 9)):
        bounds = ScoreBounds(weights, edges, 10)
        assert bounds.scale == 0.0
        seen: list[int] = []

        def collect(buckets: Uint8s, seen: list[int] = seen) -> Float64s:
            seen.append(len(buckets))
            return np.zeros(3)

        assert list(bounds.floors(NO_IDS, collect)) == [-np.inf]
        assert seen == [len(EVERY_BUCKET)]


@given(st.integers(0, 2**32), st.integers(1, 40), st.sampled_from([1.0, 1e-9, 1e15]))
def test_what_reaches_a_floor_was_collected(seed: int, k: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    n_posts = 3_000
    marks = rng.integers(0, 1 << MARK_BITS, n_posts)
    edges = (n_posts * rng.random(20_000) ** 3).astype(np.int64)
    weights = rng.random(len(edges)) * unit
    scores = np.bincount(edges, weights, n_posts)
    bounds = ScoreBounds(weights, len(edges), k)
    amounts = np.ceil(weights * bounds.scale).astype(np.uint32)
    np.add.at(bounds.sums, marks[edges] >> bounds.shift, amounts)
    collected = np.zeros(0, np.bool_)

    def collect(buckets: Uint8s) -> Float64s:
        nonlocal collected
        collected = buckets[marks >> bucket_shift(len(buckets))] > 0
        found: Float64s = scores[collected]
        return found

    n_floors = 0
    for floor in bounds.floors(NO_IDS, collect):
        assert not np.any(scores[~collected] >= floor)
        assert np.count_nonzero(scores >= floor) >= with_slack(k) or floor == -np.inf
        n_floors += 1
    assert n_floors >= 2
    assert floor == -np.inf

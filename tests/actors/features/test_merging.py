import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.features.aggregation import FOREVER, AggregateGroup
from actors.features.inputs import Level
from actors.features.merging import combine_counts, pick_top_ctr, wilson

VALUES = np.array([[3, 10], [0, 5], [5, 5], [0, 0]], np.float32)
OFFSETS = np.array([0, 3, 3, 4])
SHOWN = np.array([1, -1])


def test_counts_are_summed_averaged_and_the_largest_told() -> None:
    found = combine_counts(VALUES, OFFSETS)
    # Sum, non-zero records, mean of those, the two largest; of each column.
    assert found.tolist() == [
        [8, 2, 4, 5, 3, 20, 3, pytest.approx(20 / 3), 10, 5],
        [0] * 10,
        [0] * 10,
    ]


def test_only_the_twenty_largest_values_count() -> None:
    values = np.arange(1, 31, dtype=np.float32)[:, None]
    found = combine_counts(values, np.array([0, 30]))
    assert found.tolist() == [[sum(range(11, 31)), 20, pytest.approx(20.5), 30, 29]]


def test_the_best_rate_is_smoothed_by_one_impression() -> None:
    assert pick_top_ctr(VALUES, OFFSETS, SHOWN).tolist() == [[pytest.approx(5 / 6)], [0], [0]]


def test_the_wilson_bound_trusts_many_impressions_more_than_few() -> None:
    rows = np.array([[1, 1], [80, 100]], np.float32)
    found = wilson(rows, np.array([0, 1, 2, 2]), SHOWN)[:, 0]
    # By the formula: (p + z²/2n − z√(p(1−p)/n + z²/4n²)) / (1 + z²/n).
    z, p, n = 1.96, 0.8, 100
    low = (p + z**2 / 2 / n - z * math.sqrt(p * (1 - p) / n + z**2 / 4 / n**2)) / (1 + z**2 / n)
    assert found == pytest.approx([1 / (1 + z**2), low, 0], rel=1e-6)


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=25), max_size=6))
def test_ragged_lists_are_merged_as_one_by_one(lists: list[list[tuple[int, int]]]) -> None:
    values = np.array([row for rows in lists for row in rows], np.float32).reshape(-1, 2)
    offsets = np.cumsum([0, *map(len, lists)])
    combined = combine_counts(values, offsets)
    rates = pick_top_ctr(values, offsets, SHOWN)
    for at, rows in enumerate(lists):
        expected: list[float] = []
        for column in range(2):
            some = sorted((row[column] for row in rows if row[column]), reverse=True)[:20]
            two = [*some, 0, 0][:2]
            expected += [sum(some), len(some), sum(some) / max(len(some), 1), *two]
        assert combined[at].tolist() == pytest.approx(expected, rel=1e-6)
        best = max((row[0] / (1 + row[1]) for row in rows), default=0)
        assert rates[at].tolist() == pytest.approx([best], rel=1e-6)


def test_a_group_names_what_it_merges_in_the_order_of_its_values() -> None:
    group = AggregateGroup(
        *("e", ("viewer_id", "engagers"), ("is_favorited", "is_impressed"), (FOREVER,)),
        *(Level.POST, "viewer"),
        merges=("combine_counts", "pick_top_ctr", "wilson"),
    )
    merged = group.merged(VALUES, OFFSETS)
    assert merged.shape == (3, len(group.slots)) == (3, 12)
    named = dict(zip(group.slots, merged[0].tolist(), strict=True))
    prefix = "e.pair.is_favorited.any_feature.all.time.count"
    assert named[f"{prefix}.top1"] == 5
    assert named[f"{prefix}.top_ctr"] == pytest.approx(5 / 6)
    assert named["e.pair.is_impressed.any_feature.all.time.count.sum"] == 20
    assert f"{prefix}.wilson" in named
    assert "e.pair.is_impressed.any_feature.all.time.count.wilson" not in named
    assert group.meaning_of(f"{prefix}.top2").endswith("; the second largest")

"""Rows of the ranker's benchmark: nothing in them is younger than they are."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.heavy_ranker_data import (
    KNOWN_AFTER_MS,
    LATELY,
    PRIOR,
    QUANTILES,
    SEEN,
    SHARES,
    Rows,
    _numbered,
    _past,
    kuairand,
    quantiles,
    standardised,
)
from benchmarks.heavy_ranker_ours import HEADS, schema_of

NAMES = ("liked", "shared")


@given(
    shown=st.lists(
        st.tuples(
            st.integers(0, 6 * KNOWN_AFTER_MS), st.integers(1, 3), st.booleans(), st.booleans()
        ),
        min_size=2,
        max_size=60,
    )
)
def test_rates_of_the_past_count_what_was_known(shown: list[tuple[int, int, bool, bool]]) -> None:
    """Row by row: same key, and shown more than so long before."""
    shown.sort(key=lambda row: row[0])
    times_ms, keys, *happened = (np.array(column) for column in zip(*shown, strict=True))
    labels = np.stack(happened, 1).astype(np.uint8)
    # Odds of a task without positives, or without negatives, are no number.
    labels[0], labels[1] = (0, 1), (1, 0)
    mean = labels[: round(len(labels) * SHARES[0])].mean(0)
    if not ((mean > 0) & (mean < 1)).all():
        return
    found = _past(times_ms, labels, NAMES, "user", keys, lately=True)
    for row in range(len(labels)):
        known = np.flatnonzero((keys == keys[row]) & (times_ms < times_ms[row] - KNOWN_AFTER_MS))
        assert found["user_rows"][row] == len(known)
        recent = known[-LATELY:]
        for i, name in enumerate(NAMES):
            rate = (labels[known, i].sum() + PRIOR * mean[i]) / (len(known) + PRIOR)
            assert found[f"user_{name}"][row] == pytest.approx(np.log(rate / (1 - rate)))
            rate = (labels[recent, i].sum() + mean[i]) / (len(recent) + 1)
            assert found[f"user_lately_{name}"][row] == pytest.approx(np.log(rate / (1 - rate)))
        if len(known):
            since_s = (times_ms[row] - times_ms[known[-1]]) / 1_000
            assert found["user_since_s"][row] == pytest.approx(since_s)


def test_codes_are_numbered_by_what_is_learnt_from() -> None:
    values = ["a"] * SEEN + ["b"] * (SEEN - 1) + [""] * SEEN + ["c"] * SEEN + ["a", "b", "new"]
    codes, n = _numbered(values, len(values) - 3)
    assert n == 3
    assert codes.tolist() == [1] * SEEN + [0] * (2 * SEEN - 1) + [2] * SEEN + [1, 0, 0]


def test_numbers_are_standardised_by_what_is_learnt_from() -> None:
    numbers = np.arange(10, dtype=np.float32)[:, None]
    numbers[7:] = 1e9
    none = np.zeros((10, 0), np.int64)
    rows = Rows("r", (), none, none, (), none[0], numbers, ("x",), {}, np.arange(10))
    found = standardised(rows)
    assert rows.cuts == (7, 8)
    assert found[:7].mean() == pytest.approx(0, abs=1e-6)
    assert found[:7].std() == pytest.approx(1, abs=1e-4)
    assert (found[7:] == 5).all()


def test_quantiles_are_those_of_what_is_learnt_from() -> None:
    numbers = np.stack([np.arange(320), np.arange(320) % 2], 1).astype(np.float32)
    none = np.zeros((320, 0), np.int64)
    rows = Rows("r", (), none, none, (), none[0], numbers, ("x", "y"), {}, np.arange(320))
    found = quantiles(rows)
    assert (np.bincount(found[:224, 0])[1:] == 14).all()
    assert (found[224:, 0] == QUANTILES).all()
    assert len(np.unique(found[:, 1])) == 2


def test_the_feed_s_rows_are_in_time_order_and_have_a_head_for_every_task(data_dir: Path) -> None:
    rows = kuairand(data_dir / "kuairand")
    assert (len(rows), rows.cuts) == (41_828, (29_280, 33_463))
    assert (np.diff(rows.times_ms) >= 0).all()
    assert np.isfinite(rows.numbers).all()
    assert rows.labels.sum(0).tolist() == [27_484, 33_745, 304, 1_258, 326, 2_214, 19_320]
    assert len({HEADS[task] for task in rows.tasks}) == len(rows.tasks)
    schema = schema_of(rows)
    assert len(schema.discrete) == rows.codes.shape[1]
    assert (rows.codes.max(0) < np.maximum(rows.n_codes, 2)).all()

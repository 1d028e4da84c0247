"""Refilling: a page is full while supply lasts, and every drop has a name."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.timeline.candidate_rows import query, rows
from timeline.candidates import Candidates
from timeline.pipeline import Extend, Filter, Gate, Pipeline, Refine, Trace
from timeline.query import Query

N = 20
POSTS = rows(*({"post_ids": 100 + k, "scores": 1 - k / 100} for k in range(N)))
"""The first is the best."""


def refine(
    filters: Sequence[Filter],
    enough: int = 4,
    width: int = 5,
    asked: Query | None = None,
    before: Sequence[Any] = (),
    **given: Any,
) -> tuple[list[int], Trace, list[list[int]], Query]:
    """What is left, its trace, and what was prepared round by round."""
    prepared: list[list[int]] = []

    def prepare(query: Query, chosen: Candidates) -> Candidates:
        prepared.append(chosen.post_ids.tolist())
        return chosen

    stage = Refine(
        "best",
        given.pop("prepare", prepare),
        filters,
        lambda q, c: len(c) >= enough,
        lambda q: width,
        **given,
    )
    load = Extend("load", lambda q, c: POSTS)
    query_ = asked or query()
    found, trace = Pipeline("test", [load, *before, stage]).run(query_)
    return found.post_ids.tolist(), trace, prepared, query_


def without(*post_ids: int, name: str = "bad", **declared: Any) -> Filter:
    return Filter(name, lambda q, c: ~np.isin(c.post_ids, post_ids), **declared)


def funnel(trace: Trace) -> list[tuple[str, int, int]]:
    return trace.funnel()[1:]


def test_one_round_is_enough_where_little_is_dropped() -> None:
    found, trace, prepared, _ = refine([without(101)])
    assert found == [100, 102, 103, 104]
    assert prepared == [[100, 101, 102, 103, 104]]
    assert funnel(trace) == [("best", 20, 5), ("bad", 5, 4)]
    best, bad = trace.stages[1:]
    assert best.dropped is not None
    assert bad.dropped is not None
    assert best.dropped.tolist() == list(range(105, 120))
    assert bad.dropped.tolist() == [101]


def test_what_is_dropped_is_replaced_from_below() -> None:
    found, trace, prepared, asked = refine(
        [without(101, 103, name="one"), without(100, 106, name="two")], enough=5
    )
    assert found == [102, 104, 105, 107, 108, 109]
    assert prepared == [[100, 101, 102, 103, 104], [105, 106, 107, 108, 109]]
    assert funnel(trace) == [("best", 20, 10), ("one", 10, 8), ("two", 8, 6)]
    assert {s.name: s.dropped.tolist() for s in trace.stages[2:] if s.dropped is not None} == {
        "one": [101, 103],
        "two": [100, 106],
    }
    assert asked.degraded == []


def test_it_ends_with_the_supply_or_the_rounds() -> None:
    nothing = Filter("none", lambda q, c: np.zeros(len(c), bool))
    found, trace, prepared, asked = refine([nothing])
    assert (found, len(prepared)) == ([], 4)
    assert funnel(trace) == [("best", 20, 20), ("none", 20, 0)]
    _, trace, prepared, asked = refine([nothing], rounds=2)
    assert len(prepared) == 2
    assert funnel(trace) == [("best", 20, 10), ("none", 10, 0)]
    assert asked.degraded == []


def test_without_time_it_stops_and_says_so() -> None:
    asked = replace(query(), deadline_s=time.monotonic() - 1)
    found, _, prepared, _ = refine([without(101)], enough=10, asked=asked)
    assert found == [100, 102, 103, 104]
    assert len(prepared) == 1
    assert asked.degraded == ["best"]
    asked = replace(query(), deadline_s=time.monotonic() - 1)
    refine([without(101)], enough=4, asked=asked)
    assert asked.degraded == []


def test_filters_see_what_earlier_rounds_left_too() -> None:
    """What is taken later may stand in the way of what was taken before."""
    seen: list[list[int]] = []

    def one_in_three(query: Query, candidates: Candidates) -> Any:
        seen.append(candidates.post_ids.tolist())
        kept = np.ones(len(candidates), bool)
        kept[candidates.post_ids == 100] = 105 not in candidates.post_ids
        return kept

    found, trace, _, _ = refine([Filter("f", one_in_three)], enough=6)
    assert seen == [list(range(100, 105)), list(range(100, 110))]
    assert found == list(range(101, 110))
    assert funnel(trace) == [("best", 20, 10), ("f", 10, 9)]


def test_what_prepares_may_leave_out_and_complete() -> None:
    def prepare(query: Query, chosen: Candidates) -> Candidates:
        return replace(chosen, created_ms=chosen.post_ids).take(chosen.post_ids % 2 == 0)

    found, trace, _, _ = refine([without(102)], enough=2, prepare=prepare)
    assert found == [100, 104]
    assert funnel(trace) == [("best", 20, 3), ("bad", 3, 2)]
    assert trace.stages[1].dropped is not None
    assert set(trace.stages[1].dropped.tolist()) == {101, 103, *range(105, 120)}


def test_an_order_of_its_own() -> None:
    found, trace, prepared, _ = refine(
        [without()], width=3, enough=3, order=lambda q, c: np.argsort(-c.post_ids)
    )
    assert found == prepared[0] == [119, 118, 117]
    assert trace.stages[1].ordered is not None
    assert trace.stages[1].ordered.tolist() == found


def fails(*_: Any) -> Any:
    raise ZeroDivisionError


def test_failing_filters() -> None:
    with pytest.raises(ZeroDivisionError):
        refine([Filter("f", fails)])
    found, trace, _, asked = refine([Filter("f", fails, optional=True), without(100)])
    assert found == [101, 102, 103, 104]
    assert asked.degraded == ["f"]
    assert trace.stages[2].failed == "ZeroDivisionError"
    found, trace, prepared, asked = refine([Filter("f", fails, safety=True), without(100)])
    assert (found, len(prepared), asked.degraded) == ([], 1, ["f"])
    assert funnel(trace) == [("best", 20, 5), ("f", 5, 0)]


def test_a_gate_may_be_over_one_of_its_filters() -> None:
    gate = Gate("never", lambda q: False, over=("bad",))
    found, trace, _, _ = refine([without(101), without(102, name="other")], before=[gate])
    assert found == [100, 101, 103, 104]
    assert [(s.name, s.skipped) for s in trace.stages[-2:]] == [
        *(("bad", "never is closed"), ("other", "")),
    ]


@given(
    bad=st.lists(st.sets(st.integers(100, 100 + N - 1)), min_size=1, max_size=3),
    enough=st.integers(0, N),
    width=st.integers(1, N + 3),
)
def test_refilling_against_model(bad: list[set[int]], enough: int, width: int) -> None:
    filters = [without(*those, name=f"f{k}") for k, those in enumerate(bad)]
    found, trace, prepared, _ = refine(filters, enough, width, rounds=N)
    allowed = [post for post in range(100, 100 + N) if not any(post in those for those in bad)]
    # The best of what is allowed, as many as are enough, or all there are.
    assert found == allowed[: len(found)]
    assert len(found) >= min(enough, len(allowed))
    dropped = [p for s in trace.stages if s.dropped is not None for p in s.dropped.tolist()]
    assert sorted([*dropped, *found]) == POSTS.post_ids.tolist()
    # And nothing was prepared for which there was no need.
    if len(prepared) > 1:
        short = set(allowed) & {post for one in prepared[:-1] for post in one}
        assert len(short) < enough

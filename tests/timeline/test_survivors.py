"""Rows first, columns late: a filter sees exactly what the one before it left."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.features.light import FEATURES
from tests.timeline.candidate_rows import query, rows
from timeline.candidates import Candidates, concatenate
from timeline.pipeline import Filter, StageTrace
from timeline.query import Query
from timeline.survivors import settled, sift

N = 12
POSTS = rows(
    *(
        {"post_ids": 100 + k, "author_ids": k, "scores": k / 8, "age_hours": k, "proof_ids": k}
        for k in range(N)
    )
)


def same(one: Candidates, other: Candidates) -> None:
    for f in fields(Candidates):
        np.testing.assert_array_equal(getattr(one, f.name), getattr(other, f.name))


@given(st.lists(st.lists(st.booleans(), min_size=N, max_size=N), min_size=1, max_size=5))
def test_a_run_of_filters_against_model(masks: list[list[bool]]) -> None:
    expected, found = POSTS, POSTS
    for mask in masks:
        of_post = dict(zip(POSTS.post_ids.tolist(), mask, strict=True))
        seen: list[Candidates] = []

        def keep(
            query: Query,
            given: Candidates,
            of_post: dict[int, bool] = of_post,
            seen: list[Candidates] = seen,
        ) -> Any:
            seen.append(given)
            return np.array([of_post[post] for post in given.post_ids.tolist()], bool)

        record = StageTrace("f", 0.0, 0, 0)
        found = sift(Filter("f", keep), query(), found, record)
        [given] = seen
        assert len(given) == len(expected)
        same(given, expected)
        kept = np.array([of_post[post] for post in expected.post_ids.tolist()], bool)
        dropped = expected.post_ids[~kept].tolist()
        assert (record.dropped is not None and record.dropped.tolist()) == (dropped or False)
        expected = expected.take(kept)
    same(settled(found), expected)
    assert type(settled(found)) is Candidates


def some() -> Candidates:
    keep = Filter("even", lambda q, c: c.post_ids % 2 == 0)
    found = sift(keep, query(), POSTS, StageTrace("even", 0.0, 0, 0))
    assert type(found) is not Candidates
    return found


def test_only_what_is_read_is_gathered() -> None:
    found = some()
    assert found.author_ids.tolist() == [0, 2, 4, 6, 8, 10]
    assert found.author_ids is found.author_ids
    assert found.feature("age_hours").tolist() == [0, 2, 4, 6, 8, 10]
    gathered = {f.name for f in fields(Candidates)} & vars(found).keys()
    assert gathered == {"author_ids"}


def test_they_can_be_used_as_any_candidates() -> None:
    found, expected = some(), POSTS.take(np.arange(0, N, 2))
    same(found.take(np.array([2, 0])), expected.take(np.array([2, 0])))
    same(found.take(found.author_ids > 4), expected.take(expected.author_ids > 4))
    same(found.with_scores(found.scores * 2), expected.with_scores(expected.scores * 2))
    same(found.of_source(3), expected.of_source(3))
    same(concatenate([found, found]), concatenate([expected, expected]))
    other = replace(found, author_ids=np.zeros(6, np.int64))
    assert len(other) == 6
    assert other.feature("age_hours").tolist() == expected.feature("age_hours").tolist()
    same(
        settled(other.take(np.array([1]))),
        replace(expected, author_ids=other.author_ids).take(np.array([1])),
    )
    assert found.features.shape == (6, len(FEATURES))
    assert found.feature("age_hours").tolist() == expected.feature("age_hours").tolist()


def test_where_nothing_is_dropped_nothing_is_made() -> None:
    everything = Filter("all", lambda q, c: np.ones(len(c), bool))
    record = StageTrace("all", 0.0, 0, 0)
    assert sift(everything, query(), POSTS, record) is POSTS
    assert record.dropped is None
    assert settled(POSTS) is POSTS

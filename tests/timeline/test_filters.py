from functools import partial
from typing import Any

import numpy as np
import pytest

from cluster.settings import Settings
from tests.timeline.candidate_rows import NOW_MS, VIEWER, query, rows
from tests.worlds import HOUR_MS, models
from timeline import filters
from timeline.candidates import NONE, Candidates, Mask
from timeline.filters import chain_hashes
from timeline.pipeline import Filter, Judged
from timeline.products import following, for_you

OF_A_PAGE = ("muted_words", "reposts", "quotes", "social_context", "repost_languages")
OF_A_PAGE += ("conversations",)
"""Filters that need the facts of a page; see `test_page_facts`."""
ALL = {
    stage.name: stage.keep
    for product in (for_you(models()), following())
    for stage in product.steps
    if isinstance(stage, Filter) and stage.name not in OF_A_PAGE
}


def kept(keep: Any, candidates: Candidates, **given: Any) -> list[bool]:
    return keep(query(**given), candidates).tolist()  # type: ignore[no-any-return]


def mask(said: Mask | Judged) -> Mask:
    return said.keep if isinstance(said, Judged) else said


@pytest.mark.parametrize("keep", ALL.values(), ids=ALL)
@pytest.mark.parametrize("known", [False, True])
def test_every_filter(keep: Any, known: bool) -> None:
    """The contract: a new boolean for each candidate, none for none, and nothing changed."""
    some = np.arange(45, 60)
    given = dict.fromkeys(
        ["follows", "blocks", "blocked_by", "mutes", "hidden_author_ids"], some
    ) | dict.fromkeys(["seen_ids", "served_ids", "hidden_post_ids"], np.arange(100, 103))
    asked = query(**(given if known else {}))
    asked.chain = np.sort(chain_hashes(np.arange(100, 103)))
    candidates = rows({}, {"repost_of_ids": 3}, {"linked": [46, 0, 0]}, {"deleted": True})
    copied = {name: column.copy() for name, column in vars(candidates).items()}
    for given_rows in (candidates, NONE):
        first, second = (mask(keep(asked, given_rows)) for _ in range(2))
        assert first.dtype == np.bool_
        assert first.shape == (len(given_rows),)
        np.testing.assert_array_equal(first, second)
    for name, column in copied.items():
        np.testing.assert_array_equal(column, getattr(candidates, name))
    shuffled = np.array([2, 0, 3, 1])
    by_row = mask(keep(asked, candidates))[shuffled]
    assert mask(keep(asked, candidates.take(shuffled))).tolist() == by_row.tolist()


def test_known() -> None:
    candidates = rows({}, {"created_ms": 0}, {"deleted": True}, {"author_gone": True})
    assert kept(filters.known, candidates) == [True, False, False, False]


def test_protected() -> None:
    candidates = rows({}, {"author_protected": True}, {"author_protected": True, "author_ids": 7})
    assert kept(filters.not_protected, candidates, follows=[9, 7]) == [True, False, True]


def test_recent() -> None:
    def at(hours: float, followed: bool) -> dict[str, Any]:
        return {"created_ms": NOW_MS - int(hours * HOUR_MS), "is_followed": followed}

    candidates = rows(
        at(24, False), at(24.1, False), at(24.1, True), at(48, True), at(48.1, True), at(-1, True)
    )
    assert kept(partial(filters.recent, 1), candidates) == [True, False, True, True, False, False]


def test_own() -> None:
    candidates = rows(
        {}, {"author_ids": VIEWER}, {"linked": [0, 0, VIEWER]}, {"linked": [VIEWER, VIEWER, 0]}
    )
    # A reply to the viewer and a quote of theirs stay; their own words do not.
    assert kept(filters.not_own, candidates) == [True, False, False, True]


LINKED = [{}, {"author_ids": 7}, *({"linked": np.eye(3, dtype=int)[k] * 7} for k in range(3))]


@pytest.mark.parametrize("side", ["blocks", "blocked_by"])
def test_blocks_hold_in_both_directions_and_for_whoever_is_linked(side: str) -> None:
    assert kept(filters.not_blocked, rows(*LINKED), **{side: [6, 7]}) == [True] + [False] * 4
    assert kept(filters.not_blocked, rows(*LINKED), **{side: [6]}) == [True] * 5


def test_mutes_hold_for_whoever_is_linked() -> None:
    assert kept(filters.not_muted, rows(*LINKED), mutes=[7]) == [True] + [False] * 4
    assert kept(filters.not_muted, rows(*LINKED), blocks=[7]) == [True] * 5


def test_seen() -> None:
    candidates = rows({"post_ids": 5}, {"post_ids": 6, "repost_of_ids": 5}, {"post_ids": 7})
    assert kept(filters.not_seen, candidates, seen_ids=[5]) == [False, False, True]


def test_served() -> None:
    candidates = rows(
        {"post_ids": 5}, {"post_ids": 6, "repost_of_ids": 5}, {"post_ids": 7}, {"post_ids": 8}
    )
    asked = query(served_ids=[7])
    # A fresh first page may show again what was served.
    assert filters.not_served(asked, candidates).all()
    asked.chain = np.sort(chain_hashes(np.array([5, 99])))
    assert filters.not_served(asked, candidates).tolist() == [False, False, False, True]


def test_disliked() -> None:
    candidates = rows({"post_ids": 5}, {"author_ids": 9}, {})
    hidden = {"hidden_post_ids": [5], "hidden_author_ids": [9]}
    # Of the author only feedback fatigue says more.
    assert kept(filters.not_disliked, candidates, **hidden) == [False, True, True]


def test_one_per_repost() -> None:
    candidates = rows(
        {"post_ids": 11, "repost_of_ids": 5},
        {"post_ids": 12, "repost_of_ids": 6},
        {"post_ids": 5},
        {"post_ids": 13, "repost_of_ids": 6},
        {"post_ids": 14},
    )
    assert kept(filters.one_per_repost, candidates) == [False, True, True, False, True]


def test_windows_are_settings() -> None:
    settings = Settings(windows={"out_of_network_ms": 10})  # type: ignore[arg-type]
    candidates = rows({"created_ms": NOW_MS - 11}, {"created_ms": NOW_MS - 10})
    assert filters.recent(1, query(settings), candidates).tolist() == [False, True]

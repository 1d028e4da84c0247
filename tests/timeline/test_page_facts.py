"""Of how many candidates the facts of a page are fetched, and when these are enough."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cluster.settings import Settings
from tests.timeline.candidate_rows import query, rows
from timeline import page_facts
from timeline.balance import wanted_of_sides
from timeline.candidates import Candidates
from timeline.query import Query

LIMIT = 10


def asked_of(share: float | None, n_asked: int = 0) -> Query:
    settings = Settings(heuristics={"balance": {"in_network_share": share}})
    asked = query(settings, LIMIT)
    facts: Any = type("Asked", (), {"post_ids": np.arange(n_asked)})()
    return replace(asked, page_facts=facts)


def sides(n_followed: int, n_others: int) -> Candidates:
    return rows(*({"is_followed": 1.0},) * n_followed, *({"is_followed": 0.0},) * n_others)


@pytest.mark.parametrize(
    ("share", "wanted", "width"),
    [
        (None, (10, 10), 40),
        (0.5, (5, 5), 30),
        (0.8, (8, 2), 36),
        (0.0, (0, 10), 40),
        (1.0, (10, 0), 40),
    ],
)
def test_as_many_are_asked_about_as_a_page_may_need(
    share: float | None, wanted: tuple[int, int], width: int
) -> None:
    asked = asked_of(share)
    assert wanted_of_sides(asked) == wanted
    stage = page_facts.page_facts(lambda c: np.zeros(len(c), np.uint8))
    assert stage.width(asked) == width
    # Of a larger page half as many again.
    asked.limit = 4 * LIMIT
    assert stage.width(asked) == 2 * (4 * max(wanted) + 2 * LIMIT)


@pytest.mark.parametrize(
    ("share", "n_asked", "kept", "enough"),
    [
        (0.5, 20, (10, 10), True),
        (0.5, 20, (5, 5), True),
        (0.5, 20, (4, 10), False),
        (0.5, 20, (10, 4), False),
        # Of one side there is no more: fewer than half of what was asked about, less the dropped.
        (0.5, 20, (3, 17), True),
        (0.5, 20, (3, 16), True),
        (0.5, 20, (3, 13), True),
        (0.5, 20, (4, 12), True),
        (0.5, 20, (4, 11), True),
        (0.5, 20, (0, 20), True),
        (0.5, 20, (0, 9), False),
        (0.8, 26, (8, 2), True),
        (0.8, 26, (7, 12), False),
        (None, 30, (10, 10), True),
        (None, 30, (6, 15), True),
        (None, 30, (7, 12), False),
        (None, 30, (0, 30), True),
    ],
)
def test_enough_is_what_a_page_wants_of_either_side(
    share: float | None, n_asked: int, kept: tuple[int, int], enough: bool
) -> None:
    stage = page_facts.page_facts(lambda c: np.zeros(len(c), np.uint8))
    assert stage.enough(asked_of(share, n_asked), sides(*kept)) == enough

"""What a page covers, and which cursors go on from it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actors.stores.newest_between import Place
from cluster.settings import load
from tests.timeline.candidate_rows import NOW_MS, VIEWER, query, rows
from timeline import walks
from timeline.ads import Ad
from timeline.candidates import NONE, Candidates
from timeline.cursors import Cursor, CursorKind, Walk
from timeline.filters import chain_hashes
from timeline.query import Query
from timeline.threads import newest_entries

OLDER, NEWER, GAP = CursorKind
FOLLOWING = 1


def posts(*places: tuple[int, int]) -> Candidates:
    return rows(*({"created_ms": at_ms, "post_ids": post_id} for at_ms, post_id in places))


def asking(limit: int = 10, reached: tuple[int, int] | None = None, **walk: Any) -> Query:
    asked = query(limit=limit)
    asked.walk = Walk(**walk)
    asked.reached = Place(*reached) if reached else None
    return asked


FOUR = posts((5, 1), (7, 4), (7, 6), (9, 2))


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        (None, None, [1, 4, 6, 2]),
        (Place(7, 6), None, [1, 4]),
        (Place(7, 5), None, [1, 4]),
        (Place(8, 0), None, [1, 4, 6]),
        (None, Place(7, 4), [6, 2]),
        (None, Place(7, 7), [2]),
        (Place(9, 2), Place(5, 1), [4, 6]),
        (Place(5, 1), None, []),
    ],
)
def test_within(before: Place | None, after: Place | None, kept: list[int]) -> None:
    asked = asking(before=before, after=after)
    assert FOUR.post_ids[walks.within(asked, FOUR)].tolist() == kept
    assert walks.within(asked, NONE).tolist() == []


def test_what_stood_above_replies_is_not_shown_again() -> None:
    asked = asking(before=Place(9, 2))
    asked.carried = np.sort(chain_hashes(np.array([4, 2])))
    assert FOUR.post_ids[walks.unshown(asked, FOUR)].tolist() == [1, 6]
    asked.carried = asked.carried[:0]
    assert FOUR.post_ids[walks.unshown(asked, FOUR)].tolist() == [1, 4, 6]
    assert walks.unshown(asked, NONE).tolist() == []


def test_the_newest_are_chosen_and_the_rest_is_for_another_page() -> None:
    asked = asking(limit=3, reached=(1, 1))
    chosen = FOUR.take(newest_entries(asked, FOUR))
    assert chosen.post_ids.tolist() == [2, 6, 4]
    assert asked.reached == Place(7, 4)
    # Nothing is left over: what the source said stands.
    for limit in (4, 5):
        asked = asking(limit=limit, reached=(1, 1))
        assert FOUR.take(newest_entries(asked, FOUR)).post_ids.tolist() == [2, 6, 4, 1]
        assert asked.reached == Place(1, 1)
    assert newest_entries(asking(), NONE).tolist() == []


def ends(asked: Query, shown: Candidates) -> tuple[Any, ...]:
    """(before, after) of each cursor, or None."""
    found = walks.cursors_of_ordered(FOLLOWING, asked, shown)
    for cursor, kind in ((found.older, OLDER), (found.newer, NEWER), (found.gap, GAP)):
        if cursor is not None:
            assert (cursor.kind, cursor.product, cursor.viewer_id) == (kind, FOLLOWING, VIEWER)
            assert (cursor.issued_ms, len(cursor.chain)) == (NOW_MS, 0)
            assert cursor.subject_id == asked.walk.list_id
    return tuple(
        cursor and (cursor.before, cursor.after) for cursor in (found.older, found.newer, found.gap)
    )


SHOWN = posts((9, 2), (7, 6))
PLACES: dict[str, Any] = {"before": Place(20, 1), "after": Place(3, 3)}


@pytest.mark.parametrize(
    ("kind", "shown", "reached", "older", "newer", "gap"),
    [
        # A first page: to the end, not to the end, and with everything filtered.
        (None, SHOWN, None, None, (None, (9, 2)), None),
        (None, SHOWN, (7, 6), ((7, 6), None), (None, (9, 2)), None),
        (None, NONE, (7, 6), ((7, 6), None), (None, (7, 6)), None),
        (None, NONE, None, None, (None, None), None),
        # Below: nothing new is said of what is above.
        (OLDER, SHOWN, (7, 6), ((7, 6), None), None, None),
        (OLDER, SHOWN, None, None, None, None),
        (OLDER, NONE, (4, 4), ((4, 4), None), None, None),
        # Above: a gap where it did not come down to what was shown.
        (NEWER, SHOWN, None, None, (None, (9, 2)), None),
        (NEWER, SHOWN, (7, 6), None, (None, (9, 2)), ((7, 6), (3, 3))),
        (NEWER, NONE, None, None, (None, (3, 3)), None),
        (NEWER, NONE, (8, 8), None, (None, (8, 8)), ((8, 8), (3, 3))),
        # In a gap.
        (GAP, SHOWN, (7, 6), None, None, ((7, 6), (3, 3))),
        (GAP, SHOWN, None, None, None, None),
    ],
)
def test_cursors_of_timelines_ordered_by_time(
    kind: CursorKind | None,
    shown: Candidates,
    reached: tuple[int, int] | None,
    older: Any,
    newer: Any,
    gap: Any,
) -> None:
    asked = asking(reached=reached, kind=kind, list_id=71, **({} if kind is None else PLACES))
    assert ends(asked, shown) == (older, newer, gap)


@pytest.mark.parametrize("kind", [None, OLDER, NEWER, GAP])
def test_the_cursor_that_goes_down_carries_what_was_shown_of_there(kind: Any) -> None:
    asked = asking(reached=(7, 6), kind=kind, **({} if kind is None else PLACES))
    asked.carried = np.sort(chain_hashes(np.array([50, 51])))
    above = [Place(8, 1), Place(7, 6), Place(7, 5), Place(4, 9)]
    found = walks.cursors_of_ordered(FOLLOWING, asked, SHOWN, above)
    down = found.older or found.gap
    assert down is not None
    assert down.chain.tolist() == np.sort(chain_hashes(np.array([50, 51, 5, 9]))).tolist()
    assert found.newer is None or len(found.newer.chain) == 0


AD = Ad("a", "x")
MIXED, PLAIN = ["post", "post", AD, "post"], ["post", "post"]


@pytest.mark.parametrize(
    ("kind", "page", "reached", "down", "newer"),
    [
        # Cursors that go down say how far the last ad above and, in a gap, the first below are.
        (None, MIXED, (7, 6), (1, None), 2),
        # Nothing is known of below a page without ads, so there may be one.
        (None, PLAIN, (7, 6), (None, None), 2),
        (OLDER, MIXED, (7, 6), (1, None), None),
        (OLDER, PLAIN, (7, 6), (5, None), None),
        (NEWER, MIXED, None, None, 2),
        (NEWER, PLAIN, None, None, 2 + 7),
        (NEWER, [], None, None, 7),
        # The gap may get an ad where it begins.
        (NEWER, MIXED, (7, 6), (1, 7), 2),
        (NEWER, PLAIN, (7, 6), (None, 7), 2),
        (GAP, MIXED, (7, 6), (1, 7), None),
        (GAP, PLAIN, (7, 6), (5, 7), None),
    ],
)
def test_cursors_say_how_far_ads_are(
    kind: CursorKind | None,
    page: list[Any],
    reached: tuple[int, int] | None,
    down: tuple[int | None, int | None] | None,
    newer: int | None,
) -> None:
    asked = asking(reached=reached, kind=kind, **({} if kind is None else PLACES))
    if kind is not None:
        asked.walk = replace(asked.walk, since_ad=None if kind is NEWER else 3, until_ad=7)
    if kind is OLDER:
        asked.walk = replace(asked.walk, until_ad=None)
    found = walks.cursors_of_ordered(FOLLOWING, asked, SHOWN, (), page)
    lower = found.older or found.gap
    assert (lower and (lower.since_ad, lower.until_ad)) == down
    assert (found.newer and found.newer.until_ad) == newer


def test_where_somebody_does_not_answer_the_end_is_not_known() -> None:
    asked = asking(kind=OLDER, before=Place(20, 1))
    asked.note("shard_1")
    assert ends(asked, SHOWN) == ((Place(7, 6), None), None, None)
    assert ends(asked, NONE) == (None, None, None)


def test_without_the_viewer_nothing_goes_on() -> None:
    asked = replace(asking(reached=(7, 6)), context=None)
    assert walks.cursors_of_ordered(FOLLOWING, asked, NONE) == walks.PageCursors()
    assert walks.cursors_of_ranked(0, asked, NONE) == walks.PageCursors()


def test_cursors_of_ranked_timelines_carry_all_that_was_shown() -> None:
    asked = asking(kind=NEWER)
    asked.chain = np.sort(chain_hashes(np.array([1, 2])))
    shown = rows({"post_ids": 3}, {"post_ids": 4, "repost_of_ids": 5})
    found = walks.cursors_of_ranked(0, asked, shown)
    both = [cursor for cursor in (found.older, found.newer) if cursor is not None]
    assert [cursor.kind for cursor in both] == [OLDER, NEWER]
    expected = np.sort(chain_hashes(np.array([1, 2, 3, 4, 5]))).tolist()
    for cursor in both:
        assert cursor.chain.tolist() == expected
        assert (cursor.before, cursor.after, cursor.subject_id) == (None, None, 0)
    assert found.gap is None
    # With what stood above them.
    found = walks.cursors_of_ranked(0, asked, shown, np.array([6, 1]))
    assert found.older is not None
    assert set(found.older.chain.tolist()) == {*expected, *chain_hashes(np.array([6])).tolist()}
    # Nothing more below, but what comes later is new.
    found = walks.cursors_of_ranked(0, asked, NONE)
    assert found.older is None
    assert isinstance(found.newer, Cursor)
    assert found.newer.chain.tolist() == asked.chain.tolist()


def test_a_chain_that_is_too_long_ends() -> None:
    asked = replace(asking(), settings=load(for_you={"max_chain": 2}))
    assert walks.cursors_of_ranked(0, asked, rows({}, {})).older is not None
    assert walks.cursors_of_ranked(0, asked, rows({}, {}, {})) == walks.PageCursors()

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.viewer_state import ViewerState
from cluster.events import Kind
from cluster.heuristics_settings import FatigueSettings
from cluster.settings import Settings
from tests.timeline.candidate_rows import NOW_MS, query, rows
from tests.worlds import DAY_MS
from timeline.candidates import NONE
from timeline.feedback_fatigue import fatigue, multipliers, not_fatigued, not_reported
from timeline.query import Query


def told(*feedback: tuple[int, Kind, float], settings: Settings | None = None) -> Query:
    """A query of a viewer who said (about whom, what, how many days ago)."""
    users, kinds, days = zip(*feedback, strict=True) if feedback else ((), (), ())
    state = ViewerState(
        feedback_author_ids=np.array(users, np.int64),
        feedback_kinds=np.array(kinds, np.uint8),
        feedback_ms=np.array([NOW_MS - int(d * DAY_MS) for d in days], np.int64),
    )
    return replace(query(settings), state=state)


def less(**days_by_user: float) -> Query:
    """Less of `u7=3`: user 7, three days ago."""
    said = [(int(name[1:]), Kind.SHOW_LESS, days) for name, days in days_by_user.items()]
    return told(*said)


def proofs(*user_ids: int) -> list[int]:
    return [*user_ids, *[0] * (10 - len(user_ids))]


@pytest.mark.parametrize(
    ("days", "left"),
    [(0, 0.12), (14, 0.2), (49, 0.4), (84, 0.6), (119, 0.8), (154, 1.0), (155, 1.0), (9_999, 1.0)],
)
def test_multipliers_are_the_published_ones(days: int, left: float) -> None:
    found = multipliers(np.array([days]), FatigueSettings())
    assert found.tolist() == [pytest.approx(left, abs=1e-12)]


def test_multipliers_grow_and_stay_within_bounds() -> None:
    found = multipliers(np.arange(400), FatigueSettings())
    assert (np.diff(found) >= 0).all()
    steep = multipliers(np.arange(400), FatigueSettings(start=0.0, ramp_days=1))
    assert steep.min() == 0.0
    assert steep.max() == 1.0


@pytest.mark.parametrize(
    ("days", "left"),
    [(0, 0.12), (14, 0.2), (14.9, 0.2), (49, 0.4), (153.9, 0.2 + 139 / 175), (154, 1), (-3, 0.12)],
)
def test_the_author_counts_in_whole_days(days: float, left: float) -> None:
    candidates = rows({"author_ids": 7}, {"author_ids": 8})
    assert fatigue(less(u7=days), candidates).tolist() == pytest.approx([left, 1])


@pytest.mark.parametrize(("days", "stays"), [(0, False), (13.9, False), (14, True), (154, True)])
def test_for_the_first_days_nothing_is_shown(days: float, stays: bool) -> None:
    candidates = rows({"author_ids": 7}, {"author_ids": 8})
    assert not_fatigued(less(u7=days), candidates).tolist() == [stays, True]


POSTS: dict[str, tuple[dict[str, Any], float, bool]] = {
    # A post; what is left of it with 0.2 for user 7 and 0.4 for user 8; whether it stays where
    # both were blocked.
    "of nobody suppressed": ({"author_ids": 9}, 1.0, True),
    "by 7": ({"author_ids": 7}, 0.2, False),
    "of 7, reposted by 9": (
        {"author_ids": 9, "repost_of_ids": 5, "linked": [0, 0, 7]},
        0.2,
        False,
    ),
    "of 9, reposted by 7": (
        {"author_ids": 7, "repost_of_ids": 5, "linked": [0, 0, 9]},
        0.2,
        False,
    ),
    "of 7, reposted by 8": (
        {"author_ids": 8, "repost_of_ids": 5, "linked": [0, 0, 7]},
        0.2 * 0.4,
        False,
    ),
    "quoting and answering 7": ({"author_ids": 9, "linked": [7, 7, 0]}, 1.0, True),
    "liked by 7": ({"author_ids": 9, "proof_ids": proofs(7)}, 0.2, False),
    "liked by 7 and 8": ({"author_ids": 9, "proof_ids": proofs(7, 8)}, 0.4, False),
    "liked by 7 and 9": ({"author_ids": 9, "proof_ids": proofs(9, 7)}, 1.0, True),
    "by 7, liked by 8": ({"author_ids": 7, "proof_ids": proofs(8)}, 0.2 * 0.4, False),
}


@pytest.mark.parametrize("name", POSTS)
def test_author_reposter_and_likers_multiply(name: str) -> None:
    post, left, stays = POSTS[name]
    candidates = rows(post, {"author_ids": 99})
    assert fatigue(less(u7=14, u8=49), candidates).tolist() == pytest.approx([left, 1])
    assert not_fatigued(less(u7=14, u8=49), candidates).all()
    assert not_fatigued(less(u7=1, u8=2), candidates).tolist() == [stays, True]


def test_followers_of_the_author_count_where_nobody_liked() -> None:
    candidates = rows({}, {}, {}, {"proof_ids": proofs(9)})
    followers = np.array([[7, 0], [7, 8], [7, 9], [7, 8]])
    found = fatigue(less(u7=14, u8=49), candidates, followers)
    assert found.tolist() == pytest.approx([0.2, 0.4, 1, 1])
    blocked = not_fatigued(less(u7=1, u8=49), candidates, followers)
    assert blocked.tolist() == [False, True, True, True]
    assert (
        not_fatigued(less(u7=1, u8=2), candidates, followers).tolist() == [False] * 2 + [True] * 2
    )


def test_only_see_less_counts_and_the_newest_of_it() -> None:
    candidates = rows({"author_ids": 7}, {"author_ids": 8}, {"author_ids": 9})
    asked = told(
        (8, Kind.NOT_INTERESTED, 1),
        (9, Kind.REPORT, 1),
        (7, Kind.SHOW_LESS, 100),
        (7, Kind.SHOW_LESS, 14),
        (7, Kind.SHOW_LESS, 60),
    )
    assert fatigue(asked, candidates).tolist() == pytest.approx([0.2, 1, 1])
    assert not_fatigued(asked, candidates).all()


def test_windows_are_settings() -> None:
    settings = Settings(  # type: ignore[call-arg]
        heuristics={"fatigue": {"block_days": 0, "ramp_days": 10, "start": 0.5}}
    )
    asked = told((7, Kind.SHOW_LESS, 0), (8, Kind.SHOW_LESS, 5), settings=settings)
    candidates = rows({"author_ids": 7}, {"author_ids": 8})
    assert fatigue(asked, candidates).tolist() == pytest.approx([0.5, 0.75])
    assert not_fatigued(asked, candidates).all()


def test_reported_authors_are_not_shown_for_as_long_as_feedback_is_kept() -> None:
    kept_days = Settings().windows.negative_ms / DAY_MS
    candidates = rows(
        {"author_ids": 7},
        {"author_ids": 8},
        {"author_ids": 9},
        {"author_ids": 10, "repost_of_ids": 5, "linked": [0, 0, 7]},
    )
    asked = told(
        (7, Kind.REPORT, kept_days), (8, Kind.REPORT, kept_days + 1), (9, Kind.SHOW_LESS, 1)
    )
    assert not_reported(asked, candidates).tolist() == [False, True, True, False]


def test_nothing_and_nobody() -> None:
    for asked in (told(), less(u7=3)):
        assert fatigue(asked, NONE).shape == (0,)
        assert not_fatigued(asked, NONE).shape == (0,)
        assert not_reported(asked, NONE).shape == (0,)


def slow(said: dict[int, int], post: tuple[int, int, list[int]]) -> tuple[float, bool]:
    """The published rules for one post: (author, reposter or 0, likers)."""
    left = {user: min(((days - 14) / 35) * 0.2 + 0.2, 1.0) for user, days in said.items()}
    author, reposter, likers = post
    factor = left.get(author, 1.0) * (left.get(reposter, 1.0) if reposter else 1.0)
    if likers and all(user in left for user in likers):
        factor *= max(left[user] for user in likers)
    blocked = {user for user, days in said.items() if days < 14}
    gone = author in blocked or reposter in blocked
    return factor, not (gone or (bool(likers) and set(likers) <= blocked))


users = st.integers(1, 6)


@given(
    st.dictionaries(users, st.integers(0, 200), max_size=5),
    st.lists(st.tuples(users, st.integers(0, 6), st.lists(users, max_size=4)), max_size=8),
)
def test_as_the_rules_say_for_any_post(
    said: dict[int, int], posts: list[tuple[int, int, list[int]]]
) -> None:
    asked = told(*((user, Kind.SHOW_LESS, days) for user, days in said.items()))
    candidates = rows(
        *(
            {"proof_ids": proofs(*likers)}
            | (
                {"author_ids": reposter, "repost_of_ids": 5, "linked": [0, 0, author]}
                if reposter
                else {"author_ids": author}
            )
            for author, reposter, likers in posts
        )
    )
    expected = [slow(said, post) for post in posts]
    found = fatigue(asked, candidates)
    np.testing.assert_allclose(found, [factor for factor, _ in expected], rtol=1e-6)
    assert not_fatigued(asked, candidates).tolist() == [keep for _, keep in expected]

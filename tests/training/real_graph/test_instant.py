import numpy as np
import pytest

from cluster.events import Kind
from tests.training.real_graph.small import DAY_MS, START_MS, Diary, key, named
from training.real_graph.instant import FEATURES, N_COLUMNS, Instant, known_at
from training.real_graph.interactions import Feature, Interactions
from training.real_graph.rollup import DECAY, Rolled


def at_day(found: Interactions, day: float) -> Instant:
    return known_at(found, START_MS + round(day * DAY_MS), DAY_MS)


def of_edge(rolled: Rolled, pair: int, feature: Feature) -> tuple[float, int, int]:
    """(ewma, non-zero days, days since last); zeros where there is none."""
    at = np.flatnonzero(rolled.series == pair * N_COLUMNS + FEATURES.index(feature))
    if not len(at):
        return 0.0, 0, 0
    i = at[0]
    return rolled.ewmas[i], int(rolled.non_zero_days[i]), int(rolled.days_since_last[i])


def test_only_the_past_is_known() -> None:
    diary = Diary()
    for day in (0.5, 1.5, 2.5):
        diary.did(Kind.FAVOURITE, day, 1, 2, post=int(day * 2))
    diary.did(Kind.UNFAVOURITE, 2.2, 1, 2, post=1)
    found = diary.collected()
    assert len(at_day(found, 1).days) == 1
    assert len(at_day(found, 2).days) == 2
    # The first was taken back by then, and the third has not happened.
    assert at_day(found, 2.5).times_ms.tolist() == [START_MS + round(1.5 * DAY_MS)]


def test_days_end_at_the_instant() -> None:
    diary = Diary()
    for day in (0.6, 1.4, 1.6):
        diary.did(Kind.CLICK, day, 1, 2)
    instant = at_day(diary.collected(), 2.5)
    assert (instant.today - instant.days).tolist() == [1, 1, 0]


def test_relations_are_as_they_were_last_set() -> None:
    diary = Diary()
    diary.edge(Kind.FOLLOW, 0, 1, 2)
    diary.edge(Kind.FOLLOW, 0, 1, 3)
    diary.edge(Kind.UNFOLLOW, 2, 1, 2)
    diary.edge(Kind.FOLLOW, 4, 1, 2)
    found = diary.collected()
    assert named(found, at_day(found, 1).follows) == [(1, 2), (1, 3)]
    assert named(found, at_day(found, 3).follows) == [(1, 3)]
    assert named(found, at_day(found, 3).refused) == [(1, 2)]
    again = at_day(found, 5)
    assert named(found, again.follows) == [(1, 2), (1, 3)]
    assert again.followed_ms.tolist() == [START_MS + 4 * DAY_MS, START_MS]
    assert len(again.refused) == 0


def test_the_negative_snapshot() -> None:
    diary = Diary()
    diary.edge(Kind.BLOCK, 1, 1, 2)
    diary.edge(Kind.MUTE, 1, 3, 4)
    diary.edge(Kind.MUTE, 1, 3, 5)
    diary.edge(Kind.UNMUTE, 2, 3, 5)
    diary.did(Kind.REPORT, 1, 6, 7)
    diary.did(Kind.REPORT, 1, 6, 1)
    diary.did(Kind.UNDO_REPORT, 2, 6, 1)
    diary.edge(Kind.UNFOLLOW, 1, 8, 9)
    found = diary.collected()
    refused = [(1, 2), (2, 1), (3, 4), (6, 7)]
    assert named(found, at_day(found, 3).refused) == [*refused, (8, 9)]
    # An unfollow counts for 90 days.
    assert named(found, at_day(found, 91.1).refused) == refused


def test_who_is_gone_and_came_back() -> None:
    diary = Diary()
    for user in (1, 2, 3, 4):
        diary.user(Kind.USER_CREATE, 0, user)
        diary.did(Kind.CLICK, 0.5, user, 9)
    diary.user(Kind.USER_SUSPEND, 1, 1)
    diary.user(Kind.USER_DEACTIVATE, 1, 2)
    diary.user(Kind.USER_DELETE, 1, 3)
    diary.user(Kind.USER_UNSUSPEND, 3, 1)
    found = diary.collected()
    assert found.user_ids[at_day(found, 2).gone].tolist() == [1, 2, 3]
    assert found.user_ids[at_day(found, 4).gone].tolist() == [2, 3]


def test_edges_are_rolled_up_by_feature() -> None:
    diary = Diary()
    diary.did(Kind.FAVOURITE, 0.5, 1, 2, post=1)
    diary.did(Kind.FAVOURITE, 0.6, 1, 2, post=2)
    diary.did(Kind.REPLY, 2.5, 1, 2)
    diary.did(Kind.DWELL, 2.5, 1, 2, value=1_500)
    found = diary.collected()
    rolled, pair = at_day(found, 3).roll_up_edges(DECAY), key(found, 1, 2)
    assert of_edge(rolled, pair, Feature.NUM_FAVORITES) == (pytest.approx(2 * DECAY**2), 1, 3)
    # The original loses replies in its rollup.
    assert of_edge(rolled, pair, Feature.NUM_REPLIES) == (1, 1, 1)
    assert of_edge(rolled, pair, Feature.TOTAL_DWELL_TIME) == (pytest.approx(1.5), 1, 1)


def test_an_edge_of_looking_only_is_dropped() -> None:
    diary = Diary()
    for author in (2, 3, 4):
        diary.did(Kind.IMPRESSION, 0.5, 1, author)
        diary.did(Kind.DWELL, 0.5, 1, author, value=900)
    diary.did(Kind.CLICK, 0.5, 1, 3)
    diary.edge(Kind.FOLLOW, 0, 1, 4)
    found = diary.collected()
    rolled = at_day(found, 1).roll_up_edges(DECAY)
    assert named(found, np.unique(rolled.series // N_COLUMNS)) == [(1, 3), (1, 4)]


def test_vertices_are_rolled_up_by_direction() -> None:
    diary = Diary()
    diary.post(5, 2, 0.5)
    diary.did(Kind.FAVOURITE, 0.5, 1, 2)
    diary.did(Kind.FAVOURITE, 0.5, 3, 2)
    found = diary.collected()
    rolled = at_day(found, 1).roll_up_vertices(DECAY)
    users = found.user_ids[rolled.series // N_COLUMNS // 2].tolist()
    outgoing = (rolled.series // N_COLUMNS % 2).tolist()
    features = [FEATURES[c] for c in (rolled.series % N_COLUMNS).tolist()]
    assert list(zip(users, outgoing, features, rolled.ewmas.tolist(), strict=True)) == [
        (1, 1, Feature.NUM_FAVORITES, 1),
        (2, 0, Feature.NUM_FAVORITES, 2),
        (2, 1, Feature.NUM_CREATE_TWEETS, 1),
        (3, 1, Feature.NUM_FAVORITES, 1),
    ]

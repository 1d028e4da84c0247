"""Co-engagement's scores by hand, and what shards answer at the limits of what they read."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from actors import co_engagement
from actors.co_engagement import (
    WEIGHT_ONE,
    Normalisation,
    log_cosine,
    prefactors_of,
    similarity,
    user_weights,
)
from actors.co_engagement_questions import AskCoCounts, AskDegrees, AskEngagers, AskFollowers
from cluster.events import Kind
from tests.worlds import NOW_MS, USERS, Clock, Event, states_of

AUTHOR = USERS[7]


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_prefactors_and_scores() -> None:
    factors = prefactors_of(ints(8, 0, 1, 8), ints(4, 5, 5, 0))
    assert factors.tolist() == pytest.approx([8 / math.log(8) / 4, 200.0, 0.0, 0.0])
    scores = log_cosine(ints(3, 3, 3), ints(9, 1, 0), np.full(3, 2.0))
    assert scores.tolist() == pytest.approx([6 / math.log(9), 0.0, 0.0])


def test_weights_without_a_value_are_none() -> None:
    degrees = ints(0, 1, 2, 8)
    assert user_weights(Normalisation.COSINE, degrees).tolist() == [WEIGHT_ONE] * 4
    inverse = user_weights(Normalisation.INVERSE_DEGREE, degrees) / WEIGHT_ONE
    assert inverse.tolist() == pytest.approx([0, 1, 1 / 2, 1 / 8])
    scaled = user_weights(Normalisation.SCALED, degrees) / WEIGHT_ONE
    assert scaled.tolist() == pytest.approx([0, 0, 1, 1 / 3])


def test_jaccard_is_of_the_users_and_the_rest_of_the_weights() -> None:
    one = ints(4), ints(4 * WEIGHT_ONE), ints(9), ints(7)
    assert similarity(Normalisation.JACCARD, *one) == pytest.approx(4 / 12)
    assert similarity(Normalisation.OVERLAP, *one) == pytest.approx(4.0)
    nothing = ints(0), ints(0), ints(0), ints(0)
    for kind in Normalisation:
        assert similarity(kind, *nothing).tolist() == [0.0]


def liked(pairs: Sequence[tuple[int, int]]) -> list[Event]:
    clock = Clock()
    return [clock.on_post(Kind.FAVOURITE, user, post, AUTHOR) for user, post in pairs]


def test_a_user_with_more_edges_than_are_read_counts_as_having_too_many() -> None:
    clock = Clock()
    few, many = USERS[0], USERS[1]
    events = liked([(few, 10), (many, 10)])
    events += [clock.on_post(Kind.REPLY, many, 20 + k, AUTHOR, event_id=500 + k) for k in range(12)]
    (state,) = states_of(events)
    one_key = ints(0, 2), np.array([0, 1], np.int32)
    asked = AskCoCounts("engagements", ints(few, many), *one_key, 0, ints(0), ints(6))
    found = asked.answer(state)
    assert found.n_users.tolist() == [1]
    assert found.counts.tolist() == [[1]]
    found = AskCoCounts("engagements", ints(few, many), *one_key, 0, ints(0), ints(7)).answer(state)
    assert found.counts.tolist() == [[2]]


def test_degrees_of_posts_with_more_edges_than_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(co_engagement, "EDGES_PER_POST", 4)
    (state,) = states_of(liked([(user, 10) for user in USERS[:6]]))
    lists = AskEngagers("engagements", ints(10, 11), 0, 3, seed=5).answer(state)
    assert lists.degrees.tolist() == [6, 0]
    assert len(lists.user_ids) == 3
    assert set(lists.user_ids.tolist()) <= set(USERS[2:6]), "of the newest alone"


def test_old_deleted_and_unknown_posts_have_no_degree() -> None:
    clock = Clock()
    events = [clock.post(post, AUTHOR) for post in (10, 11)]
    events.append(clock.event(Kind.POST_DELETE, post_id=11, author_id=AUTHOR))
    events.append(clock.post(13, AUTHOR, time_ms=NOW_MS - 10_000_000))
    events += [
        clock.on_post(Kind.FAVOURITE, user, post, AUTHOR)
        for user in USERS[:3]
        for post in (10, 11, 12, 13)
    ]
    (state,) = states_of(events)
    found = AskDegrees("engagements", ints(10, 11, 12, 13, 14), NOW_MS - 9_000_000).answer(state)
    assert found.degrees.tolist() == [3, 0, 0, 0, 0]


def test_the_newest_followers() -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, user, AUTHOR) for user in USERS[:4]]
    events.append(clock.edge(Kind.UNFOLLOW, USERS[3], AUTHOR))
    (state,) = states_of(events)
    found = AskFollowers(ints(USERS[6], AUTHOR), 2).answer(state)
    assert found.offsets.tolist() == [0, 0, 2]
    assert found.user_ids.tolist() == [USERS[2], USERS[1]]

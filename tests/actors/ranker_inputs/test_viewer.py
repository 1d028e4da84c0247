from pathlib import Path

import numpy as np
import pytest

from actors.ranker_inputs.viewer import hour_of_week, request_context, weekday
from cluster.events import Kind
from cluster.ids import id_of_string
from tests.actors.ranker_inputs.named import told
from tests.timeline.trained_worlds import ANN, EVE, GUS, trained_states, write_models
from tests.worlds import DAY_MS, HOUR_MS, NOW_MS, Clock, states_of

MONDAY_MS = 1_699_833_600_000
"""Monday, 13 November 2023, 00:00 UTC."""
VIEWER = 1


@pytest.mark.parametrize(("later_ms", "day", "hour"), [(0, 0, 1), (5 * DAY_MS + HOUR_MS, 5, 122)])
def test_weeks_begin_on_monday(later_ms: int, day: int, hour: int) -> None:
    assert weekday(MONDAY_MS + later_ms) == day
    assert hour_of_week(MONDAY_MS + later_ms) == hour


def test_times_of_day_and_week_are_turns() -> None:
    block = request_context(MONDAY_MS + 6 * HOUR_MS)
    assert np.allclose(block, [[1, 0, 0, 1, 0]], atol=1e-6)
    assert request_context(MONDAY_MS + 6 * DAY_MS)[0, 4] == 1


def test_a_viewer_is_what_the_account_says_and_does() -> None:
    clock = Clock(NOW_MS - 40 * DAY_MS)
    told_of = {"language": "de", "country": "DE", "age_years": 30, "verified": True}
    events = [clock.event(Kind.USER_CREATE, actor_id=VIEWER, **told_of)]
    events += [clock.edge(Kind.FOLLOW, VIEWER, user) for user in (2, 3)]
    events += [clock.edge(Kind.FOLLOW, user, VIEWER) for user in (2, 4, 5)]
    events += [clock.edge(Kind.BLOCK, VIEWER, 8), clock.edge(Kind.MUTE, VIEWER, 9)]
    events += [clock.edge(Kind.TOPIC_FOLLOW, VIEWER, topic) for topic in (31, 32)]
    for age_ms in (10 * DAY_MS, 3 * DAY_MS, HOUR_MS):
        posted = clock.post(100 + age_ms // HOUR_MS, VIEWER)
        events.append(posted | {"time_ms": NOW_MS - age_ms})
    for k, age_ms in enumerate((4 * DAY_MS, 4 * DAY_MS - 1, DAY_MS, 0)):
        liked = clock.on_post(Kind.FAVOURITE, VIEWER, 20 + k, 2)
        events.append(liked | {"time_ms": NOW_MS - age_ms})
    events.append(clock.post(50, 2) | {"time_ms": NOW_MS - 9, "topics": [32]})
    events.append(clock.post(51, 2) | {"time_ms": NOW_MS - 8, "topics": [33]})
    [state] = states_of(events)
    found = told(state, VIEWER, [50, 51], NOW_MS)
    assert found["viewer.account_days"] == pytest.approx([40, 40], abs=1e-3)
    for name, value in {
        "age_years": 30,
        "follows": 2,
        "followers": 3,
        "followers_per_follow": 1.5,
        "blocks": 1,
        "blocked_by": 0,
        "mutes": 1,
        "topics": 2,
        "posts_1d": 1,
        "posts_7d": 2,
        "posts_30d": 3,
        "hours_since_post": 1,
        "favoured": 1,
        "affine_authors": 1,
        "affinity_share": 1,
        "active_days": 3,
        "favourite.last_hour": 1,
        "favourite.last_day": 1,
        "favourite.last_week": 4,
        "favourite.hours_since_last": 0,
        "new": 0,
        "verified": 1,
        "follows_few": 1,
        "state.light": 1,
        "state.near_zero": 0,
    }.items():
        assert found[f"viewer.{name}"] == [value, value], name
    assert found["two_hop.viewer.mutual_follow"] == [1, 1]
    assert found["viewer_language"] == [id_of_string("de")] * 2
    assert found["viewer_country"] == [id_of_string("DE")] * 2
    assert found["viewer_id"] == [VIEWER] * 2
    assert found["post.topic_followed"] == [1, 0]


def test_representations_of_a_viewer(tmp_path: Path) -> None:
    clock = Clock()
    events = [clock.post(10, EVE), clock.post(11, GUS)]
    [state] = trained_states(tmp_path, events, versions=write_models(tmp_path))
    found = told(state, ANN, [10, 11], NOW_MS)
    assert found["viewer.communities"] == [2, 2]
    assert found["viewer.best_interest"] == pytest.approx([0.8] * 2)
    shares = np.array([0.8, 0.6]) / 1.4
    entropy = -(shares * np.log(shares)).sum()
    assert found["viewer.interest_entropy"] == pytest.approx([entropy] * 2, abs=1e-4)
    assert found["viewer.has_vector"] == [1, 1]
    assert found["user_follow"] == [[1, 0, 0]] * 2
    assert found["author_follow"] == [[1, 0, 0], [0, 1, 0]]
    # A model that was trained with other vectors reads none.
    other = told(state, ANN, [10], NOW_MS, dimensions=8)
    assert other["user_follow"] == [[0] * 8]

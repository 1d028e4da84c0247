from pathlib import Path

import numpy as np
import pytest

from cluster.events import Kind
from cluster.ids import id_of_string
from tests.actors.ranker_inputs.named import told
from tests.timeline.trained_worlds import ANN, EVE, GUS, trained_states, write_models
from tests.worlds import DAY_MS, HOUR_MS, NOW_MS, Clock, states_of

VIEWER, AUTHOR, OTHER = 1, 2, 3


def test_an_author_is_followers_and_the_fate_of_the_last_posts() -> None:
    clock = Clock(NOW_MS - 20 * DAY_MS)
    known = {"language": "de", "country": "DE"}
    events = [
        clock.event(Kind.USER_CREATE, actor_id=VIEWER, **known),
        clock.event(Kind.USER_CREATE, actor_id=AUTHOR, **known, verified=True, age_years=44),
        clock.event(Kind.USER_CREATE, actor_id=OTHER, language="en", country="DE"),
        *(clock.edge(Kind.FOLLOW, user, AUTHOR) for user in (VIEWER, 4, 5)),
        clock.edge(Kind.FOLLOW, AUTHOR, 4),
        clock.edge(Kind.BLOCK, 9, AUTHOR),
    ]
    reply = {"reply_to_id": 99, "reply_to_author_id": OTHER}
    for post, age_ms, given in (
        (20, 8 * DAY_MS, {}),
        (21, 6 * DAY_MS, {"image_count": 1}),
        (22, 2 * HOUR_MS, reply),
        (23, HOUR_MS, {}),
    ):
        events.append(clock.post(post, AUTHOR, **given) | {"time_ms": NOW_MS - age_ms})
    events.append(clock.post(30, OTHER) | {"time_ms": NOW_MS - 3 * HOUR_MS})
    for user, post in ((4, 20), (4, 21), (5, 21), (4, 23)):
        liked = clock.on_post(Kind.FAVOURITE, user, post, AUTHOR)
        events.append(liked | {"time_ms": NOW_MS - 5})
    [state] = states_of(events)
    found = told(state, VIEWER, [23, 30], NOW_MS)
    for name, values in {
        "followers": [3, 0],
        "follows": [1, 0],
        "followers_per_follow": [3, 0],
        "age_years": [44, 0],
        "blocked_by": [1, 0],
        "favourers": [2, 0],
        "posts_1d": [2, 1],
        "posts_7d": [3, 1],
        "reply_share": [1 / 3, 0],
        "media_share": [1 / 3, 0],
        "hours_since_post": [1, 3],
        "favourites_per_post": [1, 0],
        "most_favourites": [2, 0],
        "favourites_per_impression": [0.4, 0.1],
        "verified": [1, 0],
        "new": [1, 1],
        "same_language": [1, 0],
        "same_country": [1, 1],
    }.items():
        assert found[f"author.{name}"] == pytest.approx(values, abs=1e-4), name
    assert found["author_language"] == [id_of_string("de"), id_of_string("en")]
    assert found["author_id"] == [AUTHOR, OTHER]


def test_two_hop_counts_are_those_between_viewer_and_author() -> None:
    clock = Clock()
    events = [clock.post(20, AUTHOR), clock.post(30, OTHER)]
    events += [clock.edge(Kind.FOLLOW, VIEWER, user) for user in (4, 5, 6)]
    events += [clock.edge(Kind.FOLLOW, user, AUTHOR) for user in (4, 5, 9)]
    events += [clock.on_post(Kind.FAVOURITE, 6, 20, AUTHOR)]
    events += [clock.on_post(Kind.FAVOURITE, VIEWER, 40, 4)]
    [state] = states_of(events)
    found = told(state, VIEWER, [20, 30], NOW_MS)
    assert found["two_hop.following.followed_by"] == [2, 0]
    assert found["two_hop.following.favorited_by"] == [1, 0]
    assert found["two_hop.favorite.followed_by"] == [1, 0]
    assert found["two_hop.author.followed_by"] == [3, 0]
    assert found["two_hop.viewer.following"] == [3, 3]
    few = told(state, VIEWER, [20, 30], NOW_MS, selection="laptop")
    assert few["two_hop.following.followed_by"] == [2, 0]
    assert "two_hop.following.favorited_by" not in few


def test_likeness_of_viewer_and_author(tmp_path: Path) -> None:
    clock = Clock()
    events = [clock.post(10, EVE), clock.post(11, GUS), clock.post(12, ANN)]
    [state] = trained_states(tmp_path, events, versions=write_models(tmp_path))
    found = told(state, ANN, [10, 11, 12], NOW_MS)
    dot = 0.8 * 0.9 + 0.6 * 0.1
    assert found["simclusters.viewer_author.dot"] == pytest.approx([dot, 0.42, 0], abs=1e-5)
    cosine = dot / np.hypot(0.9, 0.1)
    values = found["simclusters.viewer_author.cosine"]
    assert values == pytest.approx([cosine, 0.6, 0], abs=1e-5)
    assert found["twhin.follow_author.cosine"] == [1, 0, 0]
    assert found["author.communities"] == [2, 1, 0]
    assert found["author.known_for"] == pytest.approx([0.5, 0.6, 0])
    assert found["author.has_vector"] == [1, 1, 0]
    assert found["author.reputation"] == [40, 0, 0]

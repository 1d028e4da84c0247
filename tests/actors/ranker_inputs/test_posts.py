from pathlib import Path

import numpy as np
import pytest

from cluster.events import Kind
from cluster.ids import id_of_string
from tests.actors.ranker_inputs.named import told
from tests.timeline.trained_worlds import (
    ALIKE,
    ANN,
    SOURCE,
    UNLIKE,
    the_world,
    trained_states,
    write_models,
)
from tests.worlds import HOUR_MS, NOW_MS, Clock, states_of

VIEWER, AUTHOR, OTHER = 1, 2, 3


def test_what_a_post_holds_and_how_it_fares() -> None:
    clock = Clock(NOW_MS - 3 * HOUR_MS)
    media = {"image_count": 2, "video_duration_ms": 90_000, "link_count": 1, "sensitive": True}
    content = {"text": "A #tag for @you", "language": "de", "topics": [32, 31]}
    to_viewer = {"reply_to_id": 9, "reply_to_author_id": VIEWER, "root_id": 9}
    thread = {"reply_to_id": 20, "reply_to_author_id": AUTHOR, "root_id": 9}
    events = [
        clock.event(Kind.USER_CREATE, actor_id=VIEWER, language="de"),
        clock.post(20, AUTHOR, **media, **content),
        clock.post(21, AUTHOR, **to_viewer),
        clock.post(22, AUTHOR, **thread),
    ]
    events += [clock.on_post(Kind.IMPRESSION, user, 20, AUTHOR) for user in range(30, 40)]
    events += [clock.on_post(Kind.FAVOURITE, user, 20, AUTHOR) for user in range(30, 34)]
    events += [clock.on_post(Kind.UNFAVOURITE, 30, 20, AUTHOR)]
    [state] = states_of(events)
    found = told(state, VIEWER, [20, 21, 22, 23], NOW_MS)
    for name, values in {
        "text_length": [15, 0, 0, 0],
        "hashtags": [1, 0, 0, 0],
        "images": [2, 0, 0, 0],
        "video_seconds": [90, 0, 0, 0],
        "favourite.count": [3, 0, 0, 0],
        "impression.count": [10, 0, 0, 0],
        "favourite.rate": [0.16, 0.02, 0.02, 0],
        "favourite.hourly": [0.75, 0, 0, 0],
        "favourite.decayed": [0.375, 0, 0, 0],
        "reply": [0, 1, 1, 0],
        "thread": [0, 0, 1, 0],
        "to_viewer": [0, 1, 0, 0],
        "of_root": [0, 1, 0, 0],
        "several_images": [1, 0, 0, 0],
        "long_video": [1, 0, 0, 0],
        "link": [1, 0, 0, 0],
        "sensitive": [1, 0, 0, 0],
        "has_topic": [1, 0, 0, 0],
        "same_language": [1, 0, 0, 0],
    }.items():
        assert found[f"post.{name}"] == pytest.approx(values, abs=1e-3), name
    assert found["post_topic"] == [32, 0, 0, 0]
    assert found["post_language"] == [id_of_string("de"), 0, 0, 0]
    assert found["post.age_hours"] == pytest.approx([3, 3, 3, 0], abs=1e-3)


def test_a_post_that_was_edited_is_its_newest_version() -> None:
    clock = Clock()
    events = [
        clock.post(20, AUTHOR, image_count=1),
        clock.post(21, AUTHOR, image_count=3, edit_of_id=20),
    ]
    [state] = states_of(events)
    found = told(state, VIEWER, [20], NOW_MS)
    assert found["post.images"] == [3]
    assert found["post.edited"] == [1]


def test_likeness_is_of_viewer_and_post(tmp_path: Path) -> None:
    [state] = trained_states(tmp_path, the_world(), versions=write_models(tmp_path))
    found = told(state, ANN, [SOURCE, ALIKE, UNLIKE], NOW_MS)
    cosines = found["simclusters.viewer_post.cosine"]
    # Liked by Ann and Ben; by Ann alone; by somebody who likes other things.
    both = np.array([1.4, 1.4]) / np.hypot(1.4, 1.4)
    assert cosines == pytest.approx([both @ [0.8, 0.6], 1, 0], abs=1e-3)
    assert found["simclusters.post_communities"] == [2, 2, 1]
    engagement = found["twhin.engagement_post.cosine"]
    assert engagement == pytest.approx([1.8 / np.hypot(1.8, 0.6), 1, 0], abs=1e-3)


def test_a_source_is_the_one_a_post_counts_under() -> None:
    clock = Clock()
    [state] = states_of([clock.post(20, AUTHOR), clock.post(21, OTHER)])
    found = told(state, VIEWER, [20, 21], NOW_MS, sources=["cr_mixer", "cached"])
    assert found["source.is_cr_mixer"] == [1, 0]
    assert found["source.is_in_network"] == [0, 0]
    assert found["post_source"] == [3, 0]

"""Topics over HTTP: events in, and a timeline that names the topic of what communities found."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.stores.sparse_embeddings import topic_in_language
from cluster.artifacts import ArtifactStore
from tests.http_world import (
    FRIEND,
    NOW_MS,
    STRANGER,
    VIEWER,
    Event,
    World,
    a_lively_world,
    an_event,
)
from tests.timeline.trained_worlds import sparse

POST, CARS = 301, 7


@pytest.fixture
def lively(tmp_path: Path) -> Iterator[World]:
    yield from a_lively_world(tmp_path)


@pytest.fixture
def trained(lively: World) -> World:
    """The lively world, in which viewer and friend are of a community that follows cars."""
    store = ArtifactStore(lively.settings.data_dir / "artifacts")
    with store.writing("simclusters", schema_version=1) as draft:
        interests = {VIEWER: {0: 0.9}, FRIEND: {0: 0.8}}
        sparse(interests, as_interests=True).write(draft, "interested_in")
        cars = {topic_in_language(CARS, "en"): {0: 1.0}}
        sparse(cars).write(draft, "topics_by_language")
    for state in lively.states:
        state.activate("simclusters", str(draft.version), NOW_MS)
        assert not state.counters["refused_activations"]
    return lively


def told(world: World, *events: Event) -> None:
    answer = world.post(list(events))
    assert answer.json()["accepted"] == len(events), answer.text
    world.catch_up()


def test_a_topic_is_named_until_the_viewer_mutes_it(trained: World) -> None:
    post = {"post_id": POST, "author_id": STRANGER, "time_ms": NOW_MS - 60_000}
    like = {"kind": "favourite", "actor_id": FRIEND}
    told(trained, {"kind": "post_create", **post, "language": "en", "topics": [CARS]}, like | post)

    def topics() -> list[list[str]]:
        page = trained.for_you().json()
        return [
            reason["topic_ids"]
            for item in page["items"]
            for reason in item["reasons"]
            if reason["kind"] == "topic" and item["post_id"] == str(POST)
        ]

    assert topics() == [[str(CARS)]]
    told(trained, an_event("topic_mute", 1, actor_id=VIEWER, target_id=CARS))
    assert topics() == []

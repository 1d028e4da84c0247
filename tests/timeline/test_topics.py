"""For You of a viewer to whom topics explain what SimClusters found."""

from pathlib import Path
from typing import Any

import pytest

from actors.stores.sparse_embeddings import topic_in_language
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from tests.timeline.trained_worlds import sparse, trained_states
from tests.worlds import NOW_MS, USERS, Clock, Event, timelines_of
from timeline.query import FEW_FOLLOWS

VIEWER, FRIEND, LIKER, AUTHOR, OTHER = USERS[:5]
ON_TOPIC, OFF_TOPIC, UNKNOWN_TOPIC, BY_FRIEND = 21, 22, 23, 24
CARS, SHIPS = 7, 8


def write_model(folder: Path) -> dict[str, str]:
    store = ArtifactStore(folder / "artifacts")
    with store.writing("simclusters", schema_version=1) as draft:
        interests = {VIEWER: {0: 0.9}, LIKER: {0: 0.8}}
        sparse(interests, as_interests=True).write(draft, "interested_in")
        of_topics = {CARS: {0: 1.0}, SHIPS: {0: 0.5, 1: 0.5}}
        rows = {topic_in_language(topic, "en"): row for topic, row in of_topics.items()}
        sparse(rows).write(draft, "topics_by_language")
    return {"simclusters": str(draft.version)}


def the_events(*further: tuple[Kind, dict[str, Any]]) -> list[Event]:
    clock = Clock()
    english = {"language": "en"}
    posts = [
        clock.post(ON_TOPIC, AUTHOR, topics=[SHIPS, CARS], **english),
        clock.post(OFF_TOPIC, OTHER, **english),
        clock.post(UNKNOWN_TOPIC, USERS[5], topics=[9], **english),
        clock.post(BY_FRIEND, FRIEND, topics=[CARS], **english),
    ]
    authors = [AUTHOR, OTHER, USERS[5], FRIEND]
    return [
        clock.event(Kind.USER_CREATE, actor_id=VIEWER, language="en"),
        clock.edge(Kind.FOLLOW, VIEWER, FRIEND),
        # Who follows enough is not shown what is merely popular.
        *(clock.edge(Kind.FOLLOW, VIEWER, 900 + n) for n in range(FEW_FOLLOWS)),
        *posts,
        *(
            clock.on_post(Kind.FAVOURITE, LIKER, post["post_id"], author)
            for post, author in zip(posts, authors, strict=True)
        ),
        *(clock.event(kind, actor_id=VIEWER, **given) for kind, given in further),
    ]


def shown(folder: Path, n_shards: int, *further: tuple[Kind, dict[str, Any]]) -> dict[int, Any]:
    """The items of a first page by their posts."""
    versions = write_model(folder)
    states = trained_states(folder, the_events(*further), n_shards, versions)
    page = timelines_of(states).for_you(VIEWER, 20, now_ms=NOW_MS)
    assert not page.degraded
    return {item.post_id: item for item in page.items}


@pytest.mark.parametrize("n_shards", [1, 4])
def test_a_topic_explains_what_communities_found(tmp_path: Path, n_shards: int) -> None:
    found = shown(tmp_path, n_shards)
    assert set(found) == {ON_TOPIC, BY_FRIEND}
    [reason] = [reason for reason in found[ON_TOPIC].reasons if reason.kind == "topic"]
    # Of two topics that one comes first whose followers' communities are the post's.
    assert (reason.topic_ids, reason.text) == (
        (CARS, SHIPS),
        f"on topic {CARS}, whose followers like it",
    )
    assert found[ON_TOPIC].entry.context == reason
    # A followed author needs no topic to be shown.
    assert not any(reason.kind == "topic" for reason in found[BY_FRIEND].reasons)


@pytest.mark.parametrize(
    ("further", "topic_ids"),
    [
        (((Kind.TOPIC_FOLLOW, {"target_id": SHIPS}),), (SHIPS, CARS)),
        (((Kind.TOPIC_MUTE, {"target_id": CARS}),), (SHIPS,)),
        (
            (
                (Kind.TOPIC_FOLLOW, {"target_id": CARS}),
                (Kind.TOPIC_UNFOLLOW, {"target_id": CARS}),
            ),
            (SHIPS,),
        ),
        (((Kind.PREFERENCE, {"name": "no_topics", "value": 1}),), ()),
        (
            (
                (Kind.TOPIC_FOLLOW, {"target_id": SHIPS}),
                (Kind.PREFERENCE, {"name": "no_topics", "value": 1}),
            ),
            (),
        ),
        (
            (
                (Kind.PREFERENCE, {"name": "no_topics", "value": 1}),
                (Kind.PREFERENCE, {"name": "no_topics", "value": -1}),
            ),
            (CARS, SHIPS),
        ),
    ],
)
def test_the_viewer_has_a_word(
    tmp_path: Path, further: tuple[tuple[Kind, dict[str, Any]], ...], topic_ids: tuple[int, ...]
) -> None:
    found = shown(tmp_path, 2, *further)
    if not topic_ids:
        assert set(found) == {BY_FRIEND}
        return
    [reason] = [reason for reason in found[ON_TOPIC].reasons if reason.kind == "topic"]
    assert reason.topic_ids == topic_ids

"""Whole timelines of viewers who chose languages, by events."""

from typing import Any

import pytest

from cluster.events import Kind
from tests.timeline.small_worlds import FRIEND, STRANGER, VIEWER, ids
from tests.worlds import DAY_MS, NOW_MS, Clock, Event, states_of, timelines_of

GERMAN, FRENCH, UNKNOWN, OF_FRENCH, OWN = 10, 11, 12, 13, 14
STRANGERS = {20: "de-AT", 21: "fr", 22: None}


def world(**preferences: float) -> list[Event]:
    """A friend's posts in three languages, a repost, a viewer's own, and strangers' posts that the
    friend liked."""
    clock = Clock()
    events = [
        clock.edge(Kind.FOLLOW, VIEWER, FRIEND),
        clock.post(GERMAN, FRIEND, language="de"),
        clock.post(FRENCH, FRIEND, language="fr"),
        clock.post(UNKNOWN, FRIEND),
        clock.post(19, STRANGER, language="fr", time_ms=NOW_MS - 5 * DAY_MS),
        clock.post(OF_FRENCH, FRIEND, repost_of_id=19, repost_of_author_id=STRANGER),
        clock.post(OWN, VIEWER, language="fr"),
    ]
    for post_id, language in STRANGERS.items():
        given = {"language": language} if language else {}
        events.append(clock.post(post_id, STRANGER + post_id, **given))
        events.append(clock.on_post(Kind.FAVOURITE, FRIEND, post_id, STRANGER + post_id))
    for name, value in preferences.items():
        name = name.replace("_de", ":de")
        events.append(clock.event(Kind.PREFERENCE, actor_id=VIEWER, name=name, value=value))
    return events


OF_FRIEND = {GERMAN, FRENCH, UNKNOWN, OF_FRENCH}


@pytest.mark.parametrize("n_shards", [1, 4])
@pytest.mark.parametrize(
    ("preferences", "ranked", "following"),
    [
        ({}, OF_FRIEND | {20, 21, 22}, OF_FRIEND | {OWN}),
        ({"language_de": 1}, OF_FRIEND | {20, 22}, OF_FRIEND | {OWN}),
        (
            {"language_de": 1, "languages_only": 1},
            {GERMAN, UNKNOWN, 20, 22},
            {GERMAN, UNKNOWN, OWN},
        ),
        ({"language_de": 1, "languages_only": 0}, OF_FRIEND | {20, 21, 22}, OF_FRIEND | {OWN}),
        ({"language_de": 0, "languages_only": 1}, OF_FRIEND | {20, 21, 22}, OF_FRIEND | {OWN}),
    ],
)
def test_a_viewers_languages(
    preferences: dict[str, Any], ranked: set[int], following: set[int], n_shards: int
) -> None:
    timelines = timelines_of(states_of(world(**preferences), n_shards))
    assert set(ids(timelines.for_you(VIEWER, 50, now_ms=NOW_MS))) == ranked
    assert set(ids(timelines.following(VIEWER, 50, now_ms=NOW_MS))) == following

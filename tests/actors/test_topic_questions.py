"""Topics of posts of a hand-made world, in shards that serve a hand-made model."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.state import Failed, ShardState
from actors.stores.sparse_embeddings import topic_in_language
from actors.topic_questions import AskTopics
from actors.topic_social_proof import Listing, TopicTastes
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.ids import Ids
from tests.actors.ranker_inputs.named import told
from tests.timeline.trained_worlds import Entries, sparse, trained_states
from tests.worlds import NOW_MS, USERS, Clock, Event

FAN, AUTHOR, OTHER = USERS[0], USERS[4], USERS[6]
BOTH, ONE, NONE, SPEECHLESS, FRENCH, EDITED, NEWER = 11, 12, 13, 14, 15, 16, 17
INTERESTS: Entries = {FAN: {0: 0.8, 1: 0.6}}
"""So the communities of all that the fan favours are (0.8, 0.6)."""
FAVOURED = {
    (1, "en"): {0: 1.0},
    (2, "en"): {1: 1.0},
    (3, "en"): {2: 1.0},
    (1, "fr"): {1: 1.0},
}
KNOWN_FOR = {(2, "en"): {1: 3.0, 0: 4.0}, (4, "en"): {0: 2.0}}
SCORES = {1: 0.8, 2: 0.6 + 1.0, 4: 0.8}
"""Of topics in English: cosine by followers' favourites and cosine by producers."""


def ids(*values: int) -> Ids:
    return np.array(values, np.int64)


def in_language(rows: dict[tuple[int, str], dict[int, float]]) -> Entries:
    return {topic_in_language(*key): row for key, row in rows.items()}


def write_model(folder: Path, *, producers: bool = True) -> dict[str, str]:
    store = ArtifactStore(folder / "artifacts")
    with store.writing("simclusters", schema_version=1) as draft:
        sparse(INTERESTS, as_interests=True).write(draft, "interested_in")
        sparse(in_language(FAVOURED)).write(draft, "topics_by_language")
        if producers:
            sparse(in_language(KNOWN_FOR)).write(draft, "topics_by_producers")
    return {"simclusters": str(draft.version)}


def the_events() -> list[Event]:
    clock = Clock()
    english = {"language": "en-GB"}
    posts = [
        clock.post(BOTH, AUTHOR, topics=[1, 2, 3], **english),
        clock.post(ONE, OTHER, topics=[4, 1], **english),
        clock.post(NONE, AUTHOR, **english),
        clock.post(SPEECHLESS, AUTHOR, topics=[1]),
        clock.post(FRENCH, AUTHOR, topics=[1, 2], language="fr"),
        clock.post(EDITED, AUTHOR, topics=[3], **english),
        clock.post(NEWER, AUTHOR, topics=[2], edit_of_id=EDITED, **english),
    ]
    authors = {ONE: OTHER}
    likes = [
        clock.on_post(Kind.FAVOURITE, FAN, post, authors.get(post, AUTHOR))
        for post in (BOTH, ONE, NONE, SPEECHLESS, FRENCH, EDITED, NEWER)
    ]
    return [*posts, *likes]


def asked(
    state: ShardState, *post_ids: int, tastes: TopicTastes | None = None, **given: Any
) -> Any:
    version = state.vectors.version
    question = AskTopics(ids(*post_ids), version, tastes or TopicTastes(), NOW_MS, **given)
    [found] = state.ask([question])
    if isinstance(found, Failed):
        return found
    ends = found.offsets.tolist()
    named = list(zip(found.topic_ids.tolist(), found.scores.tolist(), strict=True))
    return [dict(named[begin:end]) for begin, end in pairwise(ends)]


def test_topics_are_scored_in_the_language_of_the_post(tmp_path: Path) -> None:
    [state] = trained_states(tmp_path, the_events(), versions=write_model(tmp_path))
    found = asked(state, BOTH, ONE, NONE, SPEECHLESS, FRENCH, 99)
    expected = [{2: SCORES[2], 1: SCORES[1]}, {1: 0.8, 4: 0.8}, {}, {}, {1: 0.6}, {}]
    assert [list(one) for one in found] == [list(one) for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    # What an edit replaced is named by the topics of its newest version.
    assert asked(state, EDITED) == asked(state, NEWER)
    assert list(asked(state, EDITED)[0]) == [2]
    assert asked(state, BOTH, max_topics=1) == [{2: pytest.approx(1.6)}]
    assert asked(state) == []


def test_what_the_viewer_says_of_topics(tmp_path: Path) -> None:
    [state] = trained_states(tmp_path, the_events(), versions=write_model(tmp_path))
    for tastes, listing, expected in (
        (TopicTastes(opted_out_ids=ids(2)), Listing.FOLLOWABLE, [1]),
        (TopicTastes(not_interested_ids=ids(1)), Listing.FOLLOWABLE, [2]),
        (TopicTastes(ids(1)), Listing.FOLLOWING, [1]),
        (TopicTastes(ids(1)), Listing.IMPLICIT_FOLLOW, [2]),
        (TopicTastes(paused=True), Listing.FOLLOWABLE, []),
        (TopicTastes(paused=True), Listing.ALL, [2, 1]),
    ):
        [found] = asked(state, BOTH, tastes=tastes, listing=listing)
        assert list(found) == expected, listing


def test_any_number_of_shards_says_the_same(tmp_path: Path) -> None:
    versions = write_model(tmp_path)
    [one] = trained_states(tmp_path, the_events(), 1, versions)
    posts = (BOTH, ONE, NONE, SPEECHLESS, FRENCH, NEWER)
    whole = asked(one, *posts)
    assert sum(map(bool, whole)) == 4
    parts = [asked(state, *posts) for state in trained_states(tmp_path, the_events(), 4, versions)]
    assert [next((part[k] for part in parts if part[k]), {}) for k in range(len(posts))] == whole


def test_a_model_without_producers_and_a_version_that_is_not_held(tmp_path: Path) -> None:
    [state] = trained_states(
        tmp_path, the_events(), versions=write_model(tmp_path, producers=False)
    )
    assert asked(state, BOTH, ONE) == [
        {1: pytest.approx(0.8), 2: pytest.approx(0.6)},
        {1: pytest.approx(0.8)},
    ]
    [found] = state.ask([AskTopics(ids(BOTH), "other+none", TopicTastes(), NOW_MS)])
    assert isinstance(found, Failed)


def test_the_ranker_reads_the_best_three(tmp_path: Path) -> None:
    [state] = trained_states(tmp_path, the_events(), versions=write_model(tmp_path))
    found = told(state, FAN, [BOTH, ONE, NONE], NOW_MS, selection="twitter")
    assert found["topic_proof.best"] == pytest.approx([1.6, 0.8, 0], abs=1e-6)
    assert found["topic_proof.second"] == pytest.approx([0.8, 0.8, 0], abs=1e-6)
    assert found["topic_proof.third"] == [0, 0, 0]

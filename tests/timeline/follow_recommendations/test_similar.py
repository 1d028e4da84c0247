"""Accounts like accounts: over hand-made representations, of which all can be worked out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from actors.state import ShardState
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from tests.timeline.follow_recommendations.asking import (
    ME,
    accounts_of,
    asked_of,
    follows,
    shown,
)
from tests.timeline.trained_worlds import trained_states, write_rows
from tests.worlds import NOW_MS, Clock, Event
from timeline.follow_recommendations.accounts import AccountSource
from timeline.follow_recommendations.similar import SOURCES

N_SHARDS = pytest.mark.parametrize("n_shards", [1, 4])
BY_NAME: dict[str, AccountSource] = {name: s for s in SOURCES for name in s.names}
ROWS = {
    ME: {0: 1.0},
    10: {0: 1.0},
    11: {0: 0.6, 1: 0.8},
    20: {0: 0.8, 1: 0.6},
    21: {1: 1.0},
    22: {2: 1.0},
}
VECTORS = {
    ME: (1.0, 0.0, 0.0),
    20: (0.6, 0.8, 0.0),
    22: (0.8, 0.0, 0.6),
    23: (-1.0, 0.0, 0.0),
}


def states(
    folder: Path, events: list[Event], n_shards: int = 1, real_graph: Any = ()
) -> list[ShardState]:
    versions = write_rows(folder, ROWS, VECTORS)
    if real_graph:
        store = ArtifactStore(folder / "artifacts")
        viewers, authors, scores = zip(*real_graph, strict=True)
        with store.writing("real_graph", schema_version=1) as draft:
            table = {
                "viewer_id": np.array(viewers),
                "author_id": np.array(authors),
                "score": np.array(scores, np.float32),
                "followed": np.ones(len(viewers), bool),
            }
            draft.write_table("scores.arrow", pa.table(table))
        versions["real_graph"] = str(draft.version)
    return trained_states(folder, events, n_shards, versions)


def of(name: str, made: list[ShardState], **settings: Any) -> list[tuple[int, float, list[int]]]:
    query = asked_of(made)
    mine = query.settings.sources.follow_recommendations.model_copy(update=settings)
    sources = query.settings.sources.model_copy(update={"follow_recommendations": mine})
    query.settings = query.settings.model_copy(update={"sources": sources})
    return [
        (user, round(score, 4), proofs)
        for user, score, proofs in shown(accounts_of(BY_NAME[name], query)[name])
    ]


def test_like_recent_follows_by_every_aggregate(tmp_path: Path) -> None:
    made = states(tmp_path, follows(Clock(), {ME: [10, 11]}))
    name = "recent_following_similar_users"
    # 20 is like 10 by 0.8 and like 11 by 0.48 + 0.48; 21 like 11 by 0.8.
    assert of(name, made) == [(20, 1.76, [11, 10]), (21, 0.8, [11])]
    assert of(name, made, similar_aggregate="max") == [(20, 0.96, [11, 10]), (21, 0.8, [11])]
    decayed = 0.096 + 0.96 + 0.8 * 0.8 + 0.2
    assert of(name, made, similar_aggregate="multi_decay") == [
        (20, round(decayed, 4), [11, 10]),
        (21, round(0.08 + 0.8 + 0.1, 4), [11]),
    ]
    assert of(name, made, similar_seeds=1) == [(20, 0.96, [11]), (21, 0.8, [11])]
    assert of(name, made, similar_of_each=1) == [(20, 0.96, [11])]


@N_SHARDS
def test_likenesses_weigh_as_much_as_engagements(tmp_path: Path, n_shards: int) -> None:
    clock = Clock()
    world = [
        *follows(clock, {ME: [10]}),
        clock.on_post(Kind.FAVOURITE, ME, 100, 10, time_ms=NOW_MS),
        clock.on_post(Kind.REPOST, ME, 100, 10, time_ms=NOW_MS),
        clock.on_post(Kind.FAVOURITE, ME, 110, 11, time_ms=NOW_MS),
    ]
    made = states(tmp_path, world, n_shards)
    # 10 weighs 2, 11 weighs 1 and may be recommended too.
    assert of("recent_engagement_similar_users", made) == [
        (20, round(2 * 0.8 + 0.96, 4), [10, 11]),
        (11, 1.2, [10]),
        (21, 0.8, [11]),
    ]
    assert of("recent_strong_engagement_similar_users", made) == [(20, 0.8, [10]), (11, 0.6, [10])]
    assert of("similar_user_expander", made) == [(20, 0.96, [11]), (21, 0.8, [11])]


def test_salsa_wants_seeds_to_agree(tmp_path: Path) -> None:
    clock = Clock()
    world = [
        *follows(clock, {ME: [10, 11]}),
        *(clock.on_post(Kind.FAVOURITE, ME, 10 * a, a, time_ms=NOW_MS) for a in (10, 11)),
    ]
    assert of("salsa_expansion", states(tmp_path, world)) == [(20, 1.76, [11, 10])]
    alone = states(tmp_path / "alone", world[:-1])
    assert of("salsa_expansion", alone) == [(20, 0.8, [10])]


def test_like_the_viewer(tmp_path: Path) -> None:
    made = states(tmp_path, follows(Clock(), {ME: [10]}))
    assert of("sims", made) == [(20, 0.8, []), (11, 0.6, [])]
    # In TwHIN's space, without the viewer; 23 is on the other side.
    assert of("follow2vec", made) == [(22, 0.8, []), (20, 0.6, [])]


def test_a_seed_that_one_model_does_not_know_is_asked_of_the_other(tmp_path: Path) -> None:
    made = states(tmp_path, follows(Clock(), {ME: [22, 23]}))
    # SimClusters knows 22, and nobody like it; TwHIN alone knows 23, and nobody on its side.
    assert of("recent_following_similar_users", made) == []
    vectors = {**VECTORS, 23: (0.0, 0.6, 0.8)}
    versions = write_rows(tmp_path / "other", ROWS, vectors)
    world = follows(Clock(), {ME: [23]})
    made = trained_states(tmp_path / "other", world, 1, versions)
    assert of("recent_following_similar_users", made) == [(20, 0.48, [23]), (22, 0.48, [23])]


@N_SHARDS
def test_close_to_those_who_are_close(tmp_path: Path, n_shards: int) -> None:
    scores = [
        (ME, 10, 0.5),
        (ME, 11, 0.8),
        (10, 20, 0.4),
        (11, 20, 0.5),
        (11, 21, 0.9),
        (11, ME, 1),
    ]
    made = states(tmp_path, follows(Clock(), {ME: [10, 11]}), n_shards, scores)
    assert of("real_graph_expansion", made) == [(21, 0.72, [11]), (20, 0.6, [11, 10])]
    assert of("real_graph_expansion", made, real_graph_first=1) == [
        (21, 0.72, [11]),
        (20, 0.4, [11]),
    ]
    assert of("real_graph_expansion", made, real_graph_second=2) == [
        (21, 0.72, [11]),
        (20, 0.2, [10]),
    ]


@pytest.mark.parametrize("name", BY_NAME)
def test_nothing_without_models_or_events(tmp_path: Path, name: str) -> None:
    world = follows(Clock(), {ME: [10, 11]})
    untrained = asked_of(trained_states(tmp_path, world))
    assert not sum(map(len, accounts_of(BY_NAME[name], untrained).values()))
    empty = asked_of(states(tmp_path, []))
    empty.tastes = replace(empty.tastes)
    if name not in ("sims", "follow2vec"):
        assert not sum(map(len, accounts_of(BY_NAME[name], empty).values()))

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from actors.features.light import FEATURES
from actors.models import Models
from actors.state import ShardState
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.ids import Ids
from cluster.routing import route
from cluster.settings import Settings, load
from tests.timeline.trained_worlds import ANN, EVE, write_models
from tests.training.archives import simulated
from tests.worlds import (
    HOUR_MS,
    NOW_MS,
    POSTS,
    USERS,
    Clock,
    Event,
    checked,
    empty_states,
    timelines_of,
    worlds,
)
from training.replay import features_as_of

Floats = npt.NDArray[np.float32]
AUTHOR, VIEWER, FRIEND = 1, 2, 3


def replayed(
    events: Sequence[Event] | Sequence[pa.RecordBatch],
    wanted: Sequence[tuple[int, int, int]],
    settings: Settings | None = None,
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Features and known posts of (viewer, post, instant)s by a replay of events or batches."""
    batches: list[Any] = list(events)
    if batches and isinstance(batches[0], dict):
        batches = [checked(batches)]
    viewers, posts, times_ms = (np.array(c, np.int64) for c in zip(*wanted, strict=True))
    return features_as_of(
        settings or load(), batches, viewers, posts, times_ms, progress=lambda share: None
    )


def feature(name: str, found: tuple[Floats, Any]) -> list[float]:
    return [round(float(x), 4) for x in found[0][:, FEATURES.index(name)]]


def test_an_engagement_is_not_visible_to_its_own_example() -> None:
    clock = Clock()
    events = [
        clock.post(10, AUTHOR),
        clock.edge(Kind.FOLLOW, VIEWER, AUTHOR),
        clock.on_post(Kind.FAVOURITE, VIEWER, 10, AUTHOR),
    ]
    at_ms = events[-1]["time_ms"]
    found = replayed(events, [(VIEWER, 10, at_ms), (VIEWER, 10, at_ms + 1)])
    assert feature("favourites", found) == [0.0, round(float(np.log(2)), 4)]
    assert feature("author_affinity", found)[0] == 0.0 < feature("author_affinity", found)[1]
    assert feature("is_followed", found) == [1.0, 1.0]


def test_nor_is_anything_of_the_same_millisecond() -> None:
    clock = Clock()
    post, follow = clock.post(10, AUTHOR), clock.edge(Kind.FOLLOW, VIEWER, FRIEND)
    at_ms = follow["time_ms"] + 1
    events = [post, follow]
    for actor in (FRIEND, VIEWER):
        event = clock.on_post(Kind.FAVOURITE, actor, 10, AUTHOR)
        events.append(event | {"time_ms": at_ms})
    found = replayed(events, [(VIEWER, 10, at_ms), (VIEWER, 10, at_ms + 1)])
    assert feature("favourites", found)[0] == 0.0
    assert feature("favourite_proofs", found) == [0.0, round(float(np.log(2)), 4)]


def test_posts_that_could_not_be_shown_are_said_to_be_unknown() -> None:
    clock = Clock()
    events = [clock.post(10, AUTHOR), clock.post(11, FRIEND)]
    created_ms = clock.now_ms
    events.append(clock.event(Kind.POST_DELETE, post_id=10, author_id=AUTHOR))
    events.append(clock.event(Kind.USER_SUSPEND, actor_id=FRIEND))
    wanted = [(VIEWER, post, created_ms + later) for post in (10, 11, 12) for later in (1, 9)]
    assert replayed(events, wanted)[1].tolist() == [True, False, True, False, False, False]


def test_labels_and_what_was_served_then_are_features(tmp_path: Path) -> None:
    """Real Graph and Tweepcred count from their activation on, with the scores of then."""
    versions, clock = write_models(tmp_path), Clock()
    events = [
        clock.post(10, EVE),
        clock.edge(Kind.FOLLOW, ANN, EVE),
        clock.event(Kind.SAFETY_LABEL, post_id=10, author_id=EVE, label="spam"),
    ]
    before_ms = clock.now_ms + 1
    for name in ("real_graph", "tweepcred", "twhin"):
        given = {"name": name, "model_version": versions[name]}
        events.append(clock.event(Kind.ARTIFACT_ACTIVATE, **given))
    after_ms = clock.now_ms + 1
    wanted = [(ANN, 10, before_ms), (ANN, 10, after_ms), (FRIEND, 10, after_ms)]
    settings = load(data_dir=tmp_path)
    found = replayed(events, wanted, settings)
    assert feature("labelled_spam", found) == [1, 1, 1]
    assert feature("author_reputation", found) == [0, 40, 40]
    assert feature("author_real_graph", found) == [0, 0.25, 0]
    # As in a request.
    of_artifacts = Models(ArtifactStore(tmp_path / "artifacts"))
    states = [ShardState(settings, of_artifacts, k, 2) for k in range(2)]
    _advance(states, [checked(events)], after_ms, settings)
    served = timelines_of(states).for_you(ANN, 20, now_ms=after_ms).trace.found
    assert served.post_ids.tolist() == [10]
    np.testing.assert_allclose(served.features, found[0][1:2], rtol=1e-6)


def test_order_and_grouping_of_what_is_asked_do_not_matter() -> None:
    batches = list(simulated(60, 0.5, 3))
    rng = np.random.default_rng(0)
    wanted = _some_shown(batches, 80)
    shuffled = rng.permutation(len(wanted))
    together = replayed(batches, wanted)[0]
    apart = replayed(batches, [wanted[i] for i in shuffled])[0]
    np.testing.assert_array_equal(apart, together[shuffled])
    alone = replayed(batches, [wanted[50]])[0]
    np.testing.assert_array_equal(alone[0], together[50])


def test_what_happens_later_changes_nothing() -> None:
    batches = list(simulated(60, 1, 4))
    wanted = _some_shown(batches, 300)
    cut_ms = int(np.median([at_ms for _, _, at_ms in wanted]))
    early = [one for one in wanted if one[2] <= cut_ms]
    assert 50 < len(early) < len(wanted)
    before = [b.filter(pa.array(b.column("time_ms").to_numpy() < cut_ms)) for b in batches]
    whole = replayed(batches, wanted)
    part = replayed([b for b in before if b.num_rows], early)
    rows = [i for i, one in enumerate(wanted) if one[2] <= cut_ms]
    np.testing.assert_array_equal(part[0], whole[0][rows])
    np.testing.assert_array_equal(part[1], whole[1][rows])


@pytest.mark.parametrize("n_shards", [1, 3])
def test_replayed_features_are_those_that_serving_computes(n_shards: int) -> None:
    """Rule 1: at every instant the pipeline's own trace has the same numbers."""
    batches = list(simulated(150, 1, 2))
    settings = load(shards={"count": n_shards})
    requests = sorted({(at_ms, viewer) for viewer, _, at_ms in _some_shown(batches, 60)})
    served: list[tuple[int, int, Ids, Floats]] = []
    states = empty_states(n_shards, settings)
    waiting = list(batches)
    for at_ms, viewer in requests:
        waiting = _advance(states, waiting, at_ms, settings)
        found = timelines_of(states).for_you(viewer, 20, now_ms=at_ms).trace.found
        served.append((viewer, at_ms, found.post_ids, found.features))
    wanted = [(v, post, at_ms) for v, at_ms, ids, _ in served for post in ids.tolist()]
    features, known = replayed(batches, wanted, settings)
    assert len(wanted) > 1_000
    assert known.all()
    np.testing.assert_allclose(
        features, np.concatenate([rows for *_, rows in served]), rtol=1e-6, atol=1e-7
    )
    varied = {name for i, name in enumerate(FEATURES) if len(np.unique(features[:, i])) > 1}
    assert {"proof_weight", "author_affinity", "is_followed", "impressions", "dwells"} <= varied


@hypothesis_settings(max_examples=40)
@given(worlds(), st.sampled_from(USERS), st.integers(0, 20 * HOUR_MS))
def test_of_any_world_too(events: list[Event], viewer: int, ago_ms: int) -> None:
    at_ms = NOW_MS - ago_ms
    settings = load()
    states = empty_states(1, settings)
    before = [e for e in events if e["time_ms"] < at_ms]
    if before:
        _advance(states, [checked(before)], at_ms, settings)
    found = timelines_of(states).for_you(viewer, 20, now_ms=at_ms).trace.found
    if len(found) and events:
        wanted = [(viewer, post, at_ms) for post in found.post_ids.tolist()]
        features, _ = replayed(events, wanted, settings)
        np.testing.assert_allclose(features, found.features, rtol=1e-6, atol=1e-7)
    assert set(found.post_ids.tolist()) <= set(POSTS)


def _some_shown(batches: Sequence[pa.RecordBatch], n: int) -> list[tuple[int, int, int]]:
    """(viewer, post, instant) of posts served, from across the time there is."""
    found = [
        row
        for batch in batches
        for row in zip(
            *(batch.column(c).to_pylist() for c in ("kind", "actor_id", "post_id", "time_ms")),
            strict=True,
        )
        if row[0] == Kind.SERVED
    ]
    return [row[1:] for row in found[:: max(len(found) // n, 1)]]


def _advance(
    states: Sequence[ShardState], batches: list[pa.RecordBatch], until_ms: int, settings: Settings
) -> list[pa.RecordBatch]:
    """Apply what happened before an instant, as tailers do; returns what is still to come."""
    later = []
    for batch in batches:
        due = batch.column("time_ms").to_numpy() < until_ms
        if due.any():
            for rows in route(batch.filter(pa.array(due)), settings.log.lanes).values():
                for state in states:
                    state.apply(rows, np.ones(rows.num_rows, np.int64), True)
        if not due.all():
            later.append(batch.filter(pa.array(~due)))
    return later

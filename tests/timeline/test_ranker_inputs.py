"""The ranker's inputs of a request: the same for any number of shards, and as in a replay."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from actors.features.families import Place
from actors.features.inputs import Level, RankerInputs, Schema
from actors.features.registry import defaults_of, families_of, plan_of, schema_for
from actors.ranker_inputs.as_of import inputs_as_of
from actors.ranker_inputs.found import SOURCES
from actors.ranker_questions import AskViewerInputs
from actors.router import Gathered, LocalRouter, Wave, shards_of
from actors.state import ShardState
from cluster.source_settings import SourceName
from tests.actors.ranker_inputs.rich_worlds import (
    DIMENSIONS,
    POST_IDS,
    USER_IDS,
    author_of,
    count_aggregates,
    rich_events,
    rich_settings,
    rich_states,
    write_random_models,
)
from tests.worlds import HOUR_MS, NOW_MS, PartialRouter
from timeline.candidates import Candidates, unhydrated
from timeline.findings import ask_together
from timeline.hydration import complete, fetch_viewer
from timeline.products import for_you_sources
from timeline.query import Query
from timeline.ranker_inputs import fetch_inputs, viewer_question
from timeline.sources.user_tweet_entity_graph import UserTweetEntityGraph

VIEWER = USER_IDS[1]


@dataclass(frozen=True)
class World:
    folder: Path
    whole: ShardState
    quarters: list[ShardState]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("rich")
    events = rich_events()
    versions = write_random_models(folder) | count_aggregates(folder, events, "twitter")
    [whole] = rich_states(folder, versions, events)
    return World(folder, whole, rich_states(folder, versions, events, 4))


def asked(
    router: Any, settings: Any, *, viewer_id: int = VIEWER, beside: bool = True
) -> tuple[Query, Candidates]:
    """A request that is about to rank: the viewer, the graph's proofs, and all posts."""
    query = Query(viewer_id, NOW_MS, 10, "r", settings, router)
    fetch_viewer(query, beside=[viewer_question(query)] if beside else None)
    ask_together(query, {"user_tweet_entity_graph": UserTweetEntityGraph().find(query)}, 1.0)
    post_ids = np.array(POST_IDS, np.int64)
    authors = np.array([author_of(post) for post in POST_IDS], np.int64)
    found = unhydrated(post_ids, authors, np.zeros(len(post_ids)))
    parts = found.of_source(0)
    source = (np.arange(len(post_ids)) % (1 + len(SOURCES))).astype(np.int8)
    columns = {**vars(parts), "source": source}
    return query, complete(query, Candidates(**columns))


def by_name(inputs: RankerInputs) -> dict[str, np.ndarray[Any, Any]]:
    continuous, binary, discrete, vectors = inputs.dense()
    named: dict[str, np.ndarray[Any, Any]] = dict(vectors)
    for of_sort, values in (
        (inputs.schema.continuous, continuous),
        (inputs.schema.binary, binary),
        (inputs.schema.discrete, discrete),
    ):
        assert values.shape == (len(inputs), len(of_sort))
        named |= {given.name: values[:, k] for k, given in enumerate(of_sort)}
    return named


def assert_same(one: RankerInputs, other: RankerInputs) -> None:
    mine, theirs = by_name(one), by_name(other)
    assert mine.keys() == theirs.keys()
    wrong = [n for n in mine if not np.allclose(mine[n], theirs[n], rtol=1e-6, atol=1e-6)]
    assert not wrong, [(n, np.abs(mine[n] - theirs[n]).max(), mine[n].max()) for n in wrong[:10]]


def test_sources_are_numbered_as_in_the_product() -> None:
    names = [source.name for source in for_you_sources()]
    assert names == ["cached", *SOURCES] == list(get_args(SourceName))


def test_inputs_do_not_depend_on_the_number_of_shards(world: World) -> None:
    settings = world.whole.settings
    one = fetch_inputs(*asked(LocalRouter([world.whole]), settings))
    four = fetch_inputs(*asked(LocalRouter(world.quarters), settings))
    assert one.schema == schema_for(settings)
    assert one.values[Level.POST].shape == (len(POST_IDS), one.schema.width(Level.POST))
    assert_same(one, four)


def through_ray(value: Any) -> Any:
    """As it comes from another process: its arrays are read-only."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, 5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer.raw()) for buffer in buffers])


class Remote(LocalRouter):
    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        gathered: Gathered = through_ray(super().ask(through_ray(dict(wave)), timeout_s))
        return gathered


def test_questions_and_answers_travel_between_processes(world: World) -> None:
    settings = world.whole.settings
    here = fetch_inputs(*asked(LocalRouter(world.quarters), settings))
    there = fetch_inputs(*asked(Remote(world.quarters), settings))
    assert_same(here, there)


def test_a_replay_gives_what_was_served(world: World) -> None:
    query, candidates = asked(LocalRouter(world.quarters), world.whole.settings)
    served = fetch_inputs(query, candidates)
    sources = candidates.source.astype(np.int64)
    post_ids = np.array(POST_IDS, np.int64)
    replayed = inputs_as_of(world.whole, VIEWER, post_ids, sources, NOW_MS, "twitter", DIMENSIONS)
    assert_same(served, replayed)


def test_viewers_inputs_that_did_not_come_ahead_cost_a_wave(world: World) -> None:
    router = LocalRouter(world.quarters)
    query, candidates = asked(router, world.whole.settings)
    late, same = asked(router, world.whole.settings, beside=False)
    assert AskViewerInputs in query.told
    assert AskViewerInputs not in late.told
    assert_same(fetch_inputs(query, candidates), fetch_inputs(late, same))


def test_a_shard_that_does_not_answer_costs_its_values(world: World) -> None:
    settings = world.whole.settings
    router = PartialRouter(world.quarters)
    query, candidates = asked(router, settings)
    whole = fetch_inputs(query, candidates)
    home = query.viewer_shard
    homes = shards_of(candidates.author_ids, 4)
    lost = next(shard for shard in set(homes.tolist()) if shard != home)
    router.missing = {lost}
    part = fetch_inputs(query, candidates)
    assert query.degraded == [f"shard_{lost}"]
    gone = homes == lost
    for name, values in by_name(part).items():
        assert np.isfinite(values).all(), name
    for level, place in ((Level.POST, Place.POSTS), (Level.AUTHOR, Place.AUTHORS)):
        rows = gone if level == Level.POST else homes_of_authors(candidates) == lost
        for put, _ in plan_of("twitter", level, place).runs:
            assert (part.values[level][rows, put] == defaults_of("twitter", level)[put]).all()
            assert np.allclose(part.values[level][~rows, put], whole.values[level][~rows, put])
    # The ties are the viewer's, and so are all still there.
    for put, _ in plan_of("twitter", Level.AUTHOR, Place.TIES).runs:
        assert (part.values[Level.AUTHOR][:, put] == whole.values[Level.AUTHOR][:, put]).all()
    router.missing = {home}
    blind = fetch_inputs(query, candidates)
    for put, _ in plan_of("twitter", Level.AUTHOR, Place.TIES).runs:
        assert (
            blind.values[Level.AUTHOR][:, put] == defaults_of("twitter", Level.AUTHOR)[put]
        ).all()


def homes_of_authors(candidates: Candidates) -> np.ndarray[Any, Any]:
    return shards_of(np.unique(candidates.author_ids), 4)


def test_a_viewer_of_whom_nothing_is_told_has_defaults(world: World) -> None:
    router = PartialRouter(world.quarters)
    query, candidates = asked(router, world.whole.settings, beside=False)
    router.missing = {query.viewer_shard}
    found = fetch_inputs(query, candidates)
    assert (found.values[Level.VIEWER][0] == defaults_of("twitter", Level.VIEWER)).all()
    assert found.discrete[Level.VIEWER][0, 0] == VIEWER


def test_no_candidates_have_no_inputs(world: World) -> None:
    query, candidates = asked(LocalRouter(world.quarters), world.whole.settings)
    found = fetch_inputs(query, candidates.take(np.zeros(0, np.int64)))
    assert found.dense()[0].shape == (0, 2_117)


def test_no_input_is_always_the_same(world: World) -> None:
    """In a world in which everything happens, for several viewers and instants."""
    continuous, binary, schema = stacked(world)
    for inputs, values in ((schema.continuous, continuous), (schema.binary, binary)):
        assert np.isfinite(values).all()
        same = np.flatnonzero(np.ptp(values, axis=0) == 0)
        assert [inputs[k].name for k in same] == []
    assert set(np.unique(binary)) == {0, 1}


def stacked(world: World) -> tuple[Any, Any, Schema]:
    post_ids = np.array(POST_IDS, np.int64)
    sources = np.arange(len(post_ids)) % (1 + len(SOURCES))
    found = []
    for k, viewer in enumerate(USER_IDS):
        now_ms = NOW_MS + (k % 6) * 21 * HOUR_MS * (k > 5)
        found.append(
            inputs_as_of(world.whole, viewer, post_ids, sources, now_ms, "twitter", DIMENSIONS)
        )
    dense = [one.dense() for one in found]
    return (
        np.concatenate([part[0] for part in dense]),
        np.concatenate([part[1] for part in dense]),
        found[0].schema,
    )


def test_a_state_that_counts_more_serves_the_smaller_selection(world: World) -> None:
    """Models of either selection can be served while settings change."""
    post_ids = np.array(POST_IDS, np.int64)
    sources = np.zeros(len(post_ids), np.int64)
    asked_for = (world.whole, VIEWER, post_ids, sources, NOW_MS)
    large = by_name(inputs_as_of(*asked_for, "twitter", DIMENSIONS))
    small = by_name(inputs_as_of(*asked_for, "laptop", DIMENSIONS))
    common = [name for name in small if name in large]
    assert len(common) > 280
    wrong = [name for name in common if not np.allclose(small[name], large[name])]
    assert not wrong
    assert families_of("laptop")
    assert rich_settings(world.folder, "laptop").heavy_ranker.features == "laptop"


def test_posts_that_never_came_have_defaults(world: World) -> None:
    unknown = np.array([77, 78], np.int64)
    found = inputs_as_of(
        *(world.whole, VIEWER, unknown, np.zeros(2, np.int64), NOW_MS, "twitter", DIMENSIONS)
    )
    content = plan_of("twitter", Level.POST, Place.POSTS)
    for level, plan in (
        (Level.POST, content),
        (Level.AUTHOR, plan_of("twitter", Level.AUTHOR, Place.TIES)),
    ):
        for put, _ in plan.runs:
            assert (found.values[level][:, put] == defaults_of("twitter", level)[put]).all()

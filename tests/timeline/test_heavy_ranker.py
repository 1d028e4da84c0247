"""The heavy ranker in For You: whose scores stand, what is kept, and what is said when it fails."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.features.inputs import RankerInputs
from actors.features.registry import schema_for
from actors.features.tasks import TASK_NAMES
from actors.features.weighted_score import weighted_score
from actors.models import HEAVY_RANKER, HEAVY_RANKER_SCHEMA, LIGHT_RANKER, Models
from actors.ranker import Floats, Ranker, RankerUnavailable
from actors.router import LocalRouter
from actors.scored_posts import NOTHING_SCORED, ScoredPosts
from actors.state import ShardState
from cluster.artifacts import ArtifactStore
from cluster.settings import Settings, load
from tests.actors.ranker_inputs.rich_worlds import (
    DIMENSIONS,
    USER_IDS,
    rich_events,
    rich_settings,
    rich_states,
    write_random_models,
)
from tests.timeline.candidate_rows import query, rows
from tests.training.heavy_ranker.scored_models import Tensors, draw_model, write_model
from tests.worlds import NOW_MS, SECRET, shown
from timeline.explain import pack_trace, stage_kinds, why
from timeline.heavy_ranker import heavy_ranker
from timeline.heuristics import rescore
from timeline.pages import Page
from timeline.products import for_you
from timeline.served import Recorder, logged_pages, settings_version
from timeline.sources.cached import to_cache
from timeline.timelines import Timelines
from training.heavy_ranker.loaded import LoadedRankers

VIEWER = USER_IDS[1]
SHARE = "light_ranker_share"
Change = Callable[[Tensors], None]


def unchanged(tensors: Tensors) -> None:
    pass


def write_ranker(
    store: ArtifactStore, settings: Settings, seed: int = 0, change: Change = unchanged
) -> str:
    sizes = {"blocks": 2, "mask_width": 8, "block_width": 8, "backbone": (16,), "towers": (8,)}
    rng = np.random.default_rng(seed)
    tensors, described = draw_model(schema_for(settings), rng, **sizes)  # type: ignore[arg-type]
    change(tensors)
    with store.writing(HEAVY_RANKER, schema_version=HEAVY_RANKER_SCHEMA) as draft:
        write_model(draft.folder, tensors, described)
    return str(draft.version)


class World:
    def __init__(self, folder: Path) -> None:
        self.store = ArtifactStore(folder / "artifacts")
        self.settings = rich_settings(folder, "laptop")
        self.version = write_ranker(self.store, self.settings)
        versions = {**write_random_models(folder), HEAVY_RANKER: self.version}
        self.states = rich_states(folder, versions, rich_events(), 2, "laptop")
        self.ranker = LoadedRankers(self.store, self.settings)
        self.ranker.load(self.version)

    def timelines(self, ranker: Ranker | None = None) -> Timelines:
        models = Models(self.store)
        router = LocalRouter(self.states)
        return Timelines(self.settings, router, models, SECRET, ranker or self.ranker)

    def page(self, ranker: Ranker | None = None, **asked: object) -> Page:
        return self.timelines(ranker).for_you(VIEWER, 20, now_ms=NOW_MS, **asked)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("ranked"))


def scores_of(page: Page, stage: str) -> dict[int, float]:
    [found] = [one for one in page.trace.stages if one.name == stage]
    assert found.post_ids is not None
    assert found.values is not None
    return dict(zip(found.post_ids.tolist(), found.values.tolist(), strict=True))


def test_the_weighted_sum_of_what_is_predicted_ranks(world: World) -> None:
    page = world.page()
    assert page.model_version == world.version
    assert not page.degraded
    found = page.predictions
    assert found is not None
    assert len(found.post_ids) >= 10
    wanted = weighted_score(found.probabilities, world.settings.heavy_ranker.weights)
    scores = scores_of(page, HEAVY_RANKER)
    assert [scores[post] for post in found.post_ids.tolist()] == pytest.approx(wanted.tolist())
    light = scores_of(page, "light_ranker")
    assert scores != light


def with_share(world: World, share: float) -> Settings:
    factors = world.settings.heuristics.factors.model_copy(update={"light_ranker_share": share})
    heuristics = world.settings.heuristics.model_copy(update={"factors": factors})
    return world.settings.model_copy(update={"heuristics": heuristics})


def ranked_with(world: World, share: float) -> dict[int, float]:
    """The scores of what is shown, all other factors divided out of them."""
    models, router = Models(world.store), LocalRouter(world.states)
    timelines = Timelines(with_share(world, share), router, models, SECRET, world.ranker)
    page = timelines.for_you(VIEWER, 20, now_ms=NOW_MS)
    packed = pack_trace(page, stage_kinds(for_you(models)))
    told = [
        why(packed, post, models.light_ranker)["score"] for post in page.shown.post_ids.tolist()
    ]
    others = [np.prod([f for name, f in one["factors"].items() if name != SHARE]) for one in told]
    for one in told:
        made = one[HEAVY_RANKER] * np.prod(list(one["factors"].values()))
        assert one["final"] == pytest.approx(made, rel=1e-6)
    scores = [one["final"] / other for one, other in zip(told, others, strict=True)]
    return dict(zip(page.shown.post_ids.tolist(), scores, strict=True))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_both_rankers_have_their_share_of_the_score(world: World, share: float) -> None:
    page = world.page()
    heavy, light = scores_of(page, HEAVY_RANKER), scores_of(page, LIGHT_RANKER)
    found = ranked_with(world, share)
    assert len(found) >= 5
    for post, score in found.items():
        wanted = heavy[post] ** (1 - share) * light[post] ** share
        assert score == pytest.approx(wanted, rel=1e-5)


def test_what_was_scored_a_moment_ago_is_mixed_with_light_scores_of_now() -> None:
    posts = rows({"scores": 0.5}, {"scores": 0.25})
    said = np.array([2.0, 1.0], np.float32)
    cached = to_cache(posts, posts.post_ids, said, ("popular",), "v1", NOTHING_SCORED, NOW_MS)
    asked = replace(query(), cached=cached, versions={HEAVY_RANKER: "v1"})
    scores = heavy_ranker(Broken(raises), asked, posts)
    assert scores.tolist() == said.tolist()
    factors = dict(rescore(asked, posts.with_scores(scores)))[SHARE]
    assert factors.tolist() == [0.5, 0.5]
    failed = replace(query(), versions={HEAVY_RANKER: "v1"}, deadline_s=0.0)
    assert heavy_ranker(Broken(raises), failed, posts).tolist() == [0.5, 0.25]
    assert dict(rescore(failed, posts))[SHARE].tolist() == [1, 1]


def test_weights_are_settings(world: World) -> None:
    weights = world.settings.heavy_ranker.weights.model_copy(update={"is_replied": 0.0})
    ranker = world.settings.heavy_ranker.model_copy(update={"weights": weights})
    settings = world.settings.model_copy(update={"heavy_ranker": ranker})
    router = LocalRouter(world.states)
    other = Timelines(settings, router, Models(world.store), SECRET, world.ranker)
    page = other.for_you(VIEWER, 20, now_ms=NOW_MS)
    assert scores_of(page, HEAVY_RANKER) != scores_of(world.page(), HEAVY_RANKER)


def test_why_tells_what_was_predicted_and_what_it_adds(world: World) -> None:
    page = world.page()
    kinds = stage_kinds(for_you(Models(world.store)))
    post_id = page.items[0].post_id
    told = why(pack_trace(page, kinds), post_id, Models(world.store).light_ranker)
    predicted = told["score"]["predicted"]
    assert {one["engagement"] for one in predicted} == set(TASK_NAMES)
    weights = world.settings.heavy_ranker.weights.model_dump()
    chances = {one["engagement"]: one["probability"] for one in predicted}
    chances["is_good_clicked"] = max(chances["is_good_clicked"], chances["is_good_clicked_v2"])
    for one in predicted:
        name = one["engagement"]
        assert one["adds"] == pytest.approx(chances[name] * weights[name])
    assert told["score"]["contributions"]


class Broken:
    """A ranker that fails in one of the ways in which models do."""

    ready = True

    def __init__(self, fail: Callable[[RankerInputs], Floats]) -> None:
        self._fail = fail

    def serving(self, version: str) -> str | None:
        return version

    def score(self, version: str, inputs: RankerInputs, timeout_s: float) -> Floats:
        return self._fail(inputs)


def raises(inputs: RankerInputs) -> Floats:
    raise RankerUnavailable("gone")


def no_numbers(inputs: RankerInputs) -> Floats:
    return np.full((len(inputs), len(TASK_NAMES)), np.nan, np.float32)


def too_few(inputs: RankerInputs) -> Floats:
    return np.zeros((len(inputs) - 1, len(TASK_NAMES)), np.float32)


@pytest.mark.parametrize("fail", [raises, no_numbers, too_few])
def test_where_it_fails_the_light_rankers_order_stands(
    world: World, fail: Callable[[RankerInputs], Floats]
) -> None:
    page = world.page(Broken(fail))
    assert page.degraded == [HEAVY_RANKER]
    assert page.model_version == page.light_version
    bare = Timelines(world.settings, LocalRouter(world.states), Models(world.store), SECRET)
    without = bare.for_you(VIEWER, 20, now_ms=NOW_MS)
    assert not without.degraded
    assert [one["post_id"] for one in shown(page)] == [one["post_id"] for one in shown(without)]


def test_only_the_best_by_the_light_ranker_are_scored(world: World) -> None:
    ranker = world.settings.heavy_ranker.model_copy(update={"max_scored": 7})
    settings = world.settings.model_copy(update={"heavy_ranker": ranker})
    timelines = Timelines(
        settings, LocalRouter(world.states), Models(world.store), SECRET, world.ranker
    )
    page = timelines.for_you(VIEWER, 20, now_ms=NOW_MS)
    light = scores_of(page, "light_ranker")
    best = sorted(light, key=lambda post: (-light[post], -post))[:7]
    assert sorted(scores_of(page, HEAVY_RANKER)) == sorted(best)


def test_what_was_scored_a_moment_ago_keeps_its_score(world: World) -> None:
    first = world.page()
    recorder = Recorder.__new__(Recorder)
    recorder._settings = world.settings
    kept = recorder._scored(first)
    assert isinstance(kept, ScoredPosts)
    assert kept.model_version == world.version
    of_model = scores_of(first, HEAVY_RANKER)
    for post, score in zip(kept.post_ids.tolist(), kept.scores.tolist(), strict=True):
        assert score == pytest.approx(of_model[post])


def test_inputs_are_logged_as_served(world: World) -> None:
    page = world.page()
    [logged] = logged_pages([page], 1.0, np.random.default_rng(0))
    assert logged.model_version == world.version
    assert logged.settings_version == settings_version(page.settings)
    assert len(logged.post_ids) == len(page.predictions.post_ids)  # type: ignore[union-attr]
    places = {post: k for k, post in enumerate(page.shown.post_ids.tolist())}
    for post, position in zip(logged.post_ids.tolist(), logged.positions.tolist(), strict=True):
        assert position == places.get(post, -1)
    # The viewer, then candidates, then their inputs, then those of what they link to.
    assert len(logged.applied) >= 4
    told = {lane: at for state in world.states for lane, at in state.applied.items()}
    assert all(wave.items() <= told.items() for wave in logged.applied)
    assert told in logged.applied


def no_numbers_come_of_it(world: World) -> str:
    def overflow(tensors: Tensors) -> None:
        tensors["towers.is_replied.1.weight"][:] = 3e38
        tensors["towers.is_replied.1.bias"][:] = 3e38

    return write_ranker(world.store, world.settings, 1, overflow)


def a_layer_is_missing(world: World) -> str:
    def forget(tensors: Tensors) -> None:
        del tensors["blocks.1.hidden.weight"]

    return write_ranker(world.store, world.settings, 1, forget)


def it_reads_other_inputs(world: World) -> str:
    dimensions = {"twhin": {"dimensions": 2 * DIMENSIONS}}
    return write_ranker(world.store, load(training=dimensions), 1)


def a_bit_was_flipped(world: World) -> str:
    version = write_ranker(world.store, world.settings, 1)
    path = world.store.open(HEAVY_RANKER, version).folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    return version


@pytest.mark.parametrize(
    "make", [no_numbers_come_of_it, a_layer_is_missing, it_reads_other_inputs, a_bit_was_flipped]
)
def test_a_bad_model_is_refused_and_the_old_one_serves_under_load(
    world: World, make: Callable[[World], str]
) -> None:
    bad = make(world)
    refused: list[str] = []
    rankers = LoadedRankers(world.store, world.settings)
    rankers.tell_refused = refused.append
    rankers.load(world.version)
    timelines = world.timelines(rankers)
    refused_by_shards = make is a_bit_was_flipped
    for state in world.states:
        # Shards check files; whoever scores checks the model in them, whatever the shards say.
        activate(state, bad, refused_by_shards)
    pages: list[Page] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            pages.append(timelines.for_you(VIEWER, 20, now_ms=NOW_MS))

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    deadline = time.monotonic() + 60
    while (not (refused or refused_by_shards) or len(pages) < 6) and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    for asker in askers:
        asker.join()
    for state in world.states:
        activate(state, world.version)
    assert refused == ([] if refused_by_shards else [bad])
    assert len(pages) >= 6
    assert {page.model_version for page in pages} == {world.version}
    assert all(not page.degraded for page in pages)


def test_a_new_model_takes_over_without_a_page_in_between(world: World) -> None:
    new = write_ranker(world.store, world.settings, 2)
    timelines = world.timelines()
    for state in world.states:
        activate(state, new)
    versions = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        page = timelines.for_you(VIEWER, 20, now_ms=NOW_MS)
        assert not page.degraded
        versions.append(page.model_version)
        if page.model_version == new:
            break
    for state in world.states:
        activate(state, world.version)
    assert versions[-1] == new
    assert set(versions) <= {world.version, new}


def activate(state: ShardState, version: str, refused: bool = False) -> None:
    before = state.active[HEAVY_RANKER]
    state.activate(HEAVY_RANKER, version, before.time_ms + 1)
    assert state.active_version(HEAVY_RANKER) == (before.version if refused else version)

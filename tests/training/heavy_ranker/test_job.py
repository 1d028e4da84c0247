from pathlib import Path
from typing import Any

import pytest

from actors.features.binned import UNTRAINED_VERSION
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.settings import Settings, load
from tests.training.archives import archived_events
from tests.training.heavy_ranker.worlds import (
    N_POSTS,
    SCHEMA,
    asked_ms_of,
    inputs_as_of,
    requests,
)
from tests.worlds import HOUR_MS, Clock, Event
from training.heavy_ranker import job
from training.heavy_ranker.checkpoints import Checkpoints, Stood
from training.heavy_ranker.export import MODEL
from training.job import NothingNew, Trained, TrainingError

N_REQUESTS = 150


def settings_at(folder: Path, **more: Any) -> Settings:
    small = {"blocks": 1, "mask_width": 8, "block_width": 8, "backbone": [8], "towers": [8]}
    quick = {"batch": 64, "epochs": 2, "learning_rate_scale": 30.0, "min_judged_positives": 5}
    quick["anew_below"] = 0
    return load(
        data_dir=folder,
        shards={"kinds": ("graph", "posts")},
        heavy_ranker={**small, **quick, **more},
    )


def store(settings: Settings) -> ArtifactStore:
    return ArtifactStore(settings.data_dir / "artifacts")


def learn(settings: Settings, archive: Archive, **more: Any) -> Trained:
    return job.learn(settings, archive, store(settings), SCHEMA, inputs_as_of, **more)


def more_requests(n: int) -> list[Event]:
    """Later than those of `requests(N_REQUESTS)`, of the same posts."""
    clock = Clock(Clock().now_ms + 20 * HOUR_MS)
    clock._last_id = 100_000
    return over(requests(n, clock=clock, first=N_REQUESTS)[N_POSTS:])


def over(events: list[Event]) -> list[Event]:
    """With one more when the window of the last request is over."""
    last = events[-1]
    at = {"event_id": last["event_id"] + 1, "time_ms": last["time_ms"] + 4 * HOUR_MS}
    return [*events, {"kind": "post_create", "post_id": last["event_id"], "author_id": 1} | at]


@pytest.fixture
def world(folder: Path) -> tuple[Settings, Archive]:
    settings = settings_at(folder)
    return settings, archived_events(settings, over(requests(N_REQUESTS)))


def test_a_first_run_learns_judges_and_writes_what_serves(world: tuple[Settings, Archive]) -> None:
    settings, archive = world
    told: list[str] = []
    trained = learn(settings, archive, progress=lambda what, _: told.append(what))
    artifact = store(settings).open(trained.name, trained.version)
    metrics = trained.metrics
    assert artifact.manifest.metrics == metrics
    assert artifact.json(MODEL)["schema"]["fingerprint"] == SCHEMA.fingerprint
    assert metrics["examples"]["examples"] == N_REQUESTS * N_POSTS
    assert metrics["examples"]["replayed"] == N_REQUESTS * N_POSTS
    assert metrics["examples"]["positives"]["is_favorited"] == N_REQUESTS
    # Everybody favours the one post that has favourites.
    judged = metrics["evaluation"]["all"]["is_favorited"]
    assert judged["examples"] == N_REQUESTS * N_POSTS // 10
    assert judged["auroc"] > 0.95
    assert set(metrics["evaluation"]) == {"all", "source source0", "source source1"}
    assert metrics["light_ranker"]["version"] == UNTRAINED_VERSION
    assert set(metrics["light_ranker"]["auroc"]) == {"is_favorited"}
    assert metrics["ranking"]["heavy_ranker"]["grouped_auc"] > 0.95
    assert metrics["in_order"]["served"] == {"is_favorited": 1.0}
    assert metrics["gate"] == "accepted", metrics["gate_reason"]
    assert metrics["earlier"] is None
    assert metrics["held_out_from_ms"] < metrics["judged_from_ms"]
    assert "examples" in told
    assert "judging" in told
    assert list((settings.data_dir / "training" / "heavy_ranker").iterdir()) == []


def test_a_later_run_goes_on_with_what_came_since(world: tuple[Settings, Archive]) -> None:
    settings, archive = world
    first = learn(settings, archive)
    archive = archived_events(settings, more_requests(N_REQUESTS))
    second = learn(settings, archive)
    manifest = store(settings).manifest(second.name, second.version)
    assert manifest.depends_on == {"heavy_ranker": first.version}
    # What the first held out, and all that is new.
    held_out = N_REQUESTS * N_POSTS // 5
    assert second.metrics["examples"]["examples"] == held_out + N_REQUESTS * N_POSTS
    assert second.metrics["examples"]["range_ms"][0] == first.metrics["held_out_from_ms"]
    earlier = second.metrics["earlier"]
    assert earlier["version"] == first.version
    assert earlier["evaluation"]["is_favorited"]["auroc"] > 0.9
    assert second.metrics["gate"] == "accepted"


def test_while_examples_are_few_all_of_them_are_learnt_from_anew(
    world: tuple[Settings, Archive],
) -> None:
    settings, archive = world
    first = learn(settings, archive)
    learnt = N_REQUESTS * N_POSTS * 4 // 5
    assert first.metrics["learnt_from"] == learnt
    archive = archived_events(settings, more_requests(N_REQUESTS))
    second = learn(settings_at(settings.data_dir, anew_below=learnt + 1), archive)
    assert store(settings).manifest(second.name, second.version).depends_on == {}
    assert second.metrics["examples"]["examples"] == 2 * N_REQUESTS * N_POSTS
    assert second.metrics["earlier"]["version"] == first.version
    assert second.metrics["learnt_from"] == 2 * learnt
    assert second.metrics["gate"] == "accepted", second.metrics["gate_reason"]
    third = learn(settings_at(settings.data_dir, anew_below=2 * learnt), archive)
    depends_on = store(settings).manifest(third.name, third.version).depends_on
    assert depends_on == {"heavy_ranker": second.version}
    newest = 2 * N_REQUESTS * N_POSTS // 5
    assert third.metrics["examples"]["examples"] == newest
    assert third.metrics["learnt_from"] == 2 * learnt + newest * 4 // 5


def test_other_sizes_begin_anew_but_are_judged_beside_the_version_before(
    world: tuple[Settings, Archive],
) -> None:
    settings, archive = world
    first = learn(settings, archive)
    wider = settings_at(settings.data_dir, block_width=12)
    second = learn(wider, archive)
    manifest = store(settings).manifest(second.name, second.version)
    assert manifest.depends_on == {}
    assert second.metrics["examples"]["examples"] == N_REQUESTS * N_POSTS
    assert second.metrics["earlier"]["version"] == first.version
    assert second.metrics["earlier"]["evaluation"]["is_favorited"]["auroc"] > 0.9


def test_a_version_that_is_worse_is_refused_and_nothing_goes_on_from_it(
    world: tuple[Settings, Archive],
) -> None:
    settings, archive = world
    first = learn(settings, archive)
    # It does not move from where it begins.
    stuck = settings_at(
        settings.data_dir, block_width=12, epochs=1, learning_rate_scale=1e-9, batch=400
    )
    second = learn(stuck, archive)
    assert second.metrics["gate"] == "refused"
    assert second.metrics["gate_reason"]
    archive = archived_events(settings, more_requests(N_REQUESTS))
    third = learn(settings, archive)
    manifest = store(settings).manifest(third.name, third.version)
    assert manifest.depends_on == {"heavy_ranker": first.version}


def test_the_same_data_give_the_same_model(world: tuple[Settings, Archive], tmp_path: Path) -> None:
    settings, archive = world
    one, other = store(settings), ArtifactStore(tmp_path / "other")
    first, second = (
        job.learn(settings, archive, artifacts, SCHEMA, inputs_as_of) for artifacts in (one, other)
    )
    files = [
        artifacts.open(made.name, made.version).file("model.safetensors").read_bytes()
        for artifacts, made in ((one, first), (other, second))
    ]
    assert files[0] == files[1]
    assert first.metrics == second.metrics


def test_a_run_that_was_cut_off_does_not_write_its_examples_again(
    world: tuple[Settings, Archive], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, archive = world

    def cut_off(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("training.heavy_ranker.fit.fit", cut_off)
        with pytest.raises(KeyboardInterrupt):
            learn(settings, archive)

    def refuse(*_: object) -> Any:
        raise AssertionError("examples are there already")

    trained = job.learn(settings, archive, store(settings), SCHEMA, refuse)
    assert trained.metrics["examples"]["examples"] == N_REQUESTS * N_POSTS


def test_a_run_that_was_cut_off_goes_on_with_its_own_examples_while_more_is_archived(
    world: tuple[Settings, Archive], tmp_path: Path
) -> None:
    settings, archive = world
    settings = settings_at(settings.data_dir, checkpoint_steps=3)
    whole = ArtifactStore(tmp_path / "whole")
    first = job.learn(settings, archive, whole, SCHEMA, inputs_as_of)
    saved, steps = Checkpoints.save, list[int]()

    def cut_off(self: Checkpoints, state: Any, stood: Stood) -> None:
        saved(self, state, stood)
        steps.append(stood.step)
        if len(steps) == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Checkpoints, "save", cut_off)
        with pytest.raises(KeyboardInterrupt):
            learn(settings, archive)
        archive = archived_events(settings, more_requests(N_REQUESTS))
        second = learn(settings, archive)
    assert steps[:3] == [3, 6, 9]
    assert second.metrics == first.metrics
    files = [
        artifacts.open(made.name, made.version)
        for artifacts, made in ((whole, first), (store(settings), second))
    ]
    assert files[0].manifest.data_range_ms == files[1].manifest.data_range_ms
    assert len({file.file("model.safetensors").read_bytes() for file in files}) == 1
    assert files[0].json("training.json") == files[1].json("training.json")
    # What was archived meanwhile is learnt from afterwards.
    third = learn(settings, archive)
    assert third.metrics["examples"]["examples"] == (N_REQUESTS // 5 + N_REQUESTS) * N_POSTS
    assert store(settings).manifest(third.name, third.version).depends_on == {
        "heavy_ranker": second.version
    }


def test_too_little_is_looked_at_again_when_more_was_archived(folder: Path) -> None:
    settings = settings_at(folder)
    events = over(requests(60))
    unloved = [event for event in events if event["kind"] != "favourite"]
    archive = archived_events(settings, unloved)
    with pytest.raises(TrainingError, match="no engagement has more than 0 of them"):
        learn(settings, archive)

    def refuse(*_: object) -> Any:
        raise AssertionError("the examples are there already")

    with pytest.raises(TrainingError, match="no engagement has more than 0 of them"):
        job.learn(settings, archive, store(settings), SCHEMA, refuse)
    archive = archived_events(settings, more_requests(60))
    trained = learn(settings, archive)
    assert trained.metrics["examples"]["examples"] == 120 * N_POSTS


def test_nothing_is_made_again_of_what_there_was(world: tuple[Settings, Archive]) -> None:
    settings, archive = world
    first = learn(settings, archive)
    with pytest.raises(NothingNew, match=rf"{first.version} \(accepted\) .* only 0 are new"):
        learn(settings, archive)
    # 49 requests make 196 examples.
    archive = archived_events(settings, more_requests(49))
    with pytest.raises(NothingNew, match="only 196 are new; the next is tried with 200"):
        learn(settings, archive)
    assert store(settings).versions("heavy_ranker") == [first.version]
    # Other settings may make another model of the same, or judge it otherwise.
    assert learn(settings_at(settings.data_dir, epochs=3), archive).version
    with pytest.raises(TrainingError, match="makes 64 examples"):
        learn(settings_at(settings.data_dir, rce_tolerance=2.0), archive)
    factors = settings.heuristics.factors.model_copy(update={"light_ranker_share": 0.0})
    heuristics = settings.heuristics.model_copy(update={"factors": factors})
    with pytest.raises(TrainingError, match="makes 64 examples"):
        learn(settings.model_copy(update={"heuristics": heuristics}), archive)


def test_what_was_refused_is_tried_again_with_enough_new_examples(
    world: tuple[Settings, Archive],
) -> None:
    settings, archive = world
    # Nothing can pass.
    given = {"auroc_tolerance": 0.0, "min_judged_positives": 10_000}
    strict = settings_at(settings.data_dir, retried_from=0.5, **given)
    first = learn(strict, archive)
    assert first.metrics["gate"] == "refused"
    with pytest.raises(NothingNew, match=rf"{first.version} \(refused\) .* tried with 300$"):
        learn(strict, archive)
    archive = archived_events(strict, more_requests(70))
    with pytest.raises(NothingNew, match="only 280 are new"):
        learn(strict, archive)
    assert learn(settings_at(strict.data_dir, retried_from=0.4, **given), archive).version
    # Whoever takes what others refused has not tried yet.
    second = learn(settings, archive)
    assert second.metrics["gate"] == "accepted"
    assert second.metrics["examples"]["examples"] == (N_REQUESTS + 70) * N_POSTS


def test_the_best_version_so_far_is_judged_beside_as_well(
    world: tuple[Settings, Archive],
) -> None:
    """Versions that may each be worse by nearly all there is lose it once, and not again."""
    settings, archive = world
    best = learn(settings, archive)
    assert "version" not in best.metrics["reference"]
    of_best = best.metrics["evaluation"]["all"]["is_favorited"]["rce"]
    # One that hardly moves from where it begins, and sizes that cannot go on from another.
    slow = {"learning_rate_scale": 5.0, "epochs": 1, "batch": 400, "rce_tolerance": 99.0}
    worse = learn(settings_at(settings.data_dir, block_width=12, **slow), archive)
    assert worse.metrics["gate"] == "accepted", worse.metrics["gate_reason"]
    rce = worse.metrics["evaluation"]["all"]["is_favorited"]["rce"]
    assert rce < of_best - 20
    assert worse.metrics["reference"]["version"] == best.version
    # Not worse than the version before, and yet refused.
    slow["rce_tolerance"] = of_best - rce - 10
    again = learn(settings_at(settings.data_dir, block_width=16, **slow), archive)
    assert again.metrics["earlier"]["version"] == worse.version
    assert again.metrics["gate"] == "refused"
    assert again.metrics["gate_reason"].startswith("worse than the reference version")


def test_events_from_the_instant_given_on_are_not_learnt_from(
    world: tuple[Settings, Archive],
) -> None:
    settings, archive = world
    until_ms = asked_ms_of(requests(N_REQUESTS), 99) + 3 * HOUR_MS
    trained = learn(settings, archive, until_ms=until_ms)
    assert trained.metrics["examples"]["examples"] == 100 * N_POSTS
    manifest = store(settings).manifest(trained.name, trained.version)
    assert manifest.data_range_ms is not None
    assert manifest.data_range_ms[1] == until_ms


def test_what_is_missing_is_named(folder: Path) -> None:
    settings = settings_at(folder)
    with pytest.raises(TrainingError, match="makes 0 examples"):
        learn(settings, archived_events(settings, []))
    archive = archived_events(settings, over(requests(10)))
    with pytest.raises(TrainingError, match=r"makes 40 examples"):
        learn(settings, archive)
    assert store(settings).versions("heavy_ranker") == []

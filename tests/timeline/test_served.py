"""What pages leave behind: events, features and traces, and what is dropped where that fails."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from actors.features.light import FEATURES
from actors.questions import AskTrace
from actors.router import shards_of
from actors.viewer_questions import AskScored
from cluster.archive import Archive
from cluster.archiver import Archiver
from cluster.log import LogFull
from cluster.logs import features_lane
from cluster.routing import decode
from cluster.settings import DAY_MS, load
from cluster.validation import check_batch
from tests.http_world import N_SHARDS, NOW_MS, VIEWER, World, a_lively_world
from timeline import served
from timeline.modules import Module
from timeline.pages import Page
from timeline.served import Recorder, served_events, served_features, settings_version


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    for world in a_lively_world(tmp_path):
        world.records()
        yield world


def pages_of(world: World, *viewers: int, limit: int = 3) -> list[Page]:
    timelines = world.service._timelines
    return [timelines.for_you(viewer, limit, now_ms=NOW_MS) for viewer in viewers]


def recorder_of(world: World, dropped: Counter[str], **options: Any) -> Recorder:
    return Recorder(
        world.settings,
        world.router,
        world.appender,
        world.service._kinds,
        lambda: world.now_ms,
        lambda what, n: dropped.update({what: n}),
        **options,
    )


def test_an_event_for_every_item(world: World) -> None:
    pages = pages_of(world, VIEWER, 999)
    table = served_events(pages)
    checked = check_batch(table, now_ms=NOW_MS)
    assert checked.problems == []
    assert table.num_rows == sum(len(page.items) for page in pages)
    first = table.slice(0, 1).to_pylist()[0]
    item = pages[0].items[0]
    assert first.pop("event_id") > 0
    assert first == {
        "kind": 90,
        "time_ms": NOW_MS,
        "actor_id": VIEWER,
        "post_id": item.post_id,
        "author_id": item.author_id,
        "value": pytest.approx(item.score),
        "surface": "for_you",
        "request_id": pages[0].request_id,
        "position": 0,
        "source": item.source,
        "model_version": "untrained",
        "settings_version": settings_version(world.settings),
        "experiment_arm": None,
    }
    assert table.column("position").to_pylist() == [
        place for page in pages for place in range(len(page.items))
    ]
    assert len(set(checked.batch.column("event_id").to_pylist())) == table.num_rows


def test_the_same_post_on_two_pages_of_one_instant_is_two_events(world: World) -> None:
    once, again = pages_of(world, VIEWER, VIEWER)
    checked = check_batch(served_events([once, again]), now_ms=NOW_MS)
    ids = checked.batch.column("event_id").to_pylist()
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("sample", [0.0, 1.0])
def test_features_of_what_was_served_and_of_a_sample(world: World, sample: float) -> None:
    pages = pages_of(world, VIEWER, VIEWER)
    payload = served_features(pages, sample, np.random.default_rng(1))
    table = pa.ipc.open_stream(payload).read_all()
    assert table.schema.metadata[b"names"].decode().split(",") == list(FEATURES)
    of_first = table.filter(pa.compute.equal(table.column("request_id"), pages[0].request_id))
    position = of_first.column("position").to_numpy()
    assert position[:3].tolist() == [0, 1, 2]
    assert (position[3:] == -1).all()
    n_rest = len(pages[0].trace.found) - 3
    assert len(position) == 3 + (n_rest if sample else 0)
    post_ids = of_first.column("post_id").to_pylist()
    assert post_ids[:3] == [item.post_id for item in pages[0].items]
    assert len(set(post_ids)) == len(post_ids)
    rows = np.array(of_first.column("features").to_pylist(), np.float32)
    assert rows[:3] == pytest.approx(pages[0].shown.features, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("off", [[], ["cached"]])
def test_posts_are_cached_for_the_next_request_unless_that_source_is_off(
    world: World, off: list[str]
) -> None:
    settings = load(sources={"off": off})
    page = world.service._timelines.for_you(VIEWER, 3, now_ms=NOW_MS, settings=settings)
    recorder = recorder_of(world, Counter())
    assert recorder.offer(page)
    recorder.close()
    home = int(shards_of(np.array([VIEWER]), N_SHARDS)[0])
    reply = world.router.ask({home: [AskScored(VIEWER, NOW_MS)]}, 1.0).replies[home]
    assert bool(len(reply.answers[0])) == (not off)


def test_everything_of_a_page_is_found_again(world: World, tmp_path: Path) -> None:
    (page,) = pages_of(world, VIEWER)
    dropped: Counter[str] = Counter()
    recorder = recorder_of(world, dropped, sample=0.0)
    assert recorder.offer(page)
    recorder.close()
    assert not dropped
    lane = features_lane(world.settings)
    archiver = Archiver(world.log, tmp_path / "archive", range(lane), features_lane=lane)
    while archiver.step():
        pass
    (features,) = Archive(tmp_path / "archive").served_features()
    assert features.column("post_id").to_pylist() == [item.post_id for item in page.items]
    home = int(shards_of(np.array([VIEWER]), N_SHARDS)[0])
    kept = world.states[home].ask([AskTrace(VIEWER, page.request_id, 0)])
    assert isinstance(kept[0], bytes)
    world.catch_up()
    assert set(world.states[home].graph.context(VIEWER, NOW_MS, 9, 9).served_ids.tolist()) == {
        item.post_id for item in page.items
    }


def test_an_empty_page_leaves_only_its_trace(world: World) -> None:
    world.router.down = {0, 1}
    (page,) = pages_of(world, VIEWER)
    world.router.down = set()
    dropped: Counter[str] = Counter()
    recorder = recorder_of(world, dropped)
    recorder.offer(page)
    recorder.close()
    assert world.records() == []
    assert not dropped


def test_pages_that_wait_are_recorded_together(world: World) -> None:
    dropped: Counter[str] = Counter()
    world.appender.hold()
    recorder = recorder_of(world, dropped)
    (first,) = pages_of(world, VIEWER)
    recorder.offer(first)
    assert world.appender.entered.wait(10)
    for page in pages_of(world, *[VIEWER] * 5):
        recorder.offer(page)
    world.appender.gate.set()
    recorder.close()
    lane = features_lane(world.settings)
    assert len([1 for where, _ in world.records() if where == lane]) == 2
    assert not dropped


def test_pages_beyond_the_bound_are_dropped_and_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "_CAPACITY", 2)
    dropped: Counter[str] = Counter()
    world.appender.hold()
    recorder = recorder_of(world, dropped)
    first, *pages = pages_of(world, *[VIEWER] * 5)
    recorder.offer(first)
    assert world.appender.entered.wait(10)
    assert [recorder.offer(page) for page in pages] == [True, True, False, False]
    assert dropped == {"page": 2}
    assert recorder.trace_of(VIEWER, pages[0].request_id)
    assert recorder.trace_of(VIEWER, pages[2].request_id) is None
    assert recorder.trace_of(VIEWER + 1, pages[0].request_id) is None
    world.appender.gate.set()
    recorder.close()
    assert recorder.trace_of(VIEWER, pages[0].request_id) is None


def test_failures_are_counted_and_the_next_page_is_recorded(world: World) -> None:
    dropped: Counter[str] = Counter()
    recorder = recorder_of(world, dropped)
    one, two, three = pages_of(world, VIEWER, VIEWER, VIEWER)
    world.appender.error = LogFull("no room")
    recorder.offer(one)
    recorder.flush()
    assert dropped == {"append": 1}
    world.appender.error = ZeroDivisionError()
    recorder.offer(two)
    recorder.flush()
    assert dropped == {"append": 1, "page": 1}
    world.appender.error = None
    world.router.down = {0, 1}
    recorder.offer(three)
    recorder.close()
    assert dropped == {"append": 1, "page": 1, "trace": 1}
    requests = {
        row["request_id"]
        for lane, payload in world.records()
        if lane != features_lane(world.settings)
        for row in decode(payload).to_pylist()
    }
    assert requests == {three.request_id}


def test_pages_of_a_past_instant_are_counted(world: World) -> None:
    """The log would take events this old for ones that it had already."""
    dropped: Counter[str] = Counter()
    recorder = recorder_of(world, dropped)
    (page,) = pages_of(world, VIEWER)
    world.now_ms = NOW_MS + 2 * DAY_MS
    recorder.offer(page)
    recorder.close()
    modules = [one for one in page.between if isinstance(one.content, Module)]
    assert modules
    assert dropped == {"event": len(page.items) + len(modules)}


def test_the_settings_version_follows_what_shapes_timelines(tmp_path: Path) -> None:
    base = load(data_dir=tmp_path)
    assert settings_version(base) == settings_version(load(data_dir=tmp_path / "other"))
    other = load(data_dir=tmp_path, for_you={"diversity_decay": 0.6})
    assert settings_version(base) != settings_version(other)

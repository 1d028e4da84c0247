from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.features.inputs import Level, Schema
from actors.features.logged import LoggedPage, pack_pages
from actors.features.tasks import TASK_NAMES
from cluster.archive import Archive
from cluster.events import Kind
from cluster.settings import Settings, load
from tests.training.archives import archived_events
from tests.training.heavy_ranker.worlds import (
    N_POSTS,
    POSTS,
    SCHEMA,
    asked_ms_of,
    author_of,
    inputs_as_of,
    page,
    requests,
    viewer_of,
)
from tests.worlds import HOUR_MS, NOW_MS, Clock, Event
from training.heavy_ranker import examples as module
from training.heavy_ranker.example_set import ExampleSet
from training.heavy_ranker.examples import Manifest, read_manifest, write_examples
from training.heavy_ranker.labelled import labelled
from training.heavy_ranker.past import Past
from training.history import History


def written(
    folder: Path,
    events: list[Event],
    pages: list[LoggedPage] | None = None,
    schema: Schema = SCHEMA,
    **more: Any,
) -> tuple[Manifest, pa.Table]:
    settings, archive = world(folder, events, pages or [])
    return again(folder, settings, archive, schema, **more)


def world(folder: Path, events: list[Event], pages: list[LoggedPage]) -> tuple[Settings, Archive]:
    # What the inputs of this world are made of.
    settings = load(data_dir=folder, shards={"kinds": ("graph", "posts")})
    return settings, archived_events(settings, events, features=[pack_pages([p]) for p in pages])


def again(
    folder: Path, settings: Settings, archive: Archive, schema: Schema = SCHEMA, **more: Any
) -> tuple[Manifest, pa.Table]:
    found = labelled(archive, 0, NOW_MS, attribution_ms=3 * HOUR_MS, max_examples=10_000)
    given = {"inputs_as_of": inputs_as_of, "until_ms": NOW_MS, "negatives_kept": 1.0, **more}
    manifest = write_examples(folder / "set", settings, archive, schema, found, **given)
    paths = manifest.paths(folder / "set")
    return manifest, pa.concat_tables([pq.read_table(path) for path in paths])


def lists(table: pa.Table, name: str) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(table.column(name).to_pylist())


FAVOURITES = [i.name for i in SCHEMA.continuous].index("post.favourites")


def test_inputs_are_those_of_the_instant_of_the_request(folder: Path) -> None:
    events = requests(20)
    manifest, table = written(folder, events)
    assert (manifest.examples, manifest.replayed, manifest.served) == (20 * N_POSTS, 80, 0)
    # Of the first post every earlier viewer is a favourite; the viewer's own is not yet there.
    of_first = lists(table, "continuous").reshape(20, N_POSTS, -1)[:, 0, FAVOURITES]
    assert of_first == pytest.approx(np.arange(20), rel=1e-5)
    assert table.column("time_ms").to_pylist()[::N_POSTS] == [
        asked_ms_of(events, k) for k in range(20)
    ]
    assert table.column("request_id").to_pylist()[::N_POSTS] == [f"r{k}" for k in range(20)]
    assert table.column("source").to_pylist() == [f"source{p % 2}" for p in POSTS] * 20
    discrete = lists(table, "discrete")
    assert discrete[:, 0].tolist() == [viewer_of(k) for k in range(20) for _ in POSTS]
    assert discrete[:, 1].tolist() == [author_of(post) for post in POSTS] * 20
    assert lists(table, "author_vector")[:, 1].tolist() == [-author_of(p) for p in POSTS] * 20
    assert not any(table.column("as_served").to_pylist())


def test_columns_are_what_training_reads(folder: Path) -> None:
    manifest, table = written(folder, requests(5), negatives_kept=0.5)
    metadata = table.schema.metadata
    assert metadata[b"tasks"].decode().split(",") == list(TASK_NAMES)
    assert metadata[b"schema"].decode() == SCHEMA.fingerprint == manifest.schema
    opened = ExampleSet.open(manifest.paths(folder / "set"), SCHEMA)
    assert len(opened) == 20
    assert opened.negatives_kept == 0.5
    (read,) = opened.in_order(1_000)
    assert read.labels[:, 0].tolist() == [1, 0, 0, 0] * 5
    assert read.mask[:, TASK_NAMES.index("is_video_watched")].sum() == 0
    assert read.binary.shape == (20, 2)
    assert opened.described("source").tolist() == [f"source{p % 2}" for p in POSTS] * 5


def test_the_manifest_counts(folder: Path) -> None:
    events = requests(5)
    manifest, _ = written(folder, events)
    assert manifest == read_manifest(folder / "set")
    assert manifest.positives["is_favorited"] == 5
    assert manifest.positives["is_replied"] == 0
    assert manifest.known["is_favorited"] == 20
    assert manifest.known["is_video_watched"] == 0
    assert manifest.range_ms == (asked_ms_of(events, 0), asked_ms_of(events, 4) + 1)


def test_inputs_as_served_are_taken_where_they_are(folder: Path) -> None:
    events = requests(6)
    asked = [asked_ms_of(events, k) for k in range(6)]
    only_some = page(2, asked[2], [70, 71], POSTS[1:3])
    another = replace(page(3, asked[3], [80] * N_POSTS), viewer_id=5)
    unheard_of = replace(page(4, asked[4], [90] * N_POSTS), request_id="unheard of")
    pages = [page(1, asked[1], [60, 61, 62, 1e6]), only_some, another, unheard_of]
    manifest, table = written(folder, events, pages)
    assert (manifest.served, manifest.replayed) == (6, 18)
    values = lists(table, "continuous").reshape(6, N_POSTS, -1)[:, :, FAVOURITES]
    assert values[1] == pytest.approx([60, 61, 62, 1e6], rel=5e-3)
    assert values[2] == pytest.approx([2, 70, 71, 0], rel=5e-3)
    assert values[3] == pytest.approx([3, 0, 0, 0], rel=1e-5)
    assert values[4] == pytest.approx([4, 0, 0, 0], rel=1e-5)
    as_served = np.array(table.column("as_served").to_pylist()).reshape(6, N_POSTS)
    assert as_served[1].all()
    assert as_served[2].tolist() == [False, True, True, False]
    assert as_served.sum() == 6


def test_all_can_be_replayed_whatever_was_logged(folder: Path) -> None:
    events = requests(3)
    pages = [page(1, asked_ms_of(events, 1), [60] * N_POSTS)]
    settings, archive = world(folder, events, pages)
    manifest, table = again(folder, settings, archive, features="replay")
    assert (manifest.served, manifest.replayed) == (0, 12)
    assert lists(table, "continuous")[:, FAVOURITES].max() == pytest.approx(2)


def test_without_a_replay_the_others_are_left_out(folder: Path) -> None:
    events = requests(3)
    pages = [page(1, asked_ms_of(events, 1), [60] * N_POSTS)]
    manifest, table = written(folder, events, pages, inputs_as_of=None)
    assert (manifest.served, manifest.replayed, manifest.left_out) == (4, 0, 8)
    assert set(table.column("request_id").to_pylist()) == {"r1"}


@pytest.mark.parametrize(("share", "replayed"), [(0.25, True), (0.26, False), (1.0, False)])
def test_the_archive_is_not_replayed_for_a_few(folder: Path, share: float, replayed: bool) -> None:
    events = requests(4)
    pages = [page(k, asked_ms_of(events, k), [60] * N_POSTS) for k in range(3)]
    given: dict[str, Any] = {"replayed_from": share}
    if not replayed:
        given["inputs_as_of"] = must_not_replay
    manifest, table = written(folder, events, pages, **given)
    assert manifest == read_manifest(folder / "set")
    assert (manifest.served, manifest.replayed) == (12, 4 * replayed)
    assert (manifest.left_out, manifest.not_replayed) == (0, 4 * (not replayed))
    assert manifest.examples == len(table) == 12 + 4 * replayed
    assert (asked_ms_of(events, 3) in table.column("time_ms").to_pylist()) == replayed
    # Each instant's are still in their order.
    assert table.column("time_ms").to_pylist() == sorted(table.column("time_ms").to_pylist())


def test_where_nothing_was_logged_all_are_replayed(folder: Path) -> None:
    manifest, _ = written(folder, requests(3), replayed_from=1.0)
    assert (manifest.served, manifest.replayed, manifest.not_replayed) == (0, 12, 0)


def test_where_all_was_logged_nothing_is_replayed(folder: Path) -> None:
    events = requests(2)
    pages = [page(k, asked_ms_of(events, k), [60] * N_POSTS) for k in range(2)]
    given = {"replayed_from": 0.01, "inputs_as_of": must_not_replay}
    manifest, _ = written(folder, events, pages, **given)
    assert (manifest.served, manifest.replayed, manifest.not_replayed) == (8, 0, 0)


def must_not_replay(*_: object) -> Any:
    raise AssertionError("nothing needs a replay")


def test_inputs_are_found_by_name_where_the_schema_has_changed(folder: Path) -> None:
    events = requests(2)
    pages = [page(k, asked_ms_of(events, k), [60, 61, 62, 63]) for k in range(2)]
    settings, archive = world(folder, events, pages)
    fewer = Schema(
        tuple(
            replace(given, level=Level.AUTHOR) if given.name == "viewer.follows" else given
            for given in SCHEMA.inputs[::-1]
            if given.name != "author.odd"
        ),
        SCHEMA.embeddings,
    )
    manifest, table = again(folder, settings, archive, fewer, inputs_as_of=None)
    assert manifest.served == 8
    at = [i.name for i in fewer.continuous].index("post.favourites")
    assert lists(table, "continuous")[:4, at] == pytest.approx([60, 61, 62, 63], rel=5e-3)
    assert lists(table, "binary").shape == (8, 1)
    assert lists(table, "binary").all()


def test_an_input_that_was_not_served_makes_a_page_of_no_use(folder: Path) -> None:
    events = requests(2)
    pages = [page(k, asked_ms_of(events, k), [60, 61, 62, 63]) for k in range(2)]
    settings, archive = world(folder, events, pages)
    more = Schema((*SCHEMA.inputs, replace(SCHEMA.inputs[0], name="new")), SCHEMA.embeddings)
    longer = Schema(SCHEMA.inputs, (replace(SCHEMA.embeddings[0], dimensions=3),))
    for schema in (more, longer):
        found = labelled(archive, 0, NOW_MS, attribution_ms=3 * HOUR_MS, max_examples=100)
        place = folder / schema.fingerprint
        manifest = write_examples(
            place, settings, archive, schema, found, until_ms=NOW_MS, negatives_kept=1.0
        )
        assert (manifest.examples, manifest.left_out) == (0, 8)
        assert manifest.range_ms == (0, 0)


def test_a_post_that_was_gone_is_no_replayed_example(folder: Path) -> None:
    events = requests(3)
    gone = {"kind": "post_delete", "event_id": 9_999, "post_id": POSTS[3]}
    gone |= {"author_id": author_of(POSTS[3]), "time_ms": asked_ms_of(events, 1) - 1}
    manifest, table = written(folder, [*events, gone])
    assert (manifest.examples, manifest.left_out) == (10, 2)
    assert table.column("post_id").to_pylist().count(POSTS[3]) == 1


def test_large_sets_have_parts_and_blocks_in_order_of_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = requests(30)
    pages = [page(k, asked_ms_of(events, k), [60 + k] * N_POSTS) for k in range(0, 30, 2)]
    settings, archive = world(folder, events, pages)
    _, whole = again(folder, settings, archive)
    (folder / "set").rename(folder / "whole")
    row_bytes = module._row_bytes(SCHEMA)
    monkeypatch.setattr(module, "BLOCK_BYTES", 7 * row_bytes)
    monkeypatch.setattr(module, "PART_BYTES", 20 * row_bytes)
    manifest, table = again(folder, settings, archive)
    assert len(manifest.parts) == 6
    assert [part.name for part in manifest.parts][:2] == [
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    assert sum(part.rows for part in manifest.parts) == 120
    assert all(a.last_ms <= b.first_ms for a, b in pairwise(manifest.parts))
    assert table.equals(whole)


def test_a_set_that_is_there_is_not_made_again(folder: Path) -> None:
    settings, archive = world(folder, requests(3), [])
    first, _ = again(folder, settings, archive)
    second, _ = again(folder, settings, archive, inputs_as_of=None)
    assert first == second


def test_a_set_that_was_cut_off_is_made_anew(folder: Path) -> None:
    settings, archive = world(folder, requests(3), [])

    def fails(*_: object) -> Any:
        raise RuntimeError("cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        again(folder, settings, archive, inputs_as_of=fails)
    assert not (folder / "set").exists()
    manifest, _ = again(folder, settings, archive)
    assert manifest.examples == 12
    assert [path.name for path in folder.glob(".writing-*")] == []


def test_time_goes_forward_only(folder: Path) -> None:
    clock = Clock()
    events = [clock.post(10, 1), clock.on_post(Kind.FAVOURITE, 2, 10, 1)]
    settings, archive = world(folder, events, [])
    past = Past(settings, History(archive))
    first, second = (event["time_ms"] for event in events)
    post = np.array([10])

    def n_favourites(now_ms: int) -> int | None:
        state = past.before(now_ms)
        if state.posts.table.rows_of(post)[0] < 0:
            return None
        inputs = inputs_as_of(state, 2, post, [None], now_ms)
        return round(float(inputs.values[Level.POST][0, 0]))

    assert n_favourites(first) is None
    assert n_favourites(second) == 0
    assert n_favourites(second + 1) == 1
    assert n_favourites(second + 1) == 1
    with pytest.raises(ValueError, match="to which time has gone"):
        past.before(second)

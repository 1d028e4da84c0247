from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.features.tasks import TASK_NAMES
from cluster.archive import Archive
from cluster.events import Kind
from tests.training.archives import archived_events, settings_at
from tests.training.heavy_ranker.worlds import N_POSTS, POSTS, asked_ms_of, author_of, requests
from tests.worlds import DAY_MS, HOUR_MS, NOW_MS, Clock, Event
from training.heavy_ranker.labelled import Labelled, labelled

WINDOW_MS = 3 * HOUR_MS


def read(archive: Archive, since_ms: int = 0, until_ms: int = NOW_MS, **more: Any) -> Labelled:
    given = {"attribution_ms": WINDOW_MS, "max_examples": 10_000, **more}
    return labelled(archive, since_ms, until_ms, **given)


def rows_of(found: Labelled) -> list[tuple[int, int, int]]:
    shown = found.shown
    columns = (shown.asked_ms, shown.viewer_ids, shown.post_ids)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def archive_of(folder: Path, events: list[Event]) -> Archive:
    return archived_events(settings_at(folder), events)


def test_what_was_shown_is_labelled_in_order_of_time(folder: Path) -> None:
    events = requests(10, favoured=1)
    found = read(archive_of(folder, events))
    assert len(found) == 10 * N_POSTS
    assert rows_of(found) == sorted(rows_of(found))
    favoured = found.labels[:, TASK_NAMES.index("is_favorited")]
    assert found.shown.post_ids[favoured > 0].tolist() == [POSTS[1]] * 10
    assert found.shown.sources.to_pylist() == [f"source{p % 2}" for p in POSTS] * 10
    assert (found.weights == 1).all()


def test_an_archive_without_impressions_has_no_examples(folder: Path) -> None:
    assert len(read(archive_of(folder, [Clock().post(1, 2)]))) == 0


def test_requests_of_the_range_alone_and_none_whose_window_is_not_over(folder: Path) -> None:
    events = requests(10)
    archive = archive_of(folder, events)
    third, sixth = asked_ms_of(events, 3), asked_ms_of(events, 6)
    assert {row[0] for row in rows_of(read(archive, third, NOW_MS))} == {
        asked_ms_of(events, k) for k in range(3, 10)
    }
    found = read(archive, third, sixth + WINDOW_MS)
    assert {row[0] for row in rows_of(found)} == {asked_ms_of(events, k) for k in range(3, 7)}
    assert found.labels[:, 0].sum() == 4


def test_what_comes_after_the_end_is_not_known(folder: Path) -> None:
    events = requests(1)
    asked_ms = asked_ms_of(events, 0)
    undo = {"kind": "unfavourite", "event_id": 9_999, "post_id": POSTS[0]}
    undo |= {"actor_id": 1_000, "author_id": author_of(POSTS[0])}
    events.append(undo | {"time_ms": asked_ms + WINDOW_MS})
    archive = archive_of(folder, events)
    assert read(archive, until_ms=asked_ms + WINDOW_MS).labels[:, 0].sum() == 1
    assert read(archive, until_ms=NOW_MS).labels[:, 0].sum() == 1


def test_dates_are_no_borders(folder: Path) -> None:
    """Served, shown, done and undone on two dates, and shown again by a later request."""
    midnight = NOW_MS // DAY_MS * DAY_MS
    clock = Clock(midnight - 10_000)
    post, author, viewer = POSTS[0], author_of(POSTS[0]), 77
    events = [clock.post(post, author)]
    served = clock.on_post(Kind.SERVED, viewer, post, author, position=0, request_id="a")
    clock.now_ms = midnight + 1_000
    events += [served, clock.on_post(Kind.IMPRESSION, viewer, post, author, request_id="a")]
    clock.now_ms += 10_000
    events.append(clock.on_post(Kind.FAVOURITE, viewer, post, author))
    clock.now_ms += 10_000
    served_again = clock.on_post(Kind.SERVED, viewer, post, author, position=0, request_id="b")
    again = clock.on_post(Kind.IMPRESSION, viewer, post, author, request_id="b")
    events += [served_again, again, clock.on_post(Kind.REPORT, viewer, post, author)]
    found = read(archive_of(folder, events), until_ms=midnight + DAY_MS)
    assert found.shown.asked_ms.tolist() == [served["time_ms"], served_again["time_ms"]]
    names = np.array(TASK_NAMES)
    assert [names[row > 0].tolist() for row in found.labels] == [["is_favorited"], ["is_reported"]]


def test_a_share_of_those_without_engagement_stands_for_all(folder: Path) -> None:
    archive = archive_of(folder, requests(200, apart_ms=1_000))
    found = read(archive, negatives_kept=0.25)
    positive = found.labels.any(axis=1)
    assert positive.sum() == 200
    assert 100 < (~positive).sum() < 200
    assert set(found.weights[positive].tolist()) == {1.0}
    assert set(found.weights[~positive].tolist()) == {4.0}
    assert found.weights.sum() == pytest.approx(200 * N_POSTS, rel=0.15)
    again = read(archive, negatives_kept=0.25)
    assert rows_of(found) == rows_of(again)
    assert rows_of(read(archive, negatives_kept=0.25, seed=1)) != rows_of(found)
    # Who is drawn does not depend on what else is read.
    middle = int(found.shown.asked_ms[len(found) // 2])
    assert rows_of(read(archive, middle, negatives_kept=0.25)) == [
        row for row in rows_of(found) if row[0] >= middle
    ]


def test_of_too_many_some_requests_are_kept_whole(folder: Path) -> None:
    archive = archive_of(folder, requests(100, apart_ms=20 * 60_000))
    found = read(archive, max_examples=50)
    assert 40 < len(found) <= 50
    times, counts = np.unique(found.shown.asked_ms, return_counts=True)
    assert set(counts.tolist()) == {N_POSTS}
    assert times[-1] - times[0] > DAY_MS / 2
    assert len(read(archive, max_examples=3)) == 0

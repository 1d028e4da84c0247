from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from actors.features.light import FEATURES
from cluster.archive import Archive
from cluster.events import Kind
from cluster.settings import Settings
from tests.training.archives import archived_events, settings_at
from tests.worlds import HOUR_MS, Clock, Event
from training.dataset import build
from training.examples import Examples
from training.job import TrainingError

AUTHOR = 1


def shown(n_requests: int = 60, n_posts: int = 5) -> list[Event]:
    """Requests of as many viewers, each of whom favours the first post shown."""
    clock = Clock()
    clock.now_ms -= 10 * HOUR_MS
    events = [clock.post(100 + k, AUTHOR) for k in range(n_posts)]
    for request in range(n_requests):
        viewer, at = 1_000 + request, {"request_id": f"r{request}"}
        clock.now_ms += 60_000
        asked_ms = clock.now_ms
        for k in range(n_posts):
            served = clock.on_post(Kind.SERVED, viewer, 100 + k, AUTHOR, position=k, **at)
            events.append(served | {"time_ms": asked_ms})
        events += [
            clock.on_post(Kind.IMPRESSION, viewer, 100 + k, AUTHOR, **at) for k in range(n_posts)
        ]
        events.append(clock.on_post(Kind.FAVOURITE, viewer, 100, AUTHOR))
    return events


def as_served(
    request_id: str,
    viewer_id: int,
    post_ids: list[int],
    values: npt.NDArray[np.float32],
    names: Sequence[str] = FEATURES,
) -> bytes:
    """A record of the features lane, as the timeline writes it."""
    n = len(post_ids)
    table = pa.table(
        {
            "request_id": [request_id] * n,
            "viewer_id": pa.array([viewer_id] * n, pa.int64()),
            "post_id": pa.array(post_ids, pa.int64()),
            "features": pa.FixedSizeListArray.from_arrays(
                pa.array(values.astype(np.float16).ravel()), values.shape[1]
            ),
            "time_ms": pa.array([Clock().now_ms] * n, pa.int64()),
        }
    ).replace_schema_metadata({"names": ",".join(names)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def test_impressions_are_examples_with_the_state_of_their_request(folder: Path) -> None:
    settings = settings_at(folder)
    data = build(settings, archived_events(settings, shown()))
    assert (data.source, len(data.examples)) == ("impressions", 300)
    assert data.examples.labels.tolist() == [True, False, False, False, False] * 60
    favourites = data.features[:, FEATURES.index("favourites")]
    # Of the first post every earlier viewer is a favourite; the viewer's own is not yet there.
    np.testing.assert_allclose(favourites[::5], np.log1p(np.arange(60)), rtol=1e-6)
    assert not favourites.reshape(60, 5)[:, 1:].any()
    assert data.examples.times_ms[0] == data.data_range_ms[0] + 4 + 60_000
    assert not data.as_served.any()


def test_features_as_served_are_taken_where_they_are(folder: Path) -> None:
    settings = settings_at(folder)
    reversed_names = FEATURES[::-1]
    mine = np.arange(2 * len(FEATURES), dtype=np.float32).reshape(2, -1)
    records = [
        as_served("r3", 1_003, [101, 100], mine),
        as_served("r4", 1_004, [100], mine[:1], reversed_names),
        as_served("r5", 9_999, [100], mine[:1]),
        as_served("r6", 1_006, [100], mine[:1, :3], FEATURES[:3]),
        as_served("unknown", 1_007, [100], mine[:1]),
    ]
    archive = archived_events(settings, shown(), features=records)
    data = build(settings, archive)
    rows = {(r, p): i for i, (r, p) in enumerate(_names(data.examples))}
    np.testing.assert_array_equal(data.features[rows["r3", 101]], mine[0])
    np.testing.assert_array_equal(data.features[rows["r3", 100]], mine[1])
    np.testing.assert_array_equal(data.features[rows["r4", 100]], mine[0, ::-1])
    # Another viewer's, or not of today's features: replayed.
    replayed = data.features[:, FEATURES.index("favourites")]
    assert replayed[rows["r5", 100]] == pytest.approx(np.log1p(5))
    assert replayed[rows["r6", 100]] == pytest.approx(np.log1p(6))
    assert np.flatnonzero(data.as_served).tolist() == sorted(
        [rows["r3", 101], rows["r3", 100], rows["r4", 100]]
    )


def test_without_impressions_engagements_are_examples(folder: Path) -> None:
    settings = settings_at(folder)
    events = [e for e in shown() if e["kind"] in ("post_create", "favourite")]
    data = build(settings, archived_events(settings, events))
    assert data.source == "engagements"
    assert data.examples.labels.sum() == 60
    # There are only four other posts, and some draws fall on the same.
    assert 60 * 3 < len(data.examples) <= 60 * 5
    favourites = data.features[data.examples.labels, FEATURES.index("favourites")]
    np.testing.assert_allclose(favourites, np.log1p(np.arange(60)), rtol=1e-6)


def test_a_deleted_post_is_no_example(folder: Path) -> None:
    settings = settings_at(folder)
    events = shown()
    gone = {"kind": "post_delete", "event_id": 9_999, "post_id": 104, "author_id": AUTHOR}
    events.append(gone | {"time_ms": events[5]["time_ms"] - 1})
    data = build(settings, archived_events(settings, events))
    assert len(data.examples) == 240
    assert 104 not in data.examples.post_ids


def test_events_from_the_instant_given_on_are_not_read(folder: Path) -> None:
    settings = settings_at(folder)
    events = shown(100)
    until_ms = events[5 + 60 * 11]["time_ms"]
    data = build(settings, archived_events(settings, events), until_ms)
    assert len(data.examples) == 300
    assert data.data_range_ms[1] <= until_ms


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([], "too little to learn from: the archive holds 0 posts, 0 impressions and 0 engagem"),
        (shown(3), "5 posts, 15 impressions and 3 engagements, which make 15 examples; at least"),
        (
            [e for e in shown() if e["kind"] != "favourite"],
            r"too few positive examples: .* 300 impressions .* \(impressions\) of which 0 are pos",
        ),
    ],
)
def test_what_is_missing_is_named(folder: Path, events: list[Event], message: str) -> None:
    settings = settings_at(folder)
    with pytest.raises(TrainingError, match=message):
        build(settings, archived_events(settings, events))


def test_the_progress_is_told(society: tuple[Settings, Archive]) -> None:
    settings, archive = society
    told: list[tuple[str, float]] = []
    build(settings, archive, progress=lambda what, share: told.append((what, share)))
    assert told[0] == ("reading", 0.0)
    assert told[-1] == ("replaying", 1.0)
    shares = [share for what, share in told if what == "replaying"]
    assert shares == sorted(shares)
    assert len(shares) > 3


def _names(examples: Examples) -> list[tuple[str, int]]:
    return list(zip(examples.request_ids.to_pylist(), examples.post_ids.tolist(), strict=True))

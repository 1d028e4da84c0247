import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster import archive as archive_module
from cluster.archive import Archive
from cluster.archive_catalog import KIND_GROUPS
from cluster.archive_files import ArchiveCorrupt
from cluster.events import COLUMNS, ENGAGEMENTS, Kind
from cluster.sqlite_log import SqliteLog
from tests.cluster.archive_events import (
    DAY_MS,
    FEATURES_LANE,
    JANUARY_1_MS,
    N_LANES,
    NOW_MS,
    Event,
    append,
    archive_all,
    event_ids,
    favourite,
    follow,
    served,
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    with SqliteLog(tmp_path / "log" / "log.db", n_lanes=N_LANES + 1) as log:
        yield log


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def parquet_files(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root).parent) for p in root.rglob("*.parquet"))


def test_every_kind_has_one_group() -> None:
    assert sorted(k for kinds in KIND_GROUPS.values() for k in kinds) == sorted(Kind)


def test_every_event_comes_once_with_all_it_says(log: SqliteLog, root: Path) -> None:
    t = JANUARY_1_MS
    post = {
        **{"kind": "post_create", "event_id": 13, "time_ms": t + 4, "post_id": 70, "author_id": 7},
        **{"text": "hello", "topics": [4, 5], "image_count": 2, "sensitive": False},
        **{"reply_to_id": 80, "reply_to_author_id": 8, "root_id": 80},
    }
    events: list[Event] = [
        {"kind": "user_create", "event_id": 11, "time_ms": t, "actor_id": 1, "name": "Ann"},
        {**follow(12, t + DAY_MS), "actor_id": 3},
        post,
        {**favourite(14, t + 3), "value": 1.5, "surface": "home"},
        {"kind": "artifact_activate", "event_id": 15, "time_ms": t + 9, "name": "twhin"}
        | {"model_version": "20260102T030405-0001"},
    ]
    append(log, events)
    archive_all(log, root)
    table = Archive(root).scan()
    assert table.schema.names == list(COLUMNS)
    rows = [
        {k: v for k, v in row.items() if v is not None and (v != 0 or k == "sensitive")}
        for row in table.to_pylist()
    ]
    order = [0, 3, 2, 4, 1]
    assert rows == [
        {**events[at], "kind": int(Kind[str(events[at]["kind"]).upper()])} for at in order
    ]
    assert parquet_files(root) == [
        "events/kind_group=activations/date=2026-01-01",
        "events/kind_group=edges/date=2026-01-02",
        "events/kind_group=engagements/date=2026-01-01",
        "events/kind_group=posts/date=2026-01-01",
        "events/kind_group=users/date=2026-01-01",
    ]
    edges = next(root.glob("events/kind_group=edges/*/*.parquet"))
    metadata = pq.ParquetFile(edges).metadata
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert "text" not in metadata.schema.names
    assert pq.read_table(root / "events").num_rows == 5


def test_a_reader_chooses_kinds_times_and_columns(log: SqliteLog, root: Path) -> None:
    t = JANUARY_1_MS
    append(log, [follow(1, t + 5), {**follow(2, t + 5), "kind": "block"}, favourite(3, t + DAY_MS)])
    append(log, [follow(4, t + 2 * DAY_MS), favourite(5, t), follow(6, t + 5, target_id=9)])
    archive_all(log, root)
    archive = Archive(root)
    assert event_ids(archive.scan()) == [5, 1, 2, 6, 3, 4]
    assert event_ids(archive.scan([Kind.FOLLOW])) == [1, 6, 4]
    assert event_ids(archive.scan([Kind.BLOCK, Kind.FAVOURITE])) == [5, 2, 3]
    assert event_ids(archive.scan([Kind.POST_CREATE])) == []
    assert event_ids(archive.scan(since_ms=t + 5)) == [1, 2, 6, 3, 4]
    assert event_ids(archive.scan(since_ms=t + 5, until_ms=t + DAY_MS)) == [1, 2, 6]
    assert event_ids(archive.scan(since_ms=t + 6, until_ms=t + DAY_MS + 1)) == [3]
    assert event_ids(archive.scan(since_ms=t + 9 * DAY_MS)) == []
    some = archive.scan([Kind.FAVOURITE], columns=["actor_id", "text", "kind"])
    assert some.schema.names == ["actor_id", "text", "kind"]
    assert some.to_pylist() == [{"actor_id": 1, "text": None, "kind": 30}] * 2
    with pytest.raises(KeyError, match="colour"):
        archive.scan(columns=["event_id", "colour"])
    assert archive.dates() == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert archive.dates([Kind.UNFOLLOW]) == ["2026-01-01", "2026-01-03"]
    files = archive.files(ENGAGEMENTS, since_ms=t + DAY_MS)
    assert [Path(f).parent.name for f in files] == ["date=2026-01-02"]
    assert pq.read_table(files[0]).column("event_id").to_pylist() == [3]


def test_an_archive_that_was_never_written_is_empty(root: Path) -> None:
    archive = Archive(root)
    assert archive.scan().num_rows == 0
    assert list(archive.served_features()) == []
    assert archive.positions() == {}
    assert archive.contains(np.array([1]), np.array([JANUARY_1_MS])).tolist() == [False]
    assert not root.exists()


def test_a_copy_of_an_event_is_dropped(log: SqliteLog, root: Path) -> None:
    t = JANUARY_1_MS
    append(log, [follow(1, t), follow(2, t + 1), follow(1, t)])
    archiver = archive_all(log, root)
    append(log, [follow(2, t + 1), follow(3, t + 2)])
    archiver.step()
    assert event_ids(Archive(root).scan()) == [1, 2, 3]
    # A clock that is ahead: the time is set to the server's, so two copies differ in it.
    append(log, [follow(4, t + 3 * DAY_MS)], now_ms=t + DAY_MS - 1)
    append(log, [follow(4, t + 3 * DAY_MS)], now_ms=t + DAY_MS)
    archiver.step()
    archive = Archive(root)
    assert event_ids(archive.scan()) == [1, 2, 3, 4]
    assert event_ids(archive.scan(since_ms=t + DAY_MS - 1)) == [4]
    assert event_ids(archive.scan(since_ms=t + DAY_MS)) == []
    assert archive.scan(until_ms=t + DAY_MS).column("time_ms").to_pylist()[-1] == t + DAY_MS - 1
    # What is dropped does not depend on where a reader begins.
    append(log, [follow(4, t + 3 * DAY_MS)], now_ms=t + 2 * DAY_MS)
    archiver.step()
    assert event_ids(archive.scan()) == [1, 2, 3, 4]
    assert event_ids(archive.scan(since_ms=t + 2 * DAY_MS)) == []


def test_batches_come_in_order_over_dates_and_windows(
    log: SqliteLog, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    times_ms = JANUARY_1_MS + rng.integers(0, 3 * DAY_MS, 500)
    ids = rng.integers(1, 400, 500)
    times_ms = times_ms[ids - 1]  # copies of one event have one time
    for part in np.array_split(np.arange(500), 5):
        append(log, [follow(int(ids[i]), int(times_ms[i])) for i in part])
    archive_all(log, root, step_bytes=1)
    expected = sorted({(int(t), int(i)) for t, i in zip(times_ms, ids, strict=True)})
    for window_rows, batch_rows in ((4_000_000, 65_536), (20, 7)):
        monkeypatch.setattr(archive_module, "WINDOW_ROWS", window_rows)
        monkeypatch.setattr(archive_module, "BATCH_ROWS", batch_rows)
        batches = list(Archive(root).batches(columns=["time_ms", "event_id"]))
        assert max(batch.num_rows for batch in batches) <= batch_rows
        found = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
        assert found == expected


def test_it_knows_which_events_it_holds(log: SqliteLog, root: Path) -> None:
    t = JANUARY_1_MS
    archive = Archive(root)
    append(log, [follow(1, t), favourite(2, t + 1), follow(3, t + DAY_MS)])
    archiver = archive_all(log, root)
    asked = np.array([1, 2, 3, 4, 3]), t + np.array([0, 1, DAY_MS, 0, 5 * DAY_MS])
    assert archive.contains(*asked).tolist() == [True, True, True, False, False]
    append(log, [follow(4, t)])
    archiver.step()
    assert archive.contains(*asked).tolist() == [True, True, True, True, False]
    assert archiver.compact("2026-01-01", NOW_MS) == 1
    assert archive.contains(*asked).tolist() == [True, True, True, True, False]
    # Only the dates concerned are read.
    shutil.rmtree(next(root.glob("events/*/date=2026-01-02")))
    held = Archive(root).contains(np.array([4, 5]), np.array([t, t]))
    assert held.tolist() == [True, False]
    assert archive.contains(np.array([], np.int64), np.array([], np.int64)).tolist() == []


def test_compaction_is_unseen_by_readers(log: SqliteLog, root: Path) -> None:
    t = JANUARY_1_MS
    for i in range(20):
        append(log, [follow(i + 1, t + 100 - i), favourite(i + 101, t + DAY_MS * (i % 2))])
    append(log, [follow(1, t + 100)])
    archiver = archive_all(log, root, step_bytes=1)
    archive = Archive(root)
    before = archive.scan()
    reading = archive.batches()
    first = next(reading)
    assert len(parquet_files(root)) == 41
    assert archiver.fragmented() == ["2026-01-01"]
    assert archiver.fragmented(10) == ["2026-01-01", "2026-01-02"]
    assert archiver.compact("2026-01-01", NOW_MS) == 21 - 1 + 10 - 1
    assert archiver.compact("2026-01-01", NOW_MS) == 0
    assert archive.scan().equals(before)
    assert archiver.compact("2026-01-02", NOW_MS) == 9
    # A reader that began before finds its files until they are swept.
    rest = list(reading)
    assert pa.Table.from_batches([first, *rest]).equals(before.combine_chunks())
    assert archiver.sweep(NOW_MS + DAY_MS - 1) == 0
    assert len(parquet_files(root)) == 44
    assert archiver.sweep(NOW_MS + DAY_MS) == 41
    assert len(parquet_files(root)) == 3
    assert archiver.sweep(NOW_MS + DAY_MS) == 0
    assert archive.scan().equals(before)
    assert pq.read_table(next(root.glob("events/kind_group=edges/*/*"))).num_rows == 20


def test_damage_is_named_or_harmless(log: SqliteLog, root: Path) -> None:
    append(log, [follow(i, JANUARY_1_MS + i, actor_id=i) for i in range(3, 500)])
    append(log, [favourite(1000, JANUARY_1_MS)])
    archive_all(log, root)
    expected = Archive(root).scan()
    path = next(root.glob("events/kind_group=edges/*/*.parquet"))
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    n_noticed = n_harmless = 0
    pages = len(good) * 2 // 3
    for at, bit in rng.integers(0, [pages, 8], (60, 2)).tolist():
        path.write_bytes(good[:at] + bytes([good[at] ^ (1 << bit)]) + good[at + 1 :])
        try:
            found = Archive(root).scan()
        except ArchiveCorrupt as error:
            n_noticed += path.name in str(error)
        else:
            n_harmless += found.equals(expected)
    assert n_noticed + n_harmless == 60
    assert n_noticed > 40
    for content in (good[:-20], good[:100], b""):
        path.write_bytes(content)
        with pytest.raises(ArchiveCorrupt, match=path.name):
            Archive(root).scan()
    path.unlink()
    with pytest.raises(ArchiveCorrupt, match=path.name):
        Archive(root).scan()
    positions = root / "positions.json"
    good = positions.read_bytes()
    for content in (good[:-3], good.replace(b'"generation":1', b'"generation":2'), b"", b"[]"):
        positions.write_bytes(content)
        with pytest.raises(ArchiveCorrupt, match=r"positions\.json"):
            Archive(root).scan()


def test_features_come_back_as_they_were_served(tmp_path: Path, root: Path) -> None:
    clock = [JANUARY_1_MS]
    with SqliteLog(tmp_path / "f.db", n_lanes=N_LANES + 1, clock=lambda: clock[0]) as log:
        log.append({FEATURES_LANE: served("r1", [9, 8], [[1, 2], [3, 0.1]])})
        log.append({FEATURES_LANE: served("r1", [9, 8], [[1, 2], [3, 0.1]])})
        append(log, [follow(1, JANUARY_1_MS)])
        clock[0] += 5
        log.append({FEATURES_LANE: served("r2", [9], [[7, 7, 7]], names="a,b,c")})
        clock[0] += DAY_MS
        log.append({FEATURES_LANE: served("r3", [4], [[5, 6]])})
        archiver = archive_all(log, root, features_lane=FEATURES_LANE, step_bytes=1)
        assert archiver.positions()[FEATURES_LANE] == log.heads()[FEATURES_LANE]
    archive = Archive(root)

    def read(**window: int) -> list[tuple[bytes, list[str], list[int], list[list[float]]]]:
        return sorted(
            (
                table.schema.metadata[b"names"],
                table.column("request_id").to_pylist(),
                table.column("post_id").to_pylist(),
                table.column("features").to_pylist(),
            )
            for table in archive.served_features(**window)
        )

    tenth = float(np.float16(0.1))
    r1 = (b"a,b", ["r1", "r1"], [9, 8], [[1.0, 2.0], [3.0, tenth]])
    r2 = (b"a,b,c", ["r2"], [9], [[7.0, 7.0, 7.0]])
    r3 = (b"a,b", ["r3"], [4], [[5.0, 6.0]])
    assert read() == sorted([r1, r2, r3])
    tables = list(archive.served_features())
    assert {table.schema.field("features").type for table in tables} == {
        pa.list_(pa.float16(), 2),
        pa.list_(pa.float16(), 3),
    }
    assert tables[-1].column("time_ms").to_pylist() == [JANUARY_1_MS + 5 + DAY_MS]
    assert read(until_ms=JANUARY_1_MS + 1) == [r1]
    assert read(since_ms=JANUARY_1_MS + 1, until_ms=JANUARY_1_MS + DAY_MS) == [r2]
    assert read(since_ms=JANUARY_1_MS + DAY_MS) == [r3]
    assert archiver.compact("2026-01-01", NOW_MS) == 1
    assert read() == sorted([r1, r2, r3])
    assert event_ids(archive.scan()) == [1]

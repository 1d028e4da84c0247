from pathlib import Path

import pyarrow as pa
import pytest

from cluster.archive import Archive, Archiver
from cluster.archiver import UnreadableFeatures
from cluster.sqlite_log import SqliteLog
from tests.cluster.archive_events import DAY_MS, JANUARY_1_MS, NOW_MS, served

LANE = 1


def pages(
    *rows: tuple[str, int, int], values: bytes = b"\x00\x01", kind: str = "served_pages"
) -> bytes:
    """A stream of pages: of each its request, viewer and time."""
    requests, viewers, times_ms = zip(*rows, strict=True)
    table = pa.table(
        {
            "request_id": list(requests),
            "viewer_id": pa.array(viewers, pa.int64()),
            "time_ms": pa.array(times_ms, pa.int64()),
            "post_ids": pa.array([[1, 2]] * len(rows), pa.list_(pa.int64())),
            "continuous_post": pa.array([values] * len(rows), pa.large_binary()),
        },
        metadata={"form": kind, "inputs": "told"},
    )
    return stream(table)


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def archived(folder: Path, records: list[bytes]) -> Archiver:
    log = SqliteLog(folder / "log.db", n_lanes=LANE + 1, clock=lambda: JANUARY_1_MS)
    for record in records:
        log.append({LANE: record})
    archiver = Archiver(log, folder / "archive", [0], features_lane=LANE, step_bytes=1)
    while archiver.step():
        pass
    return archiver


def read(folder: Path, **window: int) -> list[str]:
    tables = list(Archive(folder / "archive").served_pages(**window))
    return [name for table in tables for name in table.column("request_id").to_pylist()]


def test_pages_and_features_of_one_record_are_both_kept(tmp_path: Path) -> None:
    both = served("r1", [9], [[1, 2]]) + pages(("r1", 7, JANUARY_1_MS))
    archived(tmp_path, [both])
    archive = Archive(tmp_path / "archive")
    (features,) = archive.served_features()
    assert features.column("post_id").to_pylist() == [9]
    (table,) = archive.served_pages()
    assert table.to_pylist() == [
        {
            "request_id": "r1",
            "viewer_id": 7,
            "time_ms": JANUARY_1_MS,
            "post_ids": [1, 2],
            "continuous_post": b"\x00\x01",
        }
    ]
    assert table.schema.metadata == {b"form": b"served_pages", b"inputs": b"told"}


def test_pages_come_in_order_of_time_and_once(tmp_path: Path) -> None:
    later, first = ("late", 7, JANUARY_1_MS + 9), ("first", 8, JANUARY_1_MS + 3)
    next_day = ("next", 7, JANUARY_1_MS + DAY_MS)
    archiver = archived(tmp_path, [pages(later, first), pages(later), pages(next_day)])
    expected = ["first", "late", "next"]
    assert read(tmp_path) == expected
    assert read(tmp_path, since_ms=JANUARY_1_MS + 4) == ["late", "next"]
    assert read(tmp_path, until_ms=JANUARY_1_MS + 9) == ["first"]
    assert read(tmp_path, since_ms=JANUARY_1_MS + DAY_MS) == ["next"]
    assert archiver.compact("2026-01-01", NOW_MS) == 1
    assert read(tmp_path) == expected
    assert archiver.sweep(NOW_MS + 2 * DAY_MS) > 0
    assert read(tmp_path) == expected


def test_a_large_date_is_read_in_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(f"r{k:03}", k, JANUARY_1_MS + k * 60_000) for k in range(1_000)]
    archived(tmp_path, [pages(*rows, values=bytes(1_000))])
    monkeypatch.setattr("cluster.archive.WINDOW_BYTES", 20_000)
    assert len(list(Archive(tmp_path / "archive").served_pages())) > 2
    assert read(tmp_path) == [request for request, _, _ in rows]


def test_pages_without_what_readers_go_by_are_refused(tmp_path: Path) -> None:
    whole = pa.ipc.open_stream(pages(("r", 7, JANUARY_1_MS))).read_all()
    broken = [
        stream(whole.drop_columns(["viewer_id"])),
        stream(whole.set_column(2, "time_ms", pa.array([1.5]))),
        stream(whole.set_column(0, "request_id", pa.array([None], pa.string()))),
        pages(("r", 7, JANUARY_1_MS), kind="unheard_of"),
        pages(("r", 7, JANUARY_1_MS)) + b"rest",
    ]
    for number, record in enumerate(broken):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(UnreadableFeatures, match="lane 1, offset 1"):
            archived(folder, [record])

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.events import Kind
from cluster.importers.contract import Import, UnreadableImport
from cluster.importers.formats import open_import

NOW_MS = 1_700_000_000_000
LIKE = {"kind": "favourite", "time_ms": 5, "actor_id": 1, "post_id": 2, "author_id": 3}


def ndjson(path: Path, *lines: Any, **options: Any) -> Import:
    encoded = [line if type(line) is bytes else orjson.dumps(line) for line in lines]
    path.write_bytes(b"\n".join(encoded))
    return open_import("ndjson", path, now_ms=NOW_MS, **options)


def column(import_: Import, name: str) -> list[Any]:
    return [value for item in import_ for value in item.batch.column(name).to_pylist()]


def test_ndjson_keeps_good_lines_and_names_bad_ones(tmp_path: Path) -> None:
    import_ = ndjson(
        tmp_path / "events.ndjson",
        LIKE,
        b"{oops",
        b"",
        {**LIKE, "actor_id": "7"},
        {**LIKE, "kind": "favorite"},
        {**LIKE, "post_id": None},
        [1],
        {**LIKE, "actor_id": 8, "time_ms": NOW_MS + 1},
    )
    assert column(import_, "actor_id") == [1, 7, 8]
    report = import_.report
    assert (report.lines, report.events, report.bad, report.clamped) == (8, 3, 4, 1)
    # What is no JSON is found first, within the lines that are checked together.
    assert sorted(bad.line for bad in report.first_bad) == [2, 5, 6, 7]
    assert "did you mean 'favourite'" in next(b.why for b in report.first_bad if b.line == 5)
    assert str(report.first_bad[0]).startswith(f"{tmp_path}/events.ndjson:2: not JSON")


def test_ndjson_resumes_behind_a_position(tmp_path: Path) -> None:
    likes = [{**LIKE, "actor_id": actor} for actor in range(1, 20_001)]
    path = tmp_path / "events.ndjson"
    first = next(iter(ndjson(path, *likes, batch_events=5000)))
    assert (first.batch.num_rows, first.position) == (5000, 5000)
    rest = open_import("ndjson", path, now_ms=NOW_MS, start=first.position)
    assert column(rest, "actor_id") == list(range(5001, 20_001))
    assert rest.report.lines == 15_000


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> Import:
    pq.write_table(pa.table(columns), path)
    return open_import("parquet", path, now_ms=NOW_MS, **options)


def rows(n: int) -> dict[str, Any]:
    ids = pa.array(range(1, n + 1), pa.int64())
    return {
        "kind": ["favourite"] * n,
        "time_ms": ids,
        "actor_id": ids,
        "post_id": ids,
        "author_id": ids,
    }


def test_parquet_in_batches_and_resumed(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    found = list(parquet(path, rows(10), batch_events=4))
    assert [item.batch.num_rows for item in found] == [4, 4, 2]
    assert [item.position for item in found] == [4, 8, 10]
    rest = open_import("parquet", path, now_ms=NOW_MS, start=5)
    assert column(rest, "actor_id") == [6, 7, 8, 9, 10]


def test_parquet_keeps_good_rows_among_nulls_negatives_and_misfits(tmp_path: Path) -> None:
    columns = rows(6)
    columns["actor_id"] = pa.array([1, None, 3, 4, 2**63 + 5, 6], pa.uint64())
    columns["post_id"] = pa.array([1, 2, -3, 4, 5, 6], pa.int64())
    columns["kind"] = pa.array([30, 30, 30, 30, 30, 300], pa.int32())
    columns["position"] = pa.array([None, 1, 1, 1, 1, 1], pa.int64())
    import_ = parquet(tmp_path / "events.parquet", columns)
    assert column(import_, "actor_id") == [1, 4]
    whys = {bad.line: bad.why for bad in import_.report.first_bad}
    assert sorted(whys) == [2, 3, 5, 6]
    assert "actor_id is required" in whys[2]
    assert "post_id must be between" in whys[3]
    assert "actor_id must be between" in whys[5]
    assert "kind must be between 0 and 255; got 300" in whys[6]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": [1]}, "column 'colour' is unknown"),
        ({"actor_id": ["1"]}, "column 'actor_id' has type string, expected int64"),
        ({"actor_id": [1.0]}, "column 'actor_id' has type double, expected int64"),
        ({"time_ms": None}, "column 'time_ms' is missing"),
    ],
)
def test_parquet_of_another_schema_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    columns = {name: values for name, values in (rows(1) | change).items() if values is not None}
    with pytest.raises(UnreadableImport, match=message):
        next(iter(parquet(tmp_path / "events.parquet", columns)))


def test_an_empty_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    with pytest.raises(UnreadableImport, match="no rows"):
        next(iter(parquet(path, rows(0))))
    path.write_text("kind,time_ms\n")
    with pytest.raises(UnreadableImport, match="not a Parquet file"):
        next(iter(open_import("parquet", path, now_ms=NOW_MS)))
    with pytest.raises(UnreadableImport, match="neither an Arrow IPC file nor a stream"):
        next(iter(open_import("arrow", path, now_ms=NOW_MS)))


@pytest.mark.parametrize("writer", [pa.ipc.new_file, pa.ipc.new_stream])
def test_arrow_file_and_stream(tmp_path: Path, writer: Any) -> None:
    path = tmp_path / "events.arrow"
    table = pa.table(rows(7))
    with writer(str(path), table.schema) as sink:
        sink.write_table(table, max_chunksize=5)
    found = list(open_import("arrow", path, now_ms=NOW_MS, batch_events=3))
    assert [item.batch.num_rows for item in found] == [3, 2, 2]
    assert found[-1].position == 7
    assert found[0].batch.column("kind").to_pylist() == [Kind.FAVOURITE] * 3

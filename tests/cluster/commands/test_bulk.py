"""The commands that bring much in, on a log of their own: what they say, write and tell of."""

import io
import json
import re
import sys
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from cluster import cli
from cluster.archive import Archive
from cluster.cli import app
from cluster.commands import bulk
from cluster.commands.bars import Bars
from cluster.events import CORE, OPTIONAL, Kind
from cluster.importers.formats import open_import
from cluster.settings import load
from simulation.run import simulate
from tests.cluster.importers.jetstream_messages import BEGIN_US, lines_of, post, tid

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
EVENT = {
    **{"event_id": 1, "kind": int(Kind.FAVOURITE), "time_ms": NOW_MS - 1_000, "actor_id": 1},
    **{"post_id": 1, "author_id": 2, "target_id": 0, "value": 0.0},
}


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_runs", lambda _: False)
    monkeypatch.setattr(bulk, "_now_ms", lambda: NOW_MS)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


class Told(Bars):
    def __init__(self) -> None:
        self.parts: list[tuple[str, float | None]] = []
        self.ended: list[str] = []

    def progress(self, what: str, share: float | None) -> None:
        self.parts.append((what, share))

    def end(self, job: str, *, done: bool) -> None:
        assert done
        self.ended.append(job)


def favourite(post_id: int) -> bytes:
    event = {"kind": "favourite", "actor_id": 1, "post_id": post_id, "author_id": 2}
    return orjson.dumps(event | {"time_ms": NOW_MS - 1_000})


_GOOD_AND_BAD: dict[str, tuple[bytes, list[str], int, list[str]]] = {
    "events.ndjson": (
        b"\n".join([favourite(1), b"{", favourite(2), b'{"kind": "favourite"}', b""]),
        [],
        2,
        ["2: not JSON: ", "4: "],
    ),
    "likes.csv": (
        b"user,item\n1,7\nx,7\n2,7,8\n2,7\n",
        ["-o", "actor=user", "-o", "item=item"],
        3,
        ["3: 'x' is not an integer", "4: 3 fields, expected 2"],
    ),
    "recorded.json": (
        lines_of([post(1, BEGIN_US, tid(BEGIN_US))]) + b"nonsense\n",
        ["--format", "jetstream"],
        2,
        ["2: not JSON: "],
    ),
}


@pytest.mark.parametrize("name", _GOOD_AND_BAD)
def test_ingest_says_which_lines_are_bad(tmp_path: Path, name: str) -> None:
    content, options, accepted, bad = _GOOD_AND_BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    done = run("ingest", path, *options, "--data-dir", tmp_path / "data")
    assert done.exit_code == 0, done.output
    lines = done.stdout.replace(f"{path}:", "").splitlines()
    assert lines[0].startswith(f"{accepted} events in ")
    at = lines.index(f"{len(bad)} bad lines were left out:")
    # A long path is broken over lines, wherever the terminal ends.
    told = "".join(done.stdout.split()).replace(f"{path}:", "")
    assert at
    assert [told.count("".join(line.split())) for line in bad] == [1] * len(bad)
    assert done.stderr == ""
    assert Archive(load(data_dir=tmp_path / "data").archive_root).scan().num_rows == accepted


def test_ingest_shows_the_first_five_and_counts_all(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"{\n" * 8 + favourite(1))
    done = run("ingest", path, "--json", "--data-dir", tmp_path / "data")
    found = json.loads(done.stdout)
    assert (found["accepted"], found["bad"], found["lines"]) == (1, 8, 9)
    assert [(bad["file"], bad["line"]) for bad in found["first_bad"]] == [
        (str(path), line) for line in range(1, 6)
    ]
    assert done.stderr == ""


def test_what_cannot_be_ingested_is_told_apart(tmp_path: Path) -> None:
    done = run("ingest", tmp_path / "events.what", "--data-dir", tmp_path)
    assert isinstance(done.exception, bulk.UnknownFormat)


def events_of(path: Path) -> pa.Table:
    format = "parquet" if path.suffix == ".parquet" else "ndjson"
    batches = [pa.table(one.batch) for one in open_import(format, path, now_ms=NOW_MS)]
    return pa.concat_tables(batches, promote_options="default")


@pytest.mark.parametrize("name", ["world.parquet", "world.ndjson"])
def test_simulate_writes_what_happened(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    done = run(
        *("simulate", "--users", 40, "--days", 0.25, "--seed", 3),
        *("--out", out, "--data-dir", tmp_path / "data"),
    )
    assert done.exit_code == 0, done.output
    batches = simulate(40, 0.25, 3, NOW_MS - 6 * HOUR_MS)
    wanted = pa.concat_tables([pa.table(b) for b in batches], promote_options="default")
    assert done.stdout.startswith(f"{wanted.num_rows:,} events in ")
    assert done.stderr == ""
    found = events_of(out)
    assert set(found.schema.names) == set(wanted.schema.names)
    assert found.select(wanted.schema.names).equals(wanted)
    assert not (tmp_path / "data" / "log").exists()


def test_parquet_is_written_batch_by_batch(tmp_path: Path) -> None:
    """Not held until the end: each batch is a group of rows, whichever columns it has."""
    first = pa.RecordBatch.from_pylist([EVENT], schema=CORE)
    text = pa.schema([*CORE, OPTIONAL.field("text")])
    second = pa.RecordBatch.from_pylist([EVENT | {"text": "hello"}] * 2, schema=text)
    out = tmp_path / "events.parquet"
    groups = []

    def batches() -> Iterator[pa.RecordBatch]:
        yield first
        groups.append(out.stat().st_size)
        yield second
        groups.append(out.stat().st_size)

    assert bulk._write(batches(), out, lambda _: None) == 3
    assert 4 < groups[0] < groups[1]
    file = pq.ParquetFile(out)
    assert [file.metadata.row_group(k).num_rows for k in range(2)] == [1, 2]
    assert file.read().column("text").to_pylist() == [None, "hello", "hello"]


def test_simulate_brings_events_in(tmp_path: Path) -> None:
    bars = Told()
    found = bulk.simulate(load(data_dir=tmp_path), 40, 0.25, 3, None, bars)
    assert Archive(tmp_path / "archive").scan().num_rows == found["events"]
    assert bars.parts[0] == ("simulate: users and follows", 0.0)
    shares = [share for _, share in bars.parts if share is not None]
    assert shares == sorted(shares)
    assert 5 / 6 < shares[-1] <= 1
    assert bars.parts[-1][0] == f"simulate: {found['events']:,} events"
    assert bars.ended == ["simulate"]


def test_the_bar_of_ingest_ends_where_all_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "open_import", partial(open_import, batch_events=2))
    events = [EVENT | {"event_id": post_id, "post_id": post_id} for post_id in range(1, 6)]
    path = tmp_path / "events.parquet"
    pq.write_table(pa.Table.from_pylist(events, schema=CORE), path)
    bars = Told()
    bulk.ingest(load(data_dir=tmp_path / "data"), str(path), "parquet", {}, bars)
    assert bars.parts == [
        ("ingest: reading", None),
        ("ingest: 2 events", 0.8),
        # All is read, and nobody knows what is left.
        ("ingest: 4 events", None),
        ("ingest: 5 events", None),
    ]
    assert bars.ended == ["ingest"]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_terminal_shows_the_bar_unless_json_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(cli, "ERR", console)
    path = tmp_path / "events.ndjson"
    path.write_bytes(favourite(1))
    done = run("ingest", path, "--data-dir", tmp_path / "data", *(["--json"] * as_json))
    assert done.exit_code == 0, done.output
    assert bool(re.search(r"ingest ━+ 100% 0:00:0\d", written.getvalue())) != as_json
    assert as_json == (written.getvalue() == "")


def test_bench_lists_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["murmuration"])
    done = run("bench", "--help")
    assert done.exit_code == 0
    assert "Run benchmarks; each prints hardware, load, data and figures as JSON." in done.stdout
    done = run("bench", "nothing-like-it")
    assert done.exit_code == 1
    said, _, listed = done.stdout.strip().partition("; there are ")
    assert said == "no benchmark is called nothing-like-it"
    assert {"for_you", "ingest", "quality"} <= set(listed.split(", "))
    assert all(find_spec(f"benchmarks.{name}") for name in listed.split(", "))

"""What holds for every format: bad lines are survived, and no good one is lost."""

import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.events import Kind
from cluster.importers.contract import UnreadableImport
from cluster.importers.formats import open_import
from tests.cluster.importers.jetstream_messages import NOW_MS, stream

LINE_FORMATS = ("ndjson", "jetstream", "csv", "tsv", "cascades")
OPTIONS: dict[str, dict[str, Any]] = {
    "csv": {"header": False, "actor": 0, "item": 1, "time": 2},
    "tsv": {"header": False, "actor": 0, "target": 1},
    "cascades": {"epoch": 1000},
}


def good_lines(format: str, n: int) -> list[bytes]:
    """Lines that give events of their own, whatever the other lines are."""
    if format == "ndjson":
        like = {"kind": "favourite", "time_ms": 5, "post_id": 2, "author_id": 3}
        return [orjson.dumps({**like, "actor_id": 1000 + i}) for i in range(n)]
    if format == "jetstream":
        return [orjson.dumps(message) for message in stream(n, seed=n, deletes=False)]
    if format == "csv":
        return [b"%d,%d,%d" % (1000 + i, i, 10_000 + i) for i in range(n)]
    if format == "tsv":
        return [b"%d\t%d" % (1000 + i, 5000 + i) for i in range(n)]
    return [b"%d %d 50,%d 60," % (i, 1000 + i, 5000 + i) for i in range(n)]


def events_of(format: str, folder: Path, lines: list[bytes]) -> tuple[set[tuple[Any, ...]], int]:
    path = folder / "lines"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    for state in folder.glob("jetstream.sqlite*"):
        state.unlink()
    import_ = open_import(
        format, path, OPTIONS.get(format), now_ms=NOW_MS, state_dir=folder, batch_events=7
    )
    names = ("kind", "actor_id", "post_id", "author_id", "target_id")
    if format == "jetstream":
        names = ("kind", "event_id")
    found = set()
    for item in import_:
        for row in item.batch.to_pylist():
            found.add(tuple(row[name] for name in names))
    assert import_.report.lines == len(lines)
    return found, import_.report.bad


@pytest.mark.parametrize("format", LINE_FORMATS)
@given(seed=st.integers(0, 2**32))
def test_corruption_costs_no_line_but_its_own(
    tmp_path_factory: pytest.TempPathFactory, format: str, seed: int
) -> None:
    rng = random.Random(seed)
    folder = tmp_path_factory.getbasetemp() / format
    folder.mkdir(exist_ok=True)
    lines = good_lines(format, 30)
    corrupted = {rng.randrange(30) for _ in range(rng.randrange(1, 6))}
    spoilt = list(lines)
    for index in corrupted:
        line = bytearray(spoilt[index])
        for _ in range(rng.randrange(1, 5)):
            byte = rng.choice([*b'"\r,\t \\{}-x0\x00\xff'])
            line[rng.randrange(len(line))] = byte
        if rng.random() < 0.3:
            del line[rng.randrange(len(line)) :]
        spoilt[index] = bytes(line)
    # An empty line in place of a corrupted one keeps the line numbers, which are ids here.
    rest = [b"" if index in corrupted else line for index, line in enumerate(lines)]
    wanted, n_bad = events_of(format, folder, rest)
    assert n_bad == 0
    found, n_bad = events_of(format, folder, spoilt)
    assert n_bad <= len(corrupted)
    if format == "jetstream":
        wanted = {row for row in wanted if row[0] != Kind.USER_CREATE}
    assert wanted <= found


@pytest.mark.parametrize("format", LINE_FORMATS)
def test_an_empty_file_gives_nothing(tmp_path: Path, format: str) -> None:
    assert events_of(format, tmp_path, []) == (set(), 0)


def test_unknown_formats_and_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImport, match="format 'xml' is unknown; there are ndjson"):
        open_import("xml", tmp_path, now_ms=NOW_MS)
    with pytest.raises(UnreadableImport, match="'kind' is unknown for ndjson"):
        open_import("ndjson", tmp_path, {"kind": "click"}, now_ms=NOW_MS)
    with pytest.raises(UnreadableImport, match="needs a state folder"):
        open_import("jetstream", tmp_path, now_ms=NOW_MS)

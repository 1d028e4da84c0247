import gzip
import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.importers.contract import Report
from cluster.importers.lines import read_lines


def numbered(path: Path | str, report: Report, **options: int) -> list[tuple[int, bytes]]:
    found = []
    for block in read_lines(str(path), report, **options):
        assert block.n_lines == len(block.lines)
        found += list(enumerate(block.lines, block.first_line))
    return found


@given(
    data=st.binary(max_size=200).map(lambda data: data.replace(b"\x1f", b"\n")),
    block_bytes=st.integers(1, 50),
    skip=st.integers(0, 10),
    packed=st.booleans(),
)
def test_gives_every_line_with_its_number(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, block_bytes: int, skip: int, packed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(gzip.compress(data) if packed else data)
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not lines[-1]:
        lines.pop()
    expected = list(enumerate(lines, 1))[skip:]
    report = Report()
    # A byte order mark is looked for in the first block only.
    block_bytes = max(block_bytes, 3)
    assert numbered(path, report, skip=skip, block_bytes=block_bytes) == expected
    assert report.lines == len(expected)
    assert report.bad == 0


def test_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"a\nb")))  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "stdin", stream)
    assert numbered("-", Report()) == [(1, b"a"), (2, b"b")]


@pytest.mark.parametrize("block_bytes", [4, 7, 1000])
def test_refuses_a_line_that_is_too_long(tmp_path: Path, block_bytes: int) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"a\n" + b"x" * 2000 + b"\nb\n" + b"y" * 2000)
    report = Report()
    found = numbered(path, report, block_bytes=block_bytes, max_line_bytes=20)
    if block_bytes < 1000:  # a line within one block is in memory anyway
        assert found == [(1, b"a"), (2, b""), (3, b"b"), (4, b"")]
        assert [bad.line for bad in report.first_bad] == [2, 4]
    else:
        assert [number for number, _ in found] == [1, 2, 3, 4]
        assert (found[0][1], found[2][1]) == (b"a", b"b")


def test_keeps_the_whole_lines_of_a_broken_off_gzip(tmp_path: Path) -> None:
    data = b"".join(b"%d,%d\n" % (i, i * i) for i in range(5000))
    path = tmp_path / "lines.gz"
    packed = gzip.compress(data)
    path.write_bytes(packed[: len(packed) // 2])
    report = Report()
    found = numbered(path, report, block_bytes=1000)
    assert [line for _, line in found] == data.split(b"\n")[: len(found)]
    assert len(found) > 1000
    assert report.bad == 1
    assert report.first_bad[0].line == len(found) + 1
    assert "breaks off" in report.first_bad[0].why


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        numbered(tmp_path / "absent", Report())


@pytest.mark.parametrize("compressed", [False, True])
def test_how_much_is_read(tmp_path: Path, compressed: bool) -> None:
    content = b"".join(b"%09d\n" % n for n in range(100_000))
    path = tmp_path / "numbers"
    path.write_bytes(gzip.compress(content) if compressed else content)
    report = Report()
    shares = [
        report.read_share for _ in read_lines(str(path), report, block_bytes=len(content) // 4)
    ]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.5
    assert shares[-1] == report.read_share == 1.0


def test_nobody_knows_how_much_of_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"1\n2\n"))))
    report = Report()
    assert [block.n_lines for block in read_lines("-", report)] == [2]
    assert report.read_share is None

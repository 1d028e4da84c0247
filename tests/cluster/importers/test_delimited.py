from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.importers.contract import Report, UnreadableImport
from cluster.importers.delimited import COMMA_SEPARATED, Content, Layout, read_columns

WANTED = {
    "id": ("id", Content.INTEGER),
    "name": ("name", Content.TEXT),
    "score": ("score", Content.NUMBER),
}


def read(
    path: Path, report: Report, wanted: Any = WANTED, layout: Layout = COMMA_SEPARATED
) -> list[dict[str, Any]]:
    tables = read_columns(str(path), report, wanted, layout)
    return [row for table in tables for row in table.to_pylist()]


fields = st.tuples(
    st.one_of(st.integers(-(2**63), 2**63 - 1).map(str), st.sampled_from(["x", "", "9" * 19])),
    st.sampled_from(["a", "ä b", '"c,d"', '"', "", 'e"f', "g\rh"]),
    st.one_of(st.floats(0, 1, width=16).map(repr), st.sampled_from(["", "NaN", "x", "1e2"])),
    st.sampled_from(["", "z", ",", "\r"]),
)


@given(st.lists(fields, max_size=8))
def test_a_bad_line_changes_nothing_about_its_neighbours(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, ...]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "table.csv"
    lines = [",".join(line) for line in drawn]
    alone: list[dict[str, Any]] = []
    n_bad = 0
    for number, line in enumerate(lines, 2):
        report = Report()
        path.write_bytes(f"id,name,score,more\n{line}\n".encode())
        alone += [{**row, "line": number} for row in read(path, report)]
        n_bad += report.bad
    path.write_bytes("\n".join(["id,name,score,more", *lines]).encode())
    report = Report()
    assert read(path, report) == alone
    assert report.bad == n_bad


def test_values_are_read_alike_at_once_and_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    good = b'\xef\xbb\xbfname,score,id\r\n"a, b",0.5,-7\r\nc,,12\r\nd,nan,3'
    path.write_bytes(good)
    report = Report()
    expected = [
        {"id": -7, "name": "a, b", "score": 0.5, "line": 2},
        {"id": 12, "name": "c", "score": 0.0, "line": 3},
        {"id": 3, "name": "d", "score": 0.0, "line": 4},
    ]
    assert read(path, report) == expected
    assert report.bad == 0
    path.write_bytes(good + b"\r\n,1,4\r\n\r\ne,x,5\r\nf,1\r\ng,1,1.5\r\n\xff,1,6\r\nh,1,7.0\r\n")
    expected.append({"id": 7, "name": "h", "score": 1.0, "line": 11})
    assert read(path, report) == expected
    assert [bad.line for bad in report.first_bad] == [5, 7, 8, 9, 10]


def test_dates(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    wanted = {"at": ("0", Content.DATE)}
    path.write_text("1970-01-01 00:00:01\n1970-01-01T00:00:02.5\n")
    report, layout = Report(), Layout(header=False)
    seconds = [row["at"].timestamp() for row in read(path, report, wanted, layout)]
    path.write_text("1970-01-01 00:00:01\nsoon\n1970-01-01T01:00:02.5+01:00\n")
    mixed = [row["at"] for row in read(path, report, wanted, layout)]
    assert len(seconds) == len(mixed) == 2
    assert [(at.second, at.microsecond) for at in mixed] == [(1, 0), (2, 500_000)]
    assert report.first_bad[0].line == 2


def test_a_missing_column_names_file_and_column(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("id,nam,score\n")
    with pytest.raises(UnreadableImport, match=r"table.csv: column 'name'.*did you mean 'nam'"):
        read(path, Report())
    path.write_text("")
    with pytest.raises(UnreadableImport, match="empty; expected a header"):
        read(path, Report())
    path.write_text("1,2\n")
    with pytest.raises(UnreadableImport, match="columns by index"):
        read(path, Report(), layout=Layout(header=False))

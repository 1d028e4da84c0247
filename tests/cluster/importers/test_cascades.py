from pathlib import Path
from typing import Any

import pytest

from cluster.events import Kind
from cluster.importers.authors import FIRST_PSEUDO_AUTHOR
from cluster.importers.contract import Import, UnreadableImport
from cluster.importers.formats import open_import

NOW_MS = 1_700_000_000_000
PSEUDO = FIRST_PSEUDO_AUTHOR


def begin(folder: Path, text: str, **options: Any) -> Import:
    path = folder / "cascades.txt"
    path.write_text(text)
    return open_import("cascades", path, options, now_ms=NOW_MS)


def rows(import_: Import) -> list[tuple[Any, ...]]:
    names = ("time_ms", "actor_id", "post_id", "author_id")
    return [
        (Kind(row["kind"]).label, *(row[name] for name in names))
        for item in import_
        for row in item.batch.to_pylist()
    ]


def test_a_line_is_a_post_and_its_engagements(tmp_path: Path) -> None:
    text = "0 5 100,6 300,\n4 5 200\n"
    assert rows(begin(tmp_path, text, epoch=1000, sort=False)) == [
        ("post_create", 1_099_000, 0, 1, 1),
        ("favourite", 1_100_000, 6, 1, 1),
        ("favourite", 1_300_000, 7, 1, 1),
        ("post_create", 1_199_000, 0, 2, 5),
        ("favourite", 1_200_000, 6, 2, 5),
    ]
    in_order = rows(begin(tmp_path, text, epoch="1970-01-01T00:16:40Z", kind="repost"))
    assert [(kind, at) for kind, at, *_ in in_order] == [
        ("post_create", 1_099_000),
        ("repost", 1_100_000),
        ("post_create", 1_199_000),
        ("repost", 1_200_000),
        ("repost", 1_300_000),
    ]


def test_good_chunks_of_a_bad_line_are_kept(tmp_path: Path) -> None:
    text = (
        "1 2 30,x 4,5 60,7\n"  # two bad chunks
        "x 2 30,4 50\n"  # no author
        "\n"
        "1 x 30,4 50,\n"  # the first chunk is bad, its author is not
        "1 2\n"  # no good chunk
        f"1 2 {10**16},3 40\n"  # a time past all times
        "1 2 30\n"
    )
    import_ = begin(tmp_path, text, epoch=100, sort=False)
    assert [row for row in rows(import_) if row[0] == "favourite"] == [
        ("favourite", 130_000, 3, 1, 2),
        ("favourite", 160_000, 6, 1, 2),
        ("favourite", 150_000, 5, 4, 2),
        ("favourite", 140_000, 4, 6, 2),
        ("favourite", 130_000, 3, 7, 2),
    ]
    assert import_.report.bad == 5
    assert [bad.line for bad in import_.report.first_bad] == [1, 2, 4, 5, 6]
    assert import_.report.first_bad[0].why == "chunk 2 is not two integers: b'x 4'"


def test_clicks_with_items_and_authors_in_other_files(tmp_path: Path) -> None:
    (tmp_path / "items.txt").write_text("70\nx\n80\n")
    (tmp_path / "authors.csv").write_text("video,author\n70,9\n")
    import_ = begin(
        tmp_path,
        "4,100 5,101 \n4,100\n6,90\n6,95\n",
        epoch=0,
        chunk_separator=" ",
        field_separator=",",
        author_first=False,
        items="items.txt",
        authors="authors.csv,video,author",
        author_offset=1000,
        kind="click",
    )
    assert rows(import_) == [
        ("post_create", 89_000, 0, 81, PSEUDO + 81),
        ("click", 90_000, 7, 81, PSEUDO + 81),
        ("post_create", 99_000, 0, 71, 1009),
        ("click", 100_000, 5, 71, 1009),
        ("click", 101_000, 6, 71, 1009),
    ]
    assert [(Path(bad.file).name, bad.line) for bad in import_.report.first_bad] == [
        ("items.txt", 2),
        ("cascades.txt", 2),
        ("cascades.txt", 4),
    ]


def test_time_may_come_before_user(tmp_path: Path) -> None:
    import_ = begin(tmp_path, "1 30 2,40 3\n", epoch=100, user_first=False)
    assert [row[1:3] for row in rows(import_)] == [(129_000, 0), (130_000, 3), (140_000, 4)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "follow"}, "cannot be a follow"),
        ({"chunk_separator": "7"}, "must be one character, no digit"),
        ({"chunk_separator": " "}, "must differ"),
        ({"header": True}, "'header' is unknown"),
    ],
)
def test_options_are_checked(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UnreadableImport, match=message):
        begin(tmp_path, "", **options)

from pathlib import Path
from typing import Any

import pytest

from cluster.events import Kind
from cluster.ids import id_of_string
from cluster.importers.authors import FIRST_PSEUDO_AUTHOR
from cluster.importers.contract import Import, UnreadableImport
from cluster.importers.formats import open_import
from cluster.importers.mapping import DEFAULT_EPOCH_MS

NOW_MS = 1_700_000_000_000
PSEUDO = FIRST_PSEUDO_AUTHOR


def begin(folder: Path, text: str, format: str = "csv", **options: Any) -> Import:
    path = folder / f"table.{format}"
    path.write_text(text)
    return open_import(format, path, options, now_ms=NOW_MS)


def rows(import_: Import, *names: str) -> list[tuple[Any, ...]]:
    return [
        (Kind(row["kind"]).label, *(row[name] for name in names))
        for item in import_
        for row in item.batch.to_pylist()
    ]


def test_follow_edges(tmp_path: Path) -> None:
    import_ = begin(
        tmp_path, "0,1\n1,1\n2,0\nx,1\n", header=False, actor=0, target=1, epoch=5, step_ms=0
    )
    assert rows(import_, "time_ms", "actor_id", "target_id") == [
        ("follow", 5000, 1, 2),
        ("follow", 5000, 3, 1),
    ]
    assert [(bad.line, bad.why.split(";")[0]) for bad in import_.report.first_bad] == [
        (4, "'x' is not an integer"),
        (2, "target must be another user than actor"),
    ]


def test_timed_likes_make_posts_when_first_seen(tmp_path: Path) -> None:
    text = "user\titem\tat\n5\t7\t10\n6\t7\t11.5\n5\t8\t12\n5\t9\t0\n"
    import_ = begin(tmp_path, text, "tsv", actor="user", item="item", time="at")
    assert rows(import_, "time_ms", "actor_id", "post_id", "author_id") == [
        ("post_create", 9000, 0, 8, PSEUDO + 8),
        ("favourite", 10_000, 6, 8, PSEUDO + 8),
        ("favourite", 11_500, 7, 8, PSEUDO + 8),
        ("post_create", 11_000, 0, 9, PSEUDO + 9),
        ("favourite", 12_000, 6, 9, PSEUDO + 9),
    ]
    assert import_.report.notes == {"posts with a pseudo-author": 2}
    assert import_.report.first_bad[0].why == "time must be after 1970"


def test_sorted_posts_are_older_than_all_their_engagements(tmp_path: Path) -> None:
    import_ = begin(
        tmp_path, "1,1,30\n2,1,20\n", header=False, actor=0, item=1, time=2, sort="true"
    )
    assert rows(import_, "time_ms") == [
        ("post_create", 19_000),
        ("favourite", 20_000),
        ("favourite", 30_000),
    ]


def test_without_a_time_the_lines_keep_their_order(tmp_path: Path) -> None:
    import_ = begin(tmp_path, "u,i\n1,1\n2,1\n", actor="u", item="i", kind="click")
    assert rows(import_, "time_ms") == [
        ("post_create", DEFAULT_EPOCH_MS + 1),
        ("click", DEFAULT_EPOCH_MS + 2),
        ("click", DEFAULT_EPOCH_MS + 3),
    ]


def test_kind_column_and_authors_of_rows(tmp_path: Path) -> None:
    import_ = begin(
        tmp_path,
        "u,i,a,t,k,v\n1,1,3,5000,watch,250\n2,1,3,6000,like,9\n2,1,3,7000,spit,9\n",
        actor="u",
        item="i",
        author="a",
        time="t",
        time_unit="ms",
        kind_column="k",
        kinds="watch=video_watch,like=favourite",
        value="v",
    )
    assert rows(import_, "author_id", "value") == [
        ("post_create", 4, 0),
        ("video_watch", 4, 250),
        ("favourite", 4, 9),
    ]
    assert import_.report.first_bad[0].why == "kind is not one of those mapped"


def test_flags_of_one_row_become_its_events(tmp_path: Path) -> None:
    (tmp_path / "authors.csv").write_text('item,author,tags\n1,7,"a,b"\nx,1,2\n3,8,\n')
    import_ = begin(
        tmp_path,
        "u,i,t,click,watch,ms,follow,label\n1,1,5,1,1,800,1,0\n2,2,6,0,0,9,0,1\n",
        actor="u",
        item="i",
        time="t",
        always="impression",
        flags="click=click,watch=video_watch@ms,follow=follow,label:1=favourite,"
        "label:0=not_interested",
        authors="authors.csv,item,author",
        author_offset=1000,
    )
    assert rows(import_, "actor_id", "post_id", "author_id", "target_id", "value") == [
        ("post_create", 0, 2, 1007, 0, 0),
        ("impression", 2, 2, 1007, 0, 0),
        ("click", 2, 2, 1007, 0, 0),
        ("video_watch", 2, 2, 1007, 0, 800),
        ("follow", 2, 0, 0, 1007, 0),
        ("not_interested", 2, 2, 1007, 0, 0),
        ("post_create", 0, 3, PSEUDO + 3, 0, 0),
        ("impression", 3, 3, PSEUDO + 3, 0, 0),
        ("favourite", 3, 3, PSEUDO + 3, 0, 0),
    ]
    (bad,) = import_.report.first_bad
    assert (Path(bad.file).name, bad.line) == ("authors.csv", 3)


def test_text_ids_are_hashed_and_given_back_in_uri(tmp_path: Path) -> None:
    import_ = begin(
        tmp_path, "ann,p1,bob\nbob,p1,bob\n", header=False, actor=0, item=1, author=2, text_ids=True
    )
    ann, bob, item = map(id_of_string, ("ann", "bob", "p1"))
    assert rows(import_, "actor_id", "post_id", "author_id", "uri") == [
        ("user_create", ann, 0, 0, "ann"),
        ("user_create", bob, 0, 0, "bob"),
        ("post_create", 0, item, bob, "p1"),
        ("favourite", ann, item, bob, None),
        ("favourite", bob, item, bob, None),
    ]


def test_two_names_with_one_id_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = {"eve": "ann", "p2": "p1"}
    monkeypatch.setattr(
        "cluster.importers.names.id_of_string", lambda name: id_of_string(same.get(name, name))
    )
    (tmp_path / "authors.csv").write_text("item,author\np1,bob\np2,bob\n")
    # A user and a post may have one name, and so one id.
    text = "ann,p1\neve,p1\nann,p2\nann,ann\nann,p1\n"
    options = {"text_ids": True, "authors": "authors.csv,item,author"}
    import_ = begin(tmp_path, text, header=False, actor=0, item=1, **options)
    assert [(kind, post) for kind, post in rows(import_, "post_id") if kind == "favourite"] == [
        ("favourite", id_of_string(name)) for name in ("p1", "ann", "p1")
    ]
    assert [(Path(bad.file).name, bad.line, bad.why) for bad in import_.report.first_bad] == [
        ("authors.csv", 3, "an id is another name's, too"),
        ("table.csv", 2, "actor has the id of another name"),
        ("table.csv", 3, "item has the id of another name"),
    ]
    assert import_.report.bad == 3


def test_ids_out_of_range_are_bad_lines(tmp_path: Path) -> None:
    big = 2**63 - 1
    text = f"{big},1\n-1,1\n1,-2\n{2**62},1\n1,{2**62}\n4,4\n"
    import_ = begin(tmp_path, text, header=False, actor=0, item=1)
    assert rows(import_, "actor_id") == [("post_create", 0), ("favourite", 5)]
    assert [bad.line for bad in import_.report.first_bad] == [1, 2, 3, 4, 5]


def test_resumes_behind_any_position(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("".join(f"{n % 7},{n % 5}\n" for n in range(40)))
    options = {"header": False, "actor": 0, "item": 1}

    def events(start: int) -> list[dict[str, Any]]:
        import_ = open_import("csv", path, options, now_ms=NOW_MS, start=start, batch_events=6)
        return [row for item in import_ for row in item.batch.to_pylist()]

    whole = events(0)
    assert len(whole) == 45
    for start in (1, 6, 44, 45):
        assert events(start) == whole[start:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"actor": 0}, "either a target column"),
        ({"actor": 0, "item": 1, "target": 2}, "either a target column"),
        ({"item": 1}, "actor .* is required"),
        ({"actor": 0, "itemm": 1}, "'itemm' is unknown; did you mean 'item'"),
        ({"actor": 0, "item": 1, "kind": "favorite"}, "kind = 'favorite'"),
        ({"actor": 0, "item": 1, "kind": "mute"}, None),
        ({"actor": 0, "target": 1, "kind": "click"}, "cannot be a click"),
        ({"actor": 0, "item": 1, "flags": "a=impression@b"}, "impression has no value"),
        ({"actor": 0, "item": 1, "flags": "a"}, "not of the form"),
        ({"actor": 0, "item": 1, "time_unit": "h"}, "time_unit 'h'"),
        ({"actor": 0, "item": 1, "sort": "yes"}, "must be true or false"),
        ({"actor": 0, "item": 1, "epoch": "long ago"}, "epoch = 'long ago'"),
    ],
)
def test_options_are_checked_before_anything_is_read(
    tmp_path: Path, options: dict[str, Any], message: str | None
) -> None:
    if message is None:
        open_import("csv", tmp_path / "absent", options, now_ms=NOW_MS)
        return
    with pytest.raises(UnreadableImport, match=message):
        open_import("csv", tmp_path / "absent", options, now_ms=NOW_MS)

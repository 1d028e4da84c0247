"""The post table against a dictionary of posts."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.stores.posts import COUNTERS, PostTable
from actors.stores.versions import versions_of
from cluster.events import OPTIONAL_NAMES, UNDONE_BY, Kind
from cluster.ids import Ids
from tests.worlds import Event, checked

AUTHOR = 7


def write(table: PostTable, *events: Event) -> None:
    batch = checked(events)
    times_ms, event_ids = (batch.column(n).to_numpy() for n in ("time_ms", "event_id"))
    table.write(batch, versions_of(times_ms, event_ids))


def created(post_id: int, time_ms: int, **given: Any) -> Event:
    given = {"event_id": post_id, "author_id": AUTHOR, **given}
    return {"kind": "post_create", "post_id": post_id, "time_ms": time_ms, **given}


def edited(post_id: int, time_ms: int, **given: Any) -> Event:
    given = {"event_id": 10_000 + time_ms, "author_id": AUTHOR, **given}
    return {"kind": "post_edit", "post_id": post_id, "time_ms": time_ms, **given}


def ids(*values: int) -> Ids:
    return np.array(values, np.int64)


def live(table: PostTable, since_ms: int = 0, until_ms: int = 10**6, limit: int = 99) -> list[int]:
    rows = table.of_authors(ids(AUTHOR), since_ms, until_ms, limit)
    return table["post_ids"][rows].tolist()  # type: ignore[no-any-return]


def newest(table: PostTable, post_id: int) -> int:
    return int(table["post_ids"][table.newest_versions(table.rows_of(ids(post_id)))[0]])


def test_what_a_post_says() -> None:
    table = PostTable()
    write(
        table,
        created(1, 100, text="hé!", language="de", topics=[4, 5], image_count=2, uri="at://x"),
        created(2, 200, reply_to_id=1, reply_to_author_id=AUTHOR, root_id=1, sensitive=True),
    )
    rows = table.rows_of(ids(1, 2, 3))
    assert rows.tolist() == [0, 1, -1]
    rows = rows[:2].astype(np.int64)
    assert table.texts(rows).to_pylist() == ["hé!", None]
    assert table.uris(rows).to_pylist() == ["at://x", None]
    assert table.languages.words(table["language"][rows]).to_pylist() == ["de", None]
    assert table["topic_id"].tolist() == [4, 0]
    assert table["image_count"].tolist() == [2, 0]
    assert table["sensitive"].tolist() == [False, True]
    assert table["reply_to_id"].tolist() == [0, 1]
    assert table["created_ms"].tolist() == [100, 200]


def test_the_newest_of_create_and_edits_is_the_content() -> None:
    table = PostTable()
    write(table, edited(1, 300, text="third"))
    write(table, created(1, 100, text="first", language="de"))
    write(table, edited(1, 200, text="second"))
    assert table.texts(np.arange(1)).to_pylist() == ["third"]
    assert table["created_ms"].tolist() == [100]
    assert table.languages.words(table["language"]).to_pylist() == [None]


def test_an_edit_without_its_post_is_not_a_post() -> None:
    table = PostTable()
    write(table, edited(1, 300, text="x"))
    assert live(table) == []
    assert table.newest(0, 10**6, 10).tolist() == []


def test_a_post_deleted_before_it_came_stays_deleted() -> None:
    table = PostTable()
    table.delete(ids(1), ids(AUTHOR))
    write(table, created(1, 100), created(2, 100))
    assert live(table) == [2]


def test_the_first_event_of_a_full_table_may_be_a_deletion() -> None:
    table = PostTable()
    n = 1024
    write(table, *(created(k, k) for k in range(1, n + 1)))
    table.delete(ids(n + 1, 5), ids(AUTHOR, AUTHOR))
    assert table["deleted"][[4, n]].tolist() == [True, True]


def test_posts_of_authors_come_newest_first_and_of_one_instant_by_id() -> None:
    orders = ([1, 2, 3, 4], [4, 3, 2, 1], [2, 4, 1, 3])
    times_ms = {1: 50, 2: 70, 3: 70, 4: 20}
    for order in orders:
        table = PostTable()
        for post_id in order:
            write(table, created(post_id, times_ms[post_id]))
        assert live(table) == [3, 2, 1, 4]
        assert live(table, limit=1) == [3]
        assert live(table, since_ms=50) == [3, 2, 1]
        assert live(table, until_ms=70) == [1, 4]
        assert live(table, since_ms=20, until_ms=50) == [4]


def test_a_created_post_knows_its_author_better_than_an_engagement() -> None:
    table = PostTable()
    table.count(ids(1), ids(999), np.array([Kind.FAVOURITE], np.uint8), ids(50))
    write(table, created(1, 100))
    assert live(table) == [1]
    assert table.of_authors(ids(999), 0, 10**6, 9).tolist() == []


@pytest.mark.parametrize("order", [(2, 3, 4), (4, 3, 2), (3, 4, 2), (2, 4, 3)])
def test_one_of_several_edits_stays(order: tuple[int, ...]) -> None:
    # 2 and 3 edit 1 and 4 edits 2; 4 is the newest of all.
    links = {2: 1, 3: 1, 4: 2}
    table = PostTable()
    write(table, created(1, 100))
    for post_id in order:
        write(table, created(post_id, 100 * post_id, edit_of_id=links[post_id]))
    assert live(table) == [4]
    assert [newest(table, p) for p in (1, 2, 3, 4)] == [4, 4, 4, 4]


def test_edits_of_one_instant_are_ordered_by_event() -> None:
    for order in ((2, 3), (3, 2)):
        table = PostTable()
        for post_id in order:
            write(table, created(post_id, 500, edit_of_id=1))
        assert live(table) == [3]


def test_edits_of_each_other_end() -> None:
    table = PostTable()
    write(table, created(1, 100, edit_of_id=2), created(2, 200, edit_of_id=1))
    assert newest(table, 1) in (1, 2)


def test_counts_go_up_and_down_in_any_order() -> None:
    table = PostTable()
    kinds = [Kind.UNFAVOURITE, Kind.FAVOURITE, Kind.FAVOURITE, Kind.IMPRESSION, Kind.SERVED]
    n = len(kinds)
    table.count(
        np.full(n, 1), np.full(n, AUTHOR), np.array(kinds, np.uint8), ids(50, 10, 40, 99, 99)
    )
    counts = dict(zip(COUNTERS, table["counts"][0].tolist(), strict=True))
    assert {kind: count for kind, count in counts.items() if count} == {
        Kind.FAVOURITE: 1,
        Kind.IMPRESSION: 1,
    }
    assert table["last_engaged_ms"].tolist() == [50]
    assert table["created_ms"].tolist() == [0]


def test_the_posts_written_last_are_found_after_a_restore() -> None:
    table, late, early = PostTable(), PostTable(), PostTable()
    write(early, *(created(k, k) for k in range(1, 6)))
    write(late, *(created(k, k) for k in range(6, 10)))
    # Snapshots of lanes come in any order, each with old posts and new ones.
    table.restore(late.columns())
    table.restore(early.columns())
    write(table, created(20, 20))
    table.count(ids(30), ids(AUTHOR), np.array([Kind.FAVOURITE], np.uint8), ids(30))
    assert table["post_ids"][table.newest(0, 99, 4)].tolist() == [7, 8, 9, 20]


POSTS = st.integers(1, 6)
TIMES = st.integers(1, 9)
OPERATIONS = st.one_of(
    st.tuples(st.just("create"), POSTS, TIMES),
    st.tuples(st.just("edit"), POSTS, TIMES),
    st.tuples(st.just("delete"), POSTS),
    st.tuples(st.just("count"), POSTS, st.sampled_from([*COUNTERS, *UNDONE_BY]), TIMES),
    st.tuples(st.just("restore")),
)


class Model:
    """Posts as dictionaries: the slow and obvious table."""

    def __init__(self) -> None:
        self.created_ms: dict[int, int] = {}
        self.text: dict[int, tuple[int, int, str]] = {}
        self.deleted: set[int] = set()
        self.counts: dict[tuple[int, Kind], int] = {}

    def apply(self, operation: tuple[Any, ...], event_id: int) -> None:
        match operation:
            case ("create", post, time_ms):
                if post not in self.created_ms:
                    self.created_ms[post] = time_ms
                    self._say(post, time_ms, event_id)
            case ("edit", post, time_ms):
                self._say(post, time_ms, event_id)
            case ("delete", post):
                self.deleted.add(post)
            case ("count", post, kind, _):
                counted, change = (UNDONE_BY[kind], -1) if kind in UNDONE_BY else (kind, 1)
                key = (post, counted)
                self.counts[key] = self.counts.get(key, 0) + change

    def _say(self, post: int, time_ms: int, event_id: int) -> None:
        said = (time_ms, event_id, f"text {event_id}")
        self.text[post] = max(said, self.text.get(post, said))

    def live(self) -> list[int]:
        posts = [(t, p) for p, t in self.created_ms.items() if p not in self.deleted]
        return [post for _, post in sorted(posts, reverse=True)]


@settings(max_examples=60)
@given(st.lists(OPERATIONS, max_size=25))
def test_table_against_model(operations: list[tuple[Any, ...]]) -> None:
    table, model = PostTable(), Model()
    for event_id, operation in enumerate(operations, 1):
        if operation[0] == "create" and operation[1] in model.created_ms:
            continue
        model.apply(operation, event_id)
        match operation:
            case ("create", post, time_ms):
                write(table, created(post, time_ms, event_id=event_id, text=f"text {event_id}"))
            case ("edit", post, time_ms):
                write(table, edited(post, time_ms, event_id=event_id, text=f"text {event_id}"))
            case ("delete", post):
                table.delete(ids(post), ids(AUTHOR))
            case ("count", post, kind, time_ms):
                table.count(ids(post), ids(AUTHOR), np.array([kind], np.uint8), ids(time_ms))
            case ("restore",):
                restored = PostTable()
                restored.restore(table.columns())
                table = restored
    assert live(table) == model.live()
    assert sorted(table["post_ids"][table.newest(0, 99, 99)].tolist()) == sorted(model.live())
    for post, said in model.text.items():
        assert table.texts(table.rows_of(ids(post)).astype(np.int64)).to_pylist() == [said[2]]
    for (post, kind), count in model.counts.items():
        assert table["counts"][table.rows_of(ids(post))[0], COUNTERS.index(kind)] == count


def test_exports_of_a_post_under_two_authors_are_brought_together() -> None:
    # A favourite that named a wrong author made a row in another shard.
    mistaken, right = PostTable(), PostTable()
    kinds = np.array([Kind.FAVOURITE], np.uint8)
    mistaken.count(ids(1), ids(999), kinds, ids(70))
    right.count(ids(1), ids(AUTHOR), kinds, ids(60))
    write(right, created(1, 50, text="hello"), created(2, 60))
    for first, second in ((mistaken, right), (right, mistaken)):
        table = PostTable()
        table.restore(first.columns())
        table.restore(second.columns())
        assert live(table) == [2, 1]
        row = table.rows_of(ids(1)).astype(np.int64)
        assert table["counts"][row[0], 0] == 2
        assert table["last_engaged_ms"][row[0]] == 70
        assert table.texts(row).to_pylist() == ["hello"]


def test_recent_counts_survive_a_restore_and_add_up() -> None:
    kinds = np.array([Kind.FAVOURITE, Kind.FAVOURITE], np.uint8)
    whole, mistaken, right = PostTable(), PostTable(), PostTable()
    write(whole, created(1, 50))
    write(right, created(1, 50))
    whole.count(ids(1, 1), ids(AUTHOR, AUTHOR), kinds, ids(60, 70))
    right.count(ids(1), ids(AUTHOR), kinds[:1], ids(60))
    mistaken.count(ids(1), ids(999), kinds[:1], ids(70))
    for parts in ((whole,), (mistaken, right), (right, mistaken)):
        table = PostTable()
        for part in parts:
            table.restore(part.columns())
        row = table.rows_of(ids(1))[0]
        assert table["decayed"][row].tolist() == whole["decayed"][0].tolist()
        assert table["decayed_at"][row] == whole["decayed_at"][0]
    assert whole["decayed"][0, 0] > 2


def test_all_topics_of_a_post_survive_a_restore() -> None:
    table = PostTable()
    write(table, created(1, 10, topics=[8, 9]), created(2, 11), created(3, 12, topics=[7]))
    write(table, edited(3, 13, topics=[4, 5, 6]))
    columns = table.columns()
    restored = PostTable()
    restored.restore(columns)
    for told in (table, restored):
        offsets, topic_ids = told.topics(told.rows_of(ids(2, 3, 1)))
        assert (offsets.tolist(), topic_ids.tolist()) == ([0, 0, 3, 5], [4, 5, 6, 8, 9])
        assert told["topic_id"][told.rows_of(ids(1, 2, 3))].tolist() == [8, 0, 4]
    # Older exports have the first topic alone.
    del columns["topics"]
    first = PostTable()
    first.restore(columns)
    offsets, topic_ids = first.topics(first.rows_of(ids(2, 3, 1)))
    assert (offsets.tolist(), topic_ids.tolist()) == ([0, 0, 1, 2], [4, 8])


def test_an_export_of_before_recent_counts_is_taken_back() -> None:
    old = PostTable()
    write(old, created(1, 50), created(2, 60))
    old.count(ids(1), ids(AUTHOR), np.array([Kind.FAVOURITE], np.uint8), ids(70))
    columns = old.columns()
    for name in ("decayed", "decayed_at"):
        del columns[name]
    table = PostTable()
    table.count(ids(2), ids(999), np.array([Kind.REPLY], np.uint8), ids(80))
    table.restore(columns)
    assert live(table) == [2, 1]
    first, second = table.rows_of(ids(1, 2)).tolist()
    assert table["counts"][first, COUNTERS.index(Kind.FAVOURITE)] == 1
    assert table["decayed"][first].tolist() == [0, 0, 0, 0]
    assert table["decayed"][second, 2] > 1


def test_columns_hold_every_optional_content() -> None:
    """A restored table answers like the one it came from, whatever columns events had."""
    table = PostTable()
    write(
        table,
        created(1, 50, text="a b", video_duration_ms=9, link_count=1, quote_of_id=5,
                quote_of_author_id=6, topics=[3], uri="u"),
        created(2, 60, repost_of_id=5, repost_of_author_id=6, edit_of_id=1, language="en"),
    )  # fmt: skip
    restored = PostTable()
    restored.restore(table.columns())
    again = restored.columns()
    for name, values in table.columns().items():
        if isinstance(values, pa.Array):
            assert values.to_pylist() == again[name].to_pylist(), name
        else:
            np.testing.assert_array_equal(values, again[name], name)
    assert {"uri", "text"} <= OPTIONAL_NAMES

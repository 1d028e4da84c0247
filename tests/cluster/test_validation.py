"""Bad input: what is wrong is named, and what is right is kept."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controls import MAX_KEYWORD_BYTES
from cluster.events import COLUMNS, CORE, MEDIA_DIMENSIONS, OPTIONAL, RULES, Kind
from cluster.ids import MAX_ID, id_of_string
from cluster.validation import MAX_TEXT_BYTES, Checked, check_batch, check_objects

NOW_MS = 1_700_000_000_000

VALUES: dict[str, Any] = {
    **{"event_id": 900, "actor_id": 11, "post_id": 22, "author_id": 33, "target_id": 44},
    **{"value": 1.5, "reply_to_id": 51, "reply_to_author_id": 52, "root_id": 53},
    **{"quote_of_id": 54, "quote_of_author_id": 55, "repost_of_id": 56},
    **{"repost_of_author_id": 57, "edit_of_id": 58, "text": "hé", "language": "en"},
    **{"topics": [1, 2], "image_count": 1, "video_duration_ms": 900, "link_count": 0},
    **{"sensitive": False, "uri": "at://a/b", "name": "Ada", "country": "NO", "age_years": 40},
    **{"verified": True, "protected": False, "allow_sensitive": True, "label": "spam"},
    **{"root_author_id": 59, "exclusive": True, "creator": True},
    "media_embedding": [0.5, -2.0] * (MEDIA_DIMENSIONS // 2),
    **{"keyword": "rain", "surface": "home", "request_id": "r1", "position": 3},
    **{"source": "popular", "model_version": "v1", "settings_version": "s", "experiment_arm": "b"},
}
CHOSEN: dict[Kind, dict[str, Any]] = {
    Kind.PREFERENCE: {"name": "in_network_share", "value": 0.5},
    Kind.DISMISS: {"name": "who_to_follow"},
    Kind.MODULE_SERVED: {"name": "who_to_follow"},
}
"""What names and values these kinds have instead."""
KINDS = pytest.mark.parametrize("kind", list(Kind), ids=lambda kind: kind.label)


def event(kind: Kind, /, *, full: bool = False, **given: Any) -> dict[str, Any]:
    rule = RULES[kind]
    names = (*rule.needs, *sorted(rule.may)) if full else rule.needs
    values = {name: value_of(kind, name) for name in names}
    return {"kind": kind.label, "time_ms": NOW_MS - 5} | values | given


def value_of(kind: Kind, name: str) -> Any:
    return CHOSEN.get(kind, {}).get(name, VALUES[name])


def check(*objects: Any, **options: Any) -> Checked:
    return check_objects(objects, now_ms=NOW_MS, **options)


def problems(*objects: Any, **options: Any) -> list[tuple[int, str]]:
    return [(p.index, p.field) for p in check(*objects, **options).problems]


def favourite(**given: Any) -> dict[str, Any]:
    return event(Kind.FAVOURITE, **given)


def test_the_values_above_are_all_columns() -> None:
    assert set(VALUES) == set(COLUMNS) - {"kind", "time_ms"}


@KINDS
def test_every_kind_is_accepted_with_what_it_needs_and_may_carry(kind: Kind) -> None:
    bare, full = check(event(kind)), check(event(kind, full=True))
    assert not bare.problems
    assert not full.problems
    assert bare.batch.num_rows == full.batch.num_rows == 1
    for name in (*RULES[kind].needs, *RULES[kind].may):
        assert full.batch.column(name)[0].as_py() == value_of(kind, name)
    assert bare.batch.column("kind")[0].as_py() == kind
    assert set(bare.batch.schema.names) == {*CORE.names, *RULES[kind].needs}


@KINDS
def test_every_kind_is_refused_without_each_of_its_needs(kind: Kind) -> None:
    for name in RULES[kind].needs:
        without = event(kind)
        del without[name]
        assert problems(without) == [(0, name)]
        assert problems(event(kind, **{name: None})) == [(0, name)]


@KINDS
def test_every_kind_is_refused_with_what_does_not_belong_to_it(kind: Kind) -> None:
    allowed = {*RULES[kind].needs, *RULES[kind].may, "event_id"}
    for name in set(VALUES) - allowed:
        found = problems(event(kind, full=True, **{name: VALUES[name]}))
        # A link without its author is said first to lack it.
        assert [index for index, _ in found] == [0], name


NO_NUMBERS = [0, -1, MAX_ID + 1, 2**64, 1.0, 1.5, True, [1], {}]
NO_STRINGS = ["NaN", "", "-1", "1.0", "٣", " 1"]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        *[("event_id", bad) for bad in NO_NUMBERS],
        *[
            (name, bad)
            for name in ("actor_id", "post_id", "author_id", "reply_to_id")
            for bad in (*NO_NUMBERS, *NO_STRINGS)
        ],
    ],
)
def test_ids_are_integers_from_1(name: str, bad: Any) -> None:
    kind = Kind.POST_CREATE if name == "reply_to_id" else Kind.FAVOURITE
    [problem] = check(event(kind, **{name: bad})).problems
    assert problem.field == name
    assert repr(bad)[:80] in problem.message
    assert "between 1 and 9223372036854775807" in problem.message


@pytest.mark.parametrize("good", [1, MAX_ID, "1", str(MAX_ID)])
def test_ids_may_be_decimal_strings(good: Any) -> None:
    found = check(favourite(actor_id=good, event_id=good)).batch
    assert found.column("actor_id")[0].as_py() == found.column("event_id")[0].as_py() == int(good)


def test_an_event_id_may_be_any_string() -> None:
    found = check(favourite(event_id="NaN")).batch
    assert found.column("event_id")[0].as_py() == id_of_string("NaN")


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        *[("time_ms", bad) for bad in (None, 0, -5, 1.5, "1700", True, MAX_ID + 1)],
        *[("value", bad) for bad in ("1", True, float("nan"), float("inf"), 1e39, 10**400)],
        *[
            ("media_embedding", bad)
            for bad in (
                *(0.5, "x", [], [0.5], [0.5] * 255, [0.5] * 257, [True] * 256, ["0.5"] * 256),
                *([0.5] * 255 + [wrong] for wrong in (None, float("nan"), float("inf"), 1e39)),
            )
        ],
        *[("topics", bad) for bad in (3, [0], ["x"], list(range(1, 102)))],
        *[("text", bad) for bad in (3, "\ud800", "x" * (MAX_TEXT_BYTES + 1))],
        *[("image_count", bad) for bad in (-1, 2**15, 1.0, "1")],
        *[("sensitive", bad) for bad in (1, "true")],
    ],
)  # fmt: skip
def test_values_of_the_wrong_kind(name: str, bad: Any) -> None:
    kind = Kind.DWELL if name == "value" else Kind.POST_CREATE
    assert problems(event(kind, **{name: bad})) == [(0, name)]


def test_text_is_measured_in_bytes() -> None:
    longest = "é" * (MAX_TEXT_BYTES // 2)
    assert problems(event(Kind.POST_CREATE, text=longest)) == []
    assert problems(event(Kind.POST_CREATE, text=longest + "x")) == [(0, "text")]


def test_unknown_fields_and_kinds_come_with_a_suggestion() -> None:
    field, kind = check(favourite(actorid=3), favourite(kind="favorite")).problems
    assert (field.field, kind.field) == ("actorid", "kind")
    assert "did you mean 'actor_id'?" in field.message
    assert "did you mean 'favourite'?" in kind.message
    assert problems(favourite(kind=30), favourite(kind=None)) == [(0, "kind"), (1, "kind")]


@pytest.mark.parametrize("bad", [None, 3, "x", [], [favourite()]])
def test_an_event_is_an_object(bad: Any) -> None:
    assert problems(bad) == [(0, "")]


@pytest.mark.parametrize("link", ["reply_to", "quote_of", "repost_of"])
def test_a_link_and_its_author_need_each_other(link: str) -> None:
    post, author = f"{link}_id", f"{link}_author_id"
    assert problems(event(Kind.POST_CREATE, **{post: 5})) == [(0, author)]
    assert problems(event(Kind.POST_CREATE, **{author: 5})) == [(0, post)]
    assert problems(event(Kind.POST_CREATE, **{post: 5, author: 6})) == []


def test_the_author_of_a_root_needs_the_root() -> None:
    assert problems(event(Kind.POST_CREATE, root_id=5)) == []
    assert problems(event(Kind.POST_CREATE, root_id=5, root_author_id=6)) == []
    assert problems(event(Kind.POST_CREATE, root_author_id=6)) == [(0, "root_id")]


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        *[("in_network_share", value, None) for value in (0, 0.25, 1, -1)],
        *[("in_network_share", value, "value") for value in (-0.5, 1.01, -2)],
        *[("languages_only", value, None) for value in (0, 1, -1)],
        *[("languages_only", value, "value") for value in (0.5, 2)],
        *[(name, 1, None) for name in ("language:de", "language:fil", "language:pt-BR")],
        *[("language:de", 0, None), ("language:de", -1, None), ("language:de", 0.5, "value")],
        *[(name, 1, "name") for name in ("language:", "language:German", "language:d1")],
        *[(name, 1, "name") for name in ("", "in_network_shares", "In_network_share", "de")],
    ],
)
def test_preferences_are_of_a_closed_set(name: str, value: float, field: str | None) -> None:
    chosen = event(Kind.PREFERENCE, name=name, value=value)
    assert problems(favourite(), chosen) == ([(1, field)] if field else [])


def test_a_preference_without_a_value_is_0() -> None:
    assert check(event(Kind.PREFERENCE)).batch.column("value").to_pylist() == [0.0]


def test_a_refused_preference_tells_what_may_be_chosen() -> None:
    unknown, wrong = check(
        event(Kind.PREFERENCE, name="x"), event(Kind.PREFERENCE, value=3)
    ).problems
    names = "in_network_share, languages_only, no_topics, ad_free, language:<code>"
    assert names in unknown.message
    assert "must be -1, or of in_network_share 0 to 1, languages_only 0 or 1" in wrong.message


@pytest.mark.parametrize("kind", [Kind.DISMISS, Kind.MODULE_SERVED])
@pytest.mark.parametrize("bad", ["", "Who to follow", "1st", "x" * 41, "a-b"])
def test_modules_have_plain_names(kind: Kind, bad: str) -> None:
    assert problems(event(kind, name=bad)) == [(0, "name")]
    assert problems(event(kind, name="x" * 40)) == []
    # What others are called is their own affair.
    assert problems(event(Kind.USER_CREATE, name=bad)) == []


@pytest.mark.parametrize("kind", [Kind.KEYWORD_MUTE, Kind.KEYWORD_UNMUTE])
def test_a_keyword_is_a_short_text(kind: Kind) -> None:
    for bad in ("", " \t", "x" * (MAX_KEYWORD_BYTES + 1), "é" * MAX_KEYWORD_BYTES):
        assert problems(event(kind, keyword=bad)) == [(0, "keyword")]
    for good in ("x" * MAX_KEYWORD_BYTES, "new phone", "雨"):
        assert problems(event(kind, keyword=good)) == []


@pytest.mark.parametrize("kind", [Kind.FOLLOW, Kind.BLOCK, Kind.UNMUTE, Kind.SUBSCRIBE])
def test_nobody_follows_or_blocks_themselves(kind: Kind) -> None:
    assert problems(event(kind, actor_id=5, target_id=5)) == [(0, "target_id")]
    # A topic may well have the number of the user who follows it.
    for topics in (Kind.TOPIC_FOLLOW, Kind.TOPIC_MUTE):
        assert problems(event(topics, actor_id=5, target_id=5)) == []


def test_the_good_events_of_a_bad_batch_are_kept() -> None:
    found = check(
        favourite(actor_id=1), "?", favourite(actor_id=0), favourite(actor_id=2),
        event(Kind.FOLLOW, actor_id=3, target_id=3), favourite(actor_id=4), favourite(nope=1),
    )  # fmt: skip
    assert [(p.index, p.field) for p in found.problems] == [
        *((1, ""), (2, "actor_id"), (4, "target_id"), (6, "nope")),
    ]
    assert found.batch.column("actor_id").to_pylist() == [1, 2, 4]


def test_nothing_and_nothing_good() -> None:
    for found in (check(), check("x"), check(favourite(actor_id=-1))):
        assert found.batch.num_rows == 0
        assert set(found.batch.schema.names) >= set(CORE.names)


def test_events_from_the_future_happen_now_and_are_counted() -> None:
    found = check(
        favourite(time_ms=NOW_MS + 3_600_000),
        favourite(time_ms=NOW_MS),
        favourite(time_ms=NOW_MS + 1, actor_id=0),
    )
    assert found.clamped == 1
    assert found.batch.column("time_ms").to_pylist() == [NOW_MS, NOW_MS]
    # Its own id is that of the time it named, so that a second delivery is known again.
    later = check_objects([favourite(time_ms=NOW_MS + 3_600_000)], now_ms=NOW_MS + 500)
    assert later.batch.column("event_id")[0] == found.batch.column("event_id")[0]


def test_events_older_than_asked_for_are_refused() -> None:
    oldest_ms = NOW_MS - 1_000
    given = [favourite(time_ms=oldest_ms), favourite(time_ms=oldest_ms - 1)]
    [problem] = check(*given, oldest_ms=oldest_ms).problems
    assert (problem.index, problem.field) == (1, "time_ms")
    assert "murmuration ingest" in problem.message
    assert problems(*given) == []


def derived(*objects: dict[str, Any]) -> list[int]:
    return check(*objects).batch.column("event_id").to_pylist()  # type: ignore[no-any-return]


def test_derived_ids_tell_events_apart() -> None:
    different = [
        favourite(),
        favourite(time_ms=NOW_MS - 6),
        favourite(actor_id=12),
        favourite(post_id=23),
        favourite(author_id=34),
        event(Kind.UNFAVOURITE),
        event(Kind.FOLLOW, actor_id=11, target_id=22),
        event(Kind.FOLLOW, actor_id=22, target_id=11),
        event(Kind.KEYWORD_MUTE, keyword="rain"),
        event(Kind.KEYWORD_MUTE, keyword="snow"),
        event(Kind.SAFETY_LABEL, label="spam"),
        event(Kind.SAFETY_LABEL, label="abuse"),
        *(event(Kind.PREFERENCE, name=name) for name in ("languages_only", "in_network_share")),
        *(event(Kind.DISMISS, name=name) for name in ("topics", "who_to_follow")),
        *(event(Kind.MODULE_SERVED, name=name) for name in ("topics", "who_to_follow")),
    ]
    ids = derived(*different)
    assert len(set(ids)) == len(different)
    assert all(1 <= event_id <= MAX_ID for event_id in ids)


def test_what_a_user_or_a_list_is_called_is_not_part_of_its_derived_id() -> None:
    for kind in (Kind.USER_UPDATE, Kind.LIST_CREATE):
        assert len(set(derived(event(kind, name="Ada"), event(kind, name="Bea")))) == 1


@given(st.permutations([*range(7)]), st.integers(1, 7))
def test_derived_ids_do_not_depend_on_the_batch(order: list[int], n: int) -> None:
    events = [
        favourite(),
        event(Kind.FOLLOW),
        event(Kind.KEYWORD_MUTE),
        event(Kind.SAFETY_LABEL, full=True),
        event(Kind.POST_CREATE, full=True),
        event(Kind.USER_CREATE, full=True),
        event(Kind.PREFERENCE, full=True),
    ]
    alone = [derived(e)[0] for e in events]
    assert derived(*(events[k] for k in order[:n])) == [alone[k] for k in order[:n]]


def test_given_ids_stay() -> None:
    assert derived(favourite(event_id=7), favourite())[0] == 7


# Batches of columns.


def table(**columns: Any) -> pa.Table:
    given = {
        "kind": pa.array(["favourite", "follow"]),
        "time_ms": pa.array([NOW_MS - 5, NOW_MS - 4]),
        "actor_id": pa.array([1, 2]),
        "post_id": pa.array([3, 0]),
        "author_id": pa.array([4, None]),
        "target_id": pa.array([0, 5], pa.int32()),
    }
    return pa.table({name: a for name, a in (given | columns).items() if a is not None})


def test_a_table_of_few_columns_becomes_a_whole_batch() -> None:
    found = check_batch(table(), now_ms=NOW_MS)
    assert not found.problems
    assert found.batch.schema == CORE
    by_name = found.batch.to_pydict()
    assert by_name["kind"] == [Kind.FAVOURITE, Kind.FOLLOW]
    assert (by_name["author_id"], by_name["value"]) == ([4, 0], [0.0, 0.0])
    codes = pa.array([30, 20], pa.int64())
    same = check_batch(table(kind=codes).to_batches()[0], now_ms=NOW_MS)
    assert same.batch == found.batch


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("actor_id", pa.array(["x", "1"])),
        ("actor_id", pa.array([1.0, 2.0])),
        ("actor_id", pa.array([True, False])),
        ("actor_id", pa.array([2**63, 1], pa.uint64())),
        ("post_id", pa.array([[1], [2]])),
        ("time_ms", pa.array([NOW_MS * 1000, NOW_MS * 1000], pa.timestamp("us"))),
        ("kind", pa.array([300, 20])),
        ("value", pa.array(["high", "low"])),
        ("text", pa.array([b"\xff", b"a"])),
        ("topics", pa.array([[1.5], []])),
        ("image_count", pa.array([2**15, 1])),
        ("actorid", pa.array([1, 2])),
    ],
)
def test_a_batch_that_cannot_be_read_names_the_column(name: str, column: pa.Array) -> None:
    with pytest.raises(ValueError, match=f"column '{name}'"):
        check_batch(table(**{name: column}), now_ms=NOW_MS)


def test_an_unknown_column_comes_with_a_suggestion() -> None:
    with pytest.raises(ValueError, match="did you mean 'actor_id'"):
        check_batch(table(actor=pa.array([1, 2])), now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("kind", pa.array(["favorite", "follow"])),
        ("kind", pa.array([13, 20])),
        ("actor_id", pa.array([-1, 2])),
        ("actor_id", pa.array([None, 2])),
        ("time_ms", pa.array([0, NOW_MS])),
        ("value", pa.array([float("nan"), 0.0])),
    ],
)
def test_a_bad_row_of_columns_is_left_out(name: str, column: pa.Array) -> None:
    found = check_batch(table(**{name: column}), now_ms=NOW_MS)
    assert [(p.index, p.field) for p in found.problems] == [(0, name)]
    assert found.batch.column("actor_id").to_pylist() == [2]


@pytest.mark.parametrize("name", [n for n in OPTIONAL.names if pa.types.is_integer(COLUMNS[n])])
def test_numbers_in_optional_columns_have_a_range_too(name: str) -> None:
    """An id below 1 that reached a shard would stop it for good."""
    kind = next(k for k, r in RULES.items() if name in r.may or name in r.needs)
    whole = check(event(kind, full=True)).batch
    index = whole.schema.get_field_index(name)
    for bad in (-3, 0) if name.endswith("_id") else (-3,):
        wrong = pa.array([bad], COLUMNS[name])
        found = check_batch(whole.set_column(index, name, wrong), now_ms=NOW_MS)
        assert [p.field for p in found.problems] == [name]


def test_topics_are_ids() -> None:
    posts = {
        "kind": ["post_create"] * 4,
        "time_ms": [NOW_MS] * 4,
        "post_id": [1, 2, 3, 4],
        "author_id": [1] * 4,
        "topics": pa.array([[5, 0], None, [], [6]], pa.list_(pa.int64())),
    }
    found = check_batch(pa.table(posts), now_ms=NOW_MS)
    assert [(p.index, p.field) for p in found.problems] == [(0, "topics")]
    assert found.batch.column("post_id").to_pylist() == [2, 3, 4]


@pytest.mark.parametrize("of", [pa.float32(), pa.float64(), pa.float16()])
def test_embeddings_are_finite_and_of_one_length(of: pa.DataType) -> None:
    right = [0.5] * MEDIA_DIMENSIONS
    rows = [right, None, right[1:], [*right, 0.5], [], [*right[1:], None], [*right[1:], np.inf]]
    n = len(rows)
    posts = {
        "kind": ["post_create"] * n,
        "time_ms": [NOW_MS] * n,
        "post_id": list(range(1, n + 1)),
        "author_id": [1] * n,
        "media_embedding": pa.array([None if r is None else np.array(r, float) for r in rows])
        .cast(pa.list_(pa.float64()))
        .cast(pa.list_(of)),
    }
    found = check_batch(pa.table(posts), now_ms=NOW_MS)
    assert [(p.index, p.field) for p in found.problems] == [
        (index, "media_embedding") for index in range(2, n)
    ]
    assert "must be an array of 256 finite numbers (post_create)" in found.problems[0].message
    kept = found.batch.column("media_embedding")
    assert kept.type == COLUMNS["media_embedding"]
    assert kept.to_pylist() == [right, None]


def test_optional_columns_that_no_row_uses_are_left_out() -> None:
    found = check_batch(
        table(text=pa.array([None, None], pa.string()), label=pa.nulls(2)), now_ms=NOW_MS
    )
    assert not found.problems
    assert found.batch.schema.names == CORE.names


def test_a_large_batch_is_checked_by_columns() -> None:
    n = 50_000
    columns = {
        "kind": pa.array(np.full(n, Kind.FOLLOW, np.uint8)),
        "time_ms": pa.array(np.full(n, NOW_MS)),
        "actor_id": pa.array(np.arange(1, n + 1)),
        "target_id": pa.array(np.arange(n, 0, -1)),
    }
    found = check_batch(pa.table(columns), now_ms=NOW_MS)
    assert (found.batch.num_rows, found.problems) == (n, [])
    assert len(set(found.batch.column("event_id").to_pylist())) == n

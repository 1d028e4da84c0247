from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cluster.events import COLUMNS
from cluster.importers.objects import check_events
from cluster.validation import check_objects

NOW_MS = 1_700_000_000_000

ids = st.one_of(
    st.integers(1, 5),
    st.sampled_from(["7", "9223372036854775807", 2**63 - 1]),
)
odd = st.sampled_from([0, -1, 2**63, "x", "0", "", None, 1.0, True, [], {}, "²", 40_000])
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "kind": st.sampled_from(["favourite", "follow", "post_create", "user_update", "click"]),
    "time_ms": st.integers(1, NOW_MS + 10),
    "value": st.one_of(st.integers(0, 5), st.floats(0, 9, width=32)),
    "topics": st.lists(ids, max_size=3),
    "image_count": st.integers(0, 4),
    "media_embedding": st.sampled_from([[0.5] * 256, [1] * 256, [0.5] * 255, [0.5] * 255 + [1e39]]),
    "sensitive": st.booleans(),
    "text": st.text(max_size=5),
    "event_id": st.one_of(ids, st.sampled_from(["abc"])),
    **dict.fromkeys(["actor_id", "post_id", "author_id", "target_id", "reply_to_id"], ids),
}
events = st.fixed_dictionaries(
    {"kind": GOOD["kind"], "time_ms": GOOD["time_ms"], "actor_id": ids},
    optional={
        name: values for name, values in GOOD.items() if name not in ("kind", "time_ms", "actor_id")
    },
)
spoilt = st.tuples(events, st.sampled_from([*COLUMNS, "colour"]), odd).map(
    lambda drawn: {**drawn[0], drawn[1]: drawn[2]}
)


def assert_as_check_objects(objects: list[Any]) -> None:
    found = check_events(objects, now_ms=NOW_MS)
    expected = check_objects(objects, now_ms=NOW_MS)
    assert found.problems == expected.problems
    assert found.clamped == expected.clamped
    names = sorted(expected.batch.schema.names)
    assert sorted(found.batch.schema.names) == names
    assert found.batch.select(names).equals(expected.batch.select(names))


@given(st.lists(events, max_size=6))
def test_answers_as_check_objects_for_good_events(objects: list[Any]) -> None:
    assert_as_check_objects(objects)


@given(st.lists(st.one_of(events, spoilt, odd), max_size=4))
def test_answers_as_check_objects_for_bad_ones(objects: list[Any]) -> None:
    assert_as_check_objects(objects)

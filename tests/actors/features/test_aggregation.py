import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.features.aggregate_groups import batch_groups, real_time_groups
from actors.features.aggregate_records import (
    LABELS,
    hours_of,
    labels_of,
    weekdays_of,
)
from actors.features.aggregation import FOREVER, AggregateGroup
from actors.features.inputs import Level
from cluster.events import Kind
from tests.actors.features.slow_aggregates import Told, assert_equal, records_of, values

MINUTE_MS, DAY_MS = 60_000, 86_400_000
T0_MS = 1_700_000_000_000
KEYS = ("viewer_id", "author_id", "post_id", "topics", "engagers", "lists", "hour")

USER = AggregateGroup(
    *("user", ("viewer_id",), ("is_favorited", "is_replied"), (30.0 * MINUTE_MS, FOREVER)),
    *(Level.VIEWER, "viewer"),
    features=("has_photo", "text_length"),
    metrics=("count", "sum", "sum_sq"),
    any_label=True,
    batch=True,
)


def one(time_ms: int, labels: str, features: dict[str, float] | None = None, **keys: int) -> Told:
    found = {name: [id_] for name, id_ in keys.items()}
    return Told(time_ms, frozenset(labels.split()), found, features or {})


def read(group: AggregateGroup, told: list[Told], now_ms: int, *ids: int) -> dict[str, float]:
    table = group.table(10**7)
    records = records_of(told, KEYS)
    group.count(table, records, records.times_ms)
    row = table.read(tuple(np.array([i], np.int64) for i in ids), now_ms)[0]
    return dict(zip(group.column_names, row.tolist(), strict=True))


def test_a_group_gives_every_label_feature_half_life_and_metric() -> None:
    """The framework's example by hand: a photo of 10 bytes favoured, a bare text replied to."""
    told = [
        one(T0_MS, "is_favorited", {"has_photo": 1, "text_length": 10}, viewer_id=7),
        one(T0_MS + 30 * MINUTE_MS, "is_replied", {"text_length": 4}, viewer_id=7),
    ]
    found = read(USER, told, T0_MS + 60 * MINUTE_MS, 7)
    some = {name: value for name, value in found.items() if value}
    assert some == pytest.approx(
        {
            "user.pair.any_label.any_feature.30.minutes.count": 0.75,
            "user.pair.any_label.has_photo.30.minutes.count": 0.25,
            "user.pair.any_label.text_length.30.minutes.count": 0.75,
            "user.pair.any_label.text_length.30.minutes.sum": 4.5,
            "user.pair.any_label.text_length.30.minutes.sum_sq": 33,
            "user.pair.is_favorited.any_feature.30.minutes.count": 0.25,
            "user.pair.is_favorited.has_photo.30.minutes.count": 0.25,
            "user.pair.is_favorited.text_length.30.minutes.count": 0.25,
            "user.pair.is_favorited.text_length.30.minutes.sum": 2.5,
            "user.pair.is_favorited.text_length.30.minutes.sum_sq": 25,
            "user.pair.is_replied.any_feature.30.minutes.count": 0.5,
            "user.pair.is_replied.text_length.30.minutes.count": 0.5,
            "user.pair.is_replied.text_length.30.minutes.sum": 2,
            "user.pair.is_replied.text_length.30.minutes.sum_sq": 8,
            "user.pair.any_label.any_feature.all.time.count": 2,
            "user.pair.any_label.has_photo.all.time.count": 1,
            "user.pair.any_label.text_length.all.time.count": 2,
            "user.pair.any_label.text_length.all.time.sum": 14,
            "user.pair.any_label.text_length.all.time.sum_sq": 116,
            "user.pair.is_favorited.any_feature.all.time.count": 1,
            "user.pair.is_favorited.has_photo.all.time.count": 1,
            "user.pair.is_favorited.text_length.all.time.count": 1,
            "user.pair.is_favorited.text_length.all.time.sum": 10,
            "user.pair.is_favorited.text_length.all.time.sum_sq": 100,
            "user.pair.is_replied.any_feature.all.time.count": 1,
            "user.pair.is_replied.text_length.all.time.count": 1,
            "user.pair.is_replied.text_length.all.time.sum": 4,
            "user.pair.is_replied.text_length.all.time.sum_sq": 16,
        },
        rel=1e-6,
    )


def test_a_sparse_key_makes_a_row_for_each_of_its_members() -> None:
    group = AggregateGroup(
        *("topic", ("viewer_id", "topics"), ("is_favorited",), (FOREVER,)),
        *(Level.POST, "viewer"),
    )
    told = [
        Told(T0_MS, frozenset({"is_favorited"}), {"viewer_id": [7], "topics": [1, 2]}),
        Told(T0_MS, frozenset({"is_favorited"}), {"viewer_id": [7], "topics": [2]}),
        Told(T0_MS, frozenset({"is_favorited"}), {"viewer_id": [7], "topics": []}),
    ]
    assert [list(read(group, told, T0_MS, 7, t).values()) for t in (1, 2, 3)] == [[1], [2], [0]]


_keys = st.fixed_dictionaries(
    {
        "viewer_id": st.lists(st.integers(0, 2), min_size=1, max_size=1),
        "author_id": st.lists(st.integers(0, 2), min_size=1, max_size=1),
        "topics": st.lists(st.integers(1, 3), max_size=2, unique=True),
    }
)
_told = st.lists(
    st.builds(
        Told,
        st.integers(T0_MS, T0_MS + 3 * DAY_MS),
        st.frozensets(st.sampled_from(["is_favorited", "is_replied", "is_clicked"]), min_size=1),
        _keys,
        st.fixed_dictionaries(
            {
                "has_photo": st.sampled_from([0.0, 1.0]),
                "text_length": st.sampled_from([0.0, 3.0, 140.0]),
                "is_viewer_new": st.sampled_from([0.0, 1.0]),
            }
        ),
    ),
    max_size=25,
)
_GROUPS = (
    USER,
    AggregateGroup(
        *("pair", ("viewer_id", "author_id"), ("is_favorited", "is_clicked"), (1.0 * DAY_MS,)),
        *(Level.AUTHOR, "viewer"),
        metrics=("count", "last_reset"),
    ),
    AggregateGroup(
        *("new", ("viewer_id",), ("is_favorited",), (FOREVER,), Level.VIEWER, "viewer"),
        only="is_viewer_new",
    ),
    AggregateGroup(
        *("topic", ("topics", "viewer_id"), ("is_favorited", "is_replied"), (FOREVER,)),
        *(Level.POST, "author"),
        features=("text_length",),
        metrics=("max",),
        any_feature=False,
        batch=True,
    ),
)


@settings(max_examples=50)
@given(_told, st.sampled_from(_GROUPS), st.integers(0, 2 * DAY_MS), st.data())
def test_records_in_any_order_are_counted_as_the_slow_model_does(
    told: list[Told], group: AggregateGroup, later_ms: int, data: st.DataObject
) -> None:
    now_ms = T0_MS + 2 * DAY_MS + later_ms
    table = group.table(10**7)
    records = records_of(data.draw(st.permutations(told)), KEYS)
    group.count(table, records, records.times_ms)
    expected = values(group, told, now_ms)
    asked = [(i, j) for i in range(1, 4) for j in range(1, 4)]
    found = {}
    for pair in asked:
        ids = pair[: len(group.keys)]
        found[ids] = table.read(tuple(np.array([i], np.int64) for i in ids), now_ms)[0]
    assert_equal(group, found, expected)
    assert len(table) == len(expected)


def test_values_of_events_reach_their_tiers() -> None:
    kinds = np.array([Kind.CLICK, Kind.CLICK, Kind.VIDEO_WATCH, Kind.PROFILE_CLICK], np.uint8)
    bits = labels_of(kinds, np.array([0, 125_000, 12_000, 10_000], np.float32))
    told = [{name for at, name in enumerate(LABELS) if int(b) >> at & 1} for b in bits]
    clicked = {"is_clicked", "is_positive_implicit"}
    assert told[0] == clicked
    assert told[1] == clicked | {
        *("is_tweet_detail_dwelled", "is_tweet_detail_dwelled_8_sec"),
        *("is_tweet_detail_dwelled_15_sec", "is_tweet_detail_dwelled_25_sec"),
        *("is_tweet_detail_dwelled_30_sec", "is_good_clicked_v2"),
    }
    assert told[2] == {
        *("is_video_viewed", "is_video_quality_viewed", "is_positive_implicit"),
        *("is_fullscreen_video_dwelled", "is_fullscreen_video_dwelled_5_sec"),
        "is_fullscreen_video_dwelled_10_sec",
    }
    assert told[3] == {
        *("is_profile_clicked", "is_positive_implicit"),
        *("is_profile_dwelled", "is_profile_dwelled_10_sec"),
    }


def test_hours_and_weekdays_are_keys_from_1() -> None:
    # 2023-11-14 22:13:20 UTC, a Tuesday.
    assert hours_of(np.array([T0_MS])).tolist() == [23]
    assert weekdays_of(np.array([T0_MS])).tolist() == [2]


def test_the_selections_have_room_for_the_published_number_of_inputs() -> None:
    by_level = dict.fromkeys(Level, 0)
    names: list[str] = []
    for group in (*real_time_groups("twitter"), *batch_groups("twitter")):
        by_level[group.level] += len(group.slots)
        names += group.slots
    assert len(set(names)) == len(names) >= 2_200
    assert by_level[Level.POST] <= 700
    assert by_level[Level.AUTHOR] <= 300
    laptop = [s for g in (*real_time_groups("laptop"), *batch_groups("laptop")) for s in g.slots]
    assert set(laptop) < set(names)
    assert 120 <= len(laptop) <= 220


def test_every_slot_says_what_it_means() -> None:
    meanings = {}
    for group in (*real_time_groups("twitter"), *batch_groups("twitter")):
        meanings |= {slot: (group.name, group.meaning_of(slot)) for slot in group.slots}
    assert len(set(meanings.values())) == len(meanings)
    said = meanings["user_aggregate_v2.pair.is_favorited.text_length.50.days.sum"][1]
    assert said == "Sum of bytes of text where is favorited; by viewer, half-life 50 days"


def test_groups_that_cannot_be_counted_are_refused() -> None:
    whose = (Level.VIEWER, "viewer")
    with pytest.raises(ValueError, match="is_liked"):
        AggregateGroup("a", ("viewer_id",), ("is_liked",), (FOREVER,), *whose)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="viewer's shard does not know"):
        AggregateGroup(
            *("a", ("viewer_id",), ("is_favorited",), (FOREVER,), *whose),  # type: ignore[arg-type]
            features=("has_photo",),
        )
    with pytest.raises(ValueError, match="does not decay"):
        AggregateGroup(
            *("a", ("viewer_id",), ("is_favorited",), (1.0,), *whose),  # type: ignore[arg-type]
            features=("stay_s",),
            metrics=("max",),
        )


def test_half_lives_are_named_as_in_the_original() -> None:
    names = {group.slots[0].split(".any_feature.")[-1] for group in real_time_groups("twitter")}
    assert {"30.minutes.count", "1.days.count"} <= names
    assert any(s.endswith(".50.days.count") for g in batch_groups("laptop") for s in g.slots)

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import snapshot
from actors.features.aggregation import AggregateGroup
from actors.state import ShardState
from cluster.events import Kind
from cluster.ids import owners_of, partitions_of
from cluster.settings import Settings, load
from tests.actors.features import slow_aggregates
from tests.actors.told_events import told_by
from tests.worlds import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    POSTS,
    USERS,
    Clock,
    Event,
    apply,
    cut,
    empty_states,
    states_of,
    worlds,
)

TWITTER = load(preset="twitter", log={"kind": "sqlite"}, aggregates={"bytes": 2**26})
FEW_LANES = Settings(log={"lanes": 3})  # type: ignore[arg-type]
IDS = {"viewer_id": USERS, "author_id": USERS, "post_id": POSTS, "topics": [1, 2, 3]}


@pytest.fixture(autouse=True, scope="module")
def _quick_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("os.fsync", lambda _: None)
        yield


def read(
    states: Sequence[ShardState], group: AggregateGroup, now_ms: int = NOW_MS
) -> dict[tuple[int, ...], npt.NDArray[np.float32]]:
    """Rows of all tuples of keys, asked of whoever has them."""
    tuples = list(product(*(IDS[name] for name in group.keys)))
    columns = tuple(np.array(column, np.int64) for column in zip(*tuples, strict=True))
    parts = [state.aggregates.read(group.name, columns, now_ms) for state in states]
    if group.home != "all":
        # A row lives with its viewer or author, whom only post tables do not name.
        users = columns[0] if group.keys != ("post_id",) else _authors(columns[0])
        home = owners_of(partitions_of(users), len(states))
        parts = [np.where((home == k)[:, None], part, 0) for k, part in enumerate(parts)]
    return dict(zip(tuples, np.sum(parts, axis=0), strict=True))


def all_values(states: Sequence[ShardState], now_ms: int = NOW_MS) -> dict[str, Any]:
    return {
        f"{name} {ids}": row.tolist()
        for name, group in states[0].aggregates.groups.items()
        if group.keys != ("lists",)
        for ids, row in read(states, group, now_ms).items()
        if row.any()
    }


def _authors(post_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.array([USERS[(p - POSTS[0]) % 4] for p in post_ids.tolist()], np.int64)


@st.composite
def unedited(draw: st.DrawFn) -> list[Event]:
    return [event for event in draw(worlds()) if event["kind"] != "post_edit"]


@settings(max_examples=25)
@given(unedited(), st.sampled_from([Settings(), TWITTER]))
def test_a_shard_counts_as_the_slow_model_does(events: list[Event], chosen: Settings) -> None:
    states = states_of(events, settings=chosen)
    viewers, authors = told_by(events)
    for group in states[0].aggregates.groups.values():
        if group.keys == ("lists",):
            continue
        told = viewers if group.home == "viewer" else authors
        expected = slow_aggregates.values(group, told, NOW_MS)
        slow_aggregates.assert_equal(group, read(states, group), expected)


@settings(max_examples=20)
@given(unedited())
def test_answers_do_not_depend_on_the_number_of_shards(events: list[Event]) -> None:
    whole, parts = states_of(events), states_of(events, 4)
    one, four = all_values(whole), all_values(parts)
    assert one.keys() == four.keys()
    for name, row in one.items():
        assert row == pytest.approx(four[name], rel=1e-6)


@settings(max_examples=20)
@given(unedited(), st.data())
def test_a_replay_has_the_bits_that_serving_had(events: list[Event], data: st.DataObject) -> None:
    chosen = Settings(shards={"slice_rows": data.draw(st.integers(1, 20))})  # type: ignore[arg-type]
    live, replayed = empty_states(1, chosen), states_of(events)
    for offset, batch in enumerate(cut(data.draw, events), 1):
        apply(live, batch, offset=offset)
    assert all_values(live) == all_values(replayed)


@settings(max_examples=10)
@given(events=worlds(), shards=st.sampled_from([(1, 1), (1, 3), (3, 1), (4, 3)]))
def test_snapshots_give_back_the_same_bits_to_any_number_of_shards(
    events: list[Event], shards: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    before, after = shards
    root = tmp_path_factory.mktemp("snapshots")
    taken = states_of(events, before, FEW_LANES)
    for state in taken:
        snapshot.write(snapshot.capture(state, dict.fromkeys(state.lanes, 1)), root)
    restored = empty_states(after, FEW_LANES)
    for state in restored:
        snapshot.restore(state, root)
    assert all_values(restored) == all_values(taken)
    later = [
        event | {"event_id": 10_000 + at, "time_ms": NOW_MS + HOUR_MS}
        for at, event in enumerate(events)
        if event["kind"] == "favourite"
    ]
    apply(taken, later, offset=2)
    apply(restored, later, offset=2)
    assert all_values(restored, NOW_MS + DAY_MS) == all_values(taken, NOW_MS + DAY_MS)


def test_a_snapshot_of_other_groups_gives_what_it_has(tmp_path: Path) -> None:
    clock = Clock()
    events = [clock.on_post(Kind.FAVOURITE, USERS[1], POSTS[0], USERS[0]) for _ in range(3)]
    [state] = states_of(events, 1, TWITTER)
    snapshot.write(snapshot.capture(state, dict.fromkeys(state.lanes, 1)), tmp_path)
    [small] = empty_states(1)
    snapshot.restore(small, tmp_path)
    found = small.aggregates.read("real_time_tweet_aggregates_v1", (np.array([POSTS[0]]),), NOW_MS)
    names = small.aggregates.groups["real_time_tweet_aggregates_v1"].column_names
    counted = dict(zip(names, found[0].tolist(), strict=True))
    assert (
        counted["real_time_tweet_aggregates_v1.pair.is_favorited.any_feature.all.time.count"] == 3
    )


def counts(state: ShardState, group: str, *ids: int) -> dict[str, float]:
    """Undecayed counts by label."""
    found = state.aggregates.read(group, tuple(np.array([i], np.int64) for i in ids), NOW_MS)[0]
    columns = state.aggregates.groups[group].columns
    return {
        c.label: value
        for c, value in zip(columns, found.tolist(), strict=True)
        if value and c.half_life_ms == max(column.half_life_ms for column in columns)
    }


def test_an_undo_takes_nothing_back_and_nobody_counts_for_themselves() -> None:
    clock = Clock()
    author, viewer = USERS[:2]
    events = [
        clock.post(POSTS[0], author),
        clock.on_post(Kind.FAVOURITE, viewer, POSTS[0], author),
        clock.on_post(Kind.UNFAVOURITE, viewer, POSTS[0], author),
        clock.on_post(Kind.FAVOURITE, author, POSTS[0], author),
    ]
    [state] = states_of(events)
    assert counts(state, "real_time_tweet_aggregates_v1", POSTS[0]) == {"is_favorited": 1}


def test_labels_of_posts_profiles_and_users_reach_those_concerned() -> None:
    clock = Clock()
    author, viewer = USERS[:2]
    events = [
        clock.post(POSTS[0], author, video_duration_ms=20_000),
        clock.on_post(Kind.VIDEO_WATCH, viewer, POSTS[0], author, value=10_000),
        clock.on_post(Kind.VIDEO_WATCH, viewer, POSTS[0], author, value=9_000),
        clock.event(Kind.PROFILE_CLICK, actor_id=viewer, author_id=author, value=12_000),
        clock.edge(Kind.FOLLOW, viewer, author),
        clock.edge(Kind.MUTE, viewer, author),
    ]
    [state] = states_of(events, 1, TWITTER)
    assert counts(state, "real_time_tweet_aggregates_v1", POSTS[0]) == {
        "is_video_viewed": 2,
        "is_video_quality_viewed": 1,
        "is_video_watched_half": 1,
    }
    assert counts(state, "real_time_author_aggregates_v1", author) == {
        "is_video_viewed": 2,
        "is_video_quality_viewed": 1,
        "is_video_watched_half": 1,
        "is_profile_clicked": 1,
        "is_followed": 1,
    }
    assert counts(state, "real_time_author_negative", author) == {"is_muted": 1}
    assert counts(state, "real_time_user_longest_stay", viewer) == {"is_video_viewed": 10}
    told = counts(state, "real_time_user_bce_dwell", viewer)
    assert told["is_profile_dwelled_10_sec"] == pytest.approx(1, rel=0.1)
    assert "is_profile_dwelled_20_sec" not in told


def test_an_engagement_counts_for_the_viewers_lists_that_hold_the_author() -> None:
    clock = Clock()
    author, viewer, stranger = USERS[:3]
    events = [
        clock.event(Kind.LIST_CREATE, actor_id=viewer, target_id=70),
        clock.event(Kind.LIST_CREATE, actor_id=viewer, target_id=71),
        clock.event(Kind.LIST_ADD, actor_id=viewer, target_id=70, author_id=author),
        clock.event(Kind.LIST_CREATE, actor_id=stranger, target_id=72),
        clock.event(Kind.LIST_ADD, actor_id=stranger, target_id=72, author_id=author),
        clock.on_post(Kind.FAVOURITE, viewer, POSTS[0], author),
    ]
    [state] = states_of(events)
    found = [counts(state, "real_time_list_aggregates_v1", i) for i in (70, 71, 72)]
    assert found == [{"is_favorited": 1}, {}, {}]


def test_only_new_viewers_have_counts_of_new_viewers() -> None:
    clock = Clock(NOW_MS - 40 * DAY_MS)
    author, viewer, old = USERS[:3]
    events = [clock.event(Kind.USER_CREATE, actor_id=old)]
    clock.now_ms = NOW_MS - HOUR_MS
    events += [
        clock.event(Kind.USER_CREATE, actor_id=viewer),
        clock.on_post(Kind.FAVOURITE, viewer, POSTS[0], author),
        clock.on_post(Kind.FAVOURITE, old, POSTS[0], author),
    ]
    [state] = states_of(events, 1, TWITTER)
    group = "real_time_new_user_author_aggregates_v1"
    assert counts(state, group, viewer, author) == {"is_favorited": 1}
    assert counts(state, group, old, author) == {}


def test_memory_stays_under_the_cap_and_old_rows_go() -> None:
    chosen = Settings(aggregates={"bytes": 2**20})  # type: ignore[arg-type]
    clock, [state] = Clock(), empty_states(1, chosen)
    for step in range(6):
        events = [
            clock.on_post(Kind.FAVOURITE, USERS[1], 10_000 + 2_000 * step + k, USERS[0])
            for k in range(2_000)
        ]
        apply([state], events, offset=step + 1)
    assert state.aggregates.evicted > 0
    assert state.aggregates.memory_bytes < 1.2 * 2**20
    newest = counts(state, "real_time_tweet_aggregates_v1", 10_000 + 11_999)
    assert newest == {"is_favorited": 1}
    assert state.sizes()["aggregates"] > 0
    state.expire(clock.now_ms + 5 * DAY_MS)
    assert state.sizes()["aggregates"] == 0


def test_a_shard_that_does_not_host_the_kind_says_so() -> None:
    [state] = empty_states(1, Settings(shards={"kinds": ("graph", "posts")}))  # type: ignore[arg-type]
    with pytest.raises(LookupError, match="aggregates"):
        _ = state.aggregates

"""A viewer's state: an example, its windows, any order against a model, and snapshots."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import snapshot
from actors.state import Failed, ShardState
from actors.viewer_state import AskViewerState, ViewerState
from cluster.events import KIND_OF_LABEL, NEGATIVE_FEEDBACK, UNDONE_BY, Kind
from cluster.ids import partitions_of
from cluster.settings import Settings
from tests.worlds import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    USERS,
    Clock,
    Event,
    apply,
    cut,
    empty_states,
    plain,
    states_of,
)

ME, FRIEND, OTHER = USERS[0], USERS[2], USERS[4]
NOTHING: dict[str, Any] = plain(ViewerState())


def told(states: list[ShardState], viewer_id: int = ME, now_ms: int = NOW_MS) -> dict[str, Any]:
    """The answer of the viewer's own shard."""
    partition = partitions_of([viewer_id])[0]
    [home] = [s for s in states if s.first_partition <= partition < s.end_partition]
    [answer] = home.ask([AskViewerState(viewer_id, now_ms)])
    assert not isinstance(answer, Failed), answer
    found: dict[str, Any] = plain(answer)
    return found


def named(clock: Clock, kind: Kind, name: str, **given: Any) -> Event:
    return clock.event(kind, actor_id=ME, name=name, **given)


def a_life() -> list[Event]:
    """One event of everything that makes a viewer's state, from 1 hour ago on, in order."""
    clock = Clock()
    return [
        clock.event(
            Kind.USER_CREATE, actor_id=ME, age_years=30, allow_sensitive=True, country="NO"
        ),
        clock.edge(Kind.SUBSCRIBE, ME, OTHER),
        clock.edge(Kind.SUBSCRIBE, ME, FRIEND),
        clock.edge(Kind.SUBSCRIBE, OTHER, ME),
        clock.edge(Kind.TOPIC_FOLLOW, ME, 9),
        clock.edge(Kind.TOPIC_FOLLOW, ME, 8),
        clock.edge(Kind.TOPIC_MUTE, ME, 7),
        clock.event(Kind.KEYWORD_MUTE, actor_id=ME, keyword="Snow"),
        clock.event(Kind.KEYWORD_MUTE, actor_id=ME, keyword="new phone"),
        named(clock, Kind.PREFERENCE, "in_network_share", value=0.8),
        named(clock, Kind.PREFERENCE, "languages_only", value=1),
        named(clock, Kind.PREFERENCE, "language:no", value=1),
        named(clock, Kind.PREFERENCE, "language:de", value=1),
        named(clock, Kind.DISMISS, "who_to_follow"),
        named(clock, Kind.DISMISS, "who_to_follow"),
        named(clock, Kind.MODULE_SERVED, "topics"),
        clock.on_post(Kind.SHOW_LESS, ME, 20, OTHER),
        clock.on_post(Kind.SHOW_LESS, ME, 21, OTHER),
        clock.on_post(Kind.REPORT, ME, 22, FRIEND),
        clock.on_post(Kind.SERVED, ME, 23, FRIEND, request_id="r", position=0),
    ]


def test_an_example() -> None:
    events = a_life()
    start_ms = events[0]["time_ms"]
    expected = NOTHING | {
        **{"created_ms": start_ms, "age_years": 30, "allow_sensitive": True, "country": "NO"},
        **{"languages": ["de", "no"], "muted_keywords": ["new phone", "snow"]},
        **{"followed_topics": [8, 9], "muted_topics": [7]},
        "subscriptions": sorted([FRIEND, OTHER]),
        "feedback_author_ids": sorted([FRIEND, OTHER]),
        "feedback_kinds": [
            Kind.SHOW_LESS if author == OTHER else Kind.REPORT for author in sorted([FRIEND, OTHER])
        ],
        "feedback_ms": [
            start_ms + (17 if author == OTHER else 18) for author in sorted([FRIEND, OTHER])
        ],
        **{"active_days": 1, "visits_ms": [start_ms + 19]},
        **{"dismissals": {"who_to_follow": [2, start_ms + 14]}},
        **{"modules_ms": {"topics": start_ms + 15}},
        **{"preferences": {"in_network_share": 0.8, "languages_only": 1.0}},
    }
    for n_shards in (1, 4):
        states = states_of(events, n_shards)
        assert told(states) == expected
        assert told(states, OTHER) == NOTHING | {"subscriptions": [ME], "active_days": 1}
        assert told(states, 12_345) == NOTHING


def test_everything_can_be_taken_back() -> None:
    clock = Clock(NOW_MS - HOUR_MS + 1_000)
    clock._last_id = 100
    undone = [
        clock.edge(Kind.UNSUBSCRIBE, ME, OTHER),
        clock.edge(Kind.UNSUBSCRIBE, ME, FRIEND),
        clock.edge(Kind.TOPIC_UNFOLLOW, ME, 9),
        clock.edge(Kind.TOPIC_UNFOLLOW, ME, 8),
        clock.edge(Kind.TOPIC_UNMUTE, ME, 7),
        clock.event(Kind.KEYWORD_UNMUTE, actor_id=ME, keyword="SNOW"),
        clock.event(Kind.KEYWORD_UNMUTE, actor_id=ME, keyword="new phone"),
        named(clock, Kind.PREFERENCE, "in_network_share", value=-1),
        named(clock, Kind.PREFERENCE, "languages_only", value=-1),
        named(clock, Kind.PREFERENCE, "language:no", value=0),
        named(clock, Kind.PREFERENCE, "language:de", value=-1),
        clock.on_post(Kind.UNDO_SHOW_LESS, ME, 21, OTHER),
        clock.on_post(Kind.UNDO_REPORT, ME, 22, FRIEND),
    ]
    events = a_life()
    names = ("languages", "muted_keywords", "followed_topics", "muted_topics", "subscriptions")
    for ordered in (events + undone, undone + events):
        found = told(states_of(ordered))
        assert [found[name] for name in names] == [[]] * len(names)
        assert found["unfollowed_topics"] == [8, 9]
        assert found["preferences"] == {}
        # What was said of the other post stands.
        assert found["feedback_author_ids"] == [OTHER]
        assert found["feedback_ms"] == [events[16]["time_ms"]]


def test_windows() -> None:
    [state] = states_of(a_life())
    for days, expected in (
        (27, (2, 1, 1)),
        (28, (2, 0, 1)),
        (153, (2, 0, 1)),
        (155, (0, 0, 1)),
        (181, (0, 0, 0)),
    ):
        state.expire(NOW_MS + days * DAY_MS)
        found = told([state], now_ms=NOW_MS + days * DAY_MS)
        seen = len(found["feedback_ms"]), found["active_days"], len(found["visits_ms"])
        assert seen == expected, days
        # Choices stay until they are taken back.
        assert found["muted_keywords"] == ["new phone", "snow"]
        assert found["dismissals"]["who_to_follow"][0] == 2


def test_a_dismissal_delivered_again_is_the_same() -> None:
    clock = Clock()
    events = [named(clock, Kind.DISMISS, "topics") for _ in range(3)]
    [state] = states_of([])
    for offset, batch in enumerate((events, events[::-1], [*events, *events]), 1):
        apply([state], batch, offset=offset)
    assert told([state])["dismissals"] == {"topics": [3, clock.now_ms]}


# Against a slow model.

_TOPICS = (Kind.TOPIC_FOLLOW, Kind.TOPIC_UNFOLLOW, Kind.TOPIC_MUTE, Kind.TOPIC_UNMUTE)
_FEEDBACK = (*NEGATIVE_FEEDBACK, *(undo for undo, k in UNDONE_BY.items() if k in NEGATIVE_FEEDBACK))
_MODULES = (Kind.DISMISS, Kind.MODULE_SERVED)
_KINDS = (
    *(Kind.SUBSCRIBE, Kind.UNSUBSCRIBE, *_TOPICS, Kind.KEYWORD_MUTE, Kind.KEYWORD_UNMUTE),
    *(Kind.PREFERENCE, Kind.PREFERENCE, *_FEEDBACK, *_MODULES, Kind.SERVED, Kind.FAVOURITE),
)
_VIEWERS = (ME, FRIEND)
_AGES_MS = st.sampled_from(
    [0, 1_000, 2_000, HOUR_MS, DAY_MS, 27 * DAY_MS, 29 * DAY_MS, 150 * DAY_MS, 190 * DAY_MS]
)
_CHOICES = st.one_of(
    st.tuples(st.just("in_network_share"), st.sampled_from([-1, 0, 0.3, 1])),
    st.tuples(st.sampled_from(["languages_only", "language:de"]), st.sampled_from([-1, 0, 1])),
)


@st.composite
def lives(draw: st.DrawFn) -> list[Event]:
    events = []
    for event_id in range(1, 1 + draw(st.integers(0, 40))):
        kind = draw(st.sampled_from(_KINDS))
        event: Event = {"kind": kind.label, "event_id": event_id, "actor_id": ME}
        event["time_ms"] = NOW_MS - draw(_AGES_MS)
        if kind in (Kind.SUBSCRIBE, Kind.UNSUBSCRIBE):
            event["target_id"] = draw(st.sampled_from(USERS[3:5]))
        elif kind in _TOPICS:
            event["target_id"] = draw(st.integers(1, 3))
        elif kind in (Kind.KEYWORD_MUTE, Kind.KEYWORD_UNMUTE):
            event["keyword"] = draw(st.sampled_from(["Rain", "rain", "a b"]))
        elif kind is Kind.PREFERENCE:
            event["name"], event["value"] = draw(_CHOICES)
        elif kind in _MODULES:
            event["name"] = draw(st.sampled_from(["topics", "who_to_follow"]))
        else:
            post = draw(st.integers(0, 3))
            event |= {"post_id": 50 + post, "author_id": USERS[4 + post // 2]}
            if kind is Kind.SERVED:
                event |= {"request_id": f"r{event['time_ms']}", "position": post}
        event["actor_id"] = draw(st.sampled_from(_VIEWERS))
        events.append(event)
    return events


def model(events: list[Event], viewer_id: int) -> dict[str, Any]:
    mine = [e for e in events if e["actor_id"] == viewer_id]
    mine.sort(key=lambda e: (e["time_ms"], e["event_id"]))
    sets: dict[str, set[Any]] = {
        **{"subscriptions": set(), "followed_topics": set(), "muted_topics": set()},
        **{"muted_keywords": set(), "languages": set()},
    }
    dismissals: dict[str, list[int]] = {}
    modules: dict[str, int] = {}
    preferences: dict[str, float] = {}
    feedback: dict[tuple[int, Kind], tuple[int, bool, int]] = {}
    on_off = {
        **{Kind.SUBSCRIBE: "subscriptions", Kind.UNSUBSCRIBE: "subscriptions"},
        **{Kind.TOPIC_FOLLOW: "followed_topics", Kind.TOPIC_UNFOLLOW: "followed_topics"},
        **{Kind.TOPIC_MUTE: "muted_topics", Kind.TOPIC_UNMUTE: "muted_topics"},
        **{Kind.KEYWORD_MUTE: "muted_keywords", Kind.KEYWORD_UNMUTE: "muted_keywords"},
    }
    unfollowed: dict[int, bool] = {
        e["target_id"]: e["kind"] == Kind.TOPIC_UNFOLLOW.label
        for e in mine
        if e["kind"] in (Kind.TOPIC_FOLLOW.label, Kind.TOPIC_UNFOLLOW.label)
    }
    sets["unfollowed_topics"] = {topic for topic, off in unfollowed.items() if off}
    for e in mine:
        kind, at = KIND_OF_LABEL[e["kind"]], e["time_ms"]
        if kind in on_off:
            thing = e["target_id"] if "target_id" in e else e["keyword"].lower()
            change = set.discard if "_UN" in f"_{kind.name}" else set.add
            change(sets[on_off[kind]], thing)
        elif kind is Kind.PREFERENCE and e["name"].startswith("language:"):
            (set.add if e["value"] == 1 else set.discard)(sets["languages"], e["name"][9:])
        elif kind is Kind.PREFERENCE:
            preferences.pop(e["name"], None)
            if e["value"] >= 0:
                preferences[e["name"]] = e["value"]
        elif kind is Kind.DISMISS:
            dismissals[e["name"]] = [dismissals.get(e["name"], [0])[0] + 1, at]
        elif kind is Kind.MODULE_SERVED:
            modules[e["name"]] = at
        elif kind in _FEEDBACK and at >= NOW_MS - 154 * DAY_MS:
            key = e["post_id"], UNDONE_BY.get(kind, kind)
            word = at, kind in UNDONE_BY, e["author_id"]
            feedback[key] = max(feedback.get(key, (0, False, 0)), word)
    newest: dict[tuple[int, Kind], int] = {}
    for (_, kind), (at, undone, author) in feedback.items():
        if not undone:
            newest[author, kind] = max(newest.get((author, kind), 0), at)
    acts = [e for e in mine if e["kind"] != "module_served"]
    days = {NOW_MS // DAY_MS - e["time_ms"] // DAY_MS for e in acts}
    visits = {e["time_ms"] for e in mine if e["kind"] == "served"}
    return NOTHING | {
        **{name: sorted(values) for name, values in sets.items()},
        "feedback_author_ids": [author for author, _ in sorted(newest)],
        "feedback_kinds": [kind for _, kind in sorted(newest)],
        "feedback_ms": [newest[key] for key in sorted(newest)],
        "active_days": len(days & set(range(28))),
        "visits_ms": [v for v in sorted(visits, reverse=True) if v >= NOW_MS - 180 * DAY_MS][:10],
        **{"dismissals": dismissals, "modules_ms": modules, "preferences": preferences},
    }


FEW_LANES = Settings(log={"lanes": 3})  # type: ignore[arg-type]


@settings(max_examples=50)
@given(lives(), st.integers(1, 4), st.data())
def test_any_order_against_the_model(events: list[Event], n_shards: int, data: Any) -> None:
    states = empty_states(n_shards)
    for offset, batch in enumerate(cut(data.draw, data.draw(st.permutations(events))), 1):
        apply(states, batch, offset=offset, imported=True)
    for viewer in _VIEWERS:
        assert told(states, viewer) == model(events, viewer)
    for state in states:
        state.expire(NOW_MS)
    for viewer in _VIEWERS:
        assert told(states, viewer) == model(events, viewer)


@pytest.fixture(autouse=True, scope="module")
def _quick_disk() -> Any:
    """These tests end before the power does: hundreds of small files need no fsync."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("os.fsync", lambda _: None)
        yield


@settings(max_examples=10)
@given(lives(), st.sampled_from([(1, 3), (2, 3), (4, 1)]), st.integers(0, 40))
def test_a_snapshot_carries_it_to_any_number_of_shards(
    tmp_path_factory: pytest.TempPathFactory,
    events: list[Event],
    counts: tuple[int, int],
    n_before: int,
) -> None:
    root = tmp_path_factory.mktemp("snapshots")
    before, later = events[:n_before], events[n_before:]
    for state in states_of(before, counts[0], FEW_LANES):
        snapshot.write(snapshot.capture(state, dict.fromkeys(state.lanes, 1)), root)
    found = empty_states(counts[1], FEW_LANES)
    for state in found:
        snapshot.restore(state, root)
    apply(found, later, offset=2, imported=True)
    for viewer in _VIEWERS:
        assert told(found, viewer) == model(events, viewer)


def test_a_snapshot_of_before_there_were_choices_is_read(tmp_path: Path) -> None:
    [state] = states_of(a_life())
    captured = snapshot.capture(state, dict.fromkeys(state.lanes, 1))
    for table in ("choices", "activity"):
        del captured.tables[table]
    [users] = captured.tables["users"]
    old = {name: v for name, v in users().items() if not name.startswith("creator")}
    captured.tables["users"] = [lambda: old]
    snapshot.write(captured, tmp_path)
    [again] = empty_states(1)
    snapshot.restore(again, tmp_path)
    found = told([again])
    assert (found["age_years"], found["muted_keywords"], found["active_days"]) == (30, [], 0)
    assert not again.users["creator"][again.users.rows_of(np.array([ME]))].any()

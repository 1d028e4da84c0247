import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.features.binned import UNTRAINED_VERSION
from actors.features.light import FEATURES
from actors.models import LIGHT_RANKER_SCHEMA
from actors.questions import AskContext, AskPosts, AskSecondDegree, AskTrace, PutTrace
from actors.state import Failed, ShardState, Traces
from actors.stores import interactions
from actors.stores.segment import Segment, close
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.settings import Settings
from tests.worlds import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    USERS,
    Clock,
    Event,
    answers,
    apply,
    empty_states,
    models,
    plain,
    routed,
    states_of,
    worlds,
)

VIEWER, FRIEND, OTHER, STRANGER = USERS[0], USERS[2], USERS[4], USERS[6]


def context(state: ShardState, viewer: int = VIEWER, **given: Any) -> dict[str, Any]:
    asked = AskContext(viewer, given.pop("now_ms", NOW_MS), *given.pop("most", (100, 100)))
    [answer] = state.ask([asked])
    assert not isinstance(answer, Failed), answer
    found: dict[str, Any] = plain(answer)
    return found


def test_the_context_of_a_viewer() -> None:
    clock = Clock()
    events = [
        clock.event(Kind.USER_CREATE, actor_id=VIEWER, language="de"),
        clock.edge(Kind.FOLLOW, VIEWER, FRIEND),
        clock.edge(Kind.FOLLOW, VIEWER, OTHER),
        clock.edge(Kind.BLOCK, VIEWER, STRANGER),
        clock.edge(Kind.BLOCK, OTHER, VIEWER),
        clock.edge(Kind.MUTE, VIEWER, 77),
        clock.on_post(Kind.IMPRESSION, VIEWER, 10, FRIEND),
        clock.on_post(Kind.SERVED, VIEWER, 11, FRIEND, request_id="r", position=1),
        clock.on_post(Kind.FAVOURITE, VIEWER, 12, FRIEND),
        clock.on_post(Kind.FAVOURITE, VIEWER, 13, FRIEND),
        clock.event(Kind.PROFILE_CLICK, actor_id=VIEWER, author_id=OTHER),
        clock.on_post(Kind.NOT_INTERESTED, VIEWER, 14, STRANGER),
        clock.on_post(Kind.SHOW_LESS, VIEWER, 15, OTHER),
    ]
    [state] = states_of(events)
    now_ms = clock.now_ms
    found = context(state, now_ms=now_ms)
    ties = dict(zip(found.pop("affine_ids"), found.pop("affinities"), strict=True))
    assert ties == pytest.approx({FRIEND: 2.0, OTHER: 0.5}, rel=1e-5)
    assert found == {
        **{"known": True, "gone": False, "language": "de", "follows": [OTHER, FRIEND]},
        **{"blocks": [STRANGER], "blocked_by": [OTHER], "mutes": [77]},
        **{
            "seen_ids": [10],
            "seen_author_ids": [FRIEND],
            "served_ids": [11],
            "hidden_post_ids": [14, 15],
        },
        **{"hidden_author_ids": [OTHER], "cut": False, "older_follows": []},
    }
    nobody = context(state, 999)
    assert not nobody["known"]
    assert {name for name, value in nobody.items() if value} == set()


def test_older_follows_are_told_beside_the_newest() -> None:
    clock = Clock()
    followed = [clock.edge(Kind.FOLLOW, VIEWER, of) for of in (7, 8, 9, 10)]
    [state] = states_of(followed)
    for most, told in (
        ((2, 9, 3), ([10, 9], [8])),
        ((2, 9), ([10, 9], [])),
        ((9, 9, 3), ([10, 9, 8, 7], [])),
    ):
        [found] = state.ask([AskContext(VIEWER, clock.now_ms, *most)])
        assert (found.follows.tolist(), found.older_follows.tolist()) == told
        assert found.followed.tolist() == sorted([*told[0], *told[1]])


def test_windows_of_the_context() -> None:
    clock = Clock()
    [state] = states_of(
        [
            clock.on_post(Kind.IMPRESSION, VIEWER, 10, FRIEND),
            clock.on_post(Kind.SERVED, VIEWER, 11, FRIEND, request_id="r", position=1),
            clock.on_post(Kind.FAVOURITE, VIEWER, 12, FRIEND),
            clock.on_post(Kind.REPORT, VIEWER, 13, STRANGER),
        ]
    )
    shown = {}
    for age_ms in (0, HOUR_MS, 3 * DAY_MS, 15 * DAY_MS, 91 * DAY_MS):
        found = context(state, now_ms=clock.now_ms + age_ms)
        names = ("served_ids", "seen_ids", "affine_ids", "hidden_post_ids")
        shown[age_ms] = [bool(found[name]) for name in names]
    assert list(shown.values()) == [
        [True, True, True, True],
        [False, True, True, True],
        [False, False, True, True],
        [False, False, False, True],
        [False, False, False, False],
    ]


def test_affinity_halves_in_a_week() -> None:
    clock = Clock()
    [state] = states_of([clock.on_post(Kind.REPOST, VIEWER, 12, FRIEND)])
    found = context(state, now_ms=clock.now_ms + 7 * DAY_MS)
    assert found["affinities"] == pytest.approx([1.0])


def test_limits_of_the_context() -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, VIEWER, 100 + k) for k in range(9)]
    events += [clock.on_post(Kind.IMPRESSION, VIEWER, 10 + k, FRIEND) for k in range(9)]
    [state] = states_of(events)
    found = context(state, most=(3, 2))
    assert found["follows"] == [108, 107, 106]
    assert found["seen_ids"] == [17, 18]


def test_rows_of_other_shards_are_passed_over() -> None:
    states = empty_states(4)
    event = Clock().edge(Kind.BLOCK, VIEWER, FRIEND)
    rows = routed([event])
    done = [state.apply(rows, np.ones(rows.num_rows), False) for state in states]
    # Each of the two lives in a shard of their own.
    assert sorted(done) == [0, 0, 1, 1]
    assert [bool(context(s)["blocks"]) for s in states].count(True) == 1
    assert [bool(context(s, FRIEND)["blocked_by"]) for s in states].count(True) == 1


def test_rows_that_a_snapshot_holds_are_passed_over() -> None:
    clock = Clock()
    [state] = empty_states(1)
    state.skip_until[:] = 5
    apply([state], [clock.edge(Kind.FOLLOW, VIEWER, FRIEND)], offset=5)
    apply([state], [clock.edge(Kind.FOLLOW, VIEWER, OTHER)], offset=6)
    assert context(state)["follows"] == [OTHER]


@settings(max_examples=12)
@given(worlds(), st.integers(1, 7))
def test_slices_do_not_show(events: list[Event], slice_rows: int) -> None:
    chosen = Settings(shards={"slice_rows": slice_rows})  # type: ignore[arg-type]
    assert answers(states_of(events, 1, chosen)) == answers(states_of(events))


def test_queries_are_answered_between_slices() -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, VIEWER, 100 + k) for k in range(300)]
    chosen = Settings(shards={"slice_rows": 1})  # type: ignore[arg-type]
    [state] = empty_states(1, chosen)
    rows = routed(events)
    applying = threading.Thread(target=state.apply, args=(rows, np.ones(rows.num_rows), False))
    degrees = set()
    applying.start()
    while applying.is_alive():
        [found] = state.ask([AskContext(VIEWER, NOW_MS, 1_000, 10)])
        # Never half of a slice: who the viewer follows is a beginning of what was appended.
        follows = sorted(found.follows.tolist())
        assert follows == list(range(100, 100 + len(follows)))
        degrees.add(len(follows))
    assert len(degrees) > 2


def test_full_segments_are_rewritten_while_questions_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    events = [clock.on_post(Kind.FAVOURITE, VIEWER, 10 + k, FRIEND) for k in range(20)]
    small = Settings(graph={"edges_per_segment": 8})  # type: ignore[arg-type]
    [state] = empty_states(1, small)
    told: list[int] = []

    def close_slowly(segment: Segment) -> Segment:
        asked = [AskContext(VIEWER, NOW_MS, 10, 10)]
        asking = threading.Thread(target=lambda: told.append(len(state.ask(asked))))
        asking.start()
        asking.join(5)
        return close(segment)

    monkeypatch.setattr(interactions, "close", close_slowly)
    apply([state], events)
    newest, *full = state.graph.engagements.view.segments
    assert not newest.is_closed
    assert all(one.is_closed for one in full)
    assert told == [1] * len(full) != []


@dataclass(frozen=True)
class Broken:
    """A question that cannot be answered."""

    def answer(self, state: ShardState) -> Any:
        raise ZeroDivisionError("no answer")


def test_a_question_that_fails_does_not_cost_the_others() -> None:
    [state] = states_of([Clock().edge(Kind.FOLLOW, VIEWER, FRIEND)])
    first, second = state.ask([Broken(), AskContext(VIEWER, NOW_MS, 10, 10)])
    assert first == Failed("ZeroDivisionError: no answer")
    assert second.follows.tolist() == [FRIEND]
    assert state.counters["failed_questions"] == 1


@pytest.mark.parametrize("hosted", ["graph", "posts"])
def test_a_shard_may_host_one_kind(hosted: str) -> None:
    clock = Clock()
    events = [
        clock.edge(Kind.FOLLOW, VIEWER, FRIEND),
        clock.post(10, FRIEND),
        clock.on_post(Kind.FAVOURITE, FRIEND, 10, FRIEND),
    ]
    chosen = Settings(shards={"kinds": (hosted,)})  # type: ignore[arg-type]
    [state] = states_of(events, 1, chosen)
    seeds = np.array([FRIEND]), np.zeros(1, np.int32)
    found = state.ask(
        [
            AskContext(VIEWER, NOW_MS, 10, 10),
            AskSecondDegree(*seeds, 0, (Kind.FAVOURITE,), 10),
            AskPosts(np.array([10]), "", NOW_MS),
        ]
    )
    failed = [isinstance(answer, Failed) for answer in found]
    assert failed == [hosted == "posts", hosted == "posts", hosted == "graph"]
    assert state.memory_bytes > 0


def test_expiry_drops_what_no_window_reaches() -> None:
    clock = Clock(NOW_MS - 100 * DAY_MS)
    old = [clock.on_post(Kind.FAVOURITE, VIEWER, 5, FRIEND) for _ in range(10)]
    [state] = states_of(old)
    assert state.graph.engagements.n_edges > 0
    state.expire(NOW_MS)
    assert state.graph.engagements.n_edges == 0
    apply([state], [Clock().on_post(Kind.FAVOURITE, VIEWER, 6, FRIEND)], offset=2)
    state.expire(NOW_MS)
    assert context(state)["affine_ids"] == [FRIEND]


# Artifacts.


def activation(version: str, time_ms: int, name: str = "light_ranker") -> Event:
    event = {"kind": "artifact_activate", "event_id": time_ms, "time_ms": time_ms}
    return event | {"name": name, "model_version": version}


def test_activations_are_ordered_by_time_in_every_shard() -> None:
    states = empty_states(3)
    apply(states, [activation("b", 20, "index")])
    apply(states, [activation("a", 10, "index")], offset=2)
    assert [state.active_version("index") for state in states] == ["b"] * 3
    apply(states, [activation("a", 30, "index")], offset=3)
    assert [state.active_version("index") for state in states] == ["a"] * 3


def test_a_model_that_cannot_be_read_is_never_activated(tmp_path: Path) -> None:
    state = ShardState(Settings(), models(tmp_path))
    apply([state], [activation("20240101T000000-0001", 20)])
    assert state.active_version("light_ranker") == UNTRAINED_VERSION
    assert state.counters["refused_activations"] >= 1
    apply([state], [activation("../../etc", 30)], offset=2)
    assert state.active_version("light_ranker") == UNTRAINED_VERSION


def test_a_damaged_model_stops_no_shard(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    state = ShardState(Settings(), models(tmp_path))
    for number, content in enumerate(({"weights": np.ones(3)}, {"edges": np.ones(3)}), 1):
        with store.writing("light_ranker", schema_version=LIGHT_RANKER_SCHEMA) as draft:
            draft.write_tensors("model.safetensors", content)
            draft.write_json("features.json", list(FEATURES) if number == 1 else 7)
        assert draft.version is not None
        apply([state], [activation(draft.version, 10 * number)], offset=number)
        assert state.active_version("light_ranker") == UNTRAINED_VERSION
    # Its files are not what its manifest says; its form is of another time.
    (store.root / "light_ranker" / draft.version / "features.json").unlink()
    apply([state], [activation(draft.version, 100)], offset=9)
    with store.writing("light_ranker", schema_version=99) as later:
        later.write_json("features.json", [])
    assert later.version is not None
    apply([state], [activation(later.version, 110)], offset=10)
    assert state.active_version("light_ranker") == UNTRAINED_VERSION
    assert state.counters["refused_activations"] >= 4


def test_an_activation_does_not_count_as_an_event_of_a_user() -> None:
    [state] = empty_states(1)
    apply([state], [activation("b", 20, "index"), Clock().edge(Kind.FOLLOW, VIEWER, FRIEND)])
    assert state.counters["late"] == 0
    assert context(state)["follows"] == [FRIEND]


# Traces.


def test_traces() -> None:
    [state] = empty_states(1)
    state.ask([PutTrace(VIEWER, "r1", NOW_MS, b"why")])
    put = [AskTrace(VIEWER, "r1", 0), AskTrace(FRIEND, "r1", 0), AskTrace(VIEWER, "r2", 0)]
    assert state.ask(put) == [b"why", None, None]
    assert state.ask([AskTrace(VIEWER, "r1", NOW_MS + 1)]) == [None]


def test_traces_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Traces, "MAX_BYTES", 22)
    traces = Traces()
    for request in range(30):
        traces.put(1, f"r{request}", NOW_MS, b"x")
    assert traces.get(1, "r9", 0) is None
    assert traces.get(1, "r10", 0) == b"x"
    for viewer in (2, 3, 4):
        traces.put(viewer, "r", NOW_MS, b"x")
    assert traces.get(1, "r29", 0) is None
    assert traces.get(4, "r", 0) == b"x"

"""Days and requests: exact cases, and any order against sets of days and times."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.activity import BY_ACTOR, BY_AUTHOR, DAY_MS, Activity, Attendance
from cluster.events import RULES, Kind
from tests.worlds import NOW_MS, USERS, Clock, Event, apply, cut, empty_states, states_of

ME, FRIEND = USERS[0], USERS[4]
TODAY_MS = NOW_MS // DAY_MS * DAY_MS


def at(time_ms: int, kind: Kind = Kind.FAVOURITE, **given: Any) -> Event:
    ids = {"actor_id": ME, "post_id": 5, "author_id": FRIEND, "event_id": time_ms}
    return {"kind": kind.label, "time_ms": time_ms, **ids, **given}


def served(time_ms: int, **given: Any) -> Event:
    return at(time_ms, Kind.SERVED, request_id=f"r{time_ms}", position=0, **given)


def attendance(events: list[Event], now_ms: int = NOW_MS, since_ms: int = 0) -> Attendance:
    [state] = states_of(events)
    return state.graph.activity.of(ME, now_ms, since_ms)


def test_a_day_counts_once_for_28_dates() -> None:
    events = [at(TODAY_MS - DAY_MS), at(TODAY_MS - 1, event_id=2), at(TODAY_MS, event_id=3)]
    events += [at(TODAY_MS + 5, event_id=4), at(TODAY_MS - 5 * DAY_MS, event_id=5)]
    found = {day: attendance(events, TODAY_MS + day * DAY_MS).active_days for day in range(-6, 30)}
    assert [found[day] for day in (-6, -5, -2, -1, 0, 1)] == [0, 1, 1, 2, 3, 3]
    assert [found[day] for day in (22, 23, 26, 27, 28, 29)] == [3, 2, 2, 1, 0, 0]


def test_visits_are_the_last_ten_requests() -> None:
    times = [NOW_MS - 1_000 * k for k in range(12)]
    # Two posts of one request.
    events = [served(time_ms, event_id=10 * k + j) for k, time_ms in enumerate(times, 1)
              for j in range(2)]  # fmt: skip
    assert attendance(events).visits_ms == tuple(times[:10])
    assert attendance(events, NOW_MS - 500).visits_ms == tuple(times[1:10])
    assert attendance(events, since_ms=times[2]).visits_ms == tuple(times[:3])
    assert attendance([at(NOW_MS)]) == Attendance(1, ())


def test_whose_day_it_is() -> None:
    post = {"kind": "post_create", "time_ms": NOW_MS, "post_id": 5, "author_id": ME, "event_id": 1}
    user = {"time_ms": NOW_MS, "actor_id": ME, "event_id": 1}
    assert attendance([post]).active_days == 1
    assert attendance([at(NOW_MS, actor_id=FRIEND, author_id=ME)]).active_days == 0
    assert attendance([user | {"kind": "user_suspend"}]).active_days == 0
    follow = {"kind": "follow", "time_ms": NOW_MS, "event_id": 1}
    assert attendance([follow | {"actor_id": ME, "target_id": FRIEND}]).active_days == 1
    assert attendance([follow | {"actor_id": FRIEND, "target_id": ME}]).active_days == 0


def test_every_kind_that_counts_names_who_acted() -> None:
    assert all("actor_id" in RULES[kind].needs for kind in BY_ACTOR)
    assert all("author_id" in RULES[kind].needs for kind in BY_AUTHOR)
    others = set(Kind) - {*BY_ACTOR, *BY_AUTHOR}
    assert {kind.name.split("_")[0] for kind in others} == {
        *("USER", "POST", "SAFETY", "MODULE", "ARTIFACT", "MENTION", "UNMENTION"),
    }


def test_who_was_long_away_is_forgotten() -> None:
    events = [at(NOW_MS - 100 * DAY_MS, actor_id=user, event_id=user) for user in USERS[:2]]
    events += [served(NOW_MS, actor_id=user, event_id=user) for user in USERS[2:]]
    [state] = states_of(events)
    kept = state.graph.activity
    kept.expire(NOW_MS - 101 * DAY_MS)
    assert len(kept) == len(USERS)
    kept.expire(NOW_MS - 98 * DAY_MS)
    assert len(kept) == len(USERS) - 2
    assert kept.of(USERS[2], NOW_MS, 0) == Attendance(1, (NOW_MS,))
    assert kept.of(ME, NOW_MS - 100 * DAY_MS, 0) == Attendance(0, ())
    Activity().expire(NOW_MS)


_TIMES = st.one_of(
    st.integers(0, 40).map(lambda days: NOW_MS - days * DAY_MS),
    st.integers(0, 20).map(lambda seconds: NOW_MS - 1_000 * seconds),
    st.sampled_from([NOW_MS - 64 * DAY_MS, NOW_MS - 65 * DAY_MS, NOW_MS - 400 * DAY_MS]),
)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(USERS[:3]), _TIMES, st.booleans()), max_size=30),
    st.integers(1, 4),
    st.integers(0, 36),
    st.data(),
)
def test_any_order_against_sets(
    acts: list[tuple[int, int, bool]], n_shards: int, days_ago: int, data: Any
) -> None:
    events = [
        (served if by_request else at)(time_ms, actor_id=user, event_id=number)
        for number, (user, time_ms, by_request) in enumerate(acts, 1)
    ]
    states = empty_states(n_shards)
    for offset, batch in enumerate(cut(data.draw, data.draw(st.permutations(events))), 1):
        apply(states, batch, offset=offset, imported=True)
    now_ms = NOW_MS - days_ago * DAY_MS
    for user in USERS[:3]:
        mine = [(time_ms, by_request) for who, time_ms, by_request in acts if who == user]
        days = {now_ms // DAY_MS - time_ms // DAY_MS for time_ms, _ in mine}
        visits = sorted({time_ms for time_ms, by_request in mine if by_request}, reverse=True)
        found = [state.graph.activity.of(user, now_ms, 0) for state in states]
        [one] = [told for told in found if told != Attendance(0, ())] or [Attendance(0, ())]
        assert one.active_days == len(days & set(range(28)))
        assert list(one.visits_ms) == [time_ms for time_ms in visits[:10] if time_ms <= now_ms]


@pytest.mark.parametrize("copies", [1, 3])
def test_copies_change_nothing(copies: int) -> None:
    clock = Clock()
    event = clock.on_post(Kind.SERVED, ME, 5, FRIEND, request_id="r", position=0)
    [state] = states_of([])
    for offset in range(copies):
        apply([state], [event], offset=offset + 1, imported=True)
    assert state.graph.activity.of(ME, NOW_MS, 0) == Attendance(1, (event["time_ms"],))

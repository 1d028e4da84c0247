"""Lists against a dictionary of registers, through the log, snapshots and any number of shards."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import snapshot
from actors.page_questions import AskListMembers
from actors.router import shards_of
from actors.state import ShardState
from actors.viewer_questions import AskLists
from cluster.events import Kind
from tests.worlds import NOW_MS, USERS, Clock, Event, apply, cut, empty_states, states_of

ANN, BEN = USERS[0], USERS[4]


def change(clock: Clock, kind: Kind, owner: int, list_id: int, **given: Any) -> Event:
    return clock.event(kind, actor_id=owner, target_id=list_id, **given)


def lists_of(
    states: list[ShardState], owner: int, most: int = 20, members: int = 500
) -> dict[int, list[int]]:
    """List → members, in the order in which the shards that know of any tell them."""
    told = [state.ask([AskLists(owner, most, members)])[0] for state in states]
    some = [found for found in told if len(found.list_ids)]
    assert len(some) <= 1
    return {
        list_id: found.member_ids[start:end].tolist()
        for found in some
        for list_id, start, end in zip(
            found.list_ids.tolist(), found.offsets[:-1], found.offsets[1:], strict=True
        )
    }


def test_lists_and_members_come_newest_first() -> None:
    clock = Clock()
    events = [
        change(clock, Kind.LIST_CREATE, ANN, 5, name="Friends"),
        change(clock, Kind.LIST_CREATE, ANN, 6),
        change(clock, Kind.LIST_ADD, ANN, 5, author_id=11),
        change(clock, Kind.LIST_ADD, ANN, 5, author_id=12),
        change(clock, Kind.LIST_ADD, ANN, 5, author_id=13),
        change(clock, Kind.LIST_REMOVE, ANN, 5, author_id=12),
    ]
    for n_shards in (1, 4):
        states = states_of(events, n_shards)
        assert list(lists_of(states, ANN).items()) == [(6, []), (5, [13, 11])]
        assert lists_of(states, ANN, most=1) == {6: []}
        assert lists_of(states, ANN, members=1) == {6: [], 5: [13]}
        assert lists_of(states, BEN) == {}


def test_members_of_one_list_are_told_to_its_owner() -> None:
    clock = Clock()
    events = [
        change(clock, Kind.LIST_CREATE, ANN, 5),
        *(change(clock, Kind.LIST_ADD, ANN, 5, author_id=member) for member in (11, 12, 13)),
        change(clock, Kind.LIST_REMOVE, ANN, 5, author_id=12),
        change(clock, Kind.LIST_CREATE, ANN, 6),
        # A list of which only members are known is not there.
        change(clock, Kind.LIST_ADD, ANN, 7, author_id=11),
        change(clock, Kind.LIST_CREATE, ANN, 8),
        change(clock, Kind.LIST_ADD, ANN, 8, author_id=11),
        change(clock, Kind.LIST_DELETE, ANN, 8),
    ]
    for n_shards in (1, 4):
        states = states_of(events, n_shards)
        home = int(shards_of(np.array([ANN]), n_shards)[0])

        def members(
            list_id: int, most: int = 9, owner: int = ANN, state: ShardState = states[home]
        ) -> list[int] | None:
            [found] = state.ask([AskListMembers(owner, list_id, most)])
            return None if found is None else found.tolist()

        assert members(5) == [13, 11]
        assert members(5, most=1) == [13]
        assert members(6) == []
        assert [members(list_id) for list_id in (7, 8, 9)] == [None] * 3
        assert members(5, owner=BEN) is None


def test_only_the_owner_writes_and_a_deleted_list_is_gone_for_good() -> None:
    clock = Clock()
    events = [
        change(clock, Kind.LIST_ADD, ANN, 5, author_id=11),
        change(clock, Kind.LIST_ADD, BEN, 5, author_id=12),
        change(clock, Kind.LIST_REMOVE, BEN, 5, author_id=11),
    ]
    # Nobody made it yet.
    assert lists_of(states_of(events), ANN) == {}
    events.append(change(clock, Kind.LIST_CREATE, ANN, 5))
    states = states_of(events)
    assert (lists_of(states, ANN), lists_of(states, BEN)) == ({5: [11]}, {})
    deleted = change(clock, Kind.LIST_DELETE, ANN, 5)
    again = change(clock, Kind.LIST_CREATE, ANN, 5)
    apply(states, [deleted, again], offset=2)
    assert lists_of(states, ANN) == {}


_SOME = st.sampled_from([ANN, BEN])
_CHANGES = st.tuples(
    st.sampled_from([Kind.LIST_CREATE, Kind.LIST_DELETE, *(2 * [Kind.LIST_ADD]), Kind.LIST_REMOVE]),
    _SOME,
    st.sampled_from([5, 6]),
    st.sampled_from(USERS),
)


def model(events: list[Event], owner: int) -> dict[int, list[int]]:
    created: dict[int, int] = {}
    members: dict[int, dict[int, tuple[int, bool]]] = {}
    gone = set()
    for event in events:
        at, list_id = event["time_ms"], event["target_id"]
        if event["actor_id"] != owner:
            continue
        if event["kind"] == "list_create":
            created[list_id] = max(created.get(list_id, 0), at)
        elif event["kind"] == "list_delete":
            gone.add(list_id)
        else:
            mine = members.setdefault(list_id, {})
            word = (at, event["kind"] == "list_add")
            mine[event["author_id"]] = max(mine.get(event["author_id"], (0, False)), word)
    return {
        list_id: [
            member
            for _, member in sorted(
                ((at, m) for m, (at, on) in members.get(list_id, {}).items() if on), reverse=True
            )
        ]
        for list_id in sorted(set(created) - gone, key=lambda found: -created[found])
    }


@settings(max_examples=40)
@given(st.lists(_CHANGES, max_size=25), st.randoms(), st.integers(1, 4), st.data())
def test_lists_against_model(
    changes: list[tuple[Kind, int, int, int]], random: Any, n_shards: int, data: Any
) -> None:
    clock = Clock()
    events = []
    for kind, owner, list_id, member in changes:
        given_member = {"author_id": member} if kind in (Kind.LIST_ADD, Kind.LIST_REMOVE) else {}
        events.append(change(clock, kind, owner, list_id, **given_member))
    random.shuffle(events)
    states = empty_states(n_shards)
    for offset, batch in enumerate(cut(data.draw, events), 1):
        apply(states, batch, offset=offset, imported=True)
    for owner in (ANN, BEN):
        expected = model(events, owner)
        assert list(lists_of(states, owner).items()) == list(expected.items())


def some_events() -> list[Event]:
    clock = Clock()
    return [
        *(change(clock, Kind.LIST_CREATE, user, 50 + user) for user in USERS),
        *(
            change(clock, Kind.LIST_ADD, user, 50 + user, author_id=member)
            for user in USERS
            for member in USERS
        ),
        change(clock, Kind.LIST_REMOVE, ANN, 50 + ANN, author_id=BEN),
        change(clock, Kind.LIST_DELETE, BEN, 50 + BEN),
        change(clock, Kind.LIST_ADD, ANN, 7, author_id=BEN),
    ]


def taken(states: list[ShardState], root: Path) -> list[Path]:
    return [
        snapshot.write(snapshot.capture(state, dict.fromkeys(state.lanes, 1)), root)
        for state in states
    ]


def test_a_snapshot_carries_lists_to_any_number_of_shards(tmp_path: Path) -> None:
    events = some_events()
    taken(states_of(events, 2), tmp_path)
    found = empty_states(3)
    for state in found:
        snapshot.restore(state, tmp_path)
    whole = states_of(events, 3)
    clock = Clock(NOW_MS)
    for states in (found, whole):
        for user in USERS:
            assert lists_of(states, user) == model(events, user)
        # A member that came before its list, and a deletion, are kept as well.
        later = [
            change(clock, Kind.LIST_CREATE, ANN, 7, event_id=901),
            change(clock, Kind.LIST_CREATE, BEN, 50 + BEN, event_id=902),
        ]
        apply(states, later, offset=2)
        assert lists_of(states, ANN)[7] == [BEN]
        assert lists_of(states, BEN) == {}
    assert sum(len(s.graph.lists) for s in found) == sum(len(s.graph.lists) for s in whole)


def test_a_snapshot_of_before_there_were_lists_is_read(tmp_path: Path) -> None:
    follow = Clock().edge(Kind.FOLLOW, ANN, BEN, event_id=999)
    events = [*some_events(), follow]
    [folder] = taken(states_of(events), tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = [f for f in manifest["files"] if f["table"] != "lists"]
    del manifest["sha256"]
    manifest["sha256"] = snapshot._digest(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    [state] = empty_states(1)
    snapshot.restore(state, tmp_path)
    assert lists_of([state], ANN) == {}
    assert state.graph.follows.holds(np.array([ANN]), np.array([BEN])).all()

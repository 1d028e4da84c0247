"""Snapshots: taken, kept whole, told apart from damaged ones, and read by any number of shards."""

import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import snapshot
from actors.questions import AskContext
from actors.state import ShardState
from cluster.events import Kind
from cluster.ids import N_PARTITIONS
from cluster.settings import Settings
from tests.worlds import (
    DAY_MS,
    HOUR_MS,
    N_LANES,
    NOW_MS,
    USERS,
    Clock,
    Event,
    answers,
    apply,
    empty_states,
    shown,
    states_of,
    timelines_of,
    worlds,
)

ROOT = Path(__file__).parents[2]
FEW_LANES = Settings(log={"lanes": 3})  # type: ignore[arg-type]
"""Fewer lanes are fewer files, where their number does not matter."""


@pytest.fixture(autouse=True, scope="module")
def _quick_disk() -> Iterator[None]:
    """These tests end before the power does: hundreds of small files need no fsync."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("os.fsync", lambda _: None)
        yield


def taken(states: Sequence[ShardState], root: Path, offset: int = 1) -> list[Path]:
    return [
        snapshot.write(snapshot.capture(state, dict.fromkeys(state.lanes, offset)), root)
        for state in states
    ]


def restored(
    root: Path, n_shards: int = 1, chosen: Settings | None = None, **options: Any
) -> list[ShardState]:
    states = empty_states(n_shards, chosen)
    for state in states:
        snapshot.restore(state, root, **options)
    return states


def timelines(states: Sequence[ShardState]) -> list[Any]:
    """Of two users, of whom one follows another in the newer snapshot alone."""
    made, users = timelines_of(states), USERS[:2]
    pages = [made.for_you(u, 20, now_ms=NOW_MS) for u in users]
    return [shown(p) for p in [*pages, *(made.following(u, 20, now_ms=NOW_MS) for u in users)]]


def some_events() -> list[Event]:
    clock = Clock()
    events = [
        clock.event(Kind.USER_CREATE, actor_id=user, language="en", name=f"user {user}")
        for user in USERS
    ]
    events += [
        clock.edge(kind, USERS[a], USERS[b])
        for kind, a, b in (
            *((Kind.FOLLOW, 0, 2), (Kind.FOLLOW, 0, 4), (Kind.FOLLOW, 2, 4), (Kind.MUTE, 0, 3)),
            *((Kind.BLOCK, 0, 5), (Kind.BLOCK, 7, 0), (Kind.FOLLOW, 6, 0)),
        )
    ]
    for k in range(20):
        author = USERS[k % 8]
        events.append(clock.post(100 + k, author, text=f"post {k}", uri=f"at://{k}", topics=[1]))
        events.append(clock.on_post(Kind.FAVOURITE, USERS[(k + 3) % 8], 100 + k, author))
        events.append(clock.on_post(Kind.DWELL, USERS[(k + 1) % 8], 100 + k, author))
        events.append(clock.on_post(Kind.IMPRESSION, USERS[(k + 5) % 8], 100 + k, author))
    events.append(clock.on_post(Kind.SHOW_LESS, USERS[0], 102, USERS[2]))
    events.append(clock.on_post(Kind.CLICK, USERS[0], 102, USERS[2], value=3_000.0))
    events.append(clock.edge(Kind.TOPIC_FOLLOW, USERS[0], 1))
    events.append(clock.event(Kind.KEYWORD_MUTE, actor_id=USERS[0], keyword="rain"))
    for post in ({"post_id": 102}, {}):
        events.append(
            clock.event(Kind.SAFETY_LABEL, author_id=USERS[2], label="nsfw", value=0.5, **post)
        )
    return events


@settings(max_examples=10)
@given(worlds(), st.sampled_from([(1, 1), (2, 2), (2, 3), (4, 1), (3, 4)]))
def test_a_restored_state_answers_the_same(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event], counts: tuple[int, int]
) -> None:
    root = tmp_path_factory.mktemp("snapshots")
    before, after = counts
    taken(states_of(events, before, FEW_LANES), root)
    found = restored(root, after, FEW_LANES)
    assert answers(found) == answers(states_of(events, after))
    # And goes on like one that never stopped, repeated events included.
    more = [e | {"event_id": e["event_id"] + 1_000} for e in events if e["kind"] == "favourite"]
    never_stopped = states_of(events, after, FEW_LANES)
    for states in (found, never_stopped):
        apply(states, [*events, *more], offset=2)
    assert answers(found) == answers(never_stopped)
    repeated = [s.counters["repeated"] for s in never_stopped]
    assert [s.counters["repeated"] for s in found] == repeated


def test_every_table_is_in_a_snapshot(tmp_path: Path) -> None:
    [folder] = taken(states_of(some_events()), tmp_path)
    tables = {name.split("-")[0] for name in os.listdir(folder)}
    assert tables == {
        *("users", "posts", "recent", "imported", "manifest.json", "follows", "followers", "mutes"),
        *("blocks", "blocked_by", "engagements", "signals", "feedback", "views"),
        *("topics", "engaged", "engaged_by", "stays", "post_labels", "author_labels"),
        *("recent_engagements", "embedded_posts", "aggregates", "choices", "activity"),
        *("daily_counts", "daily_reach"),
    }


def test_the_log_after_a_snapshot_is_applied_once(tmp_path: Path) -> None:
    """The whole log is replayed: rows that the snapshot holds are passed over by offset."""
    # Older than the window of deduplication, so that only offsets tell.
    old = [e | {"time_ms": e["time_ms"] - 3 * DAY_MS} for e in some_events()]
    log = [old[:40], old[40:60], old[60:]]

    def appended(states: Sequence[ShardState], first: int, end: int) -> None:
        for offset in range(first, end):
            apply(states, log[offset], offset=offset + 1, imported=True)

    whole = empty_states(3)
    appended(whole, 0, 3)
    early, late = empty_states(2), empty_states(2)
    appended(early, 0, 1)
    appended(late, 0, 2)
    taken(early[:1], tmp_path, offset=1)
    taken(late[1:], tmp_path, offset=2)
    found = restored(tmp_path, 3)
    appended(found, 0, 3)
    assert answers(found) == answers(whole)


@pytest.mark.parametrize("n_shards", [1, 2, 3])
def test_history_that_stands_twice_in_the_log_counts_once(tmp_path: Path, n_shards: int) -> None:
    """The second copy of an append comes after a snapshot, or after some of the snapshots."""
    old = [e | {"time_ms": e["time_ms"] - 3 * DAY_MS} for e in some_events()]
    news = [Clock(NOW_MS).edge(Kind.FOLLOW, u, v, event_id=9_000 + u) for u, v in pairwise(USERS)]
    log = [old[:40], old[40:], old[:40], old[40:]]

    def appended(states: Sequence[ShardState], first: int, end: int) -> None:
        apply(states, news, offset=1)
        for offset in range(first, end):
            apply(states, log[offset], offset=offset + 2, imported=True)

    once = empty_states(n_shards)
    appended(once, 0, 2)
    early, late = empty_states(2), empty_states(2)
    appended(early, 0, 1)
    appended(late, 0, 3)
    taken(early[:1], tmp_path, offset=2)
    taken(late[1:], tmp_path, offset=4)
    found = restored(tmp_path, n_shards)
    appended(found, 0, 4)
    assert answers(found) == answers(once)
    assert [s.graph.engagements.n_edges for s in found] == [
        s.graph.engagements.n_edges for s in once
    ]


def test_a_snapshot_of_before_imports_were_remembered_is_read(tmp_path: Path) -> None:
    states = states_of(some_events())
    captured = snapshot.capture(states[0], dict.fromkeys(states[0].lanes, 1))
    del captured.lanes["imported"]
    snapshot.write(captured, tmp_path)
    assert answers(restored(tmp_path)) == answers(states)


def test_where_to_read_on(tmp_path: Path) -> None:
    first, second = states_of(some_events(), 2)
    taken([first], tmp_path, offset=7)
    taken([second], tmp_path, offset=5)
    [one] = empty_states(1)
    assert snapshot.restore(one, tmp_path) == {k: 7 if k < 8 else 5 for k in range(N_LANES)}
    middle = empty_states(3)[1]
    # Its first lane is shared with the shard before it, and half of the lanes came later.
    assert snapshot.restore(middle, tmp_path) == {5: 7, 6: 7, 7: 7, 8: 5, 9: 5, 10: 5}


def test_partitions_without_a_snapshot_begin_empty(tmp_path: Path) -> None:
    events = some_events()
    first, second = states_of(events, 2)
    taken([second], tmp_path)
    [state] = empty_states(1)
    positions = snapshot.restore(state, tmp_path)
    assert [positions[lane] for lane in (0, 7, 8, 15)] == [0, 0, 1, 1]
    apply([state], events, offset=1, imported=True)
    assert answers([state]) == answers(states_of(events))
    assert snapshot.restore(empty_states(1)[0], tmp_path / "nowhere") == dict.fromkeys(
        range(N_LANES), 0
    )
    assert first.memory_bytes > 0


def test_the_newest_snapshot_counts(tmp_path: Path) -> None:
    events = some_events()
    states = states_of(events)
    taken(states, tmp_path)
    follow = Clock(NOW_MS).edge(Kind.FOLLOW, USERS[0], USERS[6], event_id=9_999)
    apply(states, [follow], offset=2)
    taken(states, tmp_path, offset=2)
    assert answers(restored(tmp_path)) == answers(states)


def test_a_snapshot_later_than_an_instant_does_not_count(tmp_path: Path) -> None:
    events = some_events()
    states = states_of(events)
    taken(states, tmp_path)
    later = Clock(NOW_MS).edge(Kind.FOLLOW, USERS[0], USERS[6], event_id=9_999)
    apply(states, [later], offset=2)
    taken(states, tmp_path, offset=2)
    as_of = restored(tmp_path, until_ms=NOW_MS)
    assert answers(as_of) == answers(states_of(events))
    assert answers(restored(tmp_path, until_ms=NOW_MS - 10 * DAY_MS)) == answers(empty_states(1))


def test_artifact_versions_are_restored(tmp_path: Path) -> None:
    states = empty_states(2)
    apply(states, [{"kind": "artifact_activate", "time_ms": 9, "name": "x", "model_version": "7"}])
    taken(states, tmp_path)
    assert [s.active_version("x") for s in restored(tmp_path, 3)] == ["7"] * 3


# Damage.


@pytest.fixture(scope="module")
def two_snapshots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any], list[Any]]:
    """An old and a new snapshot of one shard, and what each answers."""
    root = tmp_path_factory.mktemp("two")
    states = states_of(some_events(), settings=FEW_LANES)
    taken(states, root)
    old = timelines(states)
    apply(states, [Clock(NOW_MS - 9).edge(Kind.FOLLOW, USERS[0], USERS[6], event_id=9_999)],
          offset=2)  # fmt: skip
    taken(states, root, offset=2)
    new = timelines(states)
    assert old != new
    return root, old, new


def newest_of(root: Path) -> Path:
    return max(root.iterdir())


def damaged(two_snapshots: tuple[Path, list[Any], list[Any]], root: Path) -> Path:
    shutil.copytree(two_snapshots[0], root)
    return newest_of(root)


def assert_the_older_is_used(
    root: Path, expected: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        states = restored(root)
    assert timelines(states) == expected
    assert set(states[0].skip_until.tolist()) == {1}
    assert f"snapshot {newest_of(root).name} is left out" in caplog.text


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "empty"])
def test_damage_to_any_file_is_noticed(
    damage: str,
    two_snapshots: tuple[Path, list[Any], list[Any]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """F10. One file of each kind: a byte in its middle, its end, or all of it."""
    names = sorted(os.listdir(newest_of(two_snapshots[0])))
    one_of_each = {name.split("-")[0]: name for name in names}
    for name in one_of_each.values():
        root = tmp_path / name
        path = damaged(two_snapshots, root) / name
        content = bytearray(path.read_bytes())
        if damage == "remove":
            path.unlink()
        else:
            content[len(content) // 2] ^= 16
            cut = {"flip": len(content), "truncate": len(content) - 9, "empty": 0}[damage]
            path.write_bytes(content[:cut])
        caplog.clear()
        assert_the_older_is_used(root, two_snapshots[1], caplog)


def test_any_flipped_bit_of_a_manifest_is_noticed(
    two_snapshots: tuple[Path, list[Any], list[Any]], tmp_path: Path
) -> None:
    folder = damaged(two_snapshots, tmp_path / "root")
    path = folder / "manifest.json"
    content = path.read_bytes()
    right = snapshot._manifest(folder)
    for bit in range(0, 8 * len(content), 101):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            # White space may change without a word being said otherwise.
            assert snapshot._manifest(folder) == right
        except snapshot.SnapshotCorrupt:
            continue
        assert chr(content[bit // 8]).isspace()


def test_a_snapshot_of_a_newer_version_is_left_out(
    two_snapshots: tuple[Path, list[Any], list[Any]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / "root"
    shutil.copytree(two_snapshots[0], root)
    monkeypatch.setattr(snapshot, "SCHEMA_VERSION", 3)
    taken(states_of([]), root)
    monkeypatch.undo()
    with caplog.at_level(logging.ERROR):
        assert timelines(restored(root)) == two_snapshots[2]
    assert "schema version 3; this version reads up to 2" in caplog.text


def test_all_snapshots_damaged(
    two_snapshots: tuple[Path, list[Any], list[Any]], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(two_snapshots[0], root)
    for folder in root.iterdir():
        (folder / "manifest.json").write_text("{}")
    [state] = empty_states(1)
    assert set(snapshot.restore(state, root).values()) == {0}
    assert answers([state]) == answers(empty_states(1))


KILLED_WRITER = """
import os, signal, sys
os.fsync = lambda _: None  # what is not killed here is the machine
from pathlib import Path
from actors import snapshot
from cluster.events import Kind
from tests.actors.test_snapshot import FEW_LANES, some_events
from tests.worlds import NOW_MS, USERS, Clock, apply, states_of

root = Path(sys.argv[1])
states = states_of(some_events()[::3], settings=FEW_LANES)
old = snapshot.capture(states[0], dict.fromkeys(range(3), 1))
apply(states, [Clock(NOW_MS - 9).edge(Kind.FOLLOW, USERS[0], USERS[6], event_id=9_999)], offset=2)
new = snapshot.capture(states[0], dict.fromkeys(range(3), 2))

def die_at(step):
    left = [step]
    def hook(event, args):
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "shutil.rmtree"):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

step = 0
while True:
    step += 1
    place = root / f"{step:04d}"
    snapshot.write(old, place)
    child = os.fork()
    if child == 0:
        die_at(step)
        snapshot.write(new, place)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
    step += step // 4
print(step)
"""


def test_a_kill_leaves_the_old_snapshot_or_the_new(tmp_path: Path) -> None:
    """F9: kill -9 at every file operation of the beginning, and at ever wider steps after."""
    writer = subprocess.run(
        [sys.executable, "-c", KILLED_WRITER, str(tmp_path)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert writer.returncode == 0, writer.stderr
    places = sorted(tmp_path.iterdir())
    assert len(places) > 10
    found = []
    for place in places:
        offsets = set(restored(place)[0].skip_until.tolist())
        assert offsets in ({1}, {2})
        found.append(offsets.pop())
    # One moment decides, and everything is there on either side of it.
    assert found == sorted(found)
    assert found[-1] == 2
    old, new = (timelines(restored(place)) for place in (places[0], places[-1]))
    assert old != new


def test_a_write_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = snapshot.capture(states_of(some_events())[0], {})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot, "write_file", full)
    with pytest.raises(OSError, match="No space left"):
        snapshot.write(captured, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_queries_are_answered_while_a_state_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    [state] = states_of(some_events())
    found: list[Any] = []
    columns = state.users.columns

    def asked_meanwhile() -> Any:
        asking = threading.Thread(
            target=lambda: found.append(state.ask([AskContext(USERS[0], NOW_MS, 9, 9)]))
        )
        asking.start()
        asking.join(20)
        return columns()

    monkeypatch.setattr(state.users, "columns", asked_meanwhile)
    with state.lock.read():
        snapshot.capture(state, {})
    assert len(found) == 1


def test_what_is_applied_after_a_capture_is_not_in_it(tmp_path: Path) -> None:
    events = some_events()
    states = states_of(events)
    captured = snapshot.capture(states[0], dict.fromkeys(range(N_LANES), 1))
    clock = Clock(NOW_MS - HOUR_MS + 9_999)
    more = [
        clock.on_post(Kind.FAVOURITE, USERS[1], 100 + k, USERS[k % 8], event_id=5_000 + k)
        for k in range(20)
    ]
    more += [
        clock.event(Kind.POST_DELETE, post_id=100, author_id=USERS[0], event_id=6_000),
        clock.edge(Kind.UNFOLLOW, USERS[0], USERS[2], event_id=6_001),
        clock.event(Kind.USER_UPDATE, actor_id=USERS[0], name="other", event_id=6_002),
    ]
    apply(states, more, offset=2)
    snapshot.write(captured, tmp_path)
    found = restored(tmp_path)
    assert answers(found) == answers(states_of(events))
    apply(found, more, offset=2)
    assert answers(found) == answers(states)


# Retention.


def test_prune_keeps_the_newest_of_every_partition(tmp_path: Path) -> None:
    halves = states_of(some_events(), 2)
    names = [[f.name for f in taken(halves, tmp_path, offset)] for offset in (1, 2, 3)]
    # The second half took one more: what it covers must stay as often.
    names.append([f.name for f in taken(halves[1:], tmp_path, 4)])
    snapshot.prune(tmp_path, 2)
    left = {folder.name for folder in tmp_path.iterdir()}
    assert left == {names[1][0], names[2][0], names[2][1], names[3][0]}


def test_the_log_may_be_trimmed_as_far_as_every_snapshot_holds_it(tmp_path: Path) -> None:
    assert snapshot.safe_offsets(tmp_path) == {}
    first, second = states_of([], 2)
    taken([first], tmp_path, 7)
    assert snapshot.safe_offsets(tmp_path) == {}
    taken([second], tmp_path, 9)
    taken([second], tmp_path, 11)
    assert snapshot.safe_offsets(tmp_path) == {k: 7 if k < 8 else 9 for k in range(N_LANES)}


def test_shards_that_never_had_an_event(tmp_path: Path) -> None:
    taken(empty_states(4), tmp_path)
    assert answers(restored(tmp_path, 2)) == answers(empty_states(2))


def test_another_number_of_lanes(tmp_path: Path) -> None:
    """Deduplication begins again, since lanes are other ones; everything else is there."""
    events = some_events()
    taken(states_of(events), tmp_path)
    few = Settings(log={"lanes": 4})  # type: ignore[arg-type]
    states = empty_states(2, few)
    for state in states:
        snapshot.restore(state, tmp_path)
        assert (state.first_partition, state.end_partition) in (
            (0, N_PARTITIONS // 2),
            (N_PARTITIONS // 2, N_PARTITIONS),
        )
    assert timelines(states) == timelines(states_of(events, 2))

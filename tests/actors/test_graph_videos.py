"""The graph of video watches: where its edges stand, and that snapshots keep it."""

import json
from pathlib import Path

import pytest

from actors import snapshot
from cluster.durable import write_file
from cluster.events import Kind
from tests.worlds import DAY_MS, NOW_MS, USERS, Clock, empty_states, plain, states_of

ACTOR, AUTHOR = USERS[0], USERS[7]


def watches() -> list[dict[str, object]]:
    clock = Clock()
    values = (1_500.0, 2_500.0, 40_000.0, 1e7)
    return [
        clock.on_post(Kind.VIDEO_WATCH, ACTOR, 10 + k, AUTHOR, value=value)
        for k, value in enumerate(values)
    ]


def test_an_edge_stands_with_the_user_and_with_the_author() -> None:
    states = states_of(watches(), 4)
    left = [state.graph.videos.user_edges(ACTOR, 10) for state in states]
    right = [state.graph.videos.post_edges(12, 10) for state in states]
    ((at, edges),) = ((k, found) for k, found in enumerate(left) if len(found.ids))
    assert edges.ids.tolist() == [13, 12, 11]
    assert edges.kinds.tolist() == [15, 7, 0]
    assert edges.author_ids.tolist() == [AUTHOR] * 3
    ((other, one),) = ((k, found) for k, found in enumerate(right) if len(found.ids))
    assert (one.ids.tolist(), one.kinds.tolist()) == ([ACTOR], [7])
    assert at != other, "they live in two shards"


def test_watches_are_forgotten_with_the_interactions() -> None:
    (state,) = states_of(watches())
    assert state.graph.memory_bytes > state.graph.videos.memory_bytes() > 0
    state.expire(NOW_MS + 6 * DAY_MS)
    assert len(state.graph.videos.user_edges(ACTOR, 10).ids) == 3
    state.expire(NOW_MS + 8 * DAY_MS)
    assert state.graph.videos.n_edges == 0


@pytest.mark.parametrize("n_shards", [1, 4])
def test_snapshots_keep_watches_for_any_number_of_shards(tmp_path: Path, n_shards: int) -> None:
    for state in states_of(watches(), 2):
        snapshot.write(snapshot.capture(state, dict.fromkeys(state.lanes, 1)), tmp_path)
    again = empty_states(n_shards)
    for state in again:
        snapshot.restore(state, tmp_path)
    whole = states_of(watches(), n_shards)
    for one, other in zip(again, whole, strict=True):
        for read in ("user_edges", "post_edges"):
            for node in (ACTOR, 11, 12):
                kept = plain(getattr(one.graph.videos, read)(node, 10))
                assert kept == plain(getattr(other.graph.videos, read)(node, 10))


def test_a_snapshot_from_before_there_were_watches_restores(tmp_path: Path) -> None:
    clock = Clock()
    events = [*watches(), clock.edge(Kind.FOLLOW, ACTOR, AUTHOR, event_id=99)]
    (state,) = states_of(events)
    folder = snapshot.write(snapshot.capture(state, dict.fromkeys(state.lanes, 1)), tmp_path)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    del manifest["sha256"]
    manifest["files"] = [file for file in manifest["files"] if file["table"] != "videos"]
    manifest["sha256"] = snapshot._digest(manifest)
    write_file(folder / "manifest.json", json.dumps(manifest).encode())
    (again,) = empty_states(1)
    snapshot.restore(again, tmp_path)
    assert again.graph.videos.n_edges == 0
    assert again.graph.follows.others(ACTOR)[0].tolist() == [AUTHOR]
    assert len(again.graph.stays.of(ACTOR, Kind.VIDEO_WATCH).ids) == 4

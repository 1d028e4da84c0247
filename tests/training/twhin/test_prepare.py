from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.archive import Archive
from cluster.events import Kind
from cluster.ids import mix64
from cluster.settings import DAY_MS
from tests.training.archives import archived_events, settings_at
from tests.training.twhin.networks import START_MS, archive_of, circles, prepared
from tests.worlds import Clock, Event
from training.job import TrainingError
from training.twhin import prepare as preparing
from training.twhin.edge_events import EVENT
from training.twhin.edges import EdgeColumns, Edges, open_edges
from training.twhin.prepare import prepare
from training.twhin.relations import RELATIONS


@pytest.fixture(autouse=True)
def _few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "MIN_EDGES", 1)


def named(edges: Edges, some: EdgeColumns) -> set[tuple[str, int, int]]:
    """Edges as (relation, left id, right id)."""
    ids = {table: edges.vocabulary(table) for table in edges.rows}
    relations = [RELATIONS[rel] for rel in some.rel.tolist()]
    return {
        (relation.name, int(ids[relation.lhs][lhs]), int(ids[relation.rhs][rhs]))
        for relation, lhs, rhs in zip(relations, some.lhs, some.rhs, strict=True)
    }


def all_named(edges: Edges) -> set[tuple[str, int, int]]:
    shards = [edges.shard(name) for name, _ in edges.shards]
    assert sum(map(len, shards)) == edges.n_edges
    found = set().union(*(named(edges, shard) for shard in shards))
    assert len(found) == edges.n_edges, "an edge is there twice"
    return found


def prepared_all(folder: Path, events: list[Event]) -> Edges:
    """Edges with every node kept and none held out: no minute begins after such a share."""
    edges, _ = prepared(folder, events, min_degree=1, holdout_share=1e-9)
    assert len(edges.later()) == 0
    return edges


def test_each_kind_of_edge_joins_its_tables(folder: Path) -> None:
    clock = Clock(START_MS)
    events = [
        clock.post(100, 1),
        clock.edge(Kind.FOLLOW, 2, 1),
        clock.on_post(Kind.FAVOURITE, 2, 100, 1),
        clock.on_post(Kind.REPOST, 3, 100, 1),
        clock.on_post(Kind.CLICK, 4, 100, 1),
        # An engagement given as a post; a repost is nobody's own post.
        clock.post(200, 3, reply_to_id=100, reply_to_author_id=1),
        clock.post(300, 4, repost_of_id=100, repost_of_author_id=1),
        clock.post(400, 4, quote_of_id=100, quote_of_author_id=1),
    ]
    assert all_named(prepared_all(folder, events)) == {
        ("author_of", 1, 100),
        ("follow", 2, 1),
        ("favourite", 2, 100),
        ("repost", 3, 100),
        ("reply", 3, 100),
        ("author_of", 3, 200),
        ("repost", 4, 100),
        ("quote", 4, 100),
        ("author_of", 4, 400),
    }


def test_undone_and_deleted_edges_are_gone(folder: Path) -> None:
    clock = Clock(START_MS)
    events = [
        *(clock.post(post, 1) for post in (100, 101)),
        clock.post(102, 5),
        *(clock.edge(Kind.FOLLOW, 2, target) for target in (1, 3, 5)),
        clock.edge(Kind.UNFOLLOW, 2, 1),
        clock.edge(Kind.UNFOLLOW, 2, 3),
        clock.edge(Kind.FOLLOW, 2, 3),
        clock.on_post(Kind.FAVOURITE, 2, 100, 1),
        clock.on_post(Kind.FAVOURITE, 2, 101, 1),
        clock.on_post(Kind.FAVOURITE, 2, 102, 5),
        clock.on_post(Kind.FAVOURITE, 2, 102, 5),
        clock.on_post(Kind.UNFAVOURITE, 2, 101, 1),
        clock.event(Kind.POST_DELETE, post_id=100, author_id=1),
        clock.edge(Kind.FOLLOW, 4, 3),
        clock.event(Kind.USER_DELETE, actor_id=5),
        clock.event(Kind.USER_DELETE, actor_id=4),
    ]
    assert all_named(prepared_all(folder, events)) == {("author_of", 1, 101), ("follow", 2, 3)}


def test_later_edges_are_new_and_between_known_nodes(folder: Path) -> None:
    clock = Clock(START_MS)
    early = [
        clock.edge(Kind.FOLLOW, a, b) for a in range(1, 6) for b in range(11, 16) if a + b < 20
    ]
    clock.now_ms += DAY_MS
    late = [
        clock.edge(Kind.FOLLOW, 5, 15),
        clock.edge(Kind.FOLLOW, 1, 11),  # again: known already
        clock.edge(Kind.FOLLOW, 5, 99),  # a stranger
        clock.edge(Kind.UNFOLLOW, 1, 12),
    ]
    edges, _ = prepared(folder, [*early, *late], min_degree=1, holdout_share=0.15)
    assert early[-1]["time_ms"] < edges.cut_ms <= late[0]["time_ms"]
    assert named(edges, edges.later()) == {("follow", 5, 15)}
    assert edges.later_counts["follow"] == 1
    expected = {("follow", e["actor_id"], e["target_id"]) for e in early} - {("follow", 1, 12)}
    assert all_named(edges) == expected
    assert edges.data_range_ms == (early[0]["time_ms"], late[-1]["time_ms"] + 1)


def test_rare_nodes_go_and_so_do_those_only_they_knew(folder: Path) -> None:
    clock = Clock(START_MS)
    follows = [(1, 11), (1, 12), (2, 11), (2, 12), (3, 11), (3, 13), (4, 14), (4, 15)]
    events = [clock.edge(Kind.FOLLOW, a, b) for a, b in follows]
    clock.now_ms += 2 * DAY_MS
    events.append(clock.edge(Kind.FOLLOW, 77, 78))
    edges, _ = prepared(folder, events, min_degree=2, holdout_share=0.01)
    # 13, 14 and 15 are followed once only, which leaves 3 one edge, and 4 none.
    kept = {("follow", a, b) for a, b in [(1, 11), (1, 12), (2, 11), (2, 12), (3, 11)]}
    assert all_named(edges) == kept
    users = edges.vocabulary("user_follow")
    assert set(users.tolist()) == {1, 2, 3}
    assert users.tolist() == sorted(users.tolist(), key=lambda i: int(mix64(np.array([i]))[0]))
    row = {int(user): i for i, user in enumerate(users)}
    assert edges.frequencies("follow", "lhs")[row[3]] == 1
    assert edges.frequencies("follow", "lhs")[row[1]] == 2
    assert edges.rows["posts"] == 0


def test_shards_are_even_and_in_no_order(folder: Path) -> None:
    edges, _ = prepared(folder, circles(), shard_edges=300)
    sizes = [n for _, n in edges.shards]
    assert len(sizes) >= 3
    assert max(sizes) - min(sizes) <= 200
    for name, _ in edges.shards:
        shard = edges.shard(name)
        # Sorted relations would change at most five times.
        assert (np.diff(shard.rel.astype(int)) != 0).sum() > 30
    assert Counter(sizes).total() == len(edges.shards)
    assert edges == open_edges(edges.folder)


def test_the_same_archive_gives_the_same_files(folder: Path) -> None:
    settings, archive = archive_of(folder / "world", circles())
    twhin = settings.training.twhin
    one, two = (prepare(archive, folder / name, twhin, 0) for name in ("one", "two"))
    for path in sorted(one.folder.iterdir()):
        assert path.read_bytes() == (two.folder / path.name).read_bytes(), path.name


def test_events_from_an_instant_on_are_not_read(folder: Path) -> None:
    events = circles()
    middle_ms = events[len(events) // 2]["time_ms"]
    settings, archive = archive_of(folder / "world", events)
    edges = prepare(archive, folder / "edges", settings.training.twhin, 0, until_ms=middle_ms)
    assert edges.data_range_ms[1] <= middle_ms


def test_an_unfinished_folder_is_not_opened(folder: Path) -> None:
    edges, _ = prepared(folder, circles())
    (edges.folder / "edges.json").unlink()
    with pytest.raises(FileNotFoundError):
        open_edges(edges.folder)


def test_too_few_edges_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "MIN_EDGES", 500)
    clock = Clock(START_MS)
    settings = settings_at(folder)
    archive = archived_events(settings, [clock.edge(Kind.FOLLOW, 1, 2)])
    with pytest.raises(TrainingError, match="0 edges between nodes of at least 3 edges each"):
        prepare(archive, folder / "edges", settings.training.twhin, 0)
    nothing = Archive(folder / "empty")
    with pytest.raises(TrainingError, match="at least 500 are needed"):
        prepare(nothing, folder / "edges", settings.training.twhin, 0)


_histories = st.lists(
    st.tuples(st.integers(0, 1), st.integers(1, 3), st.integers(1, 3), st.booleans()), max_size=40
)


@given(_histories, st.integers(0, 41))
def test_settling_equals_replaying_each_pair(
    history: list[tuple[int, int, int, bool]], cut: int
) -> None:
    events = np.zeros(len(history), EVENT)
    for i, (rel, lhs, rhs, undone) in enumerate(history):
        events[i] = (lhs, rhs, rhs, i, rel, undone)
    settled = preparing._settle(events, cut)
    found = {(int(e["rel"]), int(e["lhs"]), int(e["rhs"])): bool(e["later"]) for e in settled}
    assert len(found) == len(settled)
    expected = {}
    for key in {(rel, lhs, rhs) for rel, lhs, rhs, _ in history}:
        mine = [(i, undone) for i, (*pair, undone) in enumerate(history) if tuple(pair) == key]
        before = [undone for i, undone in mine if i < cut]
        live_before = bool(before) and not before[-1]
        if not mine[-1][1] and (live_before or all(before)):
            expected[key] = not live_before
    assert found == expected

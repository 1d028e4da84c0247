import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.interactions import Edges, InteractionGraph

DAY_MS = 86_400_000
NAMES = ("user_ids", "post_ids", "author_ids", "kinds", "times_ms", "sides")
BIG = 2**62

Edge = tuple[int, int, int, int, int, int]


def author_of(post_id: int) -> int:
    return post_id % 7 + 1


def edge(user: int, post: int, time_ms: int, kind: int = 1, sides: int = 3) -> Edge:
    return user, post, author_of(post), kind, time_ms, sides


def insert(graph: InteractionGraph, edges: Sequence[Edge]) -> None:
    columns = np.array(edges, np.int64).reshape(-1, 6).T
    user_ids, post_ids, author_ids, kinds, times_ms, sides = columns
    graph.insert(
        user_ids, post_ids, author_ids, kinds.astype(np.uint8), times_ms, sides.astype(np.uint8)
    )


def rows(edges: Edges) -> list[tuple[int, int, int]]:
    return list(zip(edges.times_ms.tolist(), edges.ids.tolist(), edges.kinds.tolist(), strict=True))


def exported(graph: InteractionGraph) -> list[Edge]:
    columns = graph.columns()
    return sorted(zip(*(columns[name].tolist() for name in NAMES), strict=True))


@dataclass
class Model:
    """The window as plain lists: a segment is a list of edges."""

    max_segments: int
    edges_per_segment: int
    segments: list[list[Edge]] = field(default_factory=lambda: [[]])

    def insert(self, edges: Sequence[Edge]) -> None:
        for one in edges:
            if len(self.segments[-1]) == self.edges_per_segment:
                self.roll()
            self.segments[-1].append(one)

    def roll(self) -> None:
        if self.segments[-1]:
            self.segments.append([])
            del self.segments[: -self.max_segments]

    def expire(self, before_ms: int) -> None:
        if self.segments[-1] and max(e[4] for e in self.segments[-1]) < before_ms:
            self.segments.append([])
        live = self.segments.pop()
        self.segments = [s for s in self.segments if max(e[4] for e in s) >= before_ms]
        self.segments.append(live)

    def edges(self) -> list[Edge]:
        return sorted(e for segment in self.segments for e in segment)

    def newest(self, side: int, node: int, limit: int, min_ms: int) -> list[tuple[int, int, int]]:
        found = [
            (e[4], e[1 - side], e[3])
            for e in self.edges()
            if e[side] == node and e[5] >> side & 1 and e[4] >= min_ms
        ]
        return sorted(found, reverse=True)[:limit]


USERS = st.sampled_from([1, 2, 3, BIG, BIG + 1])
POSTS = st.sampled_from([*range(1, 9), 2**63 - 1])
# Few distinct times, so that ties are common, and times decades apart in one segment.
TIMES = st.integers(0, 12) | st.integers(0, 60 * 365 * DAY_MS)
EDGES = st.builds(edge, USERS, POSTS, TIMES, st.integers(0, 15), st.integers(1, 3))


@given(
    st.integers(1, 4),
    st.integers(1, 30),
    st.lists(st.lists(EDGES, max_size=40) | st.just("roll") | st.integers(0, 10), max_size=8),
    st.integers(1, 20),
    st.sampled_from([0, 5, 10**9]),
)
def test_it_answers_as_plain_lists_do(
    max_segments: int,
    edges_per_segment: int,
    actions: list[list[Edge] | str | int],
    limit: int,
    min_ms: int,
) -> None:
    graph = InteractionGraph(max_segments, edges_per_segment)
    model = Model(max_segments, edges_per_segment)
    for action in actions:
        if isinstance(action, list):
            insert(graph, action)
            model.insert(action)
        elif isinstance(action, int):
            before = graph.n_edges
            model.expire(action)
            assert graph.expire(action) == before - len(model.edges())
        else:
            graph.roll()
            model.roll()
    assert graph.n_edges == len(model.edges())
    assert exported(graph) == model.edges()
    for user in (1, 2, 3, BIG, BIG + 1, 99):
        found = graph.user_edges(user, limit, min_ms)
        assert rows(found) == model.newest(0, user, limit, min_ms)
        assert found.author_ids.tolist() == [author_of(post) for post in found.ids.tolist()]
        degree = len(model.newest(0, user, 10**6, 0))
        assert graph.user_degrees(np.array([user])).tolist() == [degree]
    for post in (*range(1, 9), 2**63 - 1, 99):
        found = graph.post_edges(post, limit, min_ms)
        assert rows(found) == model.newest(1, post, limit, min_ms)
        assert found.author_ids.tolist() == [author_of(post)] * len(found.ids)
        degree = len(model.newest(1, post, 10**6, 0))
        assert graph.post_degrees(np.array([post])).tolist() == [degree]
    again = InteractionGraph(max_segments + 9, edges_per_segment)
    for export in graph.segments_columns():
        again.insert(**export())
    assert exported(again) == exported(graph)


@pytest.mark.parametrize("disorder_ms", [0, 20, 10**6])
def test_a_hub_gives_its_newest_whatever_the_arrival(disorder_ms: int) -> None:
    rng = np.random.default_rng(disorder_ms)
    n = 20_000
    times_ms = np.arange(n) // 3 + rng.integers(0, disorder_ms + 1, n)
    posts = rng.integers(1, 500, n)
    graph = InteractionGraph(4, 6_000)
    ones = np.ones(n, np.int64)
    for begin in range(0, n, 999):
        cut = slice(begin, begin + 999)
        graph.insert(
            ones[cut], posts[cut], posts[cut] % 7 + 1, ones[cut].astype(np.uint8), times_ms[cut]
        )
    for limit in (0, 1, 500, 30_000):
        order = sorted(zip(times_ms.tolist(), posts.tolist(), strict=True), reverse=True)[:limit]
        found = graph.user_edges(1, limit)
        assert list(zip(found.times_ms.tolist(), found.ids.tolist(), strict=True)) == order


def test_a_batch_with_a_bad_value_is_refused_whole() -> None:
    graph = InteractionGraph(2, 10)
    good = edge(1, 2, 3)
    for at, bad, name in (
        (0, 0, "user_ids"),
        (1, -1, "post_ids"),
        (2, -1, "author_ids"),
        (3, 16, "kinds"),
        (4, -1, "times_ms"),
        (4, 2**47, "times_ms"),
        (5, 4, "sides"),
        (5, 0, "sides"),
    ):
        wrong = list(good)
        wrong[at] = bad
        with pytest.raises(ValueError, match=rf"{name}\[1\] is out of range: {bad}"):
            insert(graph, [good, tuple(wrong)])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="post_ids has shape"):
        graph.insert(np.ones(2, np.int64), *[np.ones(1, np.int64)] * 4)  # type: ignore[arg-type]
    assert graph.n_edges == 0


def test_bad_sizes_are_refused() -> None:
    for segments, edges in ((0, 5), (17, 5), (2, 0), (2, 2**27 + 1)):
        with pytest.raises(ValueError, match="must be in"):
            InteractionGraph(segments, edges)


def test_an_unknown_author_is_learnt_from_a_later_edge() -> None:
    graph = InteractionGraph(2, 10)
    insert(graph, [(1, 5, 0, 1, 10, 3), (2, 5, 44, 1, 11, 3), (3, 5, 0, 1, 12, 3)])
    assert graph.post_edges(5, 9).author_ids.tolist() == [44, 44, 44]


def test_a_captured_view_outlives_its_segments() -> None:
    graph = InteractionGraph(2, 4)
    insert(graph, [edge(1, post, post) for post in range(1, 5)])
    exports = list(graph.segments_columns())
    insert(graph, [edge(1, post, post) for post in range(5, 30)])
    assert exports[0]()["post_ids"].tolist() == [1, 2, 3, 4]


def test_closing_later_gives_the_same_answers() -> None:
    edges = [edge(i % 5 + 1, i % 11 + 1, 1_000 - i) for i in range(60)]
    at_once, later = InteractionGraph(5, 12), InteractionGraph(5, 12, close_on_roll=False)
    insert(at_once, edges)
    insert(later, edges)
    assert [s.is_closed for s in later.view.segments] == [False] * 5
    before = [rows(later.user_edges(user, 9)) for user in range(1, 6)]
    assert later.close_segments() == 4
    assert later.close_segments() == 0
    assert [s.is_closed for s in later.view.segments] == [False] + [True] * 4
    for graph in (at_once, later):
        assert [rows(graph.user_edges(user, 9)) for user in range(1, 6)] == before


def test_memory_counts_every_array() -> None:
    graph = InteractionGraph(3, 1_000)
    assert graph.memory_bytes() < 10_000
    insert(graph, [edge(i, i, i) for i in range(1, 2_001)])
    closed = graph.view.segments[1]
    # Two nodes, four entries of a side each, and one author an edge.
    assert 50 * 1_000 < closed.memory_bytes < 80 * 1_000
    assert graph.memory_bytes() == sum(s.memory_bytes for s in graph.view.segments)


def test_draws_cover_all_edges_equally_and_repeat_with_the_seed() -> None:
    graph = InteractionGraph(4, 10)
    insert(graph, [edge(1, post, post, kind=post % 16) for post in range(1, 36)])
    ids = np.array([1, 77])
    posts, kinds, times_ms = graph.draw_user_edges(ids, 35_000, np.random.default_rng(3))
    counts = np.bincount(posts[0], minlength=36)
    assert counts[0] == 0
    assert counts[1:].min() > 850, "each of 35 edges is drawn about 1,000 times"
    assert counts[1:].max() < 1_150
    assert np.array_equal(times_ms[0], posts[0])
    assert np.array_equal(kinds[0], posts[0] % 16)
    assert not posts[1].any()
    again, _, _ = graph.draw_user_edges(ids, 35_000, np.random.default_rng(3))
    assert np.array_equal(again, posts)
    users, _, _ = graph.draw_post_edges(np.array([35, 36]), 3, np.random.default_rng(4))
    assert users.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_readers_see_whole_batches_while_the_writer_inserts() -> None:
    """Every batch gives user 1 one edge more for each of ten posts, all at the batch's time."""
    graph = InteractionGraph(3, 1_000)
    failures: list[str] = []
    done = threading.Event()
    reads = [0, 0]

    def read(reader: int) -> None:
        while not done.is_set():
            found = graph.user_edges(1, 100)
            reads[reader] += 1
            times, counts = np.unique(found.times_ms, return_counts=True)
            if len(counts) and set(counts.tolist()) != {10}:
                failures.append(f"a torn batch: {counts}")
            if len(times) and np.diff(times).max(initial=1) != 1:
                failures.append(f"a missing batch: {times}")
            if found.ids.tolist() != sorted(set(found.ids.tolist()), reverse=True) * len(times):
                failures.append(f"wrong posts: {found.ids}")

    threads = [threading.Thread(target=read, args=(reader,)) for reader in range(2)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    batch = 0
    while (batch < 1_500 or min(reads) < 50) and time.monotonic() < deadline:
        noise = [edge(100 + batch % 50, 1_000 + i * batch % 97, batch) for i in range(15)]
        insert(graph, noise + [edge(1, post, batch) for post in range(1, 11)])
        batch += 1
    done.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    assert min(reads) >= 50

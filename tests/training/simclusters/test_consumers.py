import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.events import Kind
from cluster.training_settings import SimClustersSettings
from tests.training.archives import archived_events, settings_at
from tests.worlds import NOW_MS, Clock
from training.simclusters.consumers import ConsumerGraph, consumer_graph
from training.simclusters.observed import DAY_MS, Favourites, decayed_favourites, observe

Edges = dict[tuple[int, int], tuple[bool, float]]

ON, OFF = Kind.FAVOURITE, Kind.UNFAVOURITE

_pairs = st.tuples(st.integers(1, 5), st.integers(10, 15))
_edges = st.dictionaries(
    _pairs,
    st.tuples(st.booleans(), st.integers(0, 3).map(lambda n: n / 2)).filter(lambda e: any(e)),
    max_size=20,
)


def graph_of(edges: Edges, max_neighbours: int = 100) -> ConsumerGraph:
    follows = [pair for pair, (followed, _) in edges.items() if followed]
    favours = sorted((*pair, n) for pair, (_, n) in edges.items() if n)
    return consumer_graph(
        np.array([u for u, _ in follows], np.int64),
        np.array([p for _, p in follows], np.int64),
        Favourites(
            np.array([u for u, _, _ in favours], np.int64),
            np.array([p for _, p, _ in favours], np.int64),
            np.array([n for _, _, n in favours], np.float64),
        ),
        max_neighbours,
    )


def edges_of(graph: ConsumerGraph) -> Edges:
    users = graph.user_ids[graph.consumers()].tolist()
    producers = graph.producer_ids[graph.producers].tolist()
    columns = (graph.followed.tolist(), graph.favourites.tolist())
    return dict(zip(zip(users, producers, strict=True), zip(*columns, strict=True), strict=True))


@given(_edges)
def test_the_graph_holds_every_edge_and_each_producers_norms(edges: Edges) -> None:
    graph = graph_of(edges)
    assert edges_of(graph) == edges
    assert graph.user_ids.tolist() == sorted({u for u, _ in edges})
    assert graph.producer_ids.tolist() == sorted({p for _, p in edges})
    for row, producer in enumerate(graph.producer_ids.tolist()):
        mine = [edge for (_, p), edge in edges.items() if p == producer]
        favourites = [n for _, n in mine if n]
        n_followers = sum(followed for followed, _ in mine)
        assert graph.follower_counts[row] == n_followers
        assert graph.faver_counts[row] == len(favourites)
        expected = 1 / math.sqrt(n_followers) if n_followers else 0
        assert graph.follow_norms[row] == pytest.approx(expected)
        assert graph.faver_norms[row] == pytest.approx(math.hypot(*favourites))
        logs = [math.log10(1 + n) for n in favourites]
        assert graph.log_faver_norms[row] == pytest.approx(math.hypot(*logs))


@given(_edges, st.integers(1, 4))
def test_a_consumer_keeps_its_best_neighbours(edges: Edges, limit: int) -> None:
    whole, cut = graph_of(edges), graph_of(edges, limit)
    norms = dict(zip(whole.producer_ids.tolist(), whole.follow_norms.tolist(), strict=True))
    by_user = defaultdict(list)
    for (user, producer), (followed, n) in edges.items():
        by_user[user].append((-n, -norms[producer] if followed else 0.0, producer))
    expected = {(u, p) for u, mine in by_user.items() for _, _, p in sorted(mine)[:limit]}
    assert edges_of(cut) == {pair: edges[pair] for pair in expected}
    np.testing.assert_array_equal(cut.follower_counts, whole.follower_counts)
    np.testing.assert_array_equal(cut.faver_norms, whole.faver_norms)


def decayed(*events: tuple[int, int, int, Kind, int]) -> dict[tuple[int, int], float]:
    """From (user, post, author, kind, days ago), in order of time; half-life of a day."""
    users, posts, authors, kinds, days = (
        (np.array(column) for column in zip(*events, strict=True))
        if events
        else (np.empty(0, np.int64),) * 5
    )
    found = decayed_favourites(
        *(users, posts, authors, kinds.astype(np.uint8), NOW_MS - days * DAY_MS),
        now_ms=NOW_MS,
        half_life_days=1.0,
    )
    pairs = zip(found.user_ids.tolist(), found.author_ids.tolist(), strict=True)
    return dict(zip(pairs, found.counts.tolist(), strict=True))


def test_a_favourite_is_worth_half_after_each_half_life() -> None:
    found = decayed((1, 7, 2, ON, 3), (1, 8, 2, ON, 1), (3, 8, 2, ON, 0))
    assert found == pytest.approx({(1, 2): 0.125 + 0.5, (3, 2): 1.0}, rel=1e-12)
    assert decayed() == {}


def test_what_was_taken_back_counts_nothing() -> None:
    assert decayed((1, 7, 2, ON, 3), (1, 7, 2, OFF, 2)) == {}
    assert decayed((1, 7, 2, ON, 3), (1, 7, 2, OFF, 2), (1, 7, 2, ON, 1)) == {(1, 2): 0.5}


def test_a_repeated_favourite_counts_once_and_from_the_first() -> None:
    assert decayed((1, 7, 2, ON, 2), (1, 7, 2, ON, 1)) == {(1, 2): 0.25}


def test_taking_back_an_older_favourite_counts_against_the_author() -> None:
    assert decayed((1, 7, 2, OFF, 1), (1, 8, 2, ON, 0)) == {(1, 2): 0.5}
    assert decayed((1, 7, 2, OFF, 0), (1, 8, 2, ON, 1)) == {}
    assert decayed((1, 7, 2, OFF, 1), (1, 7, 2, OFF, 0), (1, 8, 2, ON, 0)) == {(1, 2): 0.5}


def test_faint_favourites_and_ones_own_are_left_out() -> None:
    assert decayed((1, 7, 2, ON, 17), (1, 8, 3, ON, 16), (4, 9, 4, ON, 0)) == {(1, 3): 2**-16}


def test_half_lives_halve_exactly() -> None:
    now_ms = NOW_MS + 100 * DAY_MS
    one = np.array([1]), np.array([7]), np.array([2]), np.array([ON], np.uint8), np.array([NOW_MS])
    found = decayed_favourites(*one, now_ms=now_ms, half_life_days=100)
    assert found.counts.tolist() == [0.5]


def test_the_archive_tells_what_held_in_the_end(tmp_path: Path) -> None:
    clock = Clock()
    early = [
        *(clock.event(Kind.USER_CREATE, actor_id=u, language="en") for u in (1, 2, 3, 4, 5)),
        clock.event(Kind.USER_UPDATE, actor_id=2, language="de"),
        clock.edge(Kind.FOLLOW, 1, 2),
        clock.edge(Kind.FOLLOW, 1, 3),
        clock.edge(Kind.FOLLOW, 2, 3),
        clock.edge(Kind.FOLLOW, 4, 1),
        clock.edge(Kind.TOPIC_FOLLOW, 1, 1),
        clock.edge(Kind.TOPIC_FOLLOW, 2, 9),
        clock.edge(Kind.TOPIC_UNFOLLOW, 2, 9),
        clock.on_post(ON, 1, 70, 2),
        clock.on_post(ON, 3, 70, 2),
        clock.on_post(ON, 1, 80, 5),
        clock.event(Kind.USER_SUSPEND, actor_id=4),
        clock.event(Kind.USER_DEACTIVATE, actor_id=3),
    ]
    cut_ms = clock.now_ms + 1
    late = [
        clock.edge(Kind.UNFOLLOW, 1, 2),
        clock.on_post(OFF, 1, 70, 2),
        clock.event(Kind.USER_REACTIVATE, actor_id=3),
        clock.event(Kind.USER_UPDATE, actor_id=3, language="fr"),
        clock.event(Kind.USER_DELETE, actor_id=5),
    ]
    archive = archived_events(settings_at(tmp_path), [*early, *late])

    before = observe(archive, cut_ms, SimClustersSettings())
    assert list(zip(before.follower_ids, before.followed_ids, strict=True)) == [(1, 2)]
    assert before.favourites.user_ids.tolist() == [1, 1]
    assert before.favourites.author_ids.tolist() == [2, 5]
    assert list(zip(before.topic_follower_ids, before.topic_ids, strict=True)) == [(1, 1)]
    assert before.data_range_ms == (early[0]["time_ms"], cut_ms)

    after = observe(archive, None, SimClustersSettings())
    assert list(zip(after.follower_ids, after.followed_ids, strict=True)) == [(1, 3), (2, 3)]
    assert after.favourites.user_ids.tolist() == [3]
    assert after.favourites.counts == pytest.approx([1.0], abs=1e-6)
    assert after.languages.names == ["de", "en", "fr"]
    assert after.languages.of(np.array([1, 2, 3, 77])).tolist() == [1, 0, 2, -1]


def test_an_empty_archive_tells_nothing(tmp_path: Path) -> None:
    found = observe(archived_events(settings_at(tmp_path), []), None, SimClustersSettings())
    assert len(found.follower_ids) == len(found.favourites.counts) == len(found.topic_ids) == 0
    assert found.languages.of(np.array([1])).tolist() == [-1]
    assert found.data_range_ms == (0, 0)
    assert len(consumer_graph(found.follower_ids, found.followed_ids, found.favourites)) == 0

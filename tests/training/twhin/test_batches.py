from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.training_settings import TwhinSettings
from tests.training.twhin.networks import circles, columns, prepared
from training.twhin.batches import Batch, Place, Sampler, stream
from training.twhin.edges import EdgeColumns, Edges
from training.twhin.relations import RELATIONS, TABLES

ROWS = dict.fromkeys(TABLES, 50)


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> Edges:
    return prepared(tmp_path_factory.mktemp("batches"), circles(), shard_edges=400)[0]


def small(**given: Any) -> TwhinSettings:
    return TwhinSettings(**{"dimensions": 8, "batch": 100, "global_negatives": 5, **given})


def edges_of(batch: Batch) -> list[tuple[int, int, int]]:
    """The positive edges that a batch looks up."""
    found = []
    for part in batch.parts:
        relation = RELATIONS[part.relation]
        lhs = batch.rows[relation.lhs][part.lhs : part.lhs + part.n].tolist()
        rhs = batch.rows[relation.rhs][part.rhs : part.rhs + part.n].tolist()
        found += [(a, part.relation, b) for a, b in zip(lhs, rhs, strict=True)]
    return found


def triples(some: EdgeColumns) -> list[tuple[int, int, int]]:
    return list(zip(some.lhs.tolist(), some.rel.tolist(), some.rhs.tolist(), strict=True))


_edges = st.lists(
    st.tuples(st.integers(0, 49), st.integers(0, 5), st.integers(0, 49)), min_size=1, max_size=40
)


@given(_edges, st.integers(1, 5), st.integers(0, 4), st.integers(0, 9))
def test_a_batch_holds_its_edges_and_its_negatives(
    given_edges: list[tuple[int, int, int]], in_batch: int, n_global: int, seed: int
) -> None:
    sampler = Sampler(ROWS, in_batch, n_global, None)
    batch = sampler.batch(columns(*given_edges), np.random.default_rng(seed))
    assert sorted(edges_of(batch)) == sorted(given_edges)
    assert batch.n_edges == len(given_edges)
    for part in batch.parts:
        for places in (part.lhs_negatives, part.rhs_negatives):
            assert len(places) == in_batch
            assert len(set(places.tolist())) == min(in_batch, part.n)
            assert (places >= 0).all()
            assert (places < part.n).all()
    used = dict.fromkeys(TABLES, 0)
    for _, rel, _ in given_edges:
        used[RELATIONS[rel].lhs] += 1
        used[RELATIONS[rel].rhs] += 1
    assert {table: len(rows) - n_global for table, rows in batch.rows.items()} == used
    assert batch.stride == max(len(rows) for rows in batch.rows.values())
    assert all((rows >= 0).all() and (rows < 50).all() for rows in batch.rows.values())


def test_workers_share_every_edge_of_an_epoch(edges: Edges) -> None:
    settings = small(epochs=1)
    everything = sorted(t for name, _ in edges.shards for t in triples(edges.shard(name)))
    for n_workers in (1, 3):
        streams = [
            list(stream(edges, settings, 0, k, n_workers, Place())) for k in range(n_workers)
        ]
        assert len({tuple(place for place, _ in one) for one in streams}) == 1
        for together in zip(*streams, strict=True):
            assert len({batch.n_edges for _, batch in together}) == 1
            strides = {batch.stride for _, batch in together}
            most = max(len(rows) for _, batch in together for rows in batch.rows.values())
            assert strides == {most}
        seen = [edge for one in streams for _, batch in one for edge in edges_of(batch)]
        assert len(seen) >= len(everything) - (n_workers - 1)
        assert not set(seen) - set(everything)
        assert len(set(seen)) == len(seen)


def test_epochs_differ_in_order_only(edges: Edges) -> None:
    batches = [edges_of(batch) for _, batch in stream(edges, small(epochs=2), 0, 0, 1, Place())]
    half = len(batches) // 2
    first, second = (list(chain(*part)) for part in (batches[:half], batches[half:]))
    assert sorted(first) == sorted(second)
    assert first != second


def test_a_stream_goes_on_where_it_was_left(edges: Edges) -> None:
    settings = small(epochs=2)
    whole = list(stream(edges, settings, 0, 1, 2, Place()))
    for at in (0, 1, len(whole) // 2, len(whole) - 2):
        rest = list(stream(edges, settings, 0, 1, 2, whole[at][0]))
        assert [place for place, _ in rest] == [place for place, _ in whole[at + 1 :]]
        for (_, one), (_, other) in zip(rest, whole[at + 1 :], strict=True):
            assert edges_of(one) == edges_of(other)
            for table, rows in one.rows.items():
                np.testing.assert_array_equal(rows, other.rows[table])
            for a, b in zip(one.parts, other.parts, strict=True):
                np.testing.assert_array_equal(a.lhs_negatives, b.lhs_negatives)
    assert list(stream(edges, settings, 0, 1, 2, whole[-1][0])) == []


def test_another_number_of_workers_reads_what_is_left(edges: Edges) -> None:
    settings = small(epochs=1)
    place, first = next(iter(stream(edges, settings, 0, 0, 1, Place())))
    rest = [
        edge
        for worker in range(2)
        for _, batch in stream(edges, settings, 0, worker, 2, place)
        for edge in edges_of(batch)
    ]
    assert not set(rest) & set(edges_of(first))
    assert len(rest) + first.n_edges >= edges.n_edges - 1


def test_log_q_is_the_log_of_how_much_likelier_than_uniform(edges: Edges) -> None:
    sampler = Sampler.of(edges, small(log_q=True))
    assert sampler.log_q is not None
    counts = edges.frequencies("favourite", "rhs")
    expected = np.log(np.maximum(counts, 1) * len(counts) / counts.sum())
    np.testing.assert_allclose(sampler.log_q[1, "rhs"], expected, rtol=1e-5)
    shard = edges.shard(edges.shards[0][0])
    batch = sampler.batch(shard, np.random.default_rng(0))
    part = next(part for part in batch.parts if part.relation == 1)
    rows = batch.rows["posts"][part.rhs : part.rhs + part.n]
    assert part.rhs_log_q is not None
    np.testing.assert_allclose(part.rhs_log_q, expected[rows[part.rhs_negatives]], rtol=1e-5)

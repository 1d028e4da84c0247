from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from actors.features.inputs import Embedding, Input, Level, RankerInputs, Schema, Sort
from actors.features.logged import (
    NOT_SHOWN,
    LoggedPage,
    UnreadablePages,
    chosen,
    pack_pages,
    read_pages,
    schema_of,
)

SCHEMA = Schema(
    (
        Input("viewer_count", Sort.CONTINUOUS, Level.VIEWER, "g", "m"),
        Input("viewer_flag", Sort.BINARY, Level.VIEWER, "g", "m"),
        Input("viewer_id", Sort.DISCRETE, Level.VIEWER, "g", "m", buckets=100, dimensions=8),
        Input("tie", Sort.CONTINUOUS, Level.AUTHOR, "g", "m", default=-1.0),
        Input("tie_too", Sort.CONTINUOUS, Level.AUTHOR, "g", "m"),
        Input("post_age", Sort.CONTINUOUS, Level.POST, "g", "m"),
        Input("has_link", Sort.BINARY, Level.POST, "g", "m"),
        Input("is_reply", Sort.BINARY, Level.POST, "g", "m"),
        Input("language", Sort.DISCRETE, Level.POST, "g", "m", buckets=50, dimensions=4),
    ),
    (
        Embedding("user_follow", Level.VIEWER, 3, "m"),
        Embedding("author_follow", Level.AUTHOR, 2, "m"),
    ),
)


def inputs_of(
    n: int, author_rows: list[int], seed: int = 0, schema: Schema = SCHEMA
) -> RankerInputs:
    """Random inputs of a schema, of as many authors as are named."""
    rng = np.random.default_rng(seed)
    n_rows = {Level.VIEWER: 1, Level.AUTHOR: max(author_rows, default=-1) + 1, Level.POST: n}
    values, discrete = [], []
    for level in Level:
        n_continuous = len(schema.of(Sort.CONTINUOUS, level))
        of_level = rng.normal(0, 100, (n_rows[level], schema.width(level))).astype(np.float32)
        of_level[:, n_continuous:] = of_level[:, n_continuous:] > 0
        values.append(of_level)
        shape = n_rows[level], len(schema.of(Sort.DISCRETE, level))
        discrete.append(rng.integers(-(2**62), 2**62, shape))
    vectors = {
        e.name: rng.normal(0, 1, (n_rows[e.level], e.dimensions)).astype(np.float32)
        for e in schema.embeddings
    }
    rows = np.array(author_rows, np.int64)
    return RankerInputs(schema, (*values,), (*discrete,), vectors, rows)  # type: ignore[arg-type]


def page_of(inputs: RankerInputs, request_id: str = "r", **more: object) -> LoggedPage:
    n = len(inputs)
    page = LoggedPage(
        *(request_id, 7, 1_700_000_000_000, "20260101T000000-0001", "s1"),
        ({0: (12, 3)}, {0: (12, 4), 5: (2**40, 2**31 - 1)}),
        *(np.arange(100, 100 + n), np.arange(200, 200 + n)),
        np.arange(n, dtype=np.int16) + NOT_SHOWN,
        tuple(f"source_{k % 2}" for k in range(n)),
        inputs,
    )
    return replace(page, **more)  # type: ignore[arg-type]


def assert_same(found: LoggedPage, page: LoggedPage) -> None:
    """The same page, its numbers to half precision of their logarithms."""
    for name in ("request_id", "viewer_id", "time_ms", "model_version", "settings_version"):
        assert getattr(found, name) == getattr(page, name)
    assert (found.applied, found.sources) == (page.applied, page.sources)
    for name in ("post_ids", "author_ids", "positions"):
        np.testing.assert_array_equal(getattr(found, name), getattr(page, name))
        assert getattr(found, name).dtype == getattr(page, name).dtype
    given_, read = page.inputs, found.inputs
    assert read.schema.fingerprint == given_.schema.fingerprint
    np.testing.assert_array_equal(read.author_rows, given_.author_rows)
    for level in Level:
        assert read.values[level].dtype == np.float32
        n_continuous = len(given_.schema.of(Sort.CONTINUOUS, level))
        np.testing.assert_array_equal(
            read.values[level][:, n_continuous:], given_.values[level][:, n_continuous:]
        )
        logarithms = [
            np.copysign(
                np.log1p(np.abs(v.values[level][:, :n_continuous])),
                v.values[level][:, :n_continuous],
            )
            for v in (read, given_)
        ]
        np.testing.assert_allclose(*logarithms, rtol=6e-4, atol=1e-6)
        np.testing.assert_array_equal(read.discrete[level], given_.discrete[level])
    for name, vectors in given_.embeddings.items():
        np.testing.assert_allclose(read.embeddings[name], vectors, rtol=6e-4, atol=1e-6)


def test_pages_come_back_as_they_were() -> None:
    pages = [
        page_of(inputs_of(4, [0, 1, 0, 2]), "a"),
        page_of(inputs_of(1, [0], 1), "b", applied=(), model_version=""),
        page_of(inputs_of(0, [], 2), "empty"),
    ]
    found = list(read_pages(pack_pages(pages)))
    assert len(found) == 3
    for read, page in zip(found, pages, strict=True):
        assert_same(read, page)
    dense = found[0].inputs.dense()
    assert dense[0].shape == (4, 4)
    assert dense[3]["user_follow"].shape == (4, 3)


def test_authors_that_no_candidate_has_do_not_matter() -> None:
    inputs = inputs_of(3, [2, 0, 2])
    (found,) = read_pages(pack_pages([page_of(inputs)]))
    assert_same(found, page_of(inputs))


def test_large_counts_and_what_is_no_number_are_kept_as_the_model_reads_them() -> None:
    inputs = inputs_of(6, [0] * 6)
    values = np.array([1e9, -3e12, np.nan, np.inf, -np.inf, np.finfo(np.float32).max])
    inputs.values[Level.POST][:, 0] = values
    (found,) = read_pages(pack_pages([page_of(inputs)]))
    age = found.inputs.values[Level.POST][:, 0].astype(np.float64)
    assert np.isfinite(age).all()
    assert np.log1p(age[0]) == pytest.approx(np.log1p(1e9), rel=5e-4)
    assert -np.log1p(-age[1]) == pytest.approx(-np.log1p(3e12), rel=5e-4)
    assert age[2:5].tolist() == [0, 0, 0]
    assert np.log1p(age[5]) == pytest.approx(88.7, rel=1e-3)


def test_schemas_may_be_mixed_and_other_streams_are_passed_over() -> None:
    other = Schema(SCHEMA.inputs[:3])
    pages = [
        page_of(inputs_of(2, [0, 1]), "a"),
        page_of(inputs_of(2, [0, 0], schema=other), "b"),
        page_of(inputs_of(1, [0]), "c"),
    ]
    sink = pa.BufferOutputStream()
    table = pa.table({"request_id": ["x"]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream = sink.getvalue().to_pybytes()
    found = {p.request_id: p for p in read_pages(stream + pack_pages(pages) + stream)}
    assert sorted(found) == ["a", "b", "c"]
    for page in pages:
        assert_same(found[page.request_id], page)


def test_no_pages_are_no_bytes() -> None:
    assert pack_pages([]) == b""
    assert list(read_pages(b"")) == []


def test_what_is_no_record_is_refused() -> None:
    payload = pack_pages([page_of(inputs_of(3, [0, 1, 2]))])
    for broken in (b"nonsense", payload[:-200], payload + b"xx"):
        with pytest.raises(UnreadablePages):
            list(read_pages(broken))
    with pytest.raises(UnreadablePages):
        schema_of(pa.table({"request_id": ["x"]}))


def test_chosen_candidates_keep_their_rows() -> None:
    inputs = inputs_of(5, [0, 3, 1, 3, 2])
    rows = np.array([4, 1, 3])
    some = chosen(inputs, rows)
    assert len(some.values[Level.AUTHOR]) == 2
    for mine, all_of_it in zip(some.dense()[:3], inputs.dense()[:3], strict=True):
        np.testing.assert_array_equal(mine, all_of_it[rows])
    for name, vectors in some.dense()[3].items():
        np.testing.assert_array_equal(vectors, inputs.dense()[3][name][rows])
    assert len(chosen(inputs, np.empty(0, np.int64))) == 0


@given(
    hnp.arrays(np.float32, (3, 1), elements=st.floats(width=32, allow_nan=True)),
    st.lists(st.integers(0, 2), min_size=3, max_size=3),
)
@settings(max_examples=100, deadline=None)
def test_what_was_read_is_packed_to_the_same_bytes(
    ages: np.ndarray,
    authors: list[int],  # type: ignore[type-arg]
) -> None:
    inputs = inputs_of(3, authors)
    inputs.values[Level.POST][:, :1] = ages
    (once,) = read_pages(pack_pages([page_of(inputs)]))
    (twice,) = read_pages(pack_pages([once]))
    for level in Level:
        np.testing.assert_array_equal(once.inputs.values[level], twice.inputs.values[level])

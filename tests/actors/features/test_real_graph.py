from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.features.real_graph import (
    REAL_GRAPH,
    REAL_GRAPH_SCHEMA,
    SCORES,
    RealGraphScores,
    home_weight,
)
from cluster.artifacts import ArtifactStore

Rows = list[tuple[int, int, float]]


def table_of(rows: Rows) -> pa.Table:
    ordered = sorted(rows, key=lambda row: (row[0], -row[2], row[1]))
    viewers, authors, scores = zip(*ordered, strict=True) if ordered else ((), (), ())
    return pa.table(
        {
            "viewer_id": pa.array(viewers, pa.int64()),
            "author_id": pa.array(authors, pa.int64()),
            "score": pa.array(scores, pa.float32()),
            "followed": pa.array([True] * len(viewers), pa.bool_()),
        }
    )


def ids(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, np.int64)


def test_home_maps_scores_to_one_and_above() -> None:
    weights = home_weight(np.array([0, 0.5, 1], np.float32))
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, [1, 1.985, 2.97], rtol=1e-6)


def test_scores_of_a_viewer_come_in_order_of_authors() -> None:
    scores = RealGraphScores(table_of([(1, 30, 0.5), (1, 10, 0.25), (1, 20, 0.75), (9, 10, 1.0)]))
    authors, found = scores.of(1)
    assert authors.tolist() == [10, 20, 30]
    assert found.tolist() == [0.25, 0.75, 0.5]
    assert [len(part) for part in scores.of(2)] == [0, 0]
    assert [len(part) for part in scores.of(10)] == [0, 0]


def test_pairs_without_a_score_have_zero() -> None:
    scores = RealGraphScores(table_of([(1, 30, 0.5), (1, 10, 0.25), (9, 10, 1.0)]))
    found = scores.pairs(ids(1, 1, 1, 9, 9, 5, 1), ids(10, 30, 20, 10, 30, 10, 31))
    assert found.tolist() == [0.25, 0.5, 0, 1, 0, 0, 0]


def test_nothing_is_found_in_an_empty_table() -> None:
    scores = RealGraphScores(table_of([]))
    assert len(scores) == 0
    assert len(scores.of(1)[0]) == 0
    assert scores.pairs(ids(1), ids(2)).tolist() == [0]


def test_it_reads_what_an_artifact_holds(tmp_path: Path) -> None:
    artifacts = ArtifactStore(tmp_path)
    with artifacts.writing(REAL_GRAPH, schema_version=REAL_GRAPH_SCHEMA) as draft:
        draft.write_table(SCORES, table_of([(3, 4, 0.5), (3, 2, 0.125)]))
    assert draft.version
    scores = RealGraphScores(artifacts.open(REAL_GRAPH, draft.version).table(SCORES))
    assert scores.pairs(ids(3, 3), ids(2, 4)).tolist() == [0.125, 0.5]


def test_a_table_out_of_order_is_refused() -> None:
    table = table_of([(1, 2, 0.5), (2, 1, 0.5)])
    with pytest.raises(ValueError, match="not in order of viewer_id"):
        RealGraphScores(table.take([1, 0]))


@given(
    st.dictionaries(
        st.tuples(st.integers(1, 5), st.integers(1, 8)), st.integers(1, 64), max_size=30
    )
)
def test_lookups_agree_with_a_dictionary(scores_of: dict[tuple[int, int], int]) -> None:
    scores = RealGraphScores(table_of([(v, a, s / 64) for (v, a), s in scores_of.items()]))
    viewers, authors = (grid.ravel() for grid in np.mgrid[0:7, 0:10])
    asked = zip(viewers.tolist(), authors.tolist(), strict=True)
    assert scores.pairs(viewers, authors).tolist() == [scores_of.get(p, 0) / 64 for p in asked]
    for viewer in range(7):
        of_viewer = {a: s / 64 for (v, a), s in sorted(scores_of.items()) if v == viewer}
        found = scores.of(viewer)
        assert dict(zip(found[0].tolist(), found[1].tolist(), strict=True)) == of_viewer
        assert found[0].tolist() == list(of_viewer)

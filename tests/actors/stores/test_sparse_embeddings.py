from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.sparse_embeddings import SparseEmbeddings, topic_in_language
from cluster.artifacts import ArtifactStore

Model = dict[int, dict[int, float]]

_scores = st.integers(0, 20).map(lambda n: n / 4)
_rows = st.dictionaries(st.integers(0, 9), _scores, min_size=1, max_size=4)
_models = st.dictionaries(st.integers(1, 2**62), _rows, max_size=8)


def matrix(model: Model, **columns: Any) -> SparseEmbeddings:
    entries = [(id_, c, score) for id_, row in model.items() for c, score in row.items()]
    return SparseEmbeddings.from_entries(
        np.array([id_ for id_, _, _ in entries], np.int64),
        np.array([c for _, c, _ in entries], np.int32),
        np.array([score for _, _, score in entries], np.float32),
        {name: np.array([make(*e) for e in entries]) for name, make in columns.items()},
    )


def best_first(row: dict[int, float]) -> list[tuple[int, float]]:
    return sorted(row.items(), key=lambda pair: (-pair[1], pair[0]))


def as_pairs(found: tuple[Any, Any]) -> list[tuple[int, float]]:
    return list(zip(found[0].tolist(), found[1].tolist(), strict=True))


@given(_models)
def test_every_row_is_found_best_first(model: Model) -> None:
    embeddings = matrix(model)
    assert embeddings.ids.tolist() == sorted(model)
    for id_, row in model.items():
        assert as_pairs(embeddings.of(id_)) == best_first(row)
        for absent in {id_ - 1, id_ + 1} - model.keys():
            assert as_pairs(embeddings.of(absent)) == []
    asked = [*model, 2**62 + 7, 0]
    rows = embeddings.rows_of(np.array(asked, np.int64)).tolist()
    assert rows == [sorted(model).index(i) if i in model else -1 for i in asked]


@given(_models, st.data())
def test_taken_rows_are_the_rows_in_the_order_asked(model: Model, data: st.DataObject) -> None:
    embeddings = matrix(model, twice=lambda _id, _c, score: 2 * score)
    asked = data.draw(st.lists(st.sampled_from([*model, -5]), max_size=6))
    taken = embeddings.take(embeddings.rows_of(np.array(asked, np.int64)))
    assert taken.ids.tolist() == [max(id_, 0) for id_ in asked]
    for row, id_ in enumerate(asked):
        entries = slice(taken.offsets[row], taken.offsets[row + 1])
        found = as_pairs((taken.communities[entries], taken.scores[entries]))
        assert found == best_first(model.get(id_, {}))
    assert (taken.columns["twice"] == 2 * taken.scores).all()


@given(_models)
def test_tables_give_the_same_matrix_again(model: Model) -> None:
    embeddings = matrix(model, tag=lambda id_, c, _score: np.int64(id_ ^ c))
    read = SparseEmbeddings.from_tables(*embeddings.to_tables())
    for name in ("ids", "offsets", "communities", "scores"):
        mine, other = getattr(embeddings, name), getattr(read, name)
        np.testing.assert_array_equal(mine, other)
        assert mine.dtype == other.dtype
    np.testing.assert_array_equal(embeddings.columns["tag"], read.columns["tag"])


def stored(folder: Path, embeddings: SparseEmbeddings) -> SparseEmbeddings:
    artifacts = ArtifactStore(folder)
    with artifacts.writing("simclusters", schema_version=1) as draft:
        embeddings.write(draft, "topics")
    assert draft.version is not None
    return SparseEmbeddings.read(artifacts.open("simclusters", draft.version), "topics")


def test_entries_of_an_artifact_are_not_copied(tmp_path: Path) -> None:
    n = 100_000
    given_ids = np.arange(1, n + 1)
    made = SparseEmbeddings.from_entries(
        given_ids, np.zeros(n, np.int32), np.ones(n, np.float32), {"extra": np.ones(n)}
    )
    read = stored(tmp_path, made)
    for array in (read.ids, read.communities, read.scores, read.columns["extra"]):
        assert not array.flags.owndata
        assert not array.flags.writeable
    assert as_pairs(read.of(77)) == [(0, 1.0)]
    assert len(read.take(read.rows_of(given_ids[::2]))) == n // 2


def test_another_column_may_be_the_score() -> None:
    model = {4: {0: 3.0, 1: 2.0, 2: 1.0}, 6: {5: 1.0}}
    embeddings = matrix(model, follows=lambda id_, c, _score: np.float32(c if id_ == 4 else 0))
    by_follows = embeddings.scored_by("follows")
    assert by_follows.ids.tolist() == [4]
    assert as_pairs(by_follows.of(4)) == [(2, 2.0), (1, 1.0)]
    assert by_follows.columns["follows"].tolist() == [2.0, 1.0]
    with pytest.raises(KeyError):
        embeddings.scored_by("nothing")


def test_an_empty_matrix_has_no_rows(tmp_path: Path) -> None:
    empty = stored(tmp_path, matrix({}))
    assert (len(empty), empty.n_communities) == (0, 0)
    assert empty.rows_of(np.array([1, 2])).tolist() == [-1, -1]
    assert as_pairs(empty.of(1)) == []
    assert empty.take(np.array([-1], np.int64)).offsets.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"id": [2, 2]}, "do not strictly ascend"),
        ({"start": [0, 3]}, "do not cover the 4 entries"),
        ({"count": np.array([2, 1], np.int32)}, "do not cover the 4 entries"),
        ({"score": np.array([1, 2, 2, 1], np.float32)}, "not by score"),
        ({"community": np.array([1, 0, 0, 0], np.int32)}, "not by score"),
        ({"community": np.array([-1, 0, 0, 1], np.int32)}, "negative community"),
    ],
)
def test_damaged_tables_are_refused(damage: dict[str, Any], message: str) -> None:
    rows = {"id": [2, 3], "start": [0, 2], "count": np.array([2, 2], np.int32)}
    entries = {
        "community": np.array([0, 1, 0, 1], np.int32),
        "score": np.array([2, 2, 5, 1], np.float32),
    }
    assert len(SparseEmbeddings.from_tables(pa.table(rows), pa.table(entries))) == 2
    for table in (rows, entries):
        table.update({name: v for name, v in damage.items() if name in table})
    with pytest.raises(ValueError, match=message):
        SparseEmbeddings.from_tables(pa.table(rows), pa.table(entries))


def test_topics_in_languages_have_ids_of_their_own() -> None:
    ids = {topic_in_language(topic, lang) for topic in (1, 12) for lang in ("en", "de", "2en")}
    assert len(ids) == 6
    assert min(ids) > 0

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from actors.features.tasks import TASK_NAMES
from tests.training.heavy_ranker.synthetic import (
    examples_of,
    lists,
    on_disk,
    schema_of,
    taught,
    write,
)
from training.heavy_ranker.example_set import Examples, ExampleSet, concatenated

SCHEMA = schema_of()


def everything(examples: ExampleSet) -> Examples:
    return concatenated([examples.read(rows) for rows in examples.rows])


def assert_same(found: Examples, expected: Examples) -> None:
    for name, values in vars(expected).items():
        if name == "embeddings":
            assert found.embeddings.keys() == values.keys()
            for vector, numbers in values.items():
                np.testing.assert_array_equal(found.embeddings[vector], numbers)
        else:
            np.testing.assert_array_equal(getattr(found, name), values, name)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    examples = examples_of(SCHEMA, 257)
    found = on_disk(tmp_path, SCHEMA, examples)
    assert len(found) == 257
    assert [len(rows) for rows in found.rows] == [100, 28, 100, 29]
    assert_same(everything(found), examples)
    assert_same(concatenated(list(found.in_order(60))), examples)
    part = found.between(90, 130)
    assert [len(rows) for rows in part.rows] == [10, 28, 2]
    assert_same(everything(part), examples.take(slice(90, 130)))
    assert_same(everything(part.between(5, 20)), examples.take(slice(95, 110)))
    assert_same(everything(found.between(0, 999)), examples)


def test_a_schema_without_some_sorts_has_columns_of_no_width(tmp_path: Path) -> None:
    schema = schema_of(3, 0, tables=False)
    found = everything(on_disk(tmp_path, schema, examples_of(schema, 10)))
    assert found.binary.shape == found.discrete.shape == (10, 0)


def test_labels_have_their_names_and_no_order(tmp_path: Path) -> None:
    """The published code paired labels and heads by number, in two different orders."""
    examples, _ = taught(examples_of(SCHEMA, 50))
    mask = np.random.default_rng(0).integers(0, 2, examples.mask.shape, np.uint8)
    examples = Examples(**{**vars(examples), "mask": mask})
    turned = tuple(reversed(TASK_NAMES))
    one = write(tmp_path / "a.parquet", SCHEMA, examples)
    other = write(tmp_path / "b.parquet", SCHEMA, examples, tasks=turned)
    for path in (one, other):
        assert_same(everything(ExampleSet.open([path], SCHEMA)), examples)
    few = write(tmp_path / "c.parquet", SCHEMA, examples, tasks=("is_replied", "is_favorited"))
    found = everything(ExampleSet.open([few], SCHEMA))
    for t, task in enumerate(TASK_NAMES):
        there = task in ("is_replied", "is_favorited")
        np.testing.assert_array_equal(found.mask[:, t], examples.mask[:, t] if there else 0)
        np.testing.assert_array_equal(found.labels[:, t], examples.labels[:, t] if there else 0)


def test_a_label_that_no_head_has_is_left_alone(tmp_path: Path) -> None:
    examples = examples_of(SCHEMA, 9)
    more = np.concatenate([np.ones((9, 1), np.uint8), examples.labels], 1)
    path = write(
        tmp_path / "a.parquet",
        SCHEMA,
        examples,
        metadata={"tasks": ",".join(["is_bookmarked", *TASK_NAMES])},
        labels=lists(more, pa.uint8()),
        mask=lists(np.ones_like(more), pa.uint8()),
    )
    assert_same(everything(ExampleSet.open([path], SCHEMA)), examples)


def test_an_example_is_positive_by_a_label_that_is_known(tmp_path: Path) -> None:
    examples = examples_of(SCHEMA, 4)
    examples.labels[:] = 0
    examples.labels[1, 3] = examples.labels[2, 5] = 1
    examples.mask[2, 5] = 0
    found = on_disk(tmp_path, SCHEMA, examples)
    expected = [False, True, False, False]
    assert everything(found).positive().tolist() == expected
    assert [bool(x) for rows in found.rows for x in found.positive(rows)] == expected


def column(values: Any, row: int, item: int, value: Any, of: pa.DataType) -> pa.Array:
    flat = values.ravel().tolist()
    flat[row * values.shape[1] + item] = value
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, of), values.shape[1])


def test_bad_values_are_refused_with_file_column_and_row(tmp_path: Path) -> None:
    examples = examples_of(SCHEMA, 150)
    follow = examples.embeddings["follow"]
    bad: dict[str, pa.Array] = {
        "labels": column(examples.labels, 120, 4, 2, pa.uint8()),
        "continuous": column(examples.continuous, 120, 1, None, pa.float32()),
        "follow": column(follow, 120, 1, float("nan"), pa.float32()),
        "weight": pa.array([1.0] * 120 + [-1.0] + [1.0] * 29, pa.float32()),
    }
    for name, values in bad.items():
        path = write(tmp_path / f"{name}.parquet", SCHEMA, examples, **{name: values})
        found = ExampleSet.open([path], SCHEMA)
        found.read(found.rows[0])
        with pytest.raises(ValueError, match=rf"{path}, column {name}, row 20 of row group 1: "):
            found.read(found.rows[1])
    nothing = pa.array([None] * 150, pa.list_(pa.float32(), 3))
    path = write(tmp_path / "null.parquet", SCHEMA, examples, follow=nothing)
    found = ExampleSet.open([path], SCHEMA)
    with pytest.raises(ValueError, match="column follow, row 0 of row group 0: nothing may be"):
        found.read(found.rows[0])


def test_files_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    examples = examples_of(SCHEMA, 5)

    def refused(why: str, **given: Any) -> None:
        path = write(tmp_path / "bad.parquet", SCHEMA, examples, **given)
        with pytest.raises(ValueError, match=f"{path}.*{why}"):
            ExampleSet.open([path], SCHEMA)

    refused("is of schema 1234, not", metadata={"schema": "1234"})
    refused("tasks in the metadata are", metadata={"tasks": "is_replied,is_replied"})
    refused("labels of none of the tasks: other", metadata={"tasks": "other"})
    refused("has no column weight", weight=None)
    refused("column weight is double, not float", weight=pa.array([1.0] * 5))
    wide = lists(np.zeros((5, 9), np.float32), pa.float32())
    refused(r"column follow is .*\[9\], not .*\[3\]", follow=wide)
    empty = write(tmp_path / "empty.parquet", SCHEMA, examples.take(slice(0, 0)))
    with pytest.raises(ValueError, match=f"no examples in {empty}"):
        ExampleSet.open([empty], SCHEMA)
    with pytest.raises(ValueError, match="no examples in no files"):
        ExampleSet.open([], SCHEMA)


def test_sources_come_in_the_order_of_examples(tmp_path: Path) -> None:
    names: list[str | None] = ["graph", None, "clusters", "graph"]
    path = write(tmp_path / "a.parquet", SCHEMA, examples_of(SCHEMA, 4), sources=names, group=3)
    found = ExampleSet.open([path], SCHEMA)
    assert found.described("source").tolist() == names
    assert found.between(1, 4).described("source").tolist() == names[1:]

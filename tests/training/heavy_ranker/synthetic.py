"""Small sets of examples on disk, whose labels a known teacher draws."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from actors.features.inputs import Embedding, Input, Level, Schema, Sort
from actors.features.tasks import TASK_NAMES
from cluster.ranker_settings import HeavyRankerSettings
from training.heavy_ranker.example_set import Examples, ExampleSet

SETTINGS: dict[str, Any] = {
    "blocks": 2,
    "mask_width": 16,
    "block_width": 12,
    "backbone": (20,),
    "towers": (8, 6),
    "batch": 64,
    "epochs": 2,
}


def settings_of(**given: Any) -> HeavyRankerSettings:
    """Of a tiny model."""
    return HeavyRankerSettings(**{**SETTINGS, **given})


def schema_of(n_continuous: int = 5, n_binary: int = 2, *, tables: bool = True) -> Schema:
    """Continuous, binary and two discrete inputs, and two vectors."""
    inputs = [_input(f"c{i}", Sort.CONTINUOUS) for i in range(n_continuous)]
    inputs += [_input(f"b{i}", Sort.BINARY) for i in range(n_binary)]
    if tables:
        inputs += [_input("topic", Sort.DISCRETE, 40, 4), _input("author", Sort.DISCRETE, 64, 8)]
    vectors = tuple(Embedding(name, Level.POST, 3, "") for name in ("follow", "engagement"))
    return Schema(tuple(inputs), vectors)


def examples_of(schema: Schema, n: int, seed: int = 0) -> Examples:
    """Random inputs, labels of every task by chance, all known."""
    rng = np.random.default_rng(seed)
    n_tasks = len(TASK_NAMES)
    return Examples(
        continuous=rng.normal(0, 3, (n, len(schema.continuous))).astype(np.float32),
        binary=rng.integers(0, 2, (n, len(schema.binary)), np.uint8),
        # The first fits into its table, of the second several share a row.
        discrete=rng.integers(0, 10**12, (n, len(schema.discrete)))
        % np.array([37, 97], np.int64)[: len(schema.discrete)],
        embeddings={
            given.name: rng.normal(size=(n, given.dimensions)).astype(np.float32)
            for given in schema.embeddings
        },
        labels=rng.integers(0, 2, (n, n_tasks), np.uint8),
        mask=np.ones((n, n_tasks), np.uint8),
        weights=np.ones(n, np.float32),
    )


def taught(examples: Examples, seed: int = 1, bias: float = 0.0) -> tuple[Examples, Any]:
    """With labels drawn from a teacher's probabilities, (n, tasks), which come beside."""
    rng = np.random.default_rng(seed)
    x = np.tanh(examples.continuous / 3)
    logits = 3 * x[:, :1] * np.where(examples.binary[:, :1] > 0, 1, -1) + 2 * x[:, 1:2]
    # Of vectors the model sees no more than their direction.
    vectors = examples.embeddings["follow"]
    vectors = vectors - vectors.mean(1, keepdims=True)
    logits = logits + 1.5 * vectors[:, :1] / vectors.std(1, keepdims=True)
    logits = logits + 1.5 * np.sin(examples.discrete[:, :1])
    logits = logits + np.linspace(-0.5, 0.5, len(TASK_NAMES)) + bias
    probabilities = 1 / (1 + np.exp(-logits))
    labels = (rng.random(probabilities.shape) < probabilities).astype(np.uint8)
    return Examples(**{**vars(examples), "labels": labels}), probabilities


def write(
    path: Path,
    schema: Schema,
    examples: Examples,
    *,
    tasks: tuple[str, ...] = TASK_NAMES,
    group: int = 100,
    sources: list[str | None] | None = None,
    metadata: dict[str, str] | None = None,
    first_ms: int = 0,
    **changed: Any,
) -> Path:
    """Write examples to a Parquet file in row groups of `group`; their labels by `tasks`.

    They are of one instant each, from `first_ms` on.

    `changed` columns take the place of the examples' own.
    """
    by_name = [TASK_NAMES.index(task) for task in tasks]
    columns: dict[str, Any] = {
        "continuous": lists(examples.continuous, pa.float32()),
        "binary": lists(examples.binary, pa.uint8()),
        "discrete": lists(examples.discrete, pa.int64()),
        **{name: lists(x, pa.float32()) for name, x in examples.embeddings.items()},
        "labels": lists(examples.labels[:, by_name], pa.uint8()),
        "mask": lists(examples.mask[:, by_name], pa.uint8()),
        "weight": pa.array(examples.weights),
        "source": pa.array(sources or [None] * len(examples), pa.string()),
        "time_ms": pa.array(np.arange(len(examples)) + first_ms),
        **changed,
    }
    told = {"tasks": ",".join(tasks), "schema": schema.fingerprint, **(metadata or {})}
    table = pa.table({name: column for name, column in columns.items() if column is not None})
    pq.write_table(table.replace_schema_metadata(told), path, row_group_size=group)
    return path


def _input(name: str, sort: Sort, buckets: int = 0, dimensions: int = 0) -> Input:
    return Input(name, sort, Level.POST, "test", "", buckets=buckets, dimensions=dimensions)


def lists(values: npt.NDArray[Any], of: pa.DataType) -> pa.Array | None:
    """A column of lists of one size; none of size 0."""
    if not values.shape[1]:
        return None
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), of), values.shape[1])


def on_disk(folder: Path, schema: Schema, examples: Examples, **given: Any) -> ExampleSet:
    """Examples written and opened, in two files."""
    folder.mkdir(parents=True, exist_ok=True)
    half = len(examples) // 2
    parts = [examples.take(slice(0, half)), examples.take(slice(half, None))]
    paths = [
        write(folder / f"part-{i:05d}.parquet", schema, part, first_ms=i * half, **given)
        for i, part in enumerate(parts)
    ]
    return ExampleSet.open(paths, schema)

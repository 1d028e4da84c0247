"""The project's own heavy ranker, trained on a benchmark's rows by the product's own training."""

import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from actors.features.inputs import Input, Schema, Sort
from actors.features.tasks import TASK_NAMES
from benchmarks.heavy_ranker_data import Rows
from cluster.ranker_settings import HeavyRankerSettings
from training.heavy_ranker.batches import Place, ReadAhead, stream
from training.heavy_ranker.calibration import identity
from training.heavy_ranker.example_set import ExampleSet
from training.heavy_ranker.fit import judge, trained
from training.heavy_ranker.sharded import ShardedRanker
from training.heavy_ranker.tensors import Batch
from training.heavy_ranker.train import Run, group_of_one, train_here

HEADS: Mapping[str, str] = {
    "click": "is_good_clicked",
    "like": "is_favorited",
    "follow": "is_good_clicked_v2",
    "comment": "is_replied",
    "forward": "is_reposted",
    "profile": "is_profile_clicked",
    "long_view": "is_video_watched",
    "rated_4": "is_favorited",
}
"""The head that learns a task of a data set; the others learn nothing."""
DIMENSIONS = 8
FIXED: Mapping[str, Any] = {
    "batch": 512,
    "epochs": 3,
    "towers": (),
    "table_learning_rate": 1e-4,
    "table_start": 0.01,
    "learning_rate_decay": "linear",
    "tower_rates": "backbone",
    "task_weights": "entropy",
}
"""For tens of thousands of examples, where the published rates are made for billions."""
OURS: Sequence[Mapping[str, Any]] = [
    {"learning_rate_scale": scale, "row_norm": norm}
    for scale in (10.0, 20.0)
    for norm in (True, False)
]
"""What the validation part chooses from."""
GROUP = 4_096


def learnt(rows: Rows, settings: Mapping[str, Any], seed: int) -> Iterator[npt.NDArray[np.float32]]:
    """Probabilities of the rows not learnt from, (n, tasks), by the model after each epoch."""
    ranker = HeavyRankerSettings(**{**FIXED, **settings, "seed": seed})
    begin, _ = rows.cuts
    steps = begin // ranker.batch
    kept = {"checkpoint_steps": steps, "checkpoints_kept": ranker.epochs}
    ranker = ranker.model_copy(update=kept)
    heads = [TASK_NAMES.index(HEADS[task]) for task in rows.tasks]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        examples = _written(rows, Path(folder))
        run = Run(Path(folder) / "run", examples.between(0, begin), ranker, seed)
        train_here(run)
        later = examples.between(begin, len(rows))
        for step in run.checkpoints.steps():
            model, _ = trained(run, step)
            yield judge(model, identity(model.tasks), later).probabilities[:, heads]


def trained_at(rows: Rows, settings: Mapping[str, Any]) -> float:
    """Examples a second of an epoch of one thread: reading, shuffling, forward, backward, Adam."""
    ranker = HeavyRankerSettings(**{**FIXED, **settings, "epochs": 1})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(action="ignore"),
        group_of_one(),
    ):
        examples = _written(rows, Path(folder)).between(0, rows.cuts[0])
        run = Run(Path(folder) / "run", examples, ranker, 0)
        n_steps = rows.cuts[0] // ranker.batch
        model = ShardedRanker(examples.schema, ranker, 0, n_steps, torch.device("cpu"))
        found = stream(examples, run.sampling, ranker.batch, 1, 0, 0, 1, Place())
        batches = ReadAhead((place, Batch.of(batch, examples.schema)) for place, batch in found)
        steps = model.steps(batches, 0)
        next(steps)
        began_s = time.perf_counter()
        n_timed = sum(1 for _ in steps)
        seconds = time.perf_counter() - began_s
        batches.close()
    torch.set_num_threads(threads)
    return n_timed * ranker.batch / seconds


def schema_of(rows: Rows) -> Schema:
    """Codes as tables, flags as they are, all other numbers as continuous inputs."""
    inputs = [
        Input(name, Sort.BINARY if flag else Sort.CONTINUOUS, rows.levels[name], rows.name, "")
        for name, flag in zip(rows.number_names, _flags(rows), strict=True)
    ]
    inputs += [
        Input(
            *(name, Sort.DISCRETE, rows.levels[name], rows.name, ""),
            buckets=max(n, 2),
            dimensions=DIMENSIONS,
        )
        for name, n in zip(rows.code_names, rows.n_codes.tolist(), strict=True)
    ]
    return Schema(tuple(inputs))


def _flags(rows: Rows) -> list[bool]:
    return [bool(np.isin(column, (0, 1)).all()) for column in rows.numbers.T]


def _written(rows: Rows, folder: Path) -> ExampleSet:
    schema = schema_of(rows)
    number, code = rows.number_names.index, rows.code_names.index
    labels = np.zeros((len(rows), len(TASK_NAMES)), np.uint8)
    mask = np.zeros_like(labels)
    for i, task in enumerate(rows.tasks):
        head = TASK_NAMES.index(HEADS[task])
        labels[:, head], mask[:, head] = rows.labels[:, i], 1
    numbers, codes = rows.numbers, rows.codes
    flags = numbers[:, [number(given.name) for given in schema.binary]].astype(np.uint8)
    columns = {
        "continuous": _lists(numbers[:, [number(given.name) for given in schema.continuous]]),
        **({"binary": _lists(flags)} if flags.shape[1] else {}),
        "discrete": _lists(codes[:, [code(given.name) for given in schema.discrete]]),
        "labels": _lists(labels),
        "mask": _lists(mask),
        "weight": pa.array(np.ones(len(rows), np.float32)),
    }
    told = {"tasks": ",".join(TASK_NAMES), "schema": schema.fingerprint}
    path = folder / "part-00000.parquet"
    table = pa.table(columns).replace_schema_metadata(told)
    pq.write_table(table, path, row_group_size=GROUP)
    return ExampleSet.open([path], schema)


def _lists(values: npt.NDArray[Any]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(values).ravel()), values.shape[1]
    )

"""Random exported models and inputs, and what such a model says, computed the plain way."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from actors.features.inputs import Embedding, Input, Level, RankerInputs, Schema, Sort
from actors.features.tasks import TASK_NAMES
from training.heavy_ranker.hashing import table_rows

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Tensors = dict[str, Floats]


def schema_of(
    continuous: tuple[int, int, int] = (11, 7, 9),
    binary: tuple[int, int, int] = (2, 1, 3),
    discrete: tuple[int, int, int] = (1, 0, 2),
    embeddings: tuple[Level, ...] = (Level.AUTHOR, Level.VIEWER, Level.POST),
) -> Schema:
    """Inputs by level, listed in another order than the model's."""
    inputs = [
        Input(f"{sort.name}_{level.name}_{i}".lower(), sort, level, "g", "m", 0.0, *sizes)
        for sort, counts, sizes in (
            (Sort.DISCRETE, discrete, (50, 4)),
            (Sort.BINARY, binary, ()),
            (Sort.CONTINUOUS, continuous, ()),
        )
        for level in reversed(Level)
        for i in range(counts[level])
    ]
    vectors = [Embedding(f"vector_{i}", level, 5 + i, "m") for i, level in enumerate(embeddings)]
    return Schema(tuple(inputs), tuple(vectors))


def draw_model(
    schema: Schema,
    rng: np.random.Generator,
    *,
    form: str = "parallel",
    row_norm: bool = True,
    blocks: int = 3,
    mask_width: int = 24,
    block_width: int = 16,
    backbone: tuple[int, ...] = (40,),
    towers: tuple[int, ...] = (12, 8),
    tasks: tuple[str, ...] = TASK_NAMES,
    tables: bool = True,
) -> tuple[Tensors, dict[str, Any]]:
    """The tensors and the JSON of a model."""
    tensors: Tensors = {}

    def drawn(name: str, *shape: int, scale: float = 1.0, around: float = 0.0) -> None:
        tensors[name] = (around + scale * rng.standard_normal(shape)).astype(np.float32)

    def linear(name: str, inputs: int, outputs: int) -> None:
        drawn(f"{name}.weight", outputs, inputs, scale=1.5 / np.sqrt(inputs))
        drawn(f"{name}.bias", outputs, scale=0.3)

    def norm(name: str, width: int) -> None:
        drawn(f"{name}.weight", width, scale=0.2, around=1.0)
        drawn(f"{name}.bias", width, scale=0.2)

    n, n_binary = len(schema.continuous), len(schema.binary)
    drawn("input_norm.mean", n, scale=0.5)
    tensors["input_norm.var"] = rng.uniform(0.2, 2, n).astype(np.float32)
    norm("input_norm", n)
    norm("layer_norm", n + n_binary)
    width = n + n_binary
    for vector in schema.embeddings:
        norm(f"embedding_norms.{vector.name}", vector.dimensions)
        width += vector.dimensions
    for given in schema.discrete if tables else ():
        drawn(f"tables.{given.name}", given.buckets, given.dimensions)
        width += given.dimensions
    masked = width
    for i in range(blocks):
        linear(f"blocks.{i}.mask1", width, mask_width)
        linear(f"blocks.{i}.mask2", mask_width, masked)
        linear(f"blocks.{i}.hidden", masked, block_width)
        norm(f"blocks.{i}.norm", block_width)
        masked = block_width if form == "serial" else width
    below = block_width * (blocks if form == "parallel" else 1)
    for i, above in enumerate(backbone):
        linear(f"backbone.{i}", below, above)
        below = above
    for task in tasks:
        inputs = below
        for i, above in enumerate((*towers, 1)):
            linear(f"towers.{task}.{i}", inputs, above)
            inputs = above
    described = {
        "form": form,
        "schema": _described(schema),
        "tasks": list(tasks),
        "calibration": {t: [float(rng.uniform(0.5, 1)), float(rng.uniform(-1, 0))] for t in tasks},
        "settings": {"row_norm": row_norm},
    }
    return tensors, described


def write_model(folder: Path, tensors: Tensors, described: dict[str, Any]) -> Path:
    """Write the two files."""
    save_file(tensors, folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps(described))
    return folder


def draw_inputs(schema: Schema, n: int, n_authors: int, rng: np.random.Generator) -> RankerInputs:
    """Heavy-tailed numbers, some of which are none."""
    rows = {Level.VIEWER: 1, Level.AUTHOR: n_authors, Level.POST: n}
    values, discrete = [], []
    for level in Level:
        n_continuous = len(schema.of(Sort.CONTINUOUS, level))
        n_binary = len(schema.of(Sort.BINARY, level))
        numbers = rng.standard_normal((rows[level], n_continuous)) ** 3 * 10
        numbers[rng.random(numbers.shape) < 0.02] = np.nan
        numbers[rng.random(numbers.shape) < 0.01] = -np.inf
        bits = rng.random((rows[level], n_binary)) < 0.5
        values.append(np.concatenate([numbers, bits], axis=1).astype(np.float32))
        n_discrete = len(schema.of(Sort.DISCRETE, level))
        discrete.append(rng.integers(-5, 2**40, (rows[level], n_discrete)))
        discrete[-1][:, ::2] %= 50
    return RankerInputs(
        schema,
        (values[0], values[1], values[2]),
        (discrete[0], discrete[1], discrete[2]),
        {
            vector.name: rng.standard_normal((rows[vector.level], vector.dimensions)).astype("f4")
            for vector in schema.embeddings
        },
        rng.integers(0, n_authors, n),
    )


def part_of(inputs: RankerInputs, rows: npt.NDArray[np.int64]) -> RankerInputs:
    """Some of the candidates, with only their own authors."""
    authors, author_rows = np.unique(inputs.author_rows[rows], return_inverse=True)
    cuts = {Level.VIEWER: np.array([0]), Level.AUTHOR: authors, Level.POST: rows}
    return RankerInputs(
        inputs.schema,
        tuple(inputs.values[level][cuts[level]] for level in Level),  # type: ignore[arg-type]
        tuple(inputs.discrete[level][cuts[level]] for level in Level),  # type: ignore[arg-type]
        {
            vector.name: inputs.embeddings[vector.name][cuts[vector.level]]
            for vector in inputs.schema.embeddings
        },
        author_rows.astype(np.int64),
    )


def plainly_scored(tensors: Tensors, described: dict[str, Any], inputs: RankerInputs) -> Doubles:
    """Probabilities (n, all tasks) by the specification, in float64 and row by dense row."""
    weights = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}

    def linear(name: str, x: Doubles) -> Doubles:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: Doubles) -> Doubles:
        away = x - x.mean(axis=1, keepdims=True)
        scaled = away / np.sqrt((away**2).mean(axis=1, keepdims=True) + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def layers(name: str) -> int:
        return sum(key.startswith(f"{name}.") and key.endswith(".weight") for key in weights)

    continuous, binary, discrete, vectors = inputs.dense()
    x = continuous.astype(np.float64)
    x[~np.isfinite(x)] = 0
    x = np.sign(x) * np.log1p(np.abs(x))
    x = (x - weights["input_norm.mean"]) / np.sqrt(weights["input_norm.var"] + 1e-5)
    x = (x * weights["input_norm.weight"] + weights["input_norm.bias"]).clip(-5, 5)
    h = np.concatenate([x, binary], axis=1)
    if described["settings"]["row_norm"]:
        parts = [norm("layer_norm", h)]
    else:
        parts = [h * weights["layer_norm.weight"] + weights["layer_norm.bias"]]
    for vector in inputs.schema.embeddings:
        found = vectors[vector.name].astype(np.float64)
        parts.append(norm(f"embedding_norms.{vector.name}", found))
    if any(name.startswith("tables.") for name in weights):
        buckets = np.array([given.buckets for given in inputs.schema.discrete], np.int64)
        rows = table_rows(discrete, buckets)
        for i, given in enumerate(inputs.schema.discrete):
            parts.append(weights[f"tables.{given.name}"][rows[:, i]])
    h = np.concatenate(parts, axis=1)
    outputs: list[Doubles] = []
    for i in range(layers("blocks") // 4):
        below = outputs[-1] if outputs and described["form"] == "serial" else h
        mask = linear(f"blocks.{i}.mask2", linear(f"blocks.{i}.mask1", h).clip(0))
        outputs.append(norm(f"blocks.{i}.norm", linear(f"blocks.{i}.hidden", below * mask)))
    z = np.concatenate(outputs, axis=1) if described["form"] == "parallel" else outputs[-1]
    for i in range(layers("backbone")):
        z = linear(f"backbone.{i}", z).clip(0)
    scores = np.zeros((len(h), len(TASK_NAMES)))
    for task in described["tasks"]:
        y = z
        n_layers = layers(f"towers.{task}")
        for i in range(n_layers):
            y = linear(f"towers.{task}.{i}", y)
            y = y.clip(0) if i < n_layers - 1 else y
        a, b = described["calibration"][task]
        scores[:, TASK_NAMES.index(task)] = 1 / (1 + np.exp(-(a * y[:, 0] + b)))
    return scores


def _described(schema: Schema) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "name": given.name,
                "sort": given.sort.name.lower(),
                "level": given.level.name.lower(),
                "default": given.default,
                "buckets": given.buckets,
                "dimensions": given.dimensions,
            }
            for given in schema.inputs
        ],
        "embeddings": [
            {"name": e.name, "level": e.level.name.lower(), "dimensions": e.dimensions}
            for e in schema.embeddings
        ],
    }

"""A trained heavy ranker as it lies in a folder: named tensors, and JSON about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from actors.features.inputs import Embedding, Input, Level, Schema, Sort
from actors.features.tasks import TASK_NAMES
from actors.stores.kernels import writable
from cluster.artifact_files import read_json, read_tensors

Floats = npt.NDArray[np.float32]

TENSORS, DESCRIPTION = "model.safetensors", "model.json"
EPS = 1e-5
"""Of every norm."""


@dataclass(frozen=True)
class Linear:
    """x ↦ W·x + b; `weight` has the shape (outputs, inputs)."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True)
class Norm:
    """What a layer norm multiplies by and adds."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True)
class Block:
    """LayerNorm(hidden · (x ⊙ (mask2 · relu(mask1 · h)))); x is h, or the block before."""

    mask1: Linear
    mask2: Linear
    hidden: Linear
    norm: Norm


@dataclass(frozen=True)
class Exported:
    """A heavy ranker whose parts fit together.

    The columns of h, which blocks read: continuous inputs, binary ones, the schema's
    embeddings, vectors of its discrete inputs; each in the schema's order.
    """

    schema: Schema
    form: Literal["parallel", "serial"]
    tasks: tuple[str, ...]
    calibration: Floats
    """Shape (tasks, 2): a probability is σ(a · logit + b)."""
    input_mean: Floats
    input_scale: Floats
    input_bias: Floats
    """Of continuous inputs after their logarithm: (x − mean) · scale + bias."""
    row_norm: bool
    """Whether each row's continuous and binary inputs are brought to mean 0 and deviation 1."""
    layer_norm: Norm
    """Scale and shift of continuous and binary inputs after that."""
    embedding_norms: dict[str, Norm]
    tables: dict[str, Floats]
    """By discrete input; empty where the model reads none."""
    blocks: tuple[Block, ...]
    backbone: tuple[Linear, ...]
    towers: tuple[tuple[Linear, ...], ...]
    """By task; all of the same shapes."""

    @property
    def width(self) -> int:
        """Columns of h."""
        return int(self.blocks[0].mask1.weight.shape[1])


def read_exported(folder: Path, expected: Schema) -> Exported:
    """Read and check a model.

    Raises `ValueError` for one that does not read exactly the inputs of `expected`, that
    predicts an unknown task, or whose tensors lack, are too many, are not finite or do not fit
    together.
    """
    described = read_json(folder / DESCRIPTION)
    for key in ("form", "schema", "tasks", "calibration"):
        if not isinstance(described, dict) or key not in described:
            raise ValueError(f"{DESCRIPTION} has no {key!r}")
    form = described["form"]
    if form not in ("parallel", "serial"):
        raise ValueError(f"form {form!r}: expected parallel or serial")
    row_norm = dict(described.get("settings") or {}).get("row_norm", True)
    if not isinstance(row_norm, bool):
        raise ValueError(f"row_norm {row_norm!r}: expected true or false")
    _check_schema(schema_of(described["schema"]), expected)
    tasks = _tasks(described["tasks"])
    calibration = _calibration(described["calibration"], tasks)
    tensors = _Tensors(read_tensors(folder / TENSORS))
    n_continuous = len(expected.continuous)
    mean, variance = (tensors.take(f"input_norm.{part}", n_continuous) for part in ("mean", "var"))
    if (variance < 0).any():
        raise ValueError(f"input_norm.var holds {variance.min()}, and a variance is not negative")
    input_norm = tensors.norm("input_norm", n_continuous)
    layer_norm = tensors.norm("layer_norm", n_continuous + len(expected.binary))
    norms = {
        e.name: tensors.norm(f"embedding_norms.{e.name}", e.dimensions) for e in expected.embeddings
    }
    tables = {}
    if any(name.startswith("tables.") for name in tensors):
        tables = {
            given.name: tensors.take(f"tables.{given.name}", given.buckets, given.dimensions)
            for given in expected.discrete
        }
    width = len(layer_norm.weight) + sum(e.dimensions for e in expected.embeddings)
    width += sum(table.shape[1] for table in tables.values())
    blocks = _blocks(tensors, form, width)
    above = len(blocks[-1].norm.weight) * (len(blocks) if form == "parallel" else 1)
    backbone = tensors.chain("backbone", above)
    if backbone:
        above = len(backbone[-1].bias)
    towers = tuple(tensors.chain(f"towers.{task}", above) for task in tasks)
    _check_towers(tasks, towers)
    tensors.check_all_taken()
    return Exported(
        schema=expected,
        form=form,
        tasks=tasks,
        calibration=calibration,
        input_mean=mean,
        input_scale=(input_norm.weight / np.sqrt(variance.astype(np.float64) + EPS)).astype(
            np.float32
        ),
        input_bias=input_norm.bias,
        row_norm=row_norm,
        layer_norm=layer_norm,
        embedding_norms=norms,
        tables=tables,
        blocks=blocks,
        backbone=backbone,
        towers=towers,
    )


def schema_of(described: Any) -> Schema:
    """The schema that JSON tells; sorts and levels by name or by number.

    Raises `ValueError` for what is no schema.
    """
    try:
        inputs = tuple(
            Input(
                **{
                    "group": "",
                    "meaning": "",
                    **given,
                    "sort": _member(Sort, given["sort"]),
                    "level": _member(Level, given["level"]),
                }
            )
            for given in described["inputs"]
        )
        embeddings = tuple(
            Embedding(**{"meaning": "", **given, "level": _member(Level, given["level"])})
            for given in described.get("embeddings", ())
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{DESCRIPTION} holds no schema: {error!r}") from error
    return Schema(inputs, embeddings)


class _Tensors:
    """Tensors by name, each to be taken once."""

    def __init__(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        self._left = dict(tensors)

    def __iter__(self) -> Any:
        return iter(self._left)

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, *shape: int | None) -> Floats:
        """The tensor of this name and shape; None is any number of at least 1."""
        tensor = self._left.pop(name, None)
        if tensor is None:
            raise ValueError(f"{TENSORS} has no tensor {name!r}")
        fits = tensor.ndim == len(shape) and all(
            found == wanted if wanted is not None else found > 0
            for found, wanted in zip(tensor.shape, shape, strict=True)
        )
        if not fits or tensor.dtype != np.float32:
            told = ", ".join("any" if wanted is None else str(wanted) for wanted in shape)
            raise ValueError(
                f"tensor {name} has the shape {tensor.shape} and type {tensor.dtype}; "
                f"expected ({told}) and float32"
            )
        found: Floats = writable(tensor, np.float32)
        return found

    def linear(self, name: str, inputs: int, outputs: int | None = None) -> Linear:
        weight = self.take(f"{name}.weight", outputs, inputs)
        return Linear(weight, self.take(f"{name}.bias", len(weight)))

    def norm(self, name: str, width: int) -> Norm:
        return Norm(self.take(f"{name}.weight", width), self.take(f"{name}.bias", width))

    def chain(self, name: str, inputs: int) -> tuple[Linear, ...]:
        """Layers `{name}.0`, `{name}.1`, …, each of which reads the one before."""
        layers: list[Linear] = []
        while f"{name}.{len(layers)}.weight" in self:
            layers.append(self.linear(f"{name}.{len(layers)}", inputs))
            inputs = len(layers[-1].bias)
        return tuple(layers)

    def check_all_taken(self) -> None:
        if self._left:
            raise ValueError(f"{TENSORS} has tensors of no part: {', '.join(sorted(self._left))}")


def _blocks(tensors: _Tensors, form: str, width: int) -> tuple[Block, ...]:
    blocks: list[Block] = []
    masked = width
    while not blocks or f"blocks.{len(blocks)}.mask1.weight" in tensors:
        name = f"blocks.{len(blocks)}"
        mask1 = tensors.linear(f"{name}.mask1", width)
        mask2 = tensors.linear(f"{name}.mask2", len(mask1.bias), masked)
        hidden = tensors.linear(f"{name}.hidden", masked)
        blocks.append(Block(mask1, mask2, hidden, tensors.norm(f"{name}.norm", len(hidden.bias))))
        if form == "serial":
            masked = len(hidden.bias)
    for part in ("mask1", "hidden"):
        sizes = {len(getattr(block, part).bias) for block in blocks}
        if len(sizes) > 1:
            raise ValueError(f"blocks differ in the width of {part}: {sorted(sizes)}")
    return tuple(blocks)


def _check_towers(tasks: tuple[str, ...], towers: tuple[tuple[Linear, ...], ...]) -> None:
    for task, tower in zip(tasks, towers, strict=True):
        shapes = [layer.weight.shape for layer in tower]
        if not shapes or shapes[-1][0] != 1:
            raise ValueError(f"the tower of {task} has the shapes {shapes}; expected one output")
        first = [layer.weight.shape for layer in towers[0]]
        if shapes != first:
            raise ValueError(
                f"towers have one shape: {tasks[0]} has {first} and {task} has {shapes}"
            )


def _check_schema(found: Schema, expected: Schema) -> None:
    if found.fingerprint == expected.fingerprint:
        return
    ours, theirs = _names(expected), _names(found)
    parts = [
        f"it lacks {', '.join(sorted(ours - theirs)[:5])}" if ours - theirs else "",
        f"it reads {', '.join(sorted(theirs - ours)[:5])} too" if theirs - ours else "",
    ]
    told = "; ".join(part for part in parts if part)
    raise ValueError(
        f"the model was trained on inputs {found.fingerprint}, and these are "
        f"{expected.fingerprint}: {told or 'they differ in order, sort, level, default or size'}"
    )


def _names(schema: Schema) -> set[str]:
    return {given.name for given in schema.inputs} | {vector.name for vector in schema.embeddings}


def _tasks(described: Any) -> tuple[str, ...]:
    tasks = tuple(map(str, described)) if isinstance(described, list) else ()
    unknown = sorted(set(tasks) - set(TASK_NAMES))
    if not tasks or unknown or len(set(tasks)) < len(tasks):
        raise ValueError(
            f"tasks {described!r}: expected some of {', '.join(TASK_NAMES)}, each once"
        )
    return tasks


def _calibration(described: Any, tasks: tuple[str, ...]) -> Floats:
    try:
        pairs = np.array([described[task] for task in tasks], np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"calibration {described!r}: expected [a, b] by task") from error
    if pairs.shape != (len(tasks), 2) or not np.isfinite(pairs).all() or (pairs[:, 0] < 0).any():
        raise ValueError(f"calibration {described!r}: expected [a, b] by task, a not negative")
    return pairs


def _member(kind: Any, value: Any) -> Any:
    return kind[value.upper()] if isinstance(value, str) else kind(value)

"""The heavy ranker as its specification writes it, in float64 NumPy: what the model must equal."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Weights = dict[str, Array]


def forward(
    w: Weights,
    tasks: tuple[str, ...],
    continuous: Array,
    binary: Array,
    vectors: dict[str, Array],
    tables: list[Array],
    *,
    form: str = "parallel",
    blocks: int = 2,
    backbone: int = 1,
    towers: int = 2,
    training: bool = False,
) -> Array:
    """Logits (n, tasks); `w` by the names of `HeavyRanker`, `tables` the rows looked up."""
    x = np.where(np.isfinite(continuous), continuous, 0)
    x = np.sign(x) * np.log1p(np.abs(x))
    x = batch_norm(w, "preprocessing.input_norm", x, training=training, affine=True)
    x = np.concatenate([np.clip(x, -5, 5), binary], 1)
    h = [layer_norm(w, "preprocessing.layer_norm", x)]
    h += [layer_norm(w, f"embedding_norms.{name}", v) for name, v in vectors.items()]
    inputs = np.concatenate([*h, *tables], 1)
    if form == "parallel":
        z = np.concatenate([mask_block(w, i, inputs, inputs) for i in range(blocks)], 1)
    else:
        z = inputs
        for i in range(blocks):
            z = mask_block(w, i, z, inputs)
    for i in range(backbone):
        z = np.maximum(linear(w, f"mask_net.backbone.{i}", z), 0)
    logits = []
    for t, task in enumerate(tasks):
        y = z
        for i in range(towers):
            y = linear(w, f"towers.layers.{task}.{i}", y)
            columns = slice(t * y.shape[1], (t + 1) * y.shape[1])
            y = batch_norm(w, f"towers.norms.{i}", y, training=training, columns=columns)
            y = np.maximum(y, 0)
        logits.append(linear(w, f"towers.layers.{task}.{towers}", y))
    return np.concatenate(logits, 1)


def mask_block(w: Weights, i: int, x: Array, h: Array) -> Array:
    name = f"mask_net.blocks.{i}"
    mask = linear(w, f"{name}.mask2", np.maximum(linear(w, f"{name}.mask1", h), 0))
    return layer_norm(w, f"{name}.norm", linear(w, f"{name}.hidden", x * mask))


def linear(w: Weights, name: str, x: Array) -> Array:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def layer_norm(w: Weights, name: str, x: Array) -> Array:
    x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def batch_norm(
    w: Weights,
    name: str,
    x: Array,
    *,
    training: bool,
    affine: bool = False,
    columns: slice = slice(None),
) -> Array:
    mean = x.mean(0) if training else w[f"{name}.running_mean"][columns]
    var = x.var(0) if training else w[f"{name}.running_var"][columns]
    x = (x - mean) / np.sqrt(var + 1e-5)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"] if affine else x

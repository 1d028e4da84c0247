"""The trained model as files: `model.safetensors` and `model.json`, read by `scoring` and by
training that begins with an earlier model's weights.

Tensors are `input_norm.{mean,var,weight,bias}`, `layer_norm.{weight,bias}`,
`embedding_norms.{name}.{weight,bias}`, `blocks.{i}.{mask1,mask2,hidden,norm}.{weight,bias}`,
`backbone.{i}.{weight,bias}`, `towers.{task}.{i}.{weight,bias}` with the towers' batch norms folded
into the layers below them, and `tables.{input}`. All are float32.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from actors.features.inputs import Schema
from cluster.durable import write_file
from cluster.ranker_settings import HeavyRankerSettings
from training.heavy_ranker.batch_norm import EPS, SyncedBatchNorm
from training.heavy_ranker.calibration import as_json
from training.heavy_ranker.model import HeavyRanker, has_tables, table_collection

MODEL, TENSORS = "model.json", "model.safetensors"
_SIZES = (
    *("row_norm", "form", "blocks", "mask_width", "block_width", "backbone", "towers"),
    "tables",
)


def export(
    model: HeavyRanker,
    schema: Schema,
    settings: HeavyRankerSettings,
    calibration: Mapping[str, tuple[float, float]],
    path: Path,
) -> None:
    """Write both files into a folder, which is made where it is missing.

    `calibration` holds scale and bias of every task's logits. Raises `ValueError` for weights
    that are no numbers.
    """
    tensors = _folded(model)
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(f"not all finite: {', '.join(broken)}")
    told = {
        "form": settings.form,
        "schema": _schema_json(schema),
        "tasks": list(model.tasks),
        "calibration": as_json({task: calibration[task] for task in model.tasks}),
        "settings": {name: getattr(settings, name) for name in _SIZES},
    }
    path.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path / TENSORS)
    write_file(path / MODEL, json.dumps(told, indent=1, sort_keys=True).encode())


def read_weights(path: Path, schema: Schema, settings: HeavyRankerSettings) -> dict[str, Tensor]:
    """Tensors by their names in `HeavyRanker`, from the folder of an exported model.

    Batch norms of towers begin anew above the layers in which they were folded, which gives the
    same model. Raises `ValueError` where the schema or the sizes are others.
    """
    told = json.loads((path / MODEL).read_bytes())
    if (found := told["schema"]["fingerprint"]) != schema.fingerprint:
        raise ValueError(f"{path} is of schema {found}, not {schema.fingerprint}")
    weights = {}
    with safe_open(path / TENSORS, "pt") as file:
        there = set(file.keys())
        for name, tensor in _unfilled(schema, settings).state_dict().items():
            own, shape = exported_name(name), tuple(tensor.shape)
            if own is None:
                # Such that, with what the norm adds to it, nothing changes.
                still = 1.0 - EPS if name.endswith("running_var") else 0.0
                weights[name] = torch.full(shape, still)
            elif own in there and tuple(file.get_slice(own).get_shape()) == shape:
                weights[name] = file.get_tensor(own)
            else:
                raise ValueError(f"{path} has no {own} of shape {shape}: its sizes are others")
    return weights


def exported_name(name: str) -> str | None:
    """The name in the file of a tensor of `HeavyRanker`; None of what is folded into others."""
    if name.startswith("towers.norms."):
        return None
    if name.startswith("tables."):
        return name.replace("embedding_bags.", "").removesuffix(".weight")
    for ours, theirs in _RENAMED.items():
        name = name.replace(ours, theirs)
    return name


_RENAMED = {
    "preprocessing.": "",
    "running_": "",
    "mask_net.": "",
    "towers.layers.": "towers.",
}


def _folded(model: HeavyRanker) -> dict[str, Tensor]:
    """Tensors by name in the file, towers' batch norms folded: W / σ and (b − μ) / σ."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        if own := exported_name(name):
            tensors[own] = tensor.detach().float().cpu().clone().contiguous()
    _silence_unseen(tensors)
    for i, norm in enumerate(model.towers.norms):
        if not isinstance(norm, SyncedBatchNorm):
            continue
        scales = (norm.running_var + norm.eps).rsqrt().cpu().chunk(len(model.tasks))
        means = norm.running_mean.cpu().chunk(len(model.tasks))
        for task, scale, mean in zip(model.tasks, scales, means, strict=True):
            tensors[f"towers.{task}.{i}.weight"].mul_(scale[:, None])
            tensors[f"towers.{task}.{i}.bias"].sub_(mean).mul_(scale)
    return tensors


def _silence_unseen(tensors: dict[str, Tensor]) -> None:
    """Inputs that were the same in all examples say nothing, whatever they are when served.

    Models that are made after the examples, such as the vectors of a first TwHIN, fill them
    then; no gradient ever reached what reads them. Learning goes on from there when they vary.
    """
    constant = tensors["input_norm.var"] == 0
    tensors["input_norm.weight"][constant] = 0.0
    for name, weight in tensors.items():
        parts = name.split(".")
        if parts[0] == "embedding_norms" and parts[-1] == "weight":
            bias = tensors[name.removesuffix("weight") + "bias"]
            # What norms a vector of zeros keeps its first weight, and learns a shift.
            if bool((weight == 1).all()) and bool((bias != 0).any()):
                weight.zero_()


def _schema_json(schema: Schema) -> dict[str, Any]:
    """The schema with every input, in model order."""
    return {
        "fingerprint": schema.fingerprint,
        "inputs": [
            {**asdict(given), "sort": given.sort.name.lower(), "level": given.level.name.lower()}
            for given in (*schema.continuous, *schema.binary, *schema.discrete)
        ],
        "embeddings": [
            {**asdict(given), "level": given.level.name.lower()} for given in schema.embeddings
        ],
    }


def _unfilled(schema: Schema, settings: HeavyRankerSettings) -> HeavyRanker:
    """A model of shapes alone."""
    tables = table_collection(schema, "meta") if has_tables(schema, settings) else None
    with torch.device("meta"):
        return HeavyRanker(schema, settings, tables)

"""A model that must not be served is refused when it is read, and says why."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.features.inputs import Level, Schema
from tests.training.heavy_ranker.scored_models import (
    Tensors,
    draw_model,
    schema_of,
    write_model,
)
from training.heavy_ranker.scoring import HeavyRankerModel

Edit = Callable[[Tensors, dict[str, Any]], object]
SCHEMA = schema_of()


def _read(folder: Path, edit: Edit, expected: Schema = SCHEMA) -> HeavyRankerModel:
    tensors, described = draw_model(SCHEMA, np.random.default_rng(0))
    edit(tensors, described)
    return HeavyRankerModel.read(write_model(folder, tensors, described), expected)


def _untouched(tensors: Tensors, described: dict[str, Any]) -> None: ...


def _replaced(name: str, value: np.ndarray) -> Edit:
    return lambda tensors, described: tensors.update({name: value})


def _told(key: str, value: Any) -> Edit:
    return lambda tensors, described: described.update({key: value})


def _not_finite(tensors: Tensors, described: dict[str, Any]) -> None:
    tensors["blocks.1.hidden.weight"][3, 2] = np.nan


def _exploding(tensors: Tensors, described: dict[str, Any]) -> None:
    tensors["towers.is_replied.2.weight"] *= 1e38
    tensors["towers.is_replied.1.bias"] += 1e3


def _one_tower_wider(tensors: Tensors, described: dict[str, Any]) -> None:
    name = "towers.is_replied"
    tensors[f"{name}.0.weight"] = np.ones((13, 40), np.float32)
    tensors[f"{name}.0.bias"] = np.ones(13, np.float32)
    tensors[f"{name}.1.weight"] = np.ones((8, 13), np.float32)


def _of_one_block_less(tensors: Tensors, described: dict[str, Any]) -> None:
    for part in ("mask1", "mask2", "hidden", "norm"):
        for kind in ("weight", "bias"):
            del tensors[f"blocks.1.{part}.{kind}"]


def test_a_good_one_is_read(tmp_path: Path) -> None:
    assert _read(tmp_path, _untouched).schema.fingerprint == SCHEMA.fingerprint


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t, d: t.pop("layer_norm.bias"), "has no tensor 'layer_norm.bias'"),
        (
            lambda t, d: t.pop("towers.is_replied.2.weight"),
            "no part: towers.is_replied.2.bias|one output",
        ),
        (_of_one_block_less, "shape|no part"),
        (_replaced("towers.is_bored.0.weight", np.ones((1, 1), "f4")), "no part: towers.is_bored"),
        (_replaced("layer_norm.bias", np.ones(2, "f4")), r"layer_norm.bias has the shape \(2,\)"),
        (_replaced("layer_norm.bias", np.ones(33)), "type float64; expected .33. and float32"),
        (_replaced("input_norm.var", np.full(27, -1, "f4")), "a variance is not negative"),
        (_not_finite, "blocks.1.hidden.weight"),
        (_exploding, "where a probability is due"),
        (_one_tower_wider, "towers have one shape"),
        (_told("form", "circular"), "form 'circular': expected parallel or serial"),
        (_told("tasks", ["is_bored"]), "expected some of is_favorited"),
        (_told("tasks", ["is_replied", "is_replied"]), "each once"),
        (_told("calibration", {"is_replied": [1.0, 0.0]}), r"expected \[a, b\] by task"),
        (_told("schema", {"inputs": [{"name": "x"}]}), "holds no schema"),
        (lambda t, d: d.pop("tasks"), "model.json has no 'tasks'"),
    ],
)
def test_a_bad_one_is_refused(edit: Edit, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        _read(tmp_path, edit)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (schema_of(continuous=(11, 8, 9)), "it lacks continuous_author_7"),
        (schema_of(continuous=(11, 6, 9)), "it reads continuous_author_6 too"),
        (schema_of(embeddings=(Level.AUTHOR, Level.POST, Level.POST)), "they differ in order"),
    ],
)
def test_one_for_other_inputs_is_refused(expected: Schema, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        _read(tmp_path, _untouched, expected)

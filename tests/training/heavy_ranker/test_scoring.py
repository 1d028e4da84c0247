"""The served heavy ranker gives what the specification says, in every precision and form."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from actors.features.inputs import RankerInputs
from actors.features.tasks import TASK_NAMES
from cluster.ranker_settings import HeavyRankerSettings
from tests.training.heavy_ranker.scored_models import (
    draw_inputs,
    draw_model,
    part_of,
    plainly_scored,
    schema_of,
    write_model,
)
from training.heavy_ranker.export import export
from training.heavy_ranker.model import HeavyRanker
from training.heavy_ranker.packed_linear import Precision, supported
from training.heavy_ranker.scoring import HeavyRankerModel

FORMS: tuple[dict[str, Any], ...] = (
    {},
    {"form": "serial"},
    {"row_norm": False},
    {"blocks": 1, "backbone": (40, 20), "towers": (8,)},
    {"towers": ()},
    {"towers": (70, 66, 5), "mask_width": 130, "block_width": 65, "tables": False},
    {"tasks": ("is_replied", "is_favorited")},
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("threads", [1, 2])
def test_probabilities_are_those_of_the_specification(
    form: dict[str, Any], threads: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    schema = schema_of()
    tensors, described = draw_model(schema, rng, **form)
    inputs = draw_inputs(schema, 300, 70, rng)
    model = HeavyRankerModel.read(
        write_model(tmp_path, tensors, described), schema, threads=threads
    )
    found = model.score(inputs)
    wanted = plainly_scored(tensors, described, inputs)
    assert found.dtype == np.float32
    assert wanted.std() > 0.05
    np.testing.assert_allclose(found, wanted, atol=3e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_device_gives_the_same(form: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    schema = schema_of()
    tensors, described = draw_model(schema, rng, **form)
    inputs = draw_inputs(schema, 300, 70, rng)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = HeavyRankerModel.read(write_model(tmp_path, tensors, described), schema, device=device)
    wanted = plainly_scored(tensors, described, inputs)
    np.testing.assert_allclose(model.score(inputs), wanted, atol=3e-6)


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_inputs_may_all_be_of_one_level(at: int, precision: Precision, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    counts = [0, 0, 0]
    counts[at] = 9
    schema = schema_of((counts[0], counts[1], counts[2]), (0, 0, 0), (0, 0, 0), ())
    tensors, described = draw_model(schema, rng)
    inputs = draw_inputs(schema, 40, 7, rng)
    model = HeavyRankerModel.read(
        write_model(tmp_path, tensors, described), schema, precision=precision
    )
    wanted = plainly_scored(tensors, described, inputs)
    np.testing.assert_allclose(
        model.score(inputs), wanted, atol=3e-6 if model.precision == "fp32" else 0.1
    )


def test_a_model_of_training_is_served_as_it_was_evaluated(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    schema = schema_of()
    settings = HeavyRankerSettings(
        mask_width=24, block_width=16, backbone=(40,), towers=(12, 8), tables=False
    )
    torch.manual_seed(0)
    trained = HeavyRanker(schema, settings)
    inputs = draw_inputs(schema, 50, 9, rng)
    continuous, binary, _, vectors = inputs.dense()
    dense = (
        torch.from_numpy(continuous),
        torch.from_numpy(binary),
        {name: torch.from_numpy(values) for name, values in vectors.items()},
    )
    for _ in range(3):
        trained(*dense, None)  # for the norms' statistics
    trained.eval()
    export(trained, schema, settings, dict.fromkeys(TASK_NAMES, (0.5, -1.0)), tmp_path)
    with torch.no_grad():
        wanted = torch.sigmoid(0.5 * trained(*dense, None) - 1.0)
    found = HeavyRankerModel.read(tmp_path, schema).score(inputs)
    np.testing.assert_allclose(found, wanted, atol=3e-6)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_fewer_bits_keep_the_order(precision: Precision, tmp_path: Path) -> None:
    if not supported(precision):
        pytest.skip(f"this CPU computes no {precision}")
    rng = np.random.default_rng(4)
    schema = schema_of((60, 40, 50), (6, 5, 10), (2, 1, 3))
    tensors, described = draw_model(
        schema, rng, blocks=4, mask_width=128, block_width=128, backbone=(256,), towers=(64, 32)
    )
    inputs = draw_inputs(schema, 1_500, 400, rng)
    folder = write_model(tmp_path, tensors, described)
    exact = HeavyRankerModel.read(folder, schema).score(inputs)
    model = HeavyRankerModel.read(folder, schema, precision=precision)
    assert model.precision == precision
    found = model.score(inputs)
    # Labels drawn twenty times of each candidate: less is lost than their number shows.
    labels = rng.random((20, *exact.shape)) < exact
    for task in range(len(TASK_NAMES)):
        drawn = labels[:, :, task].ravel()
        lost = roc_auc_score(drawn, np.tile(exact[:, task], 20)) - roc_auc_score(
            drawn, np.tile(found[:, task], 20)
        )
        assert lost < 1e-3
    assert np.abs(found - exact).mean() < 0.01


def test_without_onednn_scores_are_the_same_and_fp32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(10)
    schema = schema_of()
    tensors, described = draw_model(schema, rng)
    inputs = draw_inputs(schema, 100, 20, rng)
    folder = write_model(tmp_path, tensors, described)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    model = HeavyRankerModel.read(folder, schema, precision="int8")
    assert model.precision == "fp32"
    assert "no instructions for int8" in caplog.text
    wanted = plainly_scored(tensors, described, inputs)
    np.testing.assert_allclose(model.score(inputs), wanted, atol=3e-6)


def test_no_candidates_have_no_scores(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    schema = schema_of()
    model = HeavyRankerModel.read(write_model(tmp_path, *draw_model(schema, rng)), schema)
    nobody = part_of(draw_inputs(schema, 4, 2, rng), np.arange(0))
    assert model.score(nobody).shape == (0, len(TASK_NAMES))


def test_several_threads_may_score_at_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    schema = schema_of()
    model = HeavyRankerModel.read(
        write_model(tmp_path, *draw_model(schema, rng)), schema, threads=2
    )
    requests = [draw_inputs(schema, 40 * i, 10, rng) for i in range(1, 9)]
    alone = [model.score(inputs) for inputs in requests]
    with ThreadPoolExecutor(4) as callers:
        together = list(callers.map(model.score, requests))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_scoring_leaves_the_number_of_threads_of_torch(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    schema = schema_of()
    before = torch.get_num_threads()
    model = HeavyRankerModel.read(
        write_model(tmp_path, *draw_model(schema, rng)), schema, threads=3
    )
    model.score(draw_inputs(schema, 100, 10, rng))
    assert torch.get_num_threads() == before
    assert model.threads == 3


def test_inputs_that_may_not_be_written_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    schema = schema_of()
    model = HeavyRankerModel.read(write_model(tmp_path, *draw_model(schema, rng)), schema)
    inputs = draw_inputs(schema, 30, 5, rng)
    wanted = model.score(inputs)
    arrays: list[Any] = [
        *inputs.values,
        *inputs.discrete,
        *inputs.embeddings.values(),
        inputs.author_rows,
    ]
    for array in arrays:
        array.flags.writeable = False
    np.testing.assert_array_equal(model.score(inputs), wanted)


def _with(inputs: RankerInputs, **changed: Any) -> RankerInputs:
    return RankerInputs(**{**vars(inputs), **changed})


def test_inputs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    schema = schema_of()
    model = HeavyRankerModel.read(write_model(tmp_path, *draw_model(schema, rng)), schema)
    inputs = draw_inputs(schema, 6, 3, rng)
    other = draw_inputs(schema_of(continuous=(1, 1, 1)), 6, 3, rng)
    with pytest.raises(ValueError, match=f"the model reads {schema.fingerprint}"):
        model.score(other)
    with pytest.raises(ValueError, match=r"author rows from 0 to 3, and there are 3 authors"):
        model.score(_with(inputs, author_rows=np.array([0, 1, 2, 3, 0, 0])))
    narrow = (inputs.values[0], inputs.values[1], inputs.values[2][:, 1:])
    with pytest.raises(ValueError, match=r"values of the post: shape \(6, 11\), expected \(6, 12"):
        model.score(_with(inputs, values=narrow))
    fewer = {**inputs.embeddings, "vector_2": inputs.embeddings["vector_2"][1:]}
    with pytest.raises(ValueError, match="vector_2: shape"):
        model.score(_with(inputs, embeddings=fewer))
    with pytest.raises(ValueError, match="no embedding 'vector_0'"):
        model.score(_with(inputs, embeddings={}))

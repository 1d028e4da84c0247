import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from actors.features.inputs import Level, RankerInputs, Sort
from actors.features.tasks import TASK_NAMES
from tests.training.heavy_ranker.synthetic import examples_of, schema_of, settings_of
from training.heavy_ranker.calibration import Calibration, calibrated
from training.heavy_ranker.example_set import Examples
from training.heavy_ranker.export import export, read_weights
from training.heavy_ranker.model import HeavyRanker
from training.heavy_ranker.scoring import HeavyRankerModel
from training.heavy_ranker.tensors import Batch

SCHEMA = schema_of()
CALIBRATION: Calibration = {task: (0.5 + i / 10, -i / 5) for i, task in enumerate(TASK_NAMES)}


def trained_model(form: str = "parallel", *, tables: bool = True) -> HeavyRanker:
    """Whose norms have seen examples."""
    torch.manual_seed(0)
    model = HeavyRanker(SCHEMA, settings_of(form=form, tables=tables))
    for seed in range(20):
        logits(model, examples_of(SCHEMA, 50, seed))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def logits(model: HeavyRanker, examples: Examples) -> torch.Tensor:
    batch = Batch.of(examples, SCHEMA)
    with torch.no_grad():
        found: torch.Tensor = model(batch.continuous, batch.binary, batch.embeddings, batch.lookups)
    return found


def as_inputs(examples: Examples) -> RankerInputs:
    """All inputs of the schema are of posts."""
    n = len(examples)
    values = np.concatenate([examples.continuous, examples.binary], 1).astype(np.float32)
    none, no_ids = np.zeros((1, 0), np.float32), np.zeros((1, 0), np.int64)
    return RankerInputs(
        SCHEMA,
        (none, none, values),
        (no_ids, no_ids, examples.discrete),
        examples.embeddings,
        np.zeros(n, np.int64),
    )


@pytest.mark.parametrize("tables", [True, False])
@pytest.mark.parametrize("form", ["parallel", "serial"])
def test_what_serves_gives_what_was_trained(tmp_path: Path, form: str, tables: bool) -> None:
    model = trained_model(form, tables=tables)
    export(model, SCHEMA, settings_of(form=form, tables=tables), CALIBRATION, tmp_path)
    examples = examples_of(SCHEMA, 70, 99)
    examples.continuous[3, 2], examples.discrete[5, :] = np.nan, 0
    expected = calibrated(logits(model, examples).numpy(), model.tasks, CALIBRATION)
    found = HeavyRankerModel.read(tmp_path, SCHEMA).score(as_inputs(examples))
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert np.ptp(expected, axis=0).min() > 0.05


def test_the_files_hold_what_is_agreed(tmp_path: Path) -> None:
    export(trained_model(), SCHEMA, settings_of(), CALIBRATION, tmp_path / "new")
    told = json.loads((tmp_path / "new" / "model.json").read_bytes())
    assert told.keys() == {"form", "schema", "tasks", "calibration", "settings"}
    assert told["schema"]["fingerprint"] == SCHEMA.fingerprint
    assert told["calibration"]["is_good_clicked"] == [0.6, -0.2]
    assert told["tasks"] == list(TASK_NAMES)
    names = set(load_file(tmp_path / "new" / "model.safetensors"))
    assert {name for name in names if not name.startswith(("blocks", "towers"))} == {
        *(f"input_norm.{part}" for part in ("mean", "var", "weight", "bias")),
        *(f"layer_norm.{part}" for part in ("weight", "bias")),
        *(f"embedding_norms.{e}.{p}" for e in ("follow", "engagement") for p in ("weight", "bias")),
        *(f"backbone.0.{part}" for part in ("weight", "bias")),
        *("tables.topic", "tables.author"),
    }
    assert {name for name in names if name.startswith("blocks.1.")} == {
        f"blocks.1.{layer}.{part}"
        for layer in ("mask1", "mask2", "hidden", "norm")
        for part in ("weight", "bias")
    }
    assert {name for name in names if name.startswith("towers.is_replied")} == {
        f"towers.is_replied.{i}.{part}" for i in range(3) for part in ("weight", "bias")
    }
    kinds = {given["name"]: (given["sort"], given["level"]) for given in told["schema"]["inputs"]}
    assert kinds["topic"] == (Sort.DISCRETE.name.lower(), Level.POST.name.lower())


def test_what_was_read_back_is_the_same_function(tmp_path: Path) -> None:
    model = trained_model()
    export(model, SCHEMA, settings_of(), CALIBRATION, tmp_path)
    again = HeavyRanker(SCHEMA, settings_of()).eval()
    again.load_state_dict(read_weights(tmp_path, SCHEMA, settings_of()))
    examples = examples_of(SCHEMA, 40, 7)
    torch.testing.assert_close(logits(again, examples), logits(model, examples))
    # In training too, where the statistics are of the batch: folding left no other scale behind.
    for some in (model, again):
        some.train()
        some.towers._dropouts = (0.0,) * len(TASK_NAMES)
    torch.testing.assert_close(
        logits(again, examples), logits(model, examples), rtol=1e-3, atol=1e-3
    )


def test_models_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = trained_model()
    export(model, SCHEMA, settings_of(), CALIBRATION, tmp_path)
    with pytest.raises(ValueError, match="is of schema"):
        read_weights(tmp_path, schema_of(6), settings_of())
    with pytest.raises(ValueError, match=r"no backbone\.0\.weight of shape \(21, 24\)"):
        read_weights(tmp_path, SCHEMA, settings_of(backbone=(21,)))
    with torch.no_grad():
        model.mask_net.backbone[0].bias[0] = float("nan")
    with pytest.raises(ValueError, match=r"not all finite: backbone\.0\.bias"):
        export(model, SCHEMA, settings_of(), CALIBRATION, tmp_path / "broken")
    assert not (tmp_path / "broken").exists()

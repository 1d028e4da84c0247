from pathlib import Path

import numpy as np
import pytest
import torch

from actors.features.tasks import TASK_NAMES
from tests.training.heavy_ranker.synthetic import examples_of, on_disk, schema_of, settings_of
from training.heavy_ranker.beginning import (
    RAREST,
    base_rates,
    entropy_scales,
    input_statistics,
)
from training.heavy_ranker.calibration import NegativeSampling
from training.heavy_ranker.fit import trained
from training.heavy_ranker.preprocessing import DoubleNormLog, signed_log
from training.heavy_ranker.train import Run, train_here

SCHEMA = schema_of()
EVERY = NegativeSampling(1.0)


def test_inputs_are_known_by_mean_and_variance_of_their_logarithms(tmp_path: Path) -> None:
    examples = examples_of(SCHEMA, 530)
    examples.continuous[:, 0] = 1e6 + np.arange(530)
    examples.continuous[3, 1] = np.nan
    found = input_statistics(on_disk(tmp_path, SCHEMA, examples))
    x = signed_log(torch.from_numpy(examples.continuous)).double().numpy()
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.variance, x.var(0, ddof=1), rtol=1e-4)


def test_base_rates_are_by_weight_of_known_labels(tmp_path: Path) -> None:
    examples = examples_of(SCHEMA, 4)
    examples.labels[:], examples.mask[:] = 0, 1
    examples.labels[1, 0] = examples.labels[1:3, 1] = 1
    examples.mask[3, 1], examples.mask[:, 2] = 0, 0
    examples.weights[:] = [1, 2, 3, 4]
    rates = base_rates(on_disk(tmp_path, SCHEMA, examples), EVERY)
    assert rates[0] == pytest.approx(2.5 / 11)
    assert rates[1] == pytest.approx(5.5 / 7)
    assert np.isnan(rates[2])
    assert rates[3] == pytest.approx(0.5 / 11)


@pytest.mark.parametrize(("corrected", "negatives"), [("weights", 5.0), ("probabilities", 1.25)])
def test_base_rates_are_those_of_what_is_left_of_negatives(
    tmp_path: Path, corrected: str, negatives: float
) -> None:
    """As the loss sees them: a quarter of the negatives, or all of them by weight."""
    examples = examples_of(SCHEMA, 7)
    examples.labels[:] = 0
    examples.labels[:2, 0] = 1
    sampling = NegativeSampling(0.25, corrected)  # type: ignore[arg-type]
    rates = base_rates(on_disk(tmp_path, SCHEMA, examples), sampling)
    assert rates[0] == pytest.approx(2.5 / (2 + negatives + 1))


def test_scales_make_every_task_s_entropy_the_same_down_to_the_rarest() -> None:
    rates = np.array([0.5, 0.1, 0.9, np.nan, 1e-5, RAREST])
    scales = entropy_scales(rates)
    entropies = -(rates * np.log(rates) + (1 - rates) * np.log(1 - rates))
    known = [0, 1, 2, 5]
    assert np.ptp((scales * entropies)[known]) == pytest.approx(0, abs=1e-6)
    assert scales[4] == scales[5]
    assert scales[3] == 1
    assert scales[[0, 1, 2, 4, 5]].mean() == pytest.approx(1)


def test_a_model_that_has_learnt_next_to_nothing_predicts_base_rates(tmp_path: Path) -> None:
    """And norms inputs as they are distributed, from the first step on."""
    examples = examples_of(SCHEMA, 512)
    examples.continuous[:, 0] = examples.continuous[:, 0] * 1e-3 + 0.2
    rng = np.random.default_rng(0)
    wanted = np.linspace(0.02, 0.9, len(TASK_NAMES))
    examples.labels[:] = rng.random(examples.labels.shape) < wanted
    found = on_disk(tmp_path / "examples", SCHEMA, examples)
    run = Run(tmp_path / "run", found, settings_of(epochs=1, learning_rate_scale=1e-6), 0)
    train_here(run)
    model, _ = trained(run)
    weights, rates = model.state_dict(), base_rates(found, EVERY)
    biases = [float(weights[f"towers.layers.{task}.2.bias"]) for task in model.tasks]
    np.testing.assert_allclose(biases, np.log(rates) - np.log1p(-rates), rtol=1e-4)
    norm = model.preprocessing.input_norm
    assert float(norm.running_var[0]) < 1e-5
    assert float(norm.running_mean[0]) == pytest.approx(np.log1p(0.2), abs=1e-3)


def test_a_checkpoint_of_an_earlier_step_can_be_read(tmp_path: Path) -> None:
    found = on_disk(tmp_path / "examples", SCHEMA, examples_of(SCHEMA, 256))
    settings = settings_of(epochs=2, checkpoint_steps=4, checkpoints_kept=2)
    run = Run(tmp_path / "run", found, settings, 0)
    train_here(run)
    assert run.checkpoints.steps() == [4, 8]
    weight = "mask_net.backbone.0.weight"
    first, last, newest = (trained(run, step)[0].state_dict()[weight] for step in (4, 8, None))
    assert torch.equal(last, newest)
    assert not torch.equal(first, last)
    with pytest.raises(FileNotFoundError):
        trained(run, 5)


def test_without_the_row_norm_a_row_s_size_is_seen() -> None:
    """A row of inputs that are all the same is nothing to a layer norm."""
    rows, none = torch.tensor([[1.0, 1.0], [-2.0, -2.0]]), torch.zeros(2, 0)
    with_norm, without = DoubleNormLog(2, 0).eval(), DoubleNormLog(2, 0, row_norm=False).eval()
    torch.testing.assert_close(with_norm(rows, none), torch.zeros(2, 2), atol=1e-2, rtol=0)
    expected = signed_log(rows) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(without(rows, none), expected)

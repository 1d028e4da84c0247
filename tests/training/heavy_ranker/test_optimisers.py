import pytest
import torch
from torch import nn

from actors.features.tasks import TASK_NAMES, TASKS
from tests.training.heavy_ranker.synthetic import schema_of, settings_of
from training.heavy_ranker.model import HeavyRanker
from training.heavy_ranker.optimisers import BACKBONE, RampedAdam, ramped


def test_a_rate_rises_in_a_line_and_stays() -> None:
    rates = [ramped(8e-4, 5_000, step) for step in (1, 2_500, 5_000, 90_000)]
    assert rates == pytest.approx([1.6e-7, 4e-4, 8e-4, 8e-4])


def test_every_tower_learns_at_its_own_rate_and_the_rest_at_the_backbone_s() -> None:
    model = HeavyRanker(schema_of(tables=False), settings_of())
    optimiser = RampedAdam(model.named_parameters(), 2.0, 10**6)
    optimiser.begin(10_000)
    expected = {task.name: 2 * task.learning_rate for task in TASKS} | {BACKBONE: 2e-4}
    assert optimiser.rates() == pytest.approx(expected)
    groups = {group["name"]: group["params"] for group in optimiser.adam.param_groups}
    for task in TASK_NAMES:
        own = set(model.towers.layers[task].parameters())
        assert own == set(groups[task])
    n_all = sum(len(group) for group in groups.values())
    assert n_all == len(list(model.parameters()))
    optimiser.begin(500)
    assert optimiser.rates()["is_favorited"] == pytest.approx(2 * 8e-4 / 10)
    assert optimiser.rates()[BACKBONE] == pytest.approx(2e-4 / 2)


def test_a_short_run_ramps_in_a_tenth_of_its_steps() -> None:
    model = HeavyRanker(schema_of(tables=False), settings_of())
    optimiser = RampedAdam(model.named_parameters(), 1.0, 200)
    optimiser.begin(20)
    assert optimiser.rates()["is_favorited"] == pytest.approx(8e-4)


def test_rates_fall_to_nearly_nothing_where_they_decay() -> None:
    model = HeavyRanker(schema_of(tables=False), settings_of())
    optimiser = RampedAdam(model.named_parameters(), 1.0, 200, decays=True)
    found = {}
    for step in (20, 101, 200):
        optimiser.begin(step)
        found[step] = optimiser.rates()["is_favorited"]
    assert found == pytest.approx({20: 8e-4 * 181 / 200, 101: 4e-4, 200: 8e-4 / 200})


def test_towers_may_learn_like_what_is_below_them() -> None:
    model = HeavyRanker(schema_of(tables=False), settings_of())
    optimiser = RampedAdam(model.named_parameters(), 3.0, 200, alike=True)
    optimiser.begin(20)
    assert list(optimiser.rates().values()) == pytest.approx([3e-4] * (len(TASKS) + 1))


def test_a_task_without_parameters_is_an_error() -> None:
    model = HeavyRanker(schema_of(tables=False), settings_of())
    named = [(n, p) for n, p in model.named_parameters() if ".is_replied." not in n]
    with pytest.raises(ValueError, match="nothing to learn for is_replied"):
        RampedAdam(named, 1.0, 200)


def test_a_step_is_adam_s() -> None:
    """By hand, with the published betas and epsilon."""
    names = {f"towers.layers.{task}.0.weight": nn.Parameter(torch.ones(1)) for task in TASK_NAMES}
    shared = nn.Parameter(torch.tensor([1.0]))
    optimiser = RampedAdam([*names.items(), ("mask_net.w", shared)], 1.0, 10)
    m = v = 0.0
    expected = 1.0
    for step, gradient in enumerate((0.3, -0.1), 1):
        optimiser.begin(step)
        shared.grad = torch.tensor([gradient])
        optimiser.adam.step()
        m, v = 0.95 * m + 0.05 * gradient, 0.999 * v + 0.001 * gradient**2
        up = m / (1 - 0.95**step)
        expected -= 1e-4 * up / ((v / (1 - 0.999**step)) ** 0.5 + 1e-7)
        assert float(shared.detach()) == pytest.approx(expected, rel=1e-6)

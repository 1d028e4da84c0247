"""Adam with a group of parameters for each tower and one for all they share, each with its ramp.

Tables have an optimiser of their own, fused into the backward pass.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from actors.features.tasks import BACKBONE_LEARNING_RATE, BACKBONE_RAMP_STEPS, TASKS

BETAS, EPS = (0.95, 0.999), 1e-7
"""Of Adam (published)."""
BACKBONE = "backbone"
RAMP_SHARE = 0.1
"""Of all steps: no ramp is longer, or a short run would end before it learns at its rate."""


def decayed(step: int, total_steps: int) -> float:
    """By what the rate of a step, counted from 1, is multiplied: falls linearly to nearly 0."""
    return 1 - min(step - 1, total_steps - 1) / total_steps


def ramped(rate: float, ramp_steps: int, step: int) -> float:
    """The learning rate of a step, counted from 1: rises linearly to `rate`, then stays."""
    return rate * min(1.0, step / ramp_steps)


class RampedAdam:
    """Fused Adam over all parameters but tables, by groups that are named as tasks are."""

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        scale: float,
        total_steps: int,
        *,
        alike: bool = False,
        decays: bool = False,
    ) -> None:
        """`scale` multiplies the published learning rates; `alike`: towers have the backbone's.

        `decays`: all rates fall to nearly 0 at the end. Raises `ValueError` for a task without
        parameters.
        """
        self._decay_steps = total_steps if decays else None
        self.names: dict[str, nn.Parameter] = {}
        groups: dict[str, list[nn.Parameter]] = {task.name: [] for task in TASKS}
        groups[BACKBONE] = []
        for name, parameter in named:
            self.names[name] = parameter
            _, _, tower = name.rpartition("towers.layers.")
            groups[tower.partition(".")[0] if tower != name else BACKBONE].append(parameter)
        if empty := [name for name, parameters in groups.items() if not parameters]:
            raise ValueError(f"nothing to learn for {', '.join(empty)}")
        longest = max(1, round(total_steps * RAMP_SHARE))
        rates = {task.name: (task.learning_rate, task.ramp_steps) for task in TASKS}
        rates[BACKBONE] = (BACKBONE_LEARNING_RATE, BACKBONE_RAMP_STEPS)
        if alike:
            rates = dict.fromkeys(rates, rates[BACKBONE])
        self._rates = {
            name: (rate * scale, min(steps, longest)) for name, (rate, steps) in rates.items()
        }
        self.adam = torch.optim.Adam(
            [{"params": found, "name": name} for name, found in groups.items()],
            lr=0.0,
            betas=BETAS,
            eps=EPS,
            fused=True,
        )
        # Made now and not at the first step, so that a checkpoint can be read into it.
        for parameter in self.names.values():
            self.adam.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    def begin(self, step: int) -> None:
        """Set the learning rates of a step, counted from 1."""
        for group in self.adam.param_groups:
            rate, steps = self._rates[group["name"]]
            left = decayed(step, self._decay_steps) if self._decay_steps else 1.0
            group["lr"] = ramped(rate, steps, step) * left

    def rates(self) -> dict[str, float]:
        """Learning rates by group, as they are now."""
        return {group["name"]: group["lr"] for group in self.adam.param_groups}

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Moments by parameter, to be written to or filled from a checkpoint."""
        return {
            name: {key: self.adam.state[p][key] for key in ("exp_avg", "exp_avg_sq")}
            for name, p in self.names.items()
        }

    def resumed(self, step: int) -> None:
        """The moments were filled with those after a step."""
        for state in self.adam.state.values():
            state["step"].fill_(step)

"""The curve of losses, kept with checkpoints and shown by TensorBoard."""

import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tensorboardX import SummaryWriter
from torch import Tensor

from actors.features.tasks import TASK_NAMES
from training.heavy_ranker.checkpoints import Point
from training.heavy_ranker.sharded import ShardedRanker

CURVE_STEPS = 50
"""Steps of which a point has the mean."""


class Recorder:
    """Takes the losses of every step; the first worker writes scalars for TensorBoard."""

    def __init__(self, folder: Path, step: int, curve: tuple[Point, ...], batch: int) -> None:
        """Goes on after `step`; what an earlier run wrote of later steps is hidden."""
        self.step = step
        self.curve = list(curve)
        self._batch = batch * dist.get_world_size()
        self._losses: list[Tensor] = []
        self._since_s = time.perf_counter()
        self._writer = None
        if dist.get_rank() == 0:
            self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def took(self, tasks: Tensor, ranker: ShardedRanker) -> bool:
        """A step's losses by task; whether they made a point of the curve."""
        self.step += 1
        self._losses.append(tasks)
        if self.step % CURVE_STEPS:
            return False
        self.add_point(ranker)
        return True

    def add_point(self, ranker: ShardedRanker) -> None:
        """The mean since the point before, if there were steps; all workers call this together."""
        if not self._losses:
            return
        tasks = torch.stack(self._losses).mean(0)
        dist.all_reduce(tasks)
        means = (tasks / dist.get_world_size()).tolist()
        self.curve.append(Point(self.step, sum(means) / len(means)))
        if self._writer is not None:
            self._write(self._writer, means, ranker)
        self._losses = []
        self._since_s = time.perf_counter()

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, writer: Any, means: list[float], ranker: ShardedRanker) -> None:
        seconds = time.perf_counter() - self._since_s
        norms = [parameter.detach().norm() for parameter in ranker.optimiser.names.values()]
        scalars = {
            "loss": self.curve[-1].loss,
            "examples_per_s": len(self._losses) * self._batch / seconds,
            "parameter_norm": math.hypot(*(float(norm) for norm in norms)),
            **{f"loss/{task}": loss for task, loss in zip(TASK_NAMES, means, strict=True)},
            **{f"learning_rate/{name}": rate for name, rate in ranker.optimiser.rates().items()},
        }
        for name, value in scalars.items():
            writer.add_scalar(name, value, self.step)
        writer.flush()

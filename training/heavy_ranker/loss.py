"""The loss: binary cross entropy of every task, of the labels that are known, mean over tasks."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from training.heavy_ranker.batch_norm import n_workers


class MultiTaskLoss(nn.Module):
    """The loss of a worker's examples, such that its mean over workers is that of all of them.

    Each task's is the mean by weight over the examples whose label is known; a task without
    any costs nothing. `scales`, one or (tasks,), say what each task counts.
    """

    scales: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Made anew from the examples whenever training begins or goes on: no part of the model.
        self.register_buffer("scales", torch.ones(()), persistent=False)

    def forward(
        self, logits: Tensor, labels: Tensor, mask: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss, and each task's, detached, (tasks,).

        From logits, labels (0 or 1) and masks (1: known), all float32 of shape (n, tasks) and
        with columns by the same names, and weights of shape (n,).
        """
        known = mask * weights[:, None]
        total = known.sum(0)
        if n_workers() > 1:
            dist.all_reduce(total)
            total = total / n_workers()
        losses = binary_cross_entropy_with_logits(logits, labels, reduction="none") * known
        # Without known labels both are 0.
        tasks = losses.sum(0) / total.clamp(min=torch.finfo(total.dtype).tiny)
        return (tasks * self.scales).mean(), tasks.detach()

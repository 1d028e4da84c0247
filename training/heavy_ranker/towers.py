"""Towers: small networks, one a task, above what all tasks share."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from training.heavy_ranker.batch_norm import SyncedBatchNorm

MOMENTUM = 0.1
"""Of the statistics in towers (published)."""


class Towers(nn.Module):
    """Logits of all tasks, each by linear layers with batch norm, ReLU and dropout between.

    The hidden layers of all towers stand side by side and are normed (without scale and shift)
    at once, so that workers exchange statistics once a layer, not once a layer of each tower.
    """

    def __init__(self, dropouts: Mapping[str, float], inputs: int, hidden: Sequence[int]) -> None:
        """`dropouts` by task; the logits have the order of its keys."""
        super().__init__()
        widths = [inputs, *hidden, 1]
        self.layers = nn.ModuleDict(
            {
                task: nn.ModuleList(nn.Linear(below, above) for below, above in pairwise(widths))
                for task in dropouts
            }
        )
        self.norms = nn.ModuleList(
            SyncedBatchNorm(len(dropouts) * width, momentum=MOMENTUM, affine=False)
            for width in hidden
        )
        self._dropouts = tuple(dropouts.values())

    def forward(self, z: Tensor) -> Tensor:
        """From what tasks share, (n, inputs), to (n, tasks)."""
        columns = [z] * len(self.layers)
        for i, norm in enumerate(self.norms):
            normed = norm(torch.cat(self._linear(i, columns), 1)).relu()
            columns = [
                dropout(x, p, self.training) if p else x
                for x, p in zip(normed.chunk(len(columns), 1), self._dropouts, strict=True)
            ]
        return torch.cat(self._linear(len(self.norms), columns), 1)

    def _linear(self, i: int, columns: Sequence[Tensor]) -> list[Tensor]:
        """Layer i of every tower."""
        towers: list[nn.ModuleList] = list(self.layers.values())  # type: ignore[arg-type]
        return [tower[i](x) for tower, x in zip(towers, columns, strict=True)]

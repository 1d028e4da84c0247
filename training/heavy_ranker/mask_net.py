"""MaskNet: blocks that multiply what they read by a mask which all inputs make together.

After Wang et al., "MaskNet: Introducing Feature-Wise Multiplication to CTR Ranking Models by
Instance-Guided Mask" (2021), as the published heavy ranker has it: no ReLU after a block's norm.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

EPS = 1e-5


class MaskBlock(nn.Module):
    """LayerNorm(W · (x ⊙ mask)), the mask by two layers from all inputs."""

    def __init__(self, inputs: int, masked: int, mask_width: int, width: int) -> None:
        """Reads `masked` columns through a mask from `inputs`, and gives `width`."""
        super().__init__()
        self.mask1 = nn.Linear(inputs, mask_width)
        self.mask2 = nn.Linear(mask_width, masked)
        self.hidden = nn.Linear(masked, width)
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """From what is masked, (n, masked), and all inputs, (n, inputs), to (n, width)."""
        mask = self.mask2(self.mask1(h).relu_())
        found: Tensor = self.norm(self.hidden(x * mask))
        return found


class MaskNet(nn.Module):
    """Mask blocks and the layers above them.

    In parallel, every block reads all inputs and the layers read all blocks; in series, a block
    reads the block before it and the layers read the last.
    """

    def __init__(
        self,
        form: Literal["parallel", "serial"],
        inputs: int,
        blocks: int,
        mask_width: int,
        block_width: int,
        backbone: Sequence[int],
    ) -> None:
        super().__init__()
        self.parallel = form == "parallel"
        self.blocks = nn.ModuleList(
            MaskBlock(
                inputs, inputs if self.parallel or i == 0 else block_width, mask_width, block_width
            )
            for i in range(blocks)
        )
        widths = [block_width * blocks if self.parallel else block_width, *backbone]
        self.backbone = nn.ModuleList(nn.Linear(below, above) for below, above in pairwise(widths))
        self.width = widths[-1]
        """Columns of what it gives."""

    def forward(self, h: Tensor) -> Tensor:
        """From all inputs, (n, inputs), to (n, width)."""
        if self.parallel:
            z = torch.cat([block(h, h) for block in self.blocks], 1)
        else:
            z = h
            for block in self.blocks:
                z = block(z, h)
        for layer in self.backbone:
            z = layer(z).relu_()
        return z

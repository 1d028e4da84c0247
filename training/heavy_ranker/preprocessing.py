"""What becomes of numbers before the network: the published "double norm log"."""

import torch
from torch import Tensor, nn

from training.heavy_ranker.batch_norm import SyncedBatchNorm

INPUT_MOMENTUM = 0.01
"""Of the statistics of continuous inputs (published)."""
CLIP = 5.0
"""Normed inputs stay within ± this (published)."""
EPS = 1e-5
"""Of the layer norm. Published is 0, which makes a row of equal inputs NaN."""


class DoubleNormLog(nn.Module):
    """Signed logarithm, batch norm and clipping of continuous inputs; a layer norm of all.

    Without `row_norm` there is no layer norm; its scale and shift stay 1 and 0.
    """

    def __init__(self, n_continuous: int, n_binary: int, *, row_norm: bool = True) -> None:
        super().__init__()
        self.input_norm = SyncedBatchNorm(n_continuous, momentum=INPUT_MOMENTUM, affine=True)
        self.layer_norm = nn.LayerNorm(n_continuous + n_binary, eps=EPS)
        self._row_norm = row_norm
        # What no gradient reaches, several workers' gradients are not waited for.
        self.layer_norm.requires_grad_(row_norm)

    def forward(self, continuous: Tensor, binary: Tensor) -> Tensor:
        """Of shape (n, continuous + binary), from continuous (n, ·), any numbers, and binary."""
        x = self.input_norm(signed_log(continuous)).clamp(-CLIP, CLIP)
        normed = torch.cat([x, binary], 1)
        if self._row_norm:
            normed = self.layer_norm(normed)
        return normed


def signed_log(x: Tensor) -> Tensor:
    """sign(x) · log(1 + |x|); 0 of what is not finite."""
    finite = torch.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    return torch.copysign(finite.abs().log1p_(), finite)

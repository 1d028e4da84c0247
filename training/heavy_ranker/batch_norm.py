"""Batch norm whose statistics are of the batches of all workers together, on any device.

torch's own SyncBatchNorm refuses CPUs. Statistics are part of the graph, as they have to be:
each example's gradient goes through the mean and the variance to the examples of all workers.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import batch_norm

EPS = 1e-5
"""Added to a variance (torch's own default)."""


class SyncedBatchNorm(nn.Module):
    """Batch norm of columns, shape (n, columns); the same on every worker of the process group.

    In evaluation, and with one worker, it is torch's `BatchNorm1d`. `running_var` is unbiased,
    as there.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, columns: int, *, momentum: float, affine: bool, eps: float = EPS) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.register_buffer("running_mean", torch.zeros(columns))
        self.register_buffer("running_var", torch.ones(columns))
        self.weight = nn.Parameter(torch.ones(columns)) if affine else None
        self.bias = nn.Parameter(torch.zeros(columns)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalised, and scaled and shifted where affine."""
        if not self.training or n_workers() == 1:
            return batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                self.training,
                self.momentum,
                self.eps,
            )
        n, mean, var = _statistics(x)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (n / (n - 1)), self.momentum)
        scale = (var + self.eps).rsqrt()
        normalised: Tensor = _Normalise.apply(x, mean, scale, n)  # type: ignore[no-untyped-call]
        if self.weight is None or self.bias is None:
            return normalised
        return torch.addcmul(self.bias, normalised, self.weight)


def n_workers() -> int:
    """Workers of the process group; 1 where there is none."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Examples of all workers, and their columns' mean and biased variance."""
    var, mean = torch.var_mean(x.detach(), 0, correction=0)
    # Sums of squares about zero cancel in float32.
    mean, var = mean.double(), var.double()
    count = torch.full((1,), x.shape[0], dtype=torch.float64, device=x.device)
    sums = torch.cat([count, count * mean, count * (var + mean.square())])
    dist.all_reduce(sums)
    n = sums[0]
    mean, squares = (sums[1:] / n).chunk(2)
    return n, mean.to(x.dtype), (squares - mean.square()).clamp(min=0).to(x.dtype)


class _Normalise(torch.autograd.Function):
    """(x − mean) · scale, where mean and scale are functions of the x of all workers.

    The gradient is that of the sum of all workers' losses, which the mean over workers that is
    taken of the parameters' gradients divides.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, scale: Tensor, n: Tensor) -> Tensor:
        normalised = (x - mean).mul_(scale)
        ctx.save_for_backward(normalised, scale, n)
        return normalised

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        (gradient,) = gradients
        normalised, scale, n = ctx.saved_tensors
        sums = torch.stack([gradient.sum(0), (gradient * normalised).sum(0)]).double()
        dist.all_reduce(sums)
        mean, along = (sums / n).to(gradient.dtype)
        return (gradient - mean - normalised * along) * scale, None, None, None

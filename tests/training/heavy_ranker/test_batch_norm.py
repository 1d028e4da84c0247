from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tests.training.worker_groups import WorkerGroup
from training.heavy_ranker.batch_norm import SyncedBatchNorm

SIZES = (9, 4)
"""Examples of each of two workers."""


def problem() -> tuple[Tensor, Tensor]:
    """Inputs far from zero, and what the loss multiplies the outputs by."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(sum(SIZES), 3, generator=generator) * torch.tensor([1.0, 5.0, 0.1])
    x = x + torch.tensor([0.0, 900.0, -7.0])
    return x, torch.randn(sum(SIZES), 3, generator=generator)


def norm_of(affine: bool) -> SyncedBatchNorm:
    norm = SyncedBatchNorm(3, momentum=0.3, affine=affine)
    if norm.weight is not None:
        nn.init.constant_(norm.weight, 1.7)
    return norm


def one_worker_s(folder: Path) -> None:
    """A worker's part: outputs, gradients and running statistics, into a file."""
    rank = dist.get_rank()
    x, factors = (part.split(SIZES)[rank] for part in problem())
    for affine in (True, False):
        norm, mine = norm_of(affine), x.clone().requires_grad_()
        y = norm(mine)
        # Not linear, so that its gradient differs from example to example.
        (torch.tanh(y) * factors).sum().backward()
        told = {"y": y.detach(), "x": mine.grad, "mean": norm.running_mean, "var": norm.running_var}
        if norm.weight is not None and norm.bias is not None:
            told |= {"weight": norm.weight.grad, "bias": norm.bias.grad}
        norm.eval()
        told["evaluated"] = norm(x).detach()
        torch.save(told, folder / f"{affine}-{rank}.pt")


def test_two_workers_norm_as_one_does_with_all_their_examples(tmp_path: Path) -> None:
    WorkerGroup(tmp_path, one_worker_s, tmp_path, n_workers=2).finish()
    x, factors = problem()
    for affine in (True, False):
        reference = nn.BatchNorm1d(3, momentum=0.3, affine=affine)
        if affine:
            nn.init.constant_(reference.weight, 1.7)
        mine = x.clone().requires_grad_()
        y = reference(mine)
        (torch.tanh(y) * factors).sum().backward()
        found = [torch.load(tmp_path / f"{affine}-{rank}.pt") for rank in range(2)]

        def close(given: Tensor, expected: Tensor | None) -> None:
            assert expected is not None
            torch.testing.assert_close(given, expected, rtol=3e-4, atol=3e-4)

        close(torch.cat([told["y"] for told in found]), y.detach())
        close(torch.cat([told["x"] for told in found]), mine.grad)
        for told in found:
            close(told["mean"], reference.running_mean)
            close(told["var"], reference.running_var)
        if affine:
            close(found[0]["weight"] + found[1]["weight"], reference.weight.grad)
            close(found[0]["bias"] + found[1]["bias"], reference.bias.grad)
        reference.eval()
        close(torch.cat([told["evaluated"] for told in found]), reference(x).detach())


@pytest.mark.parametrize("affine", [True, False])
def test_alone_it_is_torch_s(affine: bool) -> None:
    x, _ = problem()
    reference, norm = nn.BatchNorm1d(3, momentum=0.3, affine=affine), norm_of(affine)
    if norm.weight is not None:
        nn.init.ones_(norm.weight)
    torch.testing.assert_close(norm(x), reference(x))
    torch.testing.assert_close(norm.running_var, reference.running_var)
    torch.testing.assert_close(norm.eval()(x), reference.eval()(x))

import numpy as np
import pytest
import torch
from torch import nn

from training.heavy_ranker.mask_net import MaskNet


def filled(net: MaskNet) -> MaskNet:
    """Weights small enough to follow on paper."""
    with torch.no_grad():
        for block in net.blocks:
            block.mask1.weight.copy_(torch.tensor([[1.0, -1.0]]))
            block.mask1.bias.fill_(1.0)
            block.mask2.weight.copy_(torch.tensor([[2.0], [1.0]]))
            block.mask2.bias.copy_(torch.tensor([0.0, -1.0]))
            block.hidden.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
            block.hidden.bias.copy_(torch.tensor([0.0, 2.0]))
        for layer in net.backbone:
            nn.init.ones_(layer.weight)
            nn.init.constant_(layer.bias, 0.5)
    return net


def normed(a: float, b: float) -> list[float]:
    mean, var = (a + b) / 2, ((a - b) / 2) ** 2
    return [(a - mean) / (var + 1e-5) ** 0.5, (b - mean) / (var + 1e-5) ** 0.5]


H = torch.tensor([[3.0, 1.0]])
# mask1: relu(3 − 1 + 1) = 3; mask2: (6, 2); masked: (18, 2); hidden: (18, 4).
FIRST = normed(18, 4)


def test_parallel_blocks_read_all_inputs_and_the_backbone_reads_all_blocks() -> None:
    net = filled(MaskNet("parallel", 2, 2, 1, 2, (3,)))
    assert net.width == 3
    # Normed columns add up to 0, so only the bias is left of their sum.
    assert net(H).tolist() == [pytest.approx([0.5] * 3, abs=1e-6)]
    with torch.no_grad():
        net.backbone[0].weight[0] = torch.tensor([1.0, 0.0, 2.0, 0.0])
        net.backbone[0].weight[1] = torch.tensor([-1.0, 0.0, 0.0, 0.0])
    assert net(H).tolist() == [pytest.approx([0.5 + 3 * FIRST[0], 0.0, 0.5], abs=1e-6)]


def test_serial_blocks_read_the_block_before_through_a_mask_from_all_inputs() -> None:
    net = filled(MaskNet("serial", 2, 2, 1, 2, ()))
    assert net.width == 2
    # The mask is (6, 2) again; masked: (6a, 2b); hidden: (6a, 2b + 2).
    second = normed(6 * FIRST[0], 2 * FIRST[1] + 2)
    assert net(H).tolist() == [pytest.approx(second, abs=1e-6)]


def test_a_serial_block_takes_the_width_of_the_one_before() -> None:
    net = MaskNet("serial", 7, 3, 4, 5, (6,))
    assert [tuple(block.mask2.weight.shape) for block in net.blocks] == [(7, 4), (5, 4), (5, 4)]
    assert net(torch.from_numpy(np.ones((2, 7), np.float32))).shape == (2, 6)

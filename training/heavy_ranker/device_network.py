"""The network above the inputs on a device of its own, such as a GPU: all candidates at once."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear

from training.heavy_ranker.exported import EPS, Exported, Linear, Norm
from training.heavy_ranker.shared_columns import SharedColumns

Floats = npt.NDArray[np.float32]
Layer = tuple[Tensor, Tensor]


class DeviceNetwork:
    """Mask blocks, backbone and towers in fp32, as they are written.

    Nothing is shared between candidates: a device that is fast at products is not at the rest.
    """

    def __init__(self, model: Exported, columns: SharedColumns, device: torch.device) -> None:
        self._device = device
        self._parallel = model.form == "parallel"
        self._blocks = []
        for i, block in enumerate(model.blocks):
            reads_h = self._parallel or i == 0
            order = columns.order if reads_h else np.arange(block.hidden.weight.shape[1])
            mask1 = self._layer(Linear(block.mask1.weight[:, columns.order], block.mask1.bias))
            mask2 = self._layer(Linear(block.mask2.weight[order], block.mask2.bias[order]))
            hidden = self._layer(Linear(block.hidden.weight[:, order], block.hidden.bias))
            self._blocks.append((mask1, mask2, hidden, self._norm(block.norm)))
        self._backbone = [self._layer(layer) for layer in model.backbone]
        self._towers = [[self._layer(layer) for layer in tower] for tower in model.towers]

    @torch.inference_mode()
    def logits(self, h: Floats) -> Floats:
        """Logits (n, tasks) of candidates with hidden rows `h`, in the order of `columns`."""
        given = torch.from_numpy(h).to(self._device)
        below, outputs = given, []
        for mask1, mask2, hidden, (weight, bias) in self._blocks:
            mask = linear(linear(given, *mask1).relu(), *mask2)
            x = linear(below * mask, *hidden)
            outputs.append(layer_norm(x, x.shape[1:], weight, bias, EPS))
            below = given if self._parallel else outputs[-1]
        z = torch.cat(outputs, 1) if self._parallel else outputs[-1]
        for layer in self._backbone:
            z = linear(z, *layer).relu()
        heads = []
        for tower in self._towers:
            x = z
            for layer in tower[:-1]:
                x = linear(x, *layer).relu()
            heads.append(linear(x, *tower[-1]))
        found: Floats = torch.cat(heads, 1).cpu().numpy()
        return found

    def _layer(self, layer: Linear) -> Layer:
        return self._put(layer.weight), self._put(layer.bias)

    def _norm(self, norm: Norm) -> Layer:
        return self._put(norm.weight), self._put(norm.bias)

    def _put(self, values: Floats) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)

"""The network above the inputs, in fp32 or bf16."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from training.heavy_ranker.exported import EPS, Exported
from training.heavy_ranker.first_layer import FirstLayer, Product, SharedProducts
from training.heavy_ranker.packed_linear import FloatLinear
from training.heavy_ranker.row_kernels import first_layer
from training.heavy_ranker.shared_columns import SharedColumns

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]


class FloatNetwork:
    """Mask blocks, backbone and towers; sums are fp32 in either precision."""

    def __init__(self, model: Exported, columns: SharedColumns, dtype: torch.dtype) -> None:
        """`dtype` of weights and of what is between layers: float32 or bfloat16."""
        self._dtype = dtype
        self._parallel = model.form == "parallel"
        self.first = FirstLayer(model, columns, self._product)
        self._blocks = []
        for i, block in enumerate(model.blocks):
            reads_h = self._parallel or i == 0
            order = columns.order if reads_h else np.arange(block.hidden.weight.shape[1])
            self._blocks.append(
                (
                    FloatLinear(block.mask2.weight[order], block.mask2.bias[order], dtype),
                    FloatLinear(block.hidden.weight[:, order], block.hidden.bias, dtype),
                    torch.from_numpy(block.norm.weight).to(dtype),
                    torch.from_numpy(block.norm.bias).to(dtype),
                )
            )
        self._mask_width = len(model.blocks[0].mask1.bias)
        self._backbone = [FloatLinear(layer.weight, layer.bias, dtype) for layer in model.backbone]
        self._towers = _Towers(model, dtype)

    def logits(
        self,
        h: Floats,
        shared: SharedProducts,
        author_rows: Int64s,
        means: Floats,
        scales: Floats,
    ) -> Floats:
        """Logits (n, tasks) of candidates with hidden rows `h`."""
        masks = np.empty((len(self._blocks), len(h), self._mask_width), np.float32)
        own, factors = self.first.posts(h)
        first_layer(
            *(own, factors, shared.scaled, shared.plain, author_rows, means, scales),
            *(self.first.sums, masks),
        )
        found = self._above(torch.from_numpy(h), torch.from_numpy(masks))
        logits: Floats = found.numpy()
        return logits

    def _above(self, h: Tensor, masks: Tensor) -> Tensor:
        h, masks = h.to(self._dtype), masks.to(self._dtype)
        below, outputs = h, []
        for mask, (mask2, hidden, weight, bias) in zip(masks, self._blocks, strict=True):
            x = hidden(mask2.times(mask, below))
            outputs.append(layer_norm(x, x.shape[1:], weight, bias, EPS))
            below = h if self._parallel else outputs[-1]
        z = torch.cat(outputs, 1) if self._parallel else outputs[-1]
        for layer in self._backbone:
            z = layer.relu(z)
        return self._towers(z)

    def _product(self, weight: Floats) -> Product:
        layer = FloatLinear(weight, None, self._dtype)

        def product(x: Floats) -> tuple[Floats, Floats]:
            found = layer(torch.from_numpy(x).to(self._dtype)).float()
            return found.numpy(), np.ones(len(x), np.float32)

        return product


class _Towers:
    """All towers: their first layers as one, the middle ones each, the last as one again."""

    def __init__(self, model: Exported, dtype: torch.dtype) -> None:
        towers = model.towers
        self._n = len(towers)
        lasts = [tower[-1] for tower in towers]
        bias = np.concatenate([last.bias for last in lasts])
        self._stacked: FloatLinear | None = None
        self._middle: list[list[FloatLinear]] = []
        if len(towers[0]) == 1:
            weight = np.concatenate([last.weight for last in lasts])
        else:
            firsts = [tower[0] for tower in towers]
            self._stacked = FloatLinear(
                np.concatenate([first.weight for first in firsts]),
                np.concatenate([first.bias for first in firsts]),
                dtype,
            )
            self._middle = [
                [FloatLinear(tower[i].weight, tower[i].bias, dtype) for tower in towers]
                for i in range(1, len(towers[0]) - 1)
            ]
            width = lasts[0].weight.shape[1]
            weight = np.zeros((self._n, self._n * width), np.float32)
            for t, last in enumerate(lasts):
                weight[t, t * width : (t + 1) * width] = last.weight[0]
        # The last layer is fp32 in either precision: it costs nothing.
        self._last = FloatLinear(weight, bias, torch.float32)

    def __call__(self, z: Tensor) -> Tensor:
        if self._stacked is not None:
            z = self._stacked.relu(z)
        for layers in self._middle:
            parts = z.chunk(self._n, 1)
            z = torch.cat([layer.relu(x) for layer, x in zip(layers, parts, strict=True)], 1)
        return self._last(z.float())

"""The network above the inputs in 8 bits: every product, but the last of a tower.

Weights have a scale for each output, activations one for each row: then products are sums of
whole numbers, a row's score is exactly the same in any batch, and the largest row of a batch
costs the others no precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import writable
from training.heavy_ranker.exported import Exported, Linear, Norm
from training.heavy_ranker.first_layer import FirstLayer, Product, SharedProducts
from training.heavy_ranker.int8_kernels import (
    SIGNED_ZERO,
    first_layer_rounded,
    layer_normed,
    masked_rounded,
    rectified_rounded,
    rounded,
    tower_end,
)
from training.heavy_ranker.packed_linear import Int8Linear
from training.heavy_ranker.shared_columns import SharedColumns

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]


class Int8Network:
    """Mask blocks, backbone and towers with products of 8-bit numbers."""

    def __init__(self, model: Exported, columns: SharedColumns) -> None:
        self._parallel = model.form == "parallel"
        self.first = FirstLayer(model, columns, _product)
        self._blocks = []
        for i, block in enumerate(model.blocks):
            reads_h = self._parallel or i == 0
            order = columns.order if reads_h else np.arange(block.hidden.weight.shape[1])
            mask2 = Linear(block.mask2.weight[order], block.mask2.bias[order])
            hidden = Linear(block.hidden.weight[:, order], block.hidden.bias)
            self._blocks.append(
                _Block(_Layer(mask2, zero=0), _Layer(hidden, zero=SIGNED_ZERO), block.norm)
            )
        self._mask_width = len(model.blocks[0].mask1.bias)
        self._block_width = len(model.blocks[0].hidden.bias)
        self._above = _Above(model)

    def logits(
        self,
        h: Floats,
        shared: SharedProducts,
        author_rows: Int64s,
        means: Floats,
        scales: Floats,
    ) -> Floats:
        """Logits (n, tasks) of candidates with hidden rows `h`."""
        n = len(h)
        masks = np.empty((len(self._blocks), n, self._mask_width), np.uint8)
        mask_scales = np.empty((len(self._blocks), n), np.float32)
        own, factors = self.first.posts(h)
        first_layer_rounded(
            *(own, factors, shared.scaled, shared.plain, author_rows, means, scales),
            *(self.first.sums, masks, mask_scales),
        )
        width = self._block_width
        z = np.empty((n, width * (len(self._blocks) if self._parallel else 1)), np.float32)
        for i, block in enumerate(self._blocks):
            below = h if self._parallel or i == 0 else z
            masked, masked_scales = np.empty(below.shape, np.uint8), np.empty(n, np.float32)
            products = block.mask2.product(masks[i])
            masked_rounded(products, mask_scales[i], block.mask2.bias, below, masked, masked_scales)
            layer_normed(
                block.hidden.product(masked),
                masked_scales,
                block.hidden.bias,
                block.norm.weight,
                block.norm.bias,
                z,
                i * width if self._parallel else 0,
            )
        return self._above.logits(z)


class _Layer:
    """A linear layer, whose bias is added by the kernel after it."""

    def __init__(self, layer: Linear, zero: int) -> None:
        self.product = Int8Linear(layer.weight, zero)
        self.bias = writable(layer.bias, np.float32)


@dataclass(frozen=True)
class _Block:
    mask2: _Layer
    hidden: _Layer
    norm: Norm


class _Pending(NamedTuple):
    """A layer's products before they are scaled, biased and rectified."""

    products: Floats
    factors: Floats
    biases: Floats
    first: int
    """The first column of a task's part, if tasks stand side by side."""


class _Above:
    """Backbone and towers: a chain of rectified layers, and one sum a task at its end."""

    def __init__(self, model: Exported) -> None:
        towers = model.towers
        shared = list(model.backbone)
        self._stacked = len(towers[0]) > 1
        if self._stacked:
            firsts = [tower[0] for tower in towers]
            weights = np.concatenate([first.weight for first in firsts])
            shared.append(Linear(weights, np.concatenate([first.bias for first in firsts])))
        if not shared:
            raise ValueError("8 bits need a layer between the blocks and the logits")
        self._shared = [_Layer(layer, 0 if i else SIGNED_ZERO) for i, layer in enumerate(shared)]
        self._middle = [[_Layer(layer, 0) for layer in tower[1:-1]] for tower in towers]
        self._lasts = [
            (writable(tower[-1].weight[0], np.float32), np.float32(tower[-1].bias[0]))
            for tower in towers
        ]

    def logits(self, z: Floats) -> Floats:
        """Logits (n, tasks) of what the blocks give."""
        x, scales = np.empty(z.shape, np.uint8), np.empty(len(z), np.float32)
        rounded(z, x, scales)
        below = _Pending(self._shared[0].product(x), scales, self._shared[0].bias, 0)
        for layer in self._shared[1:]:
            below = _through(layer, below, below.products.shape[1])
        logits = np.empty((len(self._lasts), len(z)), np.float32)
        for t, (weights, bias) in enumerate(self._lasts):
            width = below.products.shape[1] // (len(self._lasts) if self._stacked else 1)
            own = below._replace(first=t * width if self._stacked else 0)
            for layer in self._middle[t]:
                own = _through(layer, own, width)
                width = own.products.shape[1]
            tower_end(*own, weights, bias, logits[t])
        return logits.T


def _through(layer: _Layer, below: _Pending, width: int) -> _Pending:
    """Rectify `width` columns, and multiply them by the next layer."""
    n = len(below.products)
    x, scales = np.empty((n, width), np.uint8), np.empty(n, np.float32)
    rectified_rounded(*below, x, scales)
    return _Pending(layer.product(x), scales, layer.bias, 0)


def _product(weight: Floats) -> Product:
    multiply = Int8Linear(weight, SIGNED_ZERO)

    def product(x: Floats) -> tuple[Floats, Floats]:
        quantised, scales = np.empty(x.shape, np.uint8), np.empty(len(x), np.float32)
        rounded(x, quantised, scales)
        return multiply(quantised), scales

    return product

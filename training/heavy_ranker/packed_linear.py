"""Linear layers of an inference model, their weights laid out once for the CPU's kernels."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import linear

from actors.stores.kernels import writable

Floats = npt.NDArray[np.float32]
Precision = Literal["fp32", "bf16", "int8"]

_ROWS = 256
"""For which the layout is chosen; it serves any other number."""


def supported(precision: Precision) -> bool:
    """Whether this machine computes in a precision at least as fast as in fp32, and rightly.

    Without AVX512-BF16 or AMX, bf16 is several times slower; without VNNI, sums of 8-bit
    products saturate.
    """
    if precision == "fp32":
        return True
    if not torch.backends.mkldnn.is_available():
        return False
    if precision == "bf16":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return bool(torch.cpu._is_vnni_supported())


class FloatLinear:
    """x ↦ W·x + b in fp32 or bf16, with what follows it fused into the same pass.

    oneDNN's kernels, called as torch's own compiler calls them: `linear` takes MKL's for fp32,
    which leaves AVX512 unused on processors that are not Intel's.
    """

    def __init__(self, weight: Floats, bias: Floats | None, dtype: torch.dtype) -> None:
        """Of `weight` (outputs, inputs) and `bias` (outputs,)."""
        self._bias = None if bias is None else _tensor(bias).to(dtype)
        self._weight = _tensor(weight).to(dtype)
        self._packed = torch.backends.mkldnn.is_available()
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, _ROWS)

    def __call__(self, x: Tensor) -> Tensor:
        """(n, outputs) of (n, inputs)."""
        return self._with(x, "none")

    def relu(self, x: Tensor) -> Tensor:
        """The positive part of it."""
        return self._with(x, "relu")

    def times(self, x: Tensor, factors: Tensor) -> Tensor:
        """The product with `factors` (n, outputs)."""
        if not self._packed:
            return linear(x, self._weight, self._bias) * factors
        found: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            x, factors, self._weight, self._bias, "mul"
        )
        return found

    def _with(self, x: Tensor, then: Literal["none", "relu"]) -> Tensor:
        if not self._packed:
            y = linear(x, self._weight, self._bias)
            return y.relu_() if then == "relu" else y
        found: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self._bias, then, [], ""
        )
        return found


class Int8Linear:
    """W·x with 8-bit weights, a scale for each output, and 8-bit x, a scale for each row.

    The sums are whole numbers, so that a row's result is exactly the same in any batch. The
    rows' scales and the bias are left to the caller, who has a pass over the result anyway.
    """

    def __init__(self, weight: Floats, zero: int) -> None:
        """Of `weight` (outputs, inputs); `zero` is the 8-bit number that stands for 0 in x."""
        weight = writable(weight, np.float32)  # the packing takes rows to be contiguous
        largest = np.abs(weight).max(axis=1, initial=0.0)
        scales = np.where(largest > 0, largest / 127, 1.0).astype(np.float32)
        rounded = np.rint(weight / scales[:, None]).clip(-127, 127).astype(np.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(
            torch.from_numpy(rounded), [_ROWS, weight.shape[1]]
        )
        self._scales = torch.from_numpy(scales)
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        self._zero = zero

    def __call__(self, x: npt.NDArray[np.uint8]) -> Floats:
        """float32 (n, outputs) of (n, inputs)."""
        found: Tensor = torch.ops.onednn.qlinear_pointwise(
            *(torch.from_numpy(x), 1.0, self._zero, self._weight, self._scales, self._zeros),
            *(None, 1.0, 0, torch.float32, "none", [], ""),
        )
        floats: Floats = found.numpy()
        return floats


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(writable(values, np.float32))

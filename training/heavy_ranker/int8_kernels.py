"""Between two 8-bit products: scale, do what the network does there, and round to 8 bits again.

Every kernel makes one pass over a row while it is in the cache. A row's scale is that of its
largest number, so that no row's rounding depends on the rows beside it. Rows whose numbers have
both signs are stored with `SIGNED_ZERO` for 0, rows after a ReLU with 0 for 0.
"""

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel
from training.heavy_ranker.row_kernels import LANES, first_layer_row, norm_row

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]

SIGNED_ZERO = 128
_ZERO, _HALF = np.float32(0.0), np.float32(0.5)
_SIGNED_LIMIT, _LIMIT = np.float32(127.0), np.float32(255.0)
_SIGNED_HALF = np.float32(SIGNED_ZERO + 0.5)


@kernel
def rounded(x: Floats, quantised: Bytes, scales: Floats) -> None:
    """Round rows (n, ·) of both signs."""
    lanes = np.empty(LANES, np.float32)
    for i in range(len(x)):
        scales[i] = _round_signed(x[i], quantised[i], lanes)


@kernel
def first_layer_rounded(
    posts: Floats,
    factors: Floats,
    scaled: Floats,
    plain: Floats,
    author_rows: Int64s,
    means: Floats,
    deviations: Floats,
    sums: Floats,
    quantised: Bytes,
    scales: Floats,
) -> None:
    """`first_layer`, rounded: into (blocks, n, width) and (blocks, n)."""
    blocks, n, width = quantised.shape
    row, lanes = np.empty(width, np.float32), np.empty(LANES, np.float32)
    for i in range(n):
        own, mean, deviation = posts[i], means[i], deviations[i]
        of_both, rest = scaled[author_rows[i]], plain[author_rows[i]]
        for block in range(blocks):
            begin = block * width
            first_layer_row(own, factors[i], of_both, rest, mean, deviation, sums, begin, row)
            scales[block, i] = _round_positive(row, quantised[block, i], lanes)


@kernel
def masked_rounded(
    masks: Floats, factors: Floats, biases: Floats, x: Floats, quantised: Bytes, scales: Floats
) -> None:
    """Round x ⊙ (masks · factor + bias)."""
    row, lanes = np.empty(x.shape[1], np.float32), np.empty(LANES, np.float32)
    for i in range(len(x)):
        mask, given, factor = masks[i], x[i], factors[i]
        for j in range(len(row)):
            row[j] = (mask[j] * factor + biases[j]) * given[j]
        scales[i] = _round_signed(row, quantised[i], lanes)


@kernel
def layer_normed(
    x: Floats,
    factors: Floats,
    biases: Floats,
    norm_weights: Floats,
    norm_biases: Floats,
    normed: Floats,
    first: int,
) -> None:
    """The layer norm of x · factor + bias, into the columns of `normed` from `first`."""
    row, lanes = np.empty(x.shape[1], np.float32), np.empty(LANES, np.float32)
    for i in range(len(x)):
        given, factor = x[i], factors[i]
        for j in range(len(row)):
            row[j] = given[j] * factor + biases[j]
        into = normed[i, first : first + len(row)]
        norm_row(row, norm_weights, norm_biases, into, lanes)


@kernel
def rectified_rounded(
    x: Floats, factors: Floats, biases: Floats, first: int, quantised: Bytes, scales: Floats
) -> None:
    """Round relu(x · factor + bias) of as many columns from `first` as `quantised` has."""
    n, width = quantised.shape
    row, lanes = np.empty(width, np.float32), np.empty(LANES, np.float32)
    bias = biases[first : first + width]
    for i in range(n):
        given, factor = x[i, first : first + width], factors[i]
        for j in range(width):
            y = given[j] * factor + bias[j]
            row[j] = y if y > _ZERO else _ZERO
        scales[i] = _round_positive(row, quantised[i], lanes)


@kernel
def tower_end(
    x: Floats,
    factors: Floats,
    biases: Floats,
    first: int,
    weights: Floats,
    last_bias: np.float32,
    logits: Floats,
) -> None:
    """A task's logits (n,): its last layer over relu(x · factor + bias), columns from `first`."""
    width = len(weights)
    bias = biases[first : first + width]
    for i in range(len(x)):
        given, factor = x[i, first : first + width], factors[i]
        total = np.float64(last_bias)
        for j in range(width):
            y = given[j] * factor + bias[j]
            total += (y if y > _ZERO else _ZERO) * weights[j]
        logits[i] = total


@kernel
def _round_signed(x: Floats, quantised: Bytes, lanes: Floats) -> np.float32:
    largest = _largest(x, lanes)
    inverse = _SIGNED_LIMIT / largest if largest > _ZERO else _ZERO
    for j in range(len(x)):
        quantised[j] = np.uint8(np.int32(x[j] * inverse + _SIGNED_HALF))
    return np.float32(largest / _SIGNED_LIMIT)


@kernel
def _round_positive(x: Floats, quantised: Bytes, lanes: Floats) -> np.float32:
    largest = _largest(x, lanes)
    inverse = _LIMIT / largest if largest > _ZERO else _ZERO
    for j in range(len(x)):
        quantised[j] = np.uint8(np.int32(x[j] * inverse + _HALF))
    return np.float32(largest / _LIMIT)


@kernel
def _largest(x: Floats, lanes: Floats) -> np.float32:
    width = len(x)
    whole = width - width % LANES
    lanes[:] = _ZERO
    for begin in range(0, whole, LANES):
        part = x[begin : begin + LANES]
        for lane in range(LANES):
            size = abs(part[lane])
            lanes[lane] = size if size > lanes[lane] else lanes[lane]
    largest = _ZERO
    for lane in range(LANES):
        largest = max(largest, lanes[lane])
    for j in range(whole, width):
        largest = max(largest, abs(x[j]))
    return largest

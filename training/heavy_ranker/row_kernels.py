"""Kernels over rows of float32 in which no row's result depends on the rows beside it."""

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel
from training.heavy_ranker.exported import EPS

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

LANES = 64
"""Partial sums side by side. The compiler must not reorder a sum, so one running total would
leave its vector units idle."""
_LARGEST = np.finfo(np.float32).max
_CLIP = np.float32(5.0)
_ZERO = np.float32(0.0)


@kernel
def normed_rows(
    values: Floats,
    logs: Floats,
    means: Floats,
    scales: Floats,
    biases: Floats,
    normed: Floats,
    sums: Doubles,
    squares: Doubles,
) -> None:
    """Batch norm of signed logarithms (of absolute values: `logs`), clipped; the rest as it is.

    What is not finite counts as 0. Fills `normed`, and its rows' sums and sums of squares.
    """
    n_continuous = len(means)
    for i in range(len(values)):
        row, given, log = normed[i], values[i], logs[i]
        for j in range(n_continuous):
            signed = log[j] if given[j] > _ZERO else -log[j]
            finite = signed if abs(given[j]) <= _LARGEST else _ZERO
            x = (finite - means[j]) * scales[j] + biases[j]
            x = _CLIP if x > _CLIP else x
            row[j] = -_CLIP if x < -_CLIP else x
        for j in range(n_continuous, len(given)):
            row[j] = given[j] if abs(given[j]) <= _LARGEST else _ZERO
        total = squared = 0.0
        for j in range(len(row)):
            x64 = np.float64(row[j])
            total += x64
            squared += x64 * x64
        sums[i], squares[i] = total, squared


@kernel
def hidden_rows(
    viewer_normed: Floats,
    viewer_plain: Floats,
    authors_normed: Floats,
    authors_plain: Floats,
    posts_normed: Floats,
    posts_plain: Floats,
    author_rows: Int64s,
    means: Floats,
    scales: Floats,
    weights: Floats,
    biases: Floats,
    h: Floats,
) -> None:
    """Each candidate's row of all levels, layer-normed where that is due."""
    for i in range(len(author_rows)):
        a = author_rows[i]
        at = _normed_into(h[i], 0, viewer_normed[0], means[i], scales[i], weights, biases, 0)
        at = _copied_into(h[i], at, viewer_plain[0])
        n = len(viewer_normed[0])
        at = _normed_into(h[i], at, authors_normed[a], means[i], scales[i], weights, biases, n)
        at = _copied_into(h[i], at, authors_plain[a])
        n += len(authors_normed[a])
        at = _normed_into(h[i], at, posts_normed[i], means[i], scales[i], weights, biases, n)
        _copied_into(h[i], at, posts_plain[i])


@kernel
def _normed_into(
    row: Floats,
    at: int,
    x: Floats,
    mean: np.float32,
    scale: np.float32,
    weights: Floats,
    biases: Floats,
    first: int,
) -> int:
    into, weight, bias = row[at : at + len(x)], weights[first:], biases[first:]
    for j in range(len(x)):
        into[j] = (x[j] - mean) * scale * weight[j] + bias[j]
    return at + len(x)


@kernel
def _copied_into(row: Floats, at: int, x: Floats) -> int:
    into = row[at : at + len(x)]
    for j in range(len(x)):
        into[j] = x[j]
    return at + len(x)


@kernel
def scaled_and_shifted(x: Floats, factors: Floats, shifts: Floats, found: Floats) -> None:
    """x · factor + shifts, a factor for each row."""
    for i in range(len(x)):
        given, into, factor = x[i], found[i], factors[i]
        for j in range(len(given)):
            into[j] = given[j] * factor + shifts[j]


@kernel
def first_layer(
    posts: Floats,
    factors: Floats,
    scaled: Floats,
    plain: Floats,
    author_rows: Int64s,
    means: Floats,
    scales: Floats,
    sums: Floats,
    found: Floats,
) -> None:
    """relu of the first layer of all blocks, into `found` of shape (blocks, n, width).

    `posts` (n, blocks · width) times `factors` (n,) is the part of a post's own columns;
    `scaled` (a, ·) that of normed columns of viewer and author, before the norm; `sums` what
    the norm's mean is multiplied by there; `plain` (a, ·) that of all others, with biases.
    """
    blocks, n, width = found.shape
    for i in range(n):
        own, mean, scale = posts[i], means[i], scales[i]
        of_both, rest = scaled[author_rows[i]], plain[author_rows[i]]
        for block in range(blocks):
            begin = block * width
            first_layer_row(
                own, factors[i], of_both, rest, mean, scale, sums, begin, found[block, i]
            )


@kernel
def first_layer_row(
    posts: Floats,
    factor: np.float32,
    scaled: Floats,
    plain: Floats,
    mean: np.float32,
    scale: np.float32,
    sums: Floats,
    begin: int,
    found: Floats,
) -> None:
    """One candidate's and block's part of `first_layer`; columns from `begin`."""
    end = begin + len(found)
    own, shared, rest, column = (
        posts[begin:end],
        scaled[begin:end],
        plain[begin:end],
        sums[begin:end],
    )
    for j in range(len(found)):
        x = own[j] * factor + (shared[j] - mean * column[j]) * scale + rest[j]
        found[j] = x if x > _ZERO else _ZERO


@kernel
def layer_norm_rows(x: Floats, weights: Floats, biases: Floats) -> Floats:
    """The layer norm of each row."""
    normed = np.empty_like(x)
    lanes = np.empty(LANES, np.float32)
    for i in range(len(x)):
        norm_row(x[i], weights, biases, normed[i], lanes)
    return normed


@kernel
def norm_row(x: Floats, weights: Floats, biases: Floats, normed: Floats, lanes: Floats) -> None:
    """The layer norm of one row, which may be written where it stands."""
    width = len(x)
    whole = width - width % LANES
    lanes[:] = _ZERO
    for begin in range(0, whole, LANES):
        part = x[begin : begin + LANES]
        for lane in range(LANES):
            lanes[lane] += part[lane]
    total = 0.0
    for lane in range(LANES):
        total += lanes[lane]
    for j in range(whole, width):
        total += x[j]
    mean = np.float32(total / width)
    lanes[:] = _ZERO
    for begin in range(0, whole, LANES):
        part = x[begin : begin + LANES]
        for lane in range(LANES):
            away = part[lane] - mean
            lanes[lane] += away * away
    squared = 0.0
    for lane in range(LANES):
        squared += lanes[lane]
    for j in range(whole, width):
        squared += (x[j] - mean) * (x[j] - mean)
    scale = np.float32(1.0 / np.sqrt(squared / width + EPS))
    for j in range(width):
        normed[j] = (x[j] - mean) * scale * weights[j] + biases[j]

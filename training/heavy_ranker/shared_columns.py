"""What the network reads, prepared once for all candidates that share it.

Columns of h stand by level here: the viewer's, the author's, the post's; within a level first
those that are layer-normed together (continuous and binary inputs), then vectors with a norm of
their own or none (embeddings, tables). The layer norm needs a candidate's mean and deviation over
all three levels, which are sums over levels, so that a level's numbers are prepared once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.features.inputs import Level, RankerInputs, Sort
from actors.stores.kernels import writable
from training.heavy_ranker.exported import EPS, Exported
from training.heavy_ranker.hashing import table_rows
from training.heavy_ranker.row_kernels import hidden_rows, layer_norm_rows, normed_rows

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LevelRows:
    """Prepared rows of one level."""

    normed: Floats
    """Shape (rows, ·): continuous inputs after the batch norm, then binary ones."""
    plain: Floats
    """Shape (rows, ·): vectors that the layer norm leaves alone."""
    sums: Doubles
    squares: Doubles
    """Shape (rows,): over `normed`."""

    def __len__(self) -> int:
        return len(self.normed)

    def cut(self, rows: slice) -> LevelRows:
        """Some of them."""
        return LevelRows(self.normed[rows], self.plain[rows], self.sums[rows], self.squares[rows])


class SharedColumns:
    """Prepares levels, and puts them together into h."""

    def __init__(self, model: Exported) -> None:
        schema = model.schema
        self._parts = tuple(_LevelPart(model, level) for level in Level)
        self.order: Int64s = np.concatenate(
            [np.concatenate([part.normed, part.plain]) for part in self._parts]
        )
        """Shape (width,): which of the model's columns stands here."""
        self.normed: tuple[slice, ...] = ()
        self.plain: tuple[slice, ...] = ()
        """By level: which of the columns here."""
        at = 0
        for part in self._parts:
            middle = at + len(part.normed)
            end = middle + len(part.plain)
            self.normed += (slice(at, middle),)
            self.plain += (slice(middle, end),)
            at = end
        self.width = at
        self._row_norm = model.row_norm
        self._n_normed = len(schema.continuous) + len(schema.binary)
        normed = np.concatenate([part.normed for part in self._parts])
        self.weight = writable(model.layer_norm.weight[normed], np.float32)
        self.bias = writable(model.layer_norm.bias[normed], np.float32)
        """Of the layer norm, by its columns here."""

    def rows(self, inputs: RankerInputs, level: Level, cut: slice = slice(None)) -> LevelRows:
        """Prepare some rows of a level."""
        return self._parts[level].rows(inputs, cut)

    def hidden(
        self, viewer: LevelRows, authors: LevelRows, posts: LevelRows, author_rows: Int64s
    ) -> tuple[Floats, Floats, Floats]:
        """h of some candidates, (n, width), with the means and 1/deviations of their norms."""
        if self._row_norm:
            n = max(self._n_normed, 1)
            means = (viewer.sums + authors.sums[author_rows] + posts.sums) / n
            squares = (viewer.squares + authors.squares[author_rows] + posts.squares) / n
            variances = np.maximum(squares - means * means, 0)
            scales = (1 / np.sqrt(variances + EPS)).astype(np.float32)
        else:
            means, scales = np.zeros(len(author_rows)), np.ones(len(author_rows), np.float32)
        h = np.empty((len(author_rows), self.width), np.float32)
        hidden_rows(
            *(viewer.normed, viewer.plain, authors.normed, authors.plain),
            *(posts.normed, posts.plain, author_rows),
            *(means.astype(np.float32), scales, self.weight, self.bias, h),
        )
        return h, means.astype(np.float32), scales


class _LevelPart:
    """One level's columns, and how they are prepared."""

    def __init__(self, model: Exported, level: Level) -> None:
        schema = model.schema
        self._level = level
        continuous = [i for i, given in enumerate(schema.continuous) if given.level == level]
        binary = [i for i, given in enumerate(schema.binary) if given.level == level]
        n_continuous, n_binary = len(schema.continuous), len(schema.binary)
        self.normed = np.array([*continuous, *(n_continuous + i for i in binary)], np.int64)
        """Of the model's columns, those of this level that are normed together."""
        self._means = writable(model.input_mean[continuous], np.float32)
        self._scales = writable(model.input_scale[continuous], np.float32)
        self._biases = writable(model.input_bias[continuous], np.float32)
        self._embeddings, self._tables = [], []
        plain: list[int] = []
        at = n_continuous + n_binary
        for vector in schema.embeddings:
            if vector.level == level:
                norm = model.embedding_norms[vector.name]
                self._embeddings.append(
                    (vector.name, writable(norm.weight, "f4"), writable(norm.bias, "f4"))
                )
                plain += range(at, at + vector.dimensions)
            at += vector.dimensions
        for given in schema.discrete if model.tables else ():
            if given.level == level:
                self._tables.append(model.tables[given.name])
                plain += range(at, at + given.dimensions)
            at += given.dimensions
        self.plain = np.array(plain, np.int64)
        """Of the model's columns, those of this level that are not."""
        self._discrete = np.array(
            [given.buckets for given in schema.of(Sort.DISCRETE, level)], np.int64
        )

    def rows(self, inputs: RankerInputs, cut: slice) -> LevelRows:
        values = writable(inputs.values[self._level][cut], np.float32)
        n = len(values)
        logs = np.abs(values[:, : len(self._means)])
        # NumPy's gives a number the same logarithm wherever it stands, which torch's does not.
        np.log1p(logs, out=logs)
        normed = np.empty_like(values)
        sums, squares = np.empty(n, np.float64), np.empty(n, np.float64)
        normed_rows(values, logs, self._means, self._scales, self._biases, normed, sums, squares)
        return LevelRows(normed, self._vectors(inputs, cut, n), sums, squares)

    def _vectors(self, inputs: RankerInputs, cut: slice, n: int) -> Floats:
        plain = np.empty((n, len(self.plain)), np.float32)
        at = 0
        for name, weight, bias in self._embeddings:
            given = np.nan_to_num(inputs.embeddings[name][cut], posinf=0.0, neginf=0.0)
            into = plain[:, at : at + len(weight)]
            into[:] = layer_norm_rows(writable(given, np.float32), weight, bias)
            at += len(weight)
        if self._tables:
            rows = table_rows(inputs.discrete[self._level][cut], self._discrete)
            for i, table in enumerate(self._tables):
                plain[:, at : at + table.shape[1]] = table.take(rows[:, i], 0)
                at += table.shape[1]
        return plain

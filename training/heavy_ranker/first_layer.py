"""The first layer of all blocks' masks, in which candidates share the columns of a level.

W·h splits by level. The layer norm of h, in which every candidate has a mean μ and deviation σ of
its own, stays outside: W·(γ ⊙ (x − μ)/σ + β) = ((Wγ)·x − μ·(Wγ)·1)/σ + W·β. So the viewer's
columns are multiplied once a request, an author's once an author, and a post's for each
candidate.

The same does not pay in the layers after it: to have the viewer's columns of h ⊙ mask multiplied
once, the weights before and after the mask would have to be multiplied with each other for
every request, and σ and μ make that three products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from actors.features.inputs import Level
from actors.stores.kernels import writable
from training.heavy_ranker.exported import Exported
from training.heavy_ranker.row_kernels import scaled_and_shifted
from training.heavy_ranker.shared_columns import LevelRows, SharedColumns

Floats = npt.NDArray[np.float32]


class Product(Protocol):
    """x ↦ W·x, as numbers (n, outputs) and factors (n,) by which they are to be multiplied."""

    def __call__(self, x: Floats) -> tuple[Floats, Floats]:
        """Of x (n, inputs)."""


@dataclass(frozen=True)
class SharedProducts:
    """What candidates of an author share, of all blocks side by side."""

    scaled: Floats
    """(a, ·): (Wγ)·x of viewer and author."""
    plain: Floats
    """(a, ·): of columns that are not normed together; W·β of the others; and the bias."""

    @classmethod
    def empty(cls, authors: int, outputs: int) -> SharedProducts:
        """To be filled."""
        shape = (authors, outputs)
        return cls(np.empty(shape, np.float32), np.empty(shape, np.float32))

    def __getitem__(self, authors: slice) -> SharedProducts:
        return SharedProducts(self.scaled[authors], self.plain[authors])


class FirstLayer:
    """Multiplies by level; `make` gives the product by a weight in the precision wanted."""

    def __init__(
        self, model: Exported, columns: SharedColumns, make: Callable[[Floats], Product]
    ) -> None:
        weight = np.concatenate([block.mask1.weight for block in model.blocks])[:, columns.order]
        self.outputs = len(weight)
        """Of all blocks."""
        self._bias = np.concatenate([block.mask1.bias for block in model.blocks])
        self.sums = np.zeros(len(weight), np.float32)
        """(Wγ)·1 of viewer and author."""
        self._normed: list[Product | None] = []
        self._plain: list[Product | None] = []
        first = 0
        for level in (Level.VIEWER, Level.AUTHOR):
            cut = columns.normed[level]
            n = cut.stop - cut.start
            scaled = weight[:, cut] * columns.weight[first : first + n]
            self.sums += scaled.sum(axis=1, dtype=np.float64).astype(np.float32)
            self._bias = self._bias + weight[:, cut] @ columns.bias[first : first + n]
            self._normed.append(make(scaled) if n else None)
            rest = weight[:, columns.plain[level]]
            self._plain.append(make(rest) if rest.shape[1] else None)
            first += n
        self._own = slice(columns.normed[Level.POST].start, columns.width)
        own = weight[:, self._own]
        self._posts = make(writable(own, np.float32)) if own.shape[1] else None

    def viewer(self, rows: LevelRows) -> SharedProducts:
        """What all candidates share, as if of one author."""
        nothing = np.zeros_like(self._bias)
        found = SharedProducts.empty(1, self.outputs)
        self._fill(Level.VIEWER, rows, nothing, self._bias, found)
        return found

    def authors(self, rows: LevelRows, viewer: SharedProducts, found: SharedProducts) -> None:
        """Fill in what candidates of these authors share, the viewer's part included."""
        self._fill(Level.AUTHOR, rows, viewer.scaled[0], viewer.plain[0], found)

    def posts(self, h: Floats) -> tuple[Floats, Floats]:
        """The part of a post's own columns of h: numbers (n, ·) and factors (n,)."""
        if self._posts is None:
            return np.zeros((len(h), self.outputs), np.float32), np.ones(len(h), np.float32)
        return self._posts(np.ascontiguousarray(h[:, self._own]))

    def _fill(
        self,
        level: Level,
        rows: LevelRows,
        scaled: Floats,
        plain: Floats,
        found: SharedProducts,
    ) -> None:
        _fill_sum(self._normed[level], rows.normed, scaled, found.scaled)
        _fill_sum(self._plain[level], rows.plain, plain, found.plain)


def _fill_sum(product: Product | None, x: Floats, to: Floats, found: Floats) -> None:
    """W·x + `to` (outputs,) into `found` (n, outputs)."""
    if product is None:
        found[:] = to
    else:
        scaled_and_shifted(*product(x), to, found)
